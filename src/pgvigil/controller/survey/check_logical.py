"""Logical slots: which survive a change of primary, and what is missing for that.

Source: PostgreSQL 17 manual 47.2.3 (slot synchronization) and 29.3 (failover of subscriptions).
"""

from collections.abc import Iterator
from typing import Final

from pgvigil.controller.survey.items import advice, at, fine, set_and_reload, warning
from pgvigil.controller.survey.seen import ClusterSeen, NodeSeen, SlotSeen, SqlSeen
from pgvigil.model.check import CheckItem
from pgvigil.model.spec import slot_name

SINCE: Final = 170000
"""The first version that copies logical slots to standbys."""


def logical_slots(seen: ClusterSeen) -> Iterator[CheckItem]:
    """Findings on the primary's logical slots; nothing where there are none."""
    for node, sql in seen.answers():
        if not node.is_primary:
            continue
        slots = [slot for slot in sql.slots if not slot.physical]
        kept = [slot for slot in slots if slot.failover]
        for slot in slots:
            if not slot.failover:
                yield _lost(seen, node, sql, slot)
        if kept:
            found = [item for standby in seen.standbys for item in _standby(seen, standby, kept)]
            yield from found or [fine(at(seen, node), f"logical slots survive a failover: {_names(kept)}")]
            yield from _ahead(seen, node, sql)


def _lost(seen: ClusterSeen, node: NodeSeen, sql: SqlSeen, slot: SlotSeen) -> CheckItem:
    what = f"logical slot {slot.name} does not survive a failover: its subscriber would have to begin anew"
    enable = "ALTER SUBSCRIPTION … SET (failover = true), and sync_replication_slots = on"
    fix = f"{enable} on the standbys" if sql.version >= SINCE else f"from PostgreSQL 17 on: {enable}"
    return warning(at(seen, node), what, fix)


def _standby(seen: ClusterSeen, node: NodeSeen, kept: list[SlotSeen]) -> Iterator[CheckItem]:
    """What keeps a standby that may become primary from having copies."""
    sql, place = node.answer, at(seen, node)
    if sql is None or not seen.spec.node(node.name).may_be_primary():
        return
    wanted = (
        ("sync_replication_slots", "it copies no logical slots: they are lost when it is promoted"),
        ("hot_standby_feedback", "the primary may remove rows that copied logical slots need"),
    )
    for name, what in wanted:
        if sql.text(name) != "on":
            yield warning(place, f"{name} is off: {what}", f"on {node.name}: {set_and_reload(name, 'on')}")
    if "dbname=" not in sql.text("primary_conninfo").replace(" ", ""):
        upstream = seen.upstream(node)
        follow = f"pgvigil follow {seen.spec.name} {node.name} {upstream.name if upstream else 'UPSTREAM'}"
        yield warning(
            place,
            "primary_conninfo names no database: logical slots cannot be copied",
            f"replication: {{dbname: postgres}} in the configuration, then: {follow}",
        )
    missing = {slot.name for slot in kept} - {slot.name for slot in sql.slots if slot.synced}
    if missing and sql.text("sync_replication_slots") == "on":
        yield warning(
            place,
            f"it has no copy yet of logical slots that must survive: {', '.join(sorted(missing))}",
            "wait a moment, or see its log; failover.logical_slots says what that means for a failover",
        )


def _ahead(seen: ClusterSeen, node: NodeSeen, sql: SqlSeen) -> Iterator[CheckItem]:
    """Subscribers that are served before the standbys may have what the new primary never had."""
    if sql.text("synchronized_standby_slots"):
        return
    slots = ", ".join(
        slot_name(other.name) for other in seen.spec.others(node.name) if other.may_be_primary()
    )
    yield advice(
        at(seen, node),
        "subscribers may receive changes before the standbys do, and be ahead of a new primary",
        set_and_reload("synchronized_standby_slots", f"'{slots}'")
        + "  (subscribers then wait for all of them)",
    )


def _names(slots: list[SlotSeen]) -> str:
    return ", ".join(slot.name for slot in slots)
