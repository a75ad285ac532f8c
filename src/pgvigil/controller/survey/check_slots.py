"""Replication slots: those that standbys need, and those that hold WAL for nobody."""

from collections.abc import Iterator

from pgvigil.controller.survey.items import advice, at, listed, set_and_reload, warning
from pgvigil.controller.survey.seen import ClusterSeen, NodeSeen, SlotSeen, SqlSeen
from pgvigil.model.check import CheckItem
from pgvigil.model.spec import slot_name
from pgvigil.model.units import bytes_text


def slots(seen: ClusterSeen) -> Iterator[CheckItem]:
    """Findings on each node's slots."""
    yield from _missing(seen)
    for node, sql in seen.answers():
        for slot in sql.slots:
            yield from _slot(seen, node, slot)
        yield from _limit(seen, node, sql)


def _missing(seen: ClusterSeen) -> Iterator[CheckItem]:
    """Standbys that stream without their slot."""
    if not seen.spec.replication.slots:
        return
    for node in seen.standbys:
        upstream, slot = seen.upstream(node), slot_name(node.name)
        there = upstream.answer if upstream else None
        receiver = node.answer.receiver if node.answer else None
        if upstream is None or there is None or receiver is None or receiver.slot:
            continue
        exists = any(s.name == slot for s in there.slots)
        create = (
            "" if exists else f"on {upstream.name}: SELECT pg_create_physical_replication_slot('{slot}'); "
        )
        yield warning(
            at(seen, node),
            f"it streams from {upstream.name} without a slot: WAL it still needs may be removed there",
            f"{create}on {node.name}: " + set_and_reload("primary_slot_name", f"'{slot}'"),
        )


def _slot(seen: ClusterSeen, node: NodeSeen, slot: SlotSeen) -> Iterator[CheckItem]:
    place = at(seen, node)
    drop = f"SELECT pg_drop_replication_slot('{slot.name}');"
    if slot.wal_status == "lost":
        yield warning(
            place, f"slot {slot.name} is broken: the WAL it was to hold is gone", f"on {node.name}: {drop}"
        )
    elif not slot.physical or (not node.is_primary and _is_spare(seen, node, slot)):
        return  # logical ones have a place of their own
    elif not slot.active and slot.held_bytes:
        used = slot.name in _used(seen, node)
        what = f"slot {slot.name} is used by nobody and holds {bytes_text(slot.held_bytes)} of WAL"
        fix = f"if its standby is gone for good, on {node.name}: {drop}"
        yield (warning if slot.held_bytes >= seen.spec.failover.max_lag_bytes or not used else advice)(
            place, what, fix
        )
    elif slot.name not in _used(seen, node) and slot.active:
        known = listed([slot_name(other.name) for other in seen.spec.others(node.name)])
        what = f"slot {slot.name} is in use, but named after no node here (they would be {known})"
        yield advice(
            place,
            what,
            "fine for backups; a standby's is renamed by itself when pgvigil points it anew, and the old one "
            "stays: drop it then",
        )


def _is_spare(seen: ClusterSeen, node: NodeSeen, slot: SlotSeen) -> bool:
    """Whether it is kept on a standby for when that is primary, and holds no more than is usual."""
    ours = slot.name in {slot_name(other.name) for other in seen.spec.others(node.name)}
    return ours and not slot.active and slot.held_bytes < seen.spec.replication.slot_warning_bytes


def _used(seen: ClusterSeen, node: NodeSeen) -> set[str]:
    """The names that the slots of the other nodes have here."""
    names = {slot_name(other.name) for other in seen.spec.others(node.name)}
    return names | {s.answer.text("primary_slot_name") for s in seen.standbys if s.answer and s is not node}


def _limit(seen: ClusterSeen, node: NodeSeen, sql: SqlSeen) -> Iterator[CheckItem]:
    if sql.number("max_slot_wal_keep_size") == -1 and seen.spec.replication.slots:
        yield advice(
            at(seen, node),
            "nothing limits the WAL that slots hold: a standby that stays away fills the disk, and pgvigil "
            "keeps no spare slots for when another node is primary",
            set_and_reload("max_slot_wal_keep_size", "'20GB'") + "  (what your disk can spare)",
        )
