"""What may be wrong with a cluster that follows another one: its leader, its way there, who writes."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from pgvigil.judge.case import Case
from pgvigil.judge.standby import SETTLE_S
from pgvigil.model.diagnosis import Finding, Problem, Urgency
from pgvigil.model.units import Instant

VERDICTS: Final = frozenset(
    {
        Problem.PRIMARY_CRASHED,
        Problem.PRIMARY_HUNG,
        Problem.PRIMARY_LOST,
        Problem.PRIMARY_STOPPED,
    }
)


def leader_problem(case: Case, explained: Iterable[Finding]) -> Finding | None:
    """The leader does not answer. `explained`: what that would be, were it a primary: the same evidence.

    Another leader does no harm, even when the first one lives: neither of them acknowledges anything.
    """
    if case.primary.answer is not None:
        return None
    finding = next(iter(explained), None)
    if finding is None:
        return None
    problem = Problem.LEADER_LOST if finding.problem in VERDICTS else Problem.LEADER_SILENT
    return replace(finding, problem=problem)


def site_detached(case: Case) -> Finding | None:
    """The leader answers, and does not stream. Told; its way there is kept right beside."""
    role = case.primary.standby
    if role is None or (role.receiver is not None and role.receiver.status in ("streaming", "")):
        return None
    since = case.primary.receiver_lost_at or case.view.at
    due = Instant(since + SETTLE_S)
    late = case.view.at >= due
    evidence = [f"it has not streamed for {case.view.at - since:.0f} s"]
    if role.receiver:
        evidence.append(f"its WAL receiver is {role.receiver.status}")
    far = case.view.far
    if far and far.primary:
        evidence.append(f"{far.primary.name} takes writes there, on timeline {far.primary.timeline}")
        if late and role.timeline == far.primary.timeline and role.furthest > far.primary.end:
            evidence.append("it has more WAL than that one: their histories may have parted")
    elif far:
        evidence.append("nobody who takes writes answers there" if far.nodes else "nobody answers there")
    urgency = Urgency.TELL if late else Urgency.WAITING
    return Finding(Problem.SITE_DETACHED, case.primary.name, tuple(evidence), urgency, None if late else due)


def wrongly_primaries(case: Case) -> tuple[Finding, ...]:
    """Every node of a standby cluster that takes writes, the leader too: nobody was asked to."""
    return tuple(
        Finding(
            Problem.STALE_PRIMARY,
            node.name,
            (
                f"it takes writes on timeline {node.primary.timeline}",
                f"the record (generation {case.record.generation}) says that this is a standby cluster",
            ),
        )
        for node in case.view.primaries()
        if node.primary
    )


def site_not_standby(case: Case) -> tuple[Finding, ...]:
    """The file says that the cluster follows another one, the record says that it has its own primary."""
    there = case.spec.standby_of
    if there is None or case.record.standby_cluster:
        return ()
    evidence = [f"standby_of: {there.name} is configured, and {case.record.primary} is its own primary"]
    if case.view.far and case.view.far.primary:
        far = case.view.far.primary
        evidence.append(f"{far.name} takes writes there, on timeline {far.timeline}")
    return (Finding(Problem.SITE_NOT_STANDBY, None, tuple(evidence), Urgency.TELL),)
