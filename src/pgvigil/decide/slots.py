"""Physical slots: on every node that may become primary, each holding what its standby still needs, no more.

The slot that a standby reads from moves by itself. All others are spare: they are moved here, by whole WAL
segments, because PostgreSQL keeps and removes WAL by the segment. Nobody moves them while no controller runs,
so they are kept only where PostgreSQL limits what slots may hold (`max_slot_wal_keep_size`), unless the user
wants them always.
"""

from typing import Final

from pgvigil.decide.situation import Situation, points_at, streams
from pgvigil.model.sighting import NodeView, Primary, Slot, Standby
from pgvigil.model.spec import SpareSlots, slot_name
from pgvigil.model.step import AdvanceSlots, DropSlots, MakeSlots, Step
from pgvigil.model.units import SEGMENT_BYTES, Lsn, NodeName, setting_amount

REMOVED_IDLE_S: Final = 600.0
"""So long the slot of a node that is not configured any more must have been unused before it is dropped."""


def upkeep(situation: Situation, node: NodeView) -> Step | None:
    """The next step for the slots on a node; None: they are as they ought to be."""
    if node.answer is None:
        return None
    generation = situation.record.generation
    if unused := _unused(situation, node):
        return DropSlots(node.name, unused, generation)
    if missing := _missing(situation, node):
        return MakeSlots(node.name, missing, generation)
    if behind := _behind(situation, node):
        return AdvanceSlots(node.name, behind, generation)
    return None


def keeps_spare(situation: Situation, node: NodeView) -> bool:
    """Whether slots for all others are wanted on this node: it is the primary, or may become it."""
    replication, facts = situation.spec.replication, node.answer.facts if node.answer else None
    if not replication.slots or facts is None:
        return False
    primary = node.name == situation.record.primary
    if not primary and (facts.apply_delay_s or not situation.spec.node(node.name).may_be_primary()):
        return False
    match replication.spare_slots:
        case SpareSlots.ALWAYS:
            return True
        case SpareSlots.LIMITED:
            return setting_amount(facts.settings.get("max_slot_wal_keep_size", "")) is not None
        case SpareSlots.NEVER:
            return False


def _unused(situation: Situation, node: NodeView) -> tuple[str, ...]:
    """Slots of ours that nobody will use here: they would hold back WAL for ever."""
    assert node.answer is not None
    idle = [slot for slot in node.answer.facts.slots if slot.physical and not slot.active]
    return tuple(sorted(slot.name for slot in idle if _is_unused(situation, node, slot)))


def _is_unused(situation: Situation, node: NodeView, slot: Slot) -> bool:
    """The node's own slot, one of a node that is gone, a broken one, or one of who reads elsewhere."""
    owner = next((n.name for n in situation.spec.nodes if slot_name(n.name) == slot.name), None)
    if owner is None:
        gone = {slot_name(name) for name in situation.record.paths if name not in situation.view.nodes}
        return slot.name in gone and _idle_s(situation, node, slot) >= REMOVED_IDLE_S
    if owner == node.name:
        return True
    primary = node.name == situation.record.primary
    if keeps_spare(situation, node):
        return slot.wal_status == "lost" and not primary
    if primary:  # the slot of a standby that is away may be all that saves it from being cloned
        return _position(situation, owner) is not None and not _may_read_from(situation, owner, node)
    return not _may_read_from(situation, owner, node)


def _missing(situation: Situation, node: NodeView) -> tuple[str, ...]:
    """Slots of nodes that are well, and so known to be ready for one; as many as the server has room for."""
    assert node.answer is not None
    if not keeps_spare(situation, node):
        return ()
    there = {slot.name for slot in node.answer.facts.slots}
    others = (other.name for other in situation.spec.others(node.name))
    missing = sorted({slot_name(n) for n in others if _position(situation, n) is not None} - there)
    most = setting_amount(node.answer.facts.settings.get("max_replication_slots", ""))
    return tuple(missing) if most is None or len(there) + len(missing) <= most else ()


def _behind(situation: Situation, node: NodeView) -> tuple[tuple[str, Lsn], ...]:
    """Slots that hold a whole segment or more which their standby has, and how far they can go."""
    assert node.answer is not None
    slots = {
        slot.name: slot
        for slot in node.answer.facts.slots
        if slot.physical and not slot.active and slot.wal_status != "lost"
    }
    if not slots or (end := _own_end(node)) is None:
        return ()
    segment = setting_amount(node.answer.facts.settings.get("wal_segment_size", "")) or SEGMENT_BYTES
    found = []
    for other in situation.spec.others(node.name):
        slot = slots.get(slot_name(other.name))
        if slot is None or slot.restart is None or (at := _position(situation, other.name)) is None:
            continue
        if (to := min(at, end)) - slot.restart >= segment:
            found.append((slot.name, to))
    return tuple(found)


def _own_end(node: NodeView) -> Lsn | None:
    """How far a slot on this node can be moved."""
    role = node.answer.role if node.answer else None
    match role:
        case Primary(flushed=flushed):
            return flushed
        case Standby(replayed=replayed):
            return replayed
        case None:
            return None


def _position(situation: Situation, name: NodeName) -> Lsn | None:
    """What a node has, on the primary's history; None: it is not well, and nobody knows what it will need."""
    node, primary = situation.view.nodes.get(name), situation.primary.primary
    if node is None or primary is None or name in situation.record.deposed | situation.record.left:
        return None
    if name == situation.record.primary:
        return primary.flushed
    if not situation.is_ours(node) or not streams(node, primary.timeline):
        return None
    return node.standby.furthest if node.standby else None


def _idle_s(situation: Situation, node: NodeView, slot: Slot) -> float:
    """How long nobody has been seen to use it."""
    since = node.idle_slots.get(slot.name)
    return situation.view.at - since if since is not None else 0.0


def _may_read_from(situation: Situation, name: NodeName, upstream: NodeView) -> bool:
    """Whether a node streams from `upstream`, or may when it comes back: one never seen yet may."""
    node = situation.view.nodes.get(name)
    if node is None:
        return False
    if node.last is None:
        return name != upstream.name
    conninfo = getattr(node.last.role, "conninfo", "")
    return points_at(conninfo, situation.spec.node(upstream.name))
