"""Whether every node's settings let it be primary and standby: each may be either one day."""

from collections.abc import Iterator
from typing import Final

from pgvigil.controller.survey.items import (
    advice,
    at,
    error,
    set_and_reload,
    set_and_restart,
    warning,
)
from pgvigil.controller.survey.seen import ClusterSeen, NodeSeen, SqlSeen
from pgvigil.model.check import CheckItem
from pgvigil.model.parameter import OF_A_NODE
from pgvigil.model.spec import Protection

BACKUP_SENDERS: Final = 2
"""What a base backup takes besides the standbys: data and WAL."""
NOT_LESS: Final = (
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_transactions",
    "max_locks_per_transaction",
)
"""A standby with less than its primary stops replaying (manual: 26.4.3 Administrator's Overview)."""
RECEIVER_TIMEOUT_MS: Final = 10_000


def settings(seen: ClusterSeen) -> Iterator[CheckItem]:
    """Findings of every node that answers, then what must be the same on all."""
    for node, sql in seen.answers():
        yield from _replication(seen, node, sql)
        yield from _rewind(seen, node, sql)
        yield from _durability(seen, node, sql)
        yield from _detection(seen, node, sql)
        yield from _archive(at(seen, node), sql)
        yield from _pending(at(seen, node), sql)
    yield from _unequal(seen)
    yield from _drifted(seen)


def _replication(seen: ClusterSeen, node: NodeSeen, sql: SqlSeen) -> Iterator[CheckItem]:
    place, others = at(seen, node), len(seen.spec.nodes) - 1
    if sql.text("wal_level") == "minimal":
        what = "wal_level is minimal: as primary it could feed no standby"
        yield error(place, what, set_and_restart("wal_level", "replica"))
    if sql.is_off("hot_standby"):
        what = "hot_standby is off: as standby it would let nobody in, so it could not be promoted"
        yield error(place, what, set_and_restart("hot_standby", "on"))
    senders = sql.number("max_wal_senders")
    needed = others + BACKUP_SENDERS
    if senders is not None and senders < needed:
        what = f"max_wal_senders is {senders}: as primary it has to feed {others} and a base backup takes 2"
        fix = set_and_restart("max_wal_senders", str(max(needed, 10)))
        yield (error if senders < others else warning)(place, what, fix)
    if seen.spec.replication.slots:
        yield from _slot_count(place, sql, others)


def _slot_count(place: str, sql: SqlSeen, others: int) -> Iterator[CheckItem]:
    slots = sql.number("max_replication_slots")
    logical = sum(not slot.physical for slot in sql.slots)
    if slots is not None and slots < others + logical:
        more = f" and {logical} logical ones" if logical else ""
        what = (
            f"max_replication_slots is {slots}: as primary it needs one for each of {others} standbys{more}"
        )
        yield error(place, what, set_and_restart("max_replication_slots", str(max(others + logical, 10))))


def _rewind(seen: ClusterSeen, node: NodeSeen, sql: SqlSeen) -> Iterator[CheckItem]:
    place = at(seen, node)
    if sql.is_off("wal_log_hints") and sql.is_off("data_checksums"):
        yield warning(
            place,
            "neither wal_log_hints nor data checksums: as an old primary it is copied anew, not rewound",
            set_and_restart("wal_log_hints", "on"),
        )
    if sql.is_off("full_page_writes"):
        what = "full_page_writes is off: pg_rewind refuses, and a crash may corrupt data"
        say = error if seen.spec.protection is Protection.QUORUM else warning
        yield say(place, what, set_and_reload("full_page_writes", "on"))
    if sql.number("wal_keep_size") != 0:
        return
    fix = set_and_reload("wal_keep_size", "'1GB'")
    if seen.spec.replication.slots:
        what = "wal_keep_size is 0: WAL that pg_rewind needs may be gone after a failover"
        yield advice(place, what, fix)
    else:
        what = "wal_keep_size is 0 and no slots are used: a standby that was away must be copied anew"
        yield warning(place, what, fix + "  or replication: {slots: true}")


def _durability(seen: ClusterSeen, node: NodeSeen, sql: SqlSeen) -> Iterator[CheckItem]:
    """With `quorum` a standby promises with its acknowledgement that the commit is on disk."""
    if not sql.is_off("fsync"):
        return
    place, fix = at(seen, node), set_and_reload("fsync", "on")
    if seen.spec.protection is Protection.QUORUM:
        what = "fsync is off: it acknowledges commits that are not on disk; power loss may take them"
        yield error(place, what, fix)
    else:
        what = "fsync is off: if its host loses power, its data may be corrupt and must be copied anew"
        yield warning(place, what, fix)


def _detection(seen: ClusterSeen, node: NodeSeen, sql: SqlSeen) -> Iterator[CheckItem]:
    timeout = sql.number("wal_receiver_timeout")
    if timeout is None or not sql.recovering:
        return
    if node.spec.shell is None and not 0 < timeout <= RECEIVER_TIMEOUT_MS:
        told = "never" if timeout == 0 else f"only after {timeout // 1000} s"
        yield warning(
            at(seen, node),
            f"without a shell it confirms the loss of the primary's host {told} (wal_receiver_timeout)",
            set_and_reload("wal_receiver_timeout", "'5s'") + "  or give it a shell",
        )


def _archive(place: str, sql: SqlSeen) -> Iterator[CheckItem]:
    known = sql.settings.get("restore_command")
    if sql.text("archive_mode") in ("on", "always") and known and not known.value:
        yield advice(
            place,
            "WAL is archived, but restore_command is empty: a standby that falls behind cannot fetch it",
            set_and_reload("restore_command", "'…'") + "  with what reads your archive",
        )


def _pending(place: str, sql: SqlSeen) -> Iterator[CheckItem]:
    names = sorted(name for name, setting in sql.settings.items() if setting.pending)
    if names:
        what = f"changed in a file, but not in force before a restart: {', '.join(names)}"
        yield advice(place, what, "when it suits you: pgvigil restart --pending")


def _drifted(seen: ClusterSeen) -> Iterator[CheckItem]:
    """Whoever becomes primary runs with its own values. They may be secret: `config show` tells them."""
    answers = [sql for _, sql in seen.answers()]
    names = sorted({name for sql in answers for name in sql.values} - OF_A_NODE - set(NOT_LESS))
    differ = [
        name
        for name in names
        if all(name in sql.values for sql in answers) and len({sql.values[name] for sql in answers}) > 1
    ]
    if differ:
        what = f"not the same on all nodes, so a change of primary changes it: {', '.join(differ)}"
        yield advice(seen.spec.name, what, f"see: pgvigil config show {seen.spec.name} {differ[0]}")


def _unequal(seen: ClusterSeen) -> Iterator[CheckItem]:
    """Whoever has less stops replaying as soon as whoever has more is primary."""
    for name in NOT_LESS:
        values = {node.name: n for node, sql in seen.answers() if (n := sql.number(name)) is not None}
        if len(set(values.values())) < 2:
            continue
        told = ", ".join(f"{value} on {node}" for node, value in values.items())
        yield warning(
            seen.spec.name,
            f"{name} differs ({told}): a standby with less than its primary stops replaying",
            "on those with less: " + set_and_restart(name, str(max(values.values()))),
        )
