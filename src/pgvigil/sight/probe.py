"""What is asked over SQL, and the reading of the answers. Pure: no I/O.

One row a probe, cheap enough for several a second (SAFETY §2): senders come from
`pg_stat_get_wal_senders()`, which does not look at every backend; their names are asked for only when
the set of their processes changes.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pgvigil.model.sighting import Backup, Facts, Primary, Receiver, Sender, SenderState, Slot, Standby
from pgvigil.model.units import Lsn, SystemId, Timeline
from pgvigil.ports.contract import Row

SETTINGS: Final = (
    "archive_mode",
    "cluster_name",
    "config_file",
    "data_checksums",
    "data_directory",
    "fsync",
    "full_page_writes",
    "hba_file",
    "hot_standby",
    "listen_addresses",
    "max_replication_slots",
    "max_slot_wal_keep_size",
    "max_wal_senders",
    "port",
    "primary_slot_name",
    "recovery_min_apply_delay",
    "recovery_target_timeline",
    "restore_command",
    "superuser_reserved_connections",
    "synchronous_commit",
    "synchronous_standby_names",
    "unix_socket_directories",
    "wal_keep_size",
    "wal_level",
    "wal_log_hints",
    "wal_receiver_timeout",
    "wal_segment_size",
    "wal_sender_timeout",
)

PROBE: Final = """
select s.r as recovering,
  case when not s.r then pg_walfile_name(pg_current_wal_lsn()) end as walfile,
  case when not s.r then pg_current_wal_lsn() end as written,
  case when not s.r then pg_current_wal_flush_lsn() end as flushed,
  case when not s.r then current_setting('synchronous_standby_names') end as sync_names,
  case when s.r then pg_last_wal_receive_lsn() end as received,
  case when s.r then pg_last_wal_replay_lsn() end as replayed,
  case when s.r then pg_is_wal_replay_paused() end as paused,
  case when s.r then current_setting('primary_conninfo') end as conninfo,
  case when s.r and w.pid is null then greatest(
    (select timeline_id from pg_control_checkpoint()),
    (select min_recovery_end_timeline from pg_control_recovery()),
    (select max(('x' || substr(name, 1, 8))::bit(32)::int) from pg_ls_waldir()
     where name ~ '^[0-9A-F]{24}$')) end as timeline,
  w.pid as receiver_pid, w.status as receiver_status, w.received_tli as receiver_tli,
  w.sender_host as receiver_host, w.sender_port as receiver_port, w.slot_name as receiver_slot,
  extract(epoch from clock_timestamp() - w.last_msg_receipt_time) as receiver_silent,
  (select json_agg(json_build_object('pid', a.pid, 'state', a.state, 'sent', a.sent_lsn,
     'flushed', a.flush_lsn, 'replayed', a.replay_lsn, 'sync', a.sync_state,
     'lag', extract(epoch from a.replay_lag))) from pg_stat_get_wal_senders() a) as senders
from (select pg_is_in_recovery() as r) s left join pg_stat_get_wal_receiver() w on true
"""

FACTS: Final = """
select current_setting('server_version_num') as version,
  (select system_identifier from pg_control_system()) as system_id,
  (select json_object_agg(n, current_setting(n, true)) from unnest($1::text[]) n) as settings,
  (select json_agg(json_build_object('name', slot_name, 'physical', slot_type = 'physical',
     'active', active, 'restart', restart_lsn, 'status', coalesce(wal_status, ''),
     'failover', to_jsonb(s) ->> 'failover' = 'true',
     'synced', to_jsonb(s) ->> 'synced' = 'true' and not temporary,
     'invalid', to_jsonb(s) ->> 'invalidation_reason',
     'held', greatest(pg_wal_lsn_diff(case when pg_is_in_recovery()
       then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
       else pg_current_wal_lsn() end, restart_lsn), 0)::bigint))
   from pg_replication_slots s) as slots,
  (select json_agg(name order by name) from pg_settings where pending_restart) as pending
"""

SENDER_NAMES: Final = "select pid, application_name, client_addr from pg_stat_replication"

BACKUPS: Final = """
select a.application_name, host(a.client_addr) as address, p.phase, p.backup_streamed as sent,
  p.backup_total as total, extract(epoch from clock_timestamp() - a.backend_start) as seconds
from pg_stat_progress_basebackup p join pg_stat_activity a on a.pid = p.pid order by a.backend_start, p.pid
"""
"""Asked only while a WAL sender is in state `backup`."""

Told = dict[str, Any]
"""One element of the column `senders`: its JSON."""

_SECRET = re.compile(r"(\bpassword\s*=\s*)('(?:[^'\\]|\\.)*'|\S+)", re.IGNORECASE)


def without_secrets(conninfo: str) -> str:
    """A connection string with its password blanked out."""
    return _SECRET.sub(r"\1***", conninfo) if "password" in conninfo.lower() else conninfo


def settings_argument() -> str:
    """`SETTINGS` as the text form of a PostgreSQL array."""
    return "{" + ",".join(SETTINGS) + "}"


def read_facts(row: Row) -> Facts:
    """The row of `FACTS`."""
    settings = {k: v for k, v in json.loads(row["settings"] or "{}").items() if v is not None}
    slots = [
        Slot(
            name=s["name"],
            physical=s["physical"],
            active=s["active"],
            restart=_lsn(s["restart"]),
            wal_status=s["status"],
            failover=bool(s["failover"]),
            synced=bool(s["synced"]),
            invalid=s["invalid"] or "",
            held=s["held"] if s["restart"] else None,
        )
        for s in json.loads(row["slots"] or "[]")
    ]
    return Facts(
        server_version=int(row["version"] or 0),
        system_id=SystemId(row["system_id"] or ""),
        data_dir=settings.get("data_directory", ""),
        settings=settings,
        slots=tuple(slots),
        pending=tuple(json.loads(row["pending"] or "[]")),
    )


def read_role(row: Row) -> Primary | Standby:
    """The row of `PROBE`: what the node is and how far it has come."""
    if row["recovering"] == "f":
        walfile = row["walfile"] or ""
        timeline = Timeline(int(walfile[:8], 16))
        written, flushed = Lsn.parse(row["written"] or ""), Lsn.parse(row["flushed"] or "")
        return Primary(timeline, written, flushed, row["sync_names"] or "")
    receiver = _receiver(row)
    timeline = receiver.timeline if receiver else Timeline(int(row["timeline"] or 0))
    return Standby(
        timeline=timeline,
        received=_lsn(row["received"]),
        replayed=_lsn(row["replayed"]),
        receiver=receiver,
        conninfo=without_secrets(row["conninfo"] or ""),
        replay_paused=row["paused"] == "t",
    )


def told_senders(row: Row) -> list[Told]:
    """The WAL senders in the row of `PROBE`, as they are told."""
    text = row["senders"]
    return json.loads(text) if text else []


def read_senders(told: Iterable[Told], names: Mapping[int, tuple[str, str]]) -> tuple[Sender, ...]:
    """Those that have a state; `names`: process → application name and address."""
    return tuple(
        Sender(
            s["pid"],
            *names.get(s["pid"], ("", "")),
            SenderState(s["state"]),
            _lsn(s["sent"]),
            _lsn(s["flushed"]),
            _lsn(s["replayed"]),
            s["sync"] or "",
            s["lag"],
        )
        for s in told
        if s["state"]
    )


def read_backups(rows: Iterable[Row]) -> tuple[Backup, ...]:
    """The rows of `BACKUPS`."""
    return tuple(
        Backup(
            application_name=row["application_name"] or "",
            address=row["address"] or "",
            phase=row["phase"] or "",
            sent_bytes=int(row["sent"] or 0),
            total_bytes=int(row["total"]) if row["total"] else None,
            seconds=float(row["seconds"] or 0.0),
        )
        for row in rows
    )


def _receiver(row: Row) -> Receiver | None:
    if row["receiver_pid"] is None:
        return None
    silent = row["receiver_silent"]
    return Receiver(
        pid=int(row["receiver_pid"]),
        status=row["receiver_status"] or "",
        timeline=Timeline(int(row["receiver_tli"] or 0)),
        host=row["receiver_host"] or "",
        port=int(row["receiver_port"] or 0),
        slot=row["receiver_slot"] or "",
        silent_s=float(silent) if silent is not None else None,
    )


def _lsn(text: str | None) -> Lsn | None:
    return Lsn.parse(text) if text else None
