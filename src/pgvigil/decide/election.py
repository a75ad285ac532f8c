"""Who becomes primary: the furthest eligible standby, then the user's wishes. And why not the others."""

from collections.abc import Callable
from dataclasses import dataclass

from pgvigil.decide.situation import Situation, is_down
from pgvigil.model.sighting import NodeView, Standby
from pgvigil.model.spec import LogicalSlots
from pgvigil.model.units import Lsn, NodeName, Timeline


@dataclass(frozen=True, slots=True)
class Election:
    """The outcome. `chosen` None: nobody is fit; `rejected` says why, node by node."""

    chosen: NodeName | None
    at: Lsn = Lsn(0)
    rejected: tuple[str, ...] = ()


def elect(
    situation: Situation,
    *,
    wanted: NodeName | None = None,
    any_lag: bool = False,
    forced: bool = False,
    objection: Callable[[NodeView], str] | None = None,
) -> Election:
    """Choose among the nodes that answer in recovery (SAFETY §4.5). Pure.

    `wanted`: only that one. `any_lag`: an operator accepts loss of data. `forced`: and another location,
    where who is `wanted` may always be, and loss of logical slots. `objection`: what else may
    speak against a node; empty if nothing does.
    """
    rejected: list[str] = []
    fit: list[tuple[tuple[object, ...], NodeName, Lsn]] = []
    for node in situation.view.nodes.values():
        if wanted not in (None, node.name):
            continue
        reason = unfit(situation, node, any_lag=any_lag)
        if not reason and not forced:
            reason = (wanted is None and elsewhere(situation, node.name)) or _forgets(situation, node)
        if not reason and objection:
            reason = objection(node)
        if reason:
            rejected.append(f"{node.name}: {reason}")
            continue
        role = node.standby
        assert role is not None
        fit.append((_rank(situation, node, role), node.name, role.furthest))
    if not fit:
        return Election(None, rejected=tuple(rejected))
    _, name, at = min(fit)
    return Election(name, at, tuple(rejected))


def unfit(situation: Situation, node: NodeView, *, any_lag: bool = False) -> str:
    """Why this node cannot be promoted now; empty if it can."""
    record, role = situation.record, node.standby
    if node.primary:
        return "it is a primary already"
    if role is None or node.answer is None:
        return "it does not answer"
    if not situation.is_ours(node):
        return "it belongs to another cluster (other system identifier)"
    if node.name in record.maintenance:
        return "it is under maintenance"
    if not situation.spec.node(node.name).may_be_primary():
        return "it may never be promoted (never_promote, or priority 0)"
    if role.timeline < record.timeline or (node.name in record.deposed and role.timeline != record.timeline):
        return f"it is on timeline {role.timeline}, the cluster on {record.timeline}"
    if node.answer.facts.apply_delay_s:
        return "it replays with a delay (recovery_min_apply_delay)"
    behind = known_end(situation, role.timeline) - role.furthest
    if not any_lag and behind > _lag_allowed(situation):
        return f"it is {behind} bytes behind, more than max_lag"
    return ""


def elsewhere(situation: Situation, name: NodeName) -> str:
    """Why a standby at another location than the primary's waits for an operator's word; empty: it need not.

    Nodes without a location are at home everywhere.
    """
    here, there = (situation.spec.node(n).location for n in (situation.record.primary, name))
    if not here or not there or here == there or situation.spec.failover.across_locations:
        return ""
    return f"it stands in {there}, the primary in {here} (failover.across_locations is off)"


def lacking_slots(situation: Situation, node: NodeView) -> tuple[str, ...]:
    """The primary's logical slots that are to survive it, and of which this standby has no complete copy."""
    last = situation.primary.last
    if last is None or node.answer is None or node.name == situation.record.primary:
        return ()
    copies = {slot.name for slot in node.answer.facts.slots if slot.synced and not slot.invalid}
    wanted = {slot.name for slot in last.facts.slots if slot.failover and not slot.invalid}
    return tuple(sorted(wanted - copies))


def _forgets(situation: Situation, node: NodeView) -> str:
    """Why it cannot stand in for logical slots; empty: it can, or that is not asked for."""
    if situation.spec.failover.logical_slots is not LogicalSlots.REQUIRE:
        return ""
    names = ", ".join(lacking_slots(situation, node))
    return f"it has no copy of logical slots that must survive: {names}" if names else ""


def rescuable(situation: Situation) -> bool:
    """Whether the old primary's host can hand over the WAL that was never sent (SAFETY §4.4).

    A node deposed in an earlier change is on an older timeline: nothing of it is missing now.
    """
    record = situation.record
    return any(
        (host := is_down(node)) and host.control and host.control.timeline == record.timeline
        for node in situation.view.nodes.values()
        if node.name == record.primary or node.name in record.deposed
    )


def _lag_allowed(situation: Situation) -> int:
    policy = situation.spec.failover
    if rescuable(situation):
        return max(policy.max_lag_bytes, policy.rescue_max_bytes)
    return policy.max_lag_bytes


def known_end(situation: Situation, timeline: Timeline) -> int:
    """The furthest position known on that timeline: the primary's last one, or any standby's.

    Positions on different timelines cannot be compared.
    """
    standbys = (node.standby for node in situation.standbys())
    ends = [role.furthest for role in standbys if role and role.timeline == timeline]
    if timeline == situation.record.timeline:
        ends.append(situation.record.primary_lsn)
        last = situation.primary.last
        if last and not isinstance(last.role, Standby) and last.role.timeline == timeline:
            ends.append(last.role.flushed)
    return max(ends, default=Lsn(0))


def _rank(situation: Situation, node: NodeView, role: Standby) -> tuple[object, ...]:
    """Smaller is better: newest timeline, furthest, copies of logical slots, priority, location, name."""
    spec = situation.spec.node(node.name)
    here = situation.spec.node(situation.record.primary).location
    lacking = lacking_slots(situation, node)
    if situation.spec.failover.logical_slots is LogicalSlots.IGNORE:
        lacking = ()
    return (
        -role.timeline,
        -int(role.furthest),
        len(lacking),
        -spec.priority,
        spec.location != here,
        node.name,
    )
