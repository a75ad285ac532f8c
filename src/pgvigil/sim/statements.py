"""The SQL that the product sends, as the simulated server answers it.

A statement that is not in the table is drift between simulation and product: it stops the simulation.
"""

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pgvigil.act import replication, rescue, slots, synchrony
from pgvigil.model.sighting import Farewell
from pgvigil.model.units import Lsn, SqlState
from pgvigil.ports.contract import QueryFailed, Row
from pgvigil.sight import probe
from pgvigil.sim.synchrony import NAMES, Told
from pgvigil.sim.wal import Record

if TYPE_CHECKING:
    from pgvigil.sim.life import Life
    from pgvigil.sim.server import Backend, Server
    from pgvigil.sim.session import SimSession

SYSTEM_ID: Final = "7412345678901234567"
VERSION: Final = "160004"
TERMINATED: Final = Farewell(
    SqlState("57P01"), "terminating connection due to administrator command", "ProcessInterrupts"
)
Params = tuple[str | None, ...]
Rows = tuple[Row, ...]
Answer = Rows | QueryFailed
_ALTER: Final = re.compile(r"alter system set (\w+) = '((?:[^']|'')*)'")
_WORD: Final = re.compile(r"(\w+)=(\S+)")


def execute(session: "SimSession", sql: str, params: Params, reply: Callable[[Answer], None]) -> None:
    """Carry a statement out on a server, and reply: at once, but for a commit that has to wait."""
    server = session.server
    if handler := _TABLE.get(sql):
        reply(handler(server, params, session.life))
    elif waiting := _OF_SESSIONS.get(sql):
        waiting(session, params, reply)
    elif match := _ALTER.fullmatch(sql):
        server.data.settings[match[1]] = match[2].replace("''", "'")
        reply(())
    else:
        server.world.rules.drifted(f"unknown statement: {sql}")
        reply(QueryFailed("unknown to the simulation", SqlState("42601")))


def keywords(conninfo: str) -> dict[str, str]:
    """The words of a connection string."""
    return dict(_WORD.findall(conninfo))


def _text(lsn: int) -> str:
    return str(Lsn(lsn))


def _bool(value: bool) -> str:
    return "t" if value else "f"


def _probe(server: "Server", _: Params, __: "Life") -> Rows:
    data, recovering, end = server.data, server.in_recovery, _text(server.data.end)
    row: dict[str, str | None] = dict.fromkeys(_PROBE_NAMES)
    row["recovering"] = _bool(recovering)
    if recovering:
        row["received"] = end if server.receiving.ever else None
        row |= {"replayed": end, "paused": "f", "conninfo": server.settings.get("primary_conninfo", "")}
        row |= _receiver(server)
        if row["receiver_pid"] is None:
            row["timeline"] = str(data.timeline)
    else:
        row |= {"walfile": data.end.segment(data.timeline), "written": end, "flushed": end}
        row["sync_names"] = server.settings.get(NAMES, "")
    senders = [_sender(server, pid) for pid in server.senders]
    senders += [{**_UNUSED, "pid": pid} for pid in server.unused.values()]
    if senders:
        row["senders"] = json.dumps(senders)
    return (row,)


_PROBE_NAMES: Final = (
    *(
        "walfile",
        "written",
        "flushed",
        "sync_names",
        "received",
        "replayed",
        "paused",
        "conninfo",
        "timeline",
    ),
    *("receiver_pid", "receiver_status", "receiver_tli", "receiver_host", "receiver_port"),
    *("receiver_slot", "receiver_silent", "senders"),
)


def _receiver(server: "Server") -> dict[str, str | None]:
    receiving = server.receiving
    upstream = receiving.stream.above if receiving.stream else receiving.waits_at
    if upstream is None:
        return {}
    above = upstream.spec
    return {
        "receiver_pid": str(receiving.pid),
        "receiver_status": "streaming" if receiving.stream else "waiting",
        "receiver_tli": str(server.data.timeline),
        "receiver_host": above.host,
        "receiver_port": str(above.port),
        "receiver_slot": receiving.pointers.get("primary_slot_name", ""),
        "receiver_silent": f"{server.world.loop.time() - receiving.heard:.6f}",
    }


def _sender(server: "Server", pid: int) -> dict[str, object]:
    stream, end = server.senders[pid], server.data.end
    state = "streaming" if stream.sent >= len(server.data.wal) else "catchup"
    flushed = _text(stream.flushed) if stream.flushed else None
    return {
        "pid": pid,
        "state": state,
        "sent": str(end),
        "flushed": flushed,
        "replayed": flushed,
        "sync": server.sync.state_of(stream),
        "priority": stream.priority,
        "lag": None,
    }


_UNUSED: Final = {
    "state": "startup",
    "sent": None,
    "flushed": None,
    "replayed": None,
    "sync": "async",
    "priority": 0,
    "lag": None,
}


def _facts(server: "Server", _: Params, __: "Life") -> Rows:
    active = {stream.slot for stream in server.senders.values()}
    settings = {
        **dict.fromkeys(probe.SETTINGS, ""),
        "data_directory": server.spec.data_dir,
        "config_file": f"{server.spec.data_dir}/postgresql.conf",
        "port": str(server.spec.port),
        "wal_level": "replica",
        "hot_standby": "on",
        "recovery_min_apply_delay": "0",
        "max_slot_wal_keep_size": "64GB",
        "wal_segment_size": "64kB",  # smaller than any real one: what a simulation writes is little, too
        "primary_slot_name": server.settings.get("primary_slot_name", ""),
        "synchronous_commit": "on",
        NAMES: server.settings.get(NAMES, ""),
    }
    found = [
        {
            "name": name,
            "physical": True,
            "active": name in active,
            "restart": _text(at),
            "status": "reserved",
            "failover": None,
            "synced": None,
            "invalid": None,
            "held": max(server.data.end - at, 0),
        }
        for name, at in sorted(server.data.slots.items())
    ]
    row = {
        "version": VERSION,
        "system_id": SYSTEM_ID,
        "settings": json.dumps(settings),
        "slots": json.dumps(found) if found else None,
        "pending": None,
    }
    return (row,)


def _sender_names(server: "Server", _: Params, __: "Life") -> Rows:
    names = {pid: stream.below.server.name for pid, stream in server.senders.items()}
    names |= {pid: below.server.name for below, pid in server.unused.items()}
    return tuple(
        {"pid": str(pid), "application_name": name, "client_addr": ""} for pid, name in names.items()
    )


def _recovering(server: "Server", _: Params, __: "Life") -> Rows:
    return ({"recovering": _bool(server.in_recovery)},)


def _received(server: "Server", _: Params, __: "Life") -> Rows:
    end = str(server.data.end)
    names = server.settings.get(NAMES, "")
    recovering = _bool(server.in_recovery)
    return ({"recovering": recovering, "received": end, "replayed": end, "names": names},)


def _positions(server: "Server", _: Params, __: "Life") -> Rows:
    end = str(server.data.end)
    return ({"received": end, "replayed": end, "segment": "16MB", "system_id": SYSTEM_ID},)


def _receiver_pid(server: "Server", _: Params, __: "Life") -> Rows:
    receiving = server.receiving
    return ({"pid": str(receiving.pid)},) if receiving.stream or receiving.waits_at else ()


def _promote(server: "Server", _: Params, life: "Life") -> Rows | QueryFailed:
    if not server.in_recovery:
        return QueryFailed("recovery is not in progress", SqlState("55000"))
    server.world.rules.asked_to_promote(server, life)
    server.promote()
    return ({"pg_promote": "t"},)


def _walfile(server: "Server", _: Params, __: "Life") -> Rows:
    return ({"file": server.data.end.segment(server.data.timeline)},)


def _reload(server: "Server", _: Params, __: "Life") -> Rows:
    server.reload()
    return ({"pg_reload_conf": "t"},)


def _find_slot(server: "Server", params: Params, _: "Life") -> Rows:
    return ({"one": "1"},) if params[0] in server.data.slots else ()


def _create_slot(server: "Server", params: Params, _: "Life") -> Rows | QueryFailed:
    name = params[0] or ""
    if name in server.data.slots:
        return QueryFailed(f'replication slot "{name}" already exists', SqlState("42710"))
    server.data.slots[name] = held = max(server.data.checkpoint, server.data.oldest)
    return ({"slot_name": name, "lsn": _text(held)},)


def _advance_slot(server: "Server", params: Params, _: "Life") -> Rows:
    """pg_replication_slot_advance, with its conditions."""
    name, to = params[0] or "", min(Lsn.parse(params[1] or "0/0"), server.data.end)
    used = name in {stream.slot for stream in server.senders.values()}
    if used or name not in server.data.slots or server.data.slots[name] >= to:
        return ()
    server.data.slots[name] = int(to)
    return ({"pg_replication_slot_advance": f"({name},{to})"},)


def _drop_slot(server: "Server", params: Params, _: "Life") -> Rows:
    if params[0] not in {stream.slot for stream in server.senders.values()}:
        server.data.slots.pop(params[0] or "", None)
    return ()


def _checkpoint(server: "Server", _: Params, __: "Life") -> Rows:
    server.checkpoint_now()
    return ()


def _sync_state(server: "Server", _: Params, __: "Life") -> Rows:
    recovering = server.in_recovery
    senders = [
        {
            "name": stream.below.server.name,
            "priority": stream.priority,
            "flushed": _text(stream.flushed) if stream.flushed else None,
            "waits": "WalSenderMain" if stream.sent >= len(server.data.wal) else "WalSenderWaitForWAL",
        }
        for stream in server.senders.values()
    ]
    row = {
        "recovering": _bool(recovering),
        "names": server.settings.get(NAMES, ""),
        "flushed": None if recovering else _text(server.data.end),
        "checkpointer": server.sync.event,
        "senders": json.dumps(senders) if senders else None,
    }
    return (row,)


def _waits_for(server: "Server", params: Params, _: "Life") -> Rows:
    return tuple({"wait_event": each.wait_event or None} for each in _backends(server, params[0]))


def _end_session(server: "Server", params: Params, _: "Life") -> Rows:
    """pg_terminate_backend: a commit that waits stays committed here, and is not acknowledged."""
    for backend in _backends(server, params[0]):
        server.backends.pop(backend)
        backend.bye(TERMINATED)
    return ({"pg_terminate_backend": "t"},)


def _backends(server: "Server", pid: str | None) -> list["Backend"]:
    return [each for each in server.backends if str(each.pid) == pid]


def _own_pid(session: "SimSession", _: Params, reply: Callable[[Answer], None]) -> None:
    reply(({"pid": str(session.pid)},))


def _own_commit(session: "SimSession", _: Params, reply: Callable[[Answer], None]) -> None:
    """A commit without a row, which waits as any other."""

    def told(_: Record, how: Told | None) -> None:
        session.wait_event = ""
        if how is not None:
            reply(({"pg_logical_emit_message": "0/0"},))

    session.wait_event = "SyncRep"
    session.server.commit(0, told)


_DROP: Final = (
    "select pg_drop_replication_slot(slot_name) from pg_replication_slots "
    "where slot_name = $1 and not active and slot_type = 'physical'"
)
_TABLE: Final[dict[str, Callable[["Server", Params, "Life"], Rows | QueryFailed]]] = {
    probe.PROBE: _probe,
    probe.FACTS: _facts,
    probe.SENDER_NAMES: _sender_names,
    "select pg_is_in_recovery() as recovering": _recovering,
    replication._RECEIVED: _received,  # noqa: SLF001  # the very text, so that it cannot drift
    replication._RECEIVER: _receiver_pid,  # noqa: SLF001
    rescue._POSITIONS: _positions,  # noqa: SLF001
    "select pg_promote(false)": _promote,
    "select pg_walfile_name(pg_current_wal_lsn()) as file": _walfile,
    "select pg_reload_conf()": _reload,
    "select 1 as one from pg_replication_slots where slot_name = $1": _find_slot,
    "select pg_create_physical_replication_slot($1, true)": _create_slot,
    _DROP: _drop_slot,
    slots.ADVANCE: _advance_slot,
    "checkpoint": _checkpoint,
    synchrony.SYNC_STATE: _sync_state,
    synchrony.WAITS_FOR: _waits_for,
    synchrony.END_SESSION: _end_session,
}
_OF_SESSIONS: Final[dict[str, Callable[["SimSession", Params, Callable[[Answer], None]], None]]] = {
    synchrony.OWN_PID: _own_pid,
    synchrony.OWN_COMMIT: _own_commit,
}
"""What asks for the session itself, or may have to wait."""
HARMLESS: Final = frozenset(
    {
        probe.PROBE,
        probe.FACTS,
        probe.SENDER_NAMES,
        "select pg_is_in_recovery() as recovering",
        replication._RECEIVED,  # noqa: SLF001
        replication._RECEIVER,  # noqa: SLF001
        rescue._POSITIONS,  # noqa: SLF001
        "select pg_walfile_name(pg_current_wal_lsn()) as file",
        "select 1 as one from pg_replication_slots where slot_name = $1",
        synchrony.SYNC_STATE,
        synchrony.WAITS_FOR,
        synchrony.OWN_PID,
    }
)
"""What changes nothing: any controller may ask it at any time."""
