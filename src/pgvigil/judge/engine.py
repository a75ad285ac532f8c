"""Runs the problems in their explicit order and settles conflicts between them.

The table reads from top to bottom: what stands higher explains what stands lower. SAFETY §2 is its source.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from pgvigil.judge.case import Case
from pgvigil.judge.controller_unfit import controller_isolated, controller_late
from pgvigil.judge.guard_missing import missing_guards
from pgvigil.judge.primary_crashed import primary_crashed
from pgvigil.judge.primary_hung import primary_hung
from pgvigil.judge.primary_lost import primary_lost
from pgvigil.judge.primary_restarting import primary_restarting
from pgvigil.judge.primary_unhealthy import primary_locked_out, primary_overloaded, primary_unseen
from pgvigil.judge.slot_holds_wal import slots_hold_wal
from pgvigil.judge.stale_primary import stale_primaries
from pgvigil.judge.standby import standby_problems
from pgvigil.judge.standby_cluster import leader_problem, site_detached, site_not_standby, wrongly_primaries
from pgvigil.model.diagnosis import Diagnosis, Finding, Problem, Urgency
from pgvigil.model.record import ClusterRecord
from pgvigil.model.sighting import ClusterView
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.units import SystemId

PRIMARY_ROWS: Final[tuple[Callable[[Case], Finding | None], ...]] = (
    primary_crashed,
    primary_hung,
    primary_restarting,
    primary_locked_out,
    primary_overloaded,
    primary_lost,
    primary_unseen,
)
"""The first that applies explains the primary's silence."""
RANK: Final = {problem: place for place, problem in enumerate(Problem)}


def diagnose(spec: ClusterSpec, record: ClusterRecord, view: ClusterView) -> Diagnosis:
    """All that is wrong with a cluster, in the order of `Problem`. Pure."""
    foreign = foreign_nodes(view, record.system_id)
    view = _without(view, {finding.node for finding in foreign})
    if record.primary not in view.nodes:
        return Diagnosis(foreign)
    case = Case(spec, record, view)
    unfit = [finding for judge in (controller_isolated, controller_late) if (finding := judge(case))]
    if unfit:
        case = replace(case, distrusted=True)
    site = record.standby_cluster
    findings = (
        *unfit,
        *foreign,
        *(wrongly_primaries(case) if site else stale_primaries(case)),
        *(_site(case) if site else _explain_primary(case)),
        *site_not_standby(case),
        *standby_problems(case),
        *slots_hold_wal(case),
        *missing_guards(case),
    )
    return Diagnosis(tuple(sorted(findings, key=lambda finding: RANK[finding.problem])))


def diagnose_unknown(view: ClusterView, *, standby_cluster: bool = False) -> Diagnosis:
    """For a cluster without a record: whether exactly one primary answers, and nobody is a stranger.

    `standby_cluster`: it is configured as one; then nobody need take writes.
    """
    primaries = view.primaries()
    if standby_cluster and not primaries:
        first = next((node.answer for node in view.nodes.values() if node.answer), None)
        return Diagnosis(foreign_nodes(view, first.facts.system_id) if first else ())
    if len(primaries) == 1:
        answer = primaries[0].answer
        return Diagnosis(foreign_nodes(view, answer.facts.system_id) if answer else ())
    names = ", ".join(node.name for node in primaries) or "none"
    texts = (f"nodes that take writes: {names}", f"nodes that answer: {_answering(view)}")
    return Diagnosis((Finding(Problem.PRIMARY_UNKNOWN, None, texts, Urgency.TELL),))


def foreign_nodes(view: ClusterView, system_id: SystemId) -> tuple[Finding, ...]:
    """Nodes whose data comes from another `initdb`: never touched, never counted."""
    return tuple(
        Finding(
            Problem.SYSTEM_FOREIGN,
            node.name,
            (f"its system identifier is {node.answer.facts.system_id}", f"the cluster's is {system_id}"),
            Urgency.TELL,
        )
        for node in view.nodes.values()
        if node.answer and node.answer.facts.system_id != system_id
    )


def _explain_primary(case: Case) -> Iterable[Finding]:
    if case.primary.primary is not None:
        return
    for judge in PRIMARY_ROWS:
        if finding := judge(case):
            yield finding
            return


def _site(case: Case) -> Iterable[Finding]:
    if lost := leader_problem(case, _explain_primary(case)):
        yield lost
    if detached := site_detached(case):
        yield detached


def _without(view: ClusterView, names: set[object]) -> ClusterView:
    if not names:
        return view
    return replace(view, nodes={name: node for name, node in view.nodes.items() if name not in names})


def _answering(view: ClusterView) -> str:
    return ", ".join(name for name, node in view.nodes.items() if node.answer) or "none"
