"""What we see may be our own trouble: then nothing is concluded from silence."""

from pgvigil.judge.case import Case
from pgvigil.model.diagnosis import Finding, Problem, Urgency
from pgvigil.model.sighting import NoAnswer, Refusal

LATE_S = 0.5
"""A loop that ran this late has counted its own slowness as somebody's silence."""
LOOKS_EVERY_S = 2.0
"""A silent node is tried again this soon after an attempt ended (`sight` is quicker at first)."""


def controller_isolated(case: Case) -> Finding | None:
    """Our reference targets do not answer, or nothing at all does (SAFETY §2, row 9).

    Only asked for while the primary is silent: an answering primary needs no proof of our network.
    """
    since = case.silent_since()
    if since is None:
        return None
    references = case.view.references
    if references.asked:
        if references.at < since:
            text = "our reference targets have not been asked since the silence began"
            return Finding(Problem.CONTROLLER_ISOLATED, None, (text,), Urgency.WAITING)
        if references.sound:
            return None
        text = f"only {references.reached} of our {references.asked} reference targets answer"
        return Finding(Problem.CONTROLLER_ISOLATED, None, (text,), Urgency.TELL)
    if any(node.speaks for node in case.view.nodes.values()):
        return None
    text = "no node and no host answers; no reference target is configured to tell why"
    return Finding(Problem.CONTROLLER_ISOLATED, None, (text,), Urgency.TELL)


def controller_late(case: Case) -> Finding | None:
    """Our own loop ran late, or stood still: it distrusts itself before it accuses others.

    After a standstill (a suspended machine) the primary's silence is as old as our newest look, not
    older: it may be back long since.
    """
    sql = case.primary.sql
    if not isinstance(sql, NoAnswer | Refusal):
        return None
    unlooked_s = case.view.at - sql.at
    if unlooked_s > case.spec.timings.connect_timeout.total_seconds() + LOOKS_EVERY_S:
        text = f"we have not looked at {case.primary.name} for {unlooked_s:.1f} s"
    elif case.view.late_s >= LATE_S:
        text = f"our own loop ran {case.view.late_s:.1f} s late"
    else:
        return None
    return Finding(Problem.CONTROLLER_LATE, None, (text,), Urgency.WAITING)
