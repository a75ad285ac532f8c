"""A node that ought to have a guard has none that would act."""

from typing import Final

from pgvigil.judge.case import Case
from pgvigil.model.diagnosis import Finding, Problem, Urgency
from pgvigil.model.guard import GuardState

TOLD: Final = {
    GuardState.MISSING: "no guard is installed there",
    GuardState.DEAD: "its guard is installed and does not run",
    GuardState.STALLED: "its guard is stopped, or does not do its work",
    GuardState.OUTDATED: "its guard runs another script, or knows other nodes",
}


def missing_guards(case: Case) -> tuple[Finding, ...]:
    """Every node whose host says so. Who cannot be asked is not accused; a node without a shell has none.

    Nothing is done about it: a guard is put on a node, and taken from it, by people alone.
    """
    return tuple(
        Finding(Problem.GUARD_MISSING, node.name, (TOLD[node.guard.state],), Urgency.TELL)
        for node in case.view.nodes.values()
        if node.guard and node.guard.state in TOLD and node.name not in case.record.maintenance
    )
