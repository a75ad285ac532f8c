"""A node takes writes although the record names another primary."""

from pgvigil.judge.case import Case, fresh_host
from pgvigil.model.diagnosis import Finding, Problem
from pgvigil.model.sighting import NoAnswer, NodeView, Postmaster


def stale_primaries(case: Case) -> tuple[Finding, ...]:
    """Every node that answers out of recovery but is not the primary of record: fence it at once.

    Not split brain by itself: it becomes one when clients write to it. A node promoted by hand while
    the primary of record does not run is another problem: `primary_replaced`.
    """
    if replaced := primary_replaced(case):
        return (replaced,)
    return tuple(
        Finding(
            Problem.STALE_PRIMARY,
            node.name,
            (
                f"it takes writes on timeline {node.primary.timeline}",
                f"the record (generation {case.record.generation}) names {case.record.primary}",
            ),
        )
        for node in case.view.primaries()
        if node.primary and node.name != case.record.primary
    )


def primary_replaced(case: Case) -> Finding | None:
    """A human promoted another node: adopted when that is the only one, and ours provably does not run.

    The newcomer must have left our timeline behind; an old primary started again has not.
    """
    claimants = [node for node in case.view.primaries() if node.name != case.record.primary]
    if len(claimants) != 1 or case.primary.primary is not None:
        return None
    claimant = claimants[0]
    assert claimant.primary is not None
    if claimant.primary.timeline <= case.record.timeline or claimant.name in case.record.deposed:
        return None
    proof = _does_not_run(case.primary)
    if not proof:
        return None
    evidence = (f"{claimant.name} takes writes on timeline {claimant.primary.timeline}", proof)
    return Finding(Problem.PRIMARY_REPLACED, claimant.name, evidence)


def _does_not_run(node: NodeView) -> str:
    if node.standby:
        return f"{node.name} answers as a standby"
    host = fresh_host(node, node.sql.since) if isinstance(node.sql, NoAnswer) else None
    if host and host.postmaster in (Postmaster.STOPPED, Postmaster.CRASHED) and not host.strays:
        return f"{node.name}'s host says that it does not run"
    return ""
