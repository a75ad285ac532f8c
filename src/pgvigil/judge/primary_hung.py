"""The primary's postmaster is there, but does not answer."""

from pgvigil.judge.case import Case, fresh_host, hear_primary
from pgvigil.model.diagnosis import Finding, Problem, Urgency
from pgvigil.model.sighting import NoAnswer, Postmaster, Silence
from pgvigil.model.units import Instant

STILL_S = 0.5
"""A single look may find a healthy process waiting for its disk."""
NOT_THERE = frozenset({Silence.REFUSED, Silence.CLOSED, Silence.NO_ADDRESS})


def primary_hung(case: Case) -> Finding | None:
    """TCP connects, nothing answers, its host says the postmaster is frozen, receivers are silent.

    Frozen in two looks some time apart: any process is in state D for a moment, while it waits for a disk.
    Verdict after `hung_after` of that; then it is killed before anybody is promoted (SAFETY §2, row 7).
    """
    primary, sql, since = case.primary, case.primary.sql, case.silent_since()
    if since is None or not isinstance(sql, NoAnswer) or sql.silence in NOT_THERE:
        return None
    host = fresh_host(primary, since)
    if host is None or host.postmaster is not Postmaster.FROZEN:
        return None
    if hear_primary(case, since):
        return None
    silent_for = case.view.at - since
    due = Instant(since + case.spec.timings.hung_after.total_seconds())
    still_s = host.at - host.frozen_since if host.frozen_since is not None else 0.0
    evidence = (
        f"it has not answered for {silent_for:.1f} s",
        f"its host says the postmaster ({host.pid}) is there but stands still",
    )
    if case.view.at < due:
        return Finding(Problem.PRIMARY_HUNG, primary.name, evidence, Urgency.WAITING, due)
    urgency = Urgency.NOW if still_s >= STILL_S else Urgency.WAITING
    return Finding(Problem.PRIMARY_HUNG, primary.name, evidence, urgency)
