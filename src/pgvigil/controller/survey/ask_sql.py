"""Asks one server everything `check` and `discover` want to know, in a session of its own. Only reads.

Each question stands alone: a login without rights still gets the answers it may have, and the refused
ones are named.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Final

from pgvigil.config.grants import REWIND_FUNCTIONS
from pgvigil.controller.survey.seen import ReceiverSeen, SenderSeen, Setting, SlotSeen, SqlSeen
from pgvigil.model.parameter import OF_THE_SERVER
from pgvigil.model.units import Lsn, SqlState, SystemId, Timeline
from pgvigil.ports.contract import NodePorts, NoReply, QueryFailed, Rejected, Row, Session, SessionEnded

SETTINGS: Final = (
    "archive_mode", "cluster_name", "config_file", "data_checksums", "data_directory", "fsync",
    "full_page_writes", "hba_file", "hot_standby", "max_connections", "max_locks_per_transaction",
    "hot_standby_feedback",
    "max_prepared_transactions", "max_replication_slots", "max_slot_wal_keep_size", "max_wal_senders",
    "max_worker_processes", "primary_conninfo", "primary_slot_name", "recovery_min_apply_delay",
    "sync_replication_slots", "synchronized_standby_slots",
    "recovery_target_timeline", "restore_command", "synchronous_commit", "synchronous_standby_names",
    "wal_keep_size", "wal_level", "wal_log_hints", "wal_receiver_timeout",
)  # fmt: skip

CHANGED: Final = ("primary_conninfo", "primary_slot_name")
"""The settings that pgvigil changes on a running node."""

_WHO: Final = """
select current_setting('server_version_num') as version, current_setting('server_version') as version_text,
  current_user as who, r.rolsuper as superuser, r.rolreplication as replication,
  pg_is_in_recovery() as recovering, pg_postmaster_start_time() as started,
  (select system_identifier from pg_control_system()) as system_id,
  greatest((select timeline_id from pg_control_checkpoint()),
    (select min_recovery_end_timeline from pg_control_recovery()),
    (select received_tli from pg_stat_wal_receiver)) as standby_timeline,
  case when not pg_is_in_recovery() then pg_walfile_name(pg_current_wal_lsn()) end as walfile,
  case when pg_is_in_recovery() then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
    else pg_current_wal_lsn() end as position
from pg_roles r where r.rolname = current_user
"""
_SETTINGS: Final = """
select name, setting, coalesce(unit, '') as unit, pending_restart as pending, source
from pg_settings where name = any($1::text[])
  and source not in ('global', 'user', 'database', 'database user')
"""
"""What a role or database has of its own is not the server's: `_LOWERED` tells it."""
_VALUES: Final = """
select name, coalesce(reset_val, '') as value from pg_settings
where context <> 'internal' and source = any($1::text[])
"""
_RECEIVER: Final = """
select status, sender_host, sender_port, coalesce(slot_name, '') as slot
from pg_stat_wal_receiver where pid is not null
"""
_SENDERS: Final = """
select a.pid, coalesce(a.usename, '') as who, coalesce(a.application_name, '') as application_name,
  coalesce(host(a.client_addr), '') as address, coalesce(a.client_hostname, '') as host,
  coalesce(s.slot_name, '') as slot
from pg_stat_replication a left join pg_replication_slots s on s.active_pid = a.pid
order by 3, 4, 1
"""
_SLOTS: Final = """
select slot_name, slot_type = 'physical' as physical, active, coalesce(wal_status, '') as wal_status,
  coalesce(greatest(pg_wal_lsn_diff($1::pg_lsn, restart_lsn), 0), 0)::bigint as held,
  coalesce(to_jsonb(s) ->> 'failover', 'false') = 'true' as failover,
  coalesce(to_jsonb(s) ->> 'synced', 'false') = 'true' as synced
from pg_replication_slots s where not temporary order by 1
"""
_LOWERED: Final = """
select concat_ws(' in ', 'role ' || r.rolname, 'database ' || d.datname) as whose,
  split_part(c, '=', 2) as value
from pg_db_role_setting s left join pg_roles r on r.oid = s.setrole
  left join pg_database d on d.oid = s.setdatabase, unnest(s.setconfig) c
where c like 'synchronous\\_commit=%' order by 1
"""
_OTHERS: Final = """
select distinct application_name from pg_stat_activity
where backend_type = 'client backend' and pid <> pg_backend_pid()
  and application_name ~* '^(patroni|repmgrd?$|pg_?auto_?(failover|ctl))' order by 1
"""
_RIGHTS: Final = """
select json_build_object(
  'pg_monitor', pg_has_role(current_user, 'pg_monitor', 'usage'),
  'pg_signal_backend', pg_has_role(current_user, 'pg_signal_backend', 'usage'),
  'pg_promote', has_function_privilege('pg_promote(boolean,integer)', 'execute'),
  'pg_reload_conf', has_function_privilege('pg_reload_conf()', 'execute'),
  'pg_read_all_stats', pg_has_role(current_user, 'pg_read_all_stats', 'usage'),
  'pg_terminate_backend', has_function_privilege(to_regproc('pg_terminate_backend'), 'execute'),
  'pg_logical_emit_message', has_function_privilege(coalesce(
    to_regprocedure('pg_logical_emit_message(boolean,text,text)'),
    to_regprocedure('pg_logical_emit_message(boolean,text,text,boolean)')), 'execute')) as rights
"""
_RIGHTS_15: Final = """
select json_build_object(
  'pg_checkpoint', pg_has_role(current_user, 'pg_checkpoint', 'usage'),
  'primary_conninfo', has_parameter_privilege('primary_conninfo', 'alter system'),
  'primary_slot_name', has_parameter_privilege('primary_slot_name', 'alter system'),
  'synchronous_standby_names', has_parameter_privilege('synchronous_standby_names', 'alter system')
  ) as rights
"""
_REWIND: Final = """
select json_object_agg(f, has_function_privilege(r.oid, f, 'execute')) as rights
from pg_roles r, unnest($2::text[]) f where r.rolname = $1 having count(*) > 0
"""


async def ask_server(
    ports: NodePorts, rewind_user: str, *, connect_s: float, within_s: float
) -> SqlSeen | NoReply | Rejected:
    """Everything about one server, or why there is no answer. `within_s` is the limit of each question.

    The session is closed whatever happens. Never uses the node's kept session.
    """
    session = ports.new_session()
    try:
        await session.open(within_s=connect_s)
        return await _Inquiry(session, within_s).all(rewind_user)
    except (NoReply, Rejected) as failure:
        return failure
    except SessionEnded as ended:
        what = f"{ports.spec.name} ended the session"
        if state := ended.farewell.sqlstate:
            return Rejected(what, state, detail=ended.detail)
        return Rejected(what, SqlState(""), detail=ended.detail or "without a word")
    except QueryFailed as failed:
        return Rejected(f"{ports.spec.name} does not say who it is", failed.sqlstate, detail=str(failed))
    finally:
        session.close()


class _Inquiry:
    """One session's questions, and what was refused."""

    def __init__(self, session: Session, within_s: float) -> None:
        self._session, self._within_s = session, within_s
        self._unread: list[str] = []

    async def all(self, rewind_user: str) -> SqlSeen:
        """Raises QueryFailed only if not even the first question is answered."""
        (who,) = await self._session.query(_WHO, within_s=self._within_s)
        version, position = _int(who["version"]), who["position"] or "0/0"
        standby, walfile = _int(who["standby_timeline"]), who["walfile"]
        settings = await self._ask("settings", _SETTINGS, (_array(SETTINGS),))
        values = await self._ask("all settings", _VALUES, (_array(sorted(OF_THE_SERVER)),))
        receiver = await self._ask("the WAL receiver", _RECEIVER)
        senders = await self._ask("the WAL senders", _SENDERS)
        slots = await self._ask("replication slots", _SLOTS, (position,))
        lowered = await self._ask("settings of roles", _LOWERED)
        others = await self._ask("other sessions", _OTHERS)
        return SqlSeen(
            version=version,
            version_text=(who["version_text"] or "").partition(" ")[0],
            user=who["who"] or "",
            superuser=_bool(who["superuser"]),
            system_id=SystemId(who["system_id"] or ""),
            recovering=_bool(who["recovering"]),
            timeline=Timeline(int(walfile[:8], 16) if walfile else standby),
            position=Lsn.parse(position),
            started=who["started"] or "",
            settings={_text(r, "name"): _setting(r) for r in settings},
            values={_text(row, "name"): _text(row, "value") for row in values},
            receiver=next((_receiver(row) for row in receiver), None),
            senders=tuple(_sender(row) for row in senders),
            slots=tuple(_slot(row) for row in slots),
            rights=await self._rights(version) | {"replication": _bool(who["replication"])},
            rewind_rights=await self._rewind_rights(rewind_user),
            lowered=tuple((_text(r, "whose") or "all roles", _text(r, "value")) for r in lowered),
            others=tuple(_text(row, "application_name") for row in others),
            unread=tuple(self._unread),
        )

    async def _rights(self, version: int) -> dict[str, bool]:
        rows = await self._ask("our rights", _RIGHTS)
        if version >= 150000:
            rows = (*rows, *await self._ask("our rights", _RIGHTS_15))
        return {name: value for row in rows for name, value in json.loads(row["rights"] or "{}").items()}

    async def _rewind_rights(self, user: str) -> Mapping[str, bool] | None:
        rows = await self._ask("pg_rewind's rights", _REWIND, (user, _array(REWIND_FUNCTIONS)))
        return dict(json.loads(rows[0]["rights"] or "{}")) if rows else None

    async def _ask(self, what: str, sql: str, params: Sequence[str | None] = ()) -> tuple[Row, ...]:
        try:
            return await self._session.query(sql, params, within_s=self._within_s)
        except QueryFailed as refused:
            self._unread.append(f"{what}: {refused.detail or refused.what}")
            return ()


def _setting(row: Row) -> Setting:
    return Setting(_text(row, "setting"), _text(row, "unit"), _bool(row["pending"]), _text(row, "source"))


def _receiver(row: Row) -> ReceiverSeen:
    host, port = _text(row, "sender_host"), _int(row["sender_port"])
    return ReceiverSeen(_text(row, "status"), host, port, _text(row, "slot"))


def _sender(row: Row) -> SenderSeen:
    return SenderSeen(
        pid=_int(row["pid"]),
        user=_text(row, "who"),
        application_name=_text(row, "application_name"),
        address=_text(row, "address"),
        host=_text(row, "host"),
        slot=_text(row, "slot"),
    )


def _slot(row: Row) -> SlotSeen:
    return SlotSeen(
        name=_text(row, "slot_name"),
        physical=_bool(row["physical"]),
        active=_bool(row["active"]),
        held_bytes=_int(row["held"]),
        wal_status=_text(row, "wal_status"),
        failover=_bool(row["failover"]),
        synced=_bool(row["synced"]),
    )


def _array(words: Sequence[str]) -> str:
    """The text form of a PostgreSQL array."""
    return "{" + ",".join(f'"{word}"' for word in words) + "}"


def _text(row: Row, name: str) -> str:
    return row[name] or ""


def _int(text: str | None) -> int:
    return int(text or 0)


def _bool(text: str | None) -> bool:
    return text == "t"
