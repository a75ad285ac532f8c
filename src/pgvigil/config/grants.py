"""The SQL that makes pgvigil's two roles, with no more rights than they need. Pure text, for psql.

The rights that a function's grant gives are kept per database, so they are given in each database that is
logged in to. Sources: manual 22.5 predefined roles, 9.28 system administration functions, ALTER SYSTEM,
and pg_rewind's page for its four functions. Before 15 some of it is a superuser's alone: the text says so.
"""

from collections.abc import Sequence
from typing import Final

from pgvigil.errors import UsageError

OLDEST_MAJOR: Final = 13
PARAMETERS: Final = ("primary_conninfo", "primary_slot_name", "synchronous_standby_names")
"""What pgvigil changes by ALTER SYSTEM."""

WATCHER_FUNCTIONS: Final = (
    "pg_promote(boolean, integer)",
    "pg_reload_conf()",
    "pg_wal_replay_resume()",
)
REWIND_FUNCTIONS: Final = (
    "pg_ls_dir(text, boolean, boolean)",
    "pg_stat_file(text, boolean)",
    "pg_read_binary_file(text)",
    "pg_read_binary_file(text, bigint, bigint, boolean)",
)

_HEAD: Final = """\
-- Run once as superuser on the primary with psql; standbys get it by replication. Safe to repeat.
-- Passwords are not in here: afterwards use \\password, or let the roles in by certificate or peer.
-- pg_hba.conf of every node must let {user} in from the controller, and {replication_user} from the other
-- nodes, to "replication" for streaming and to the database below for pg_rewind."""

_MD5_NOTE: Final = """\
-- Before 14 \\password keeps md5, with which scram-sha-256 in pg_hba.conf lets nobody in. So first:
--   SET password_encryption = 'scram-sha-256';"""

_REWIND_NOTE: Final = """\
-- For pg_rewind, which reads any file of the server this way. Leave it out to clone old primaries instead.
-- It cannot read what PostgreSQL's own user cannot read."""


def grants(
    server_version: int,
    user: str,
    replication_user: str,
    databases: Sequence[str] = ("postgres",),
) -> str:
    """A psql script for a server of `server_version` (as `server_version_num`, such as 160004).

    `user` watches and changes roles; with `replication_user` standbys stream and are rewound, from the first
    of `databases`; all of them are what `user` may log in to. Raises UsageError before 13.
    """
    major = server_version // 10000
    if major < OLDEST_MAJOR:
        raise UsageError(f"PostgreSQL {major} is too old", detail=f"pgvigil needs {OLDEST_MAJOR} or later")
    watcher, streamer = _identifier(user), _identifier(replication_user)
    lines = [
        _HEAD.format(user=_one_line(user), replication_user=_one_line(replication_user)),
        *([_MD5_NOTE] if major < 14 else []),
        "\\set ON_ERROR_STOP on",
        *_role(user, "see and change roles; REPLICATION: slots; it would let it copy the cluster, too"),
        f"GRANT pg_monitor TO {watcher};  -- read statistics, settings and the list of WAL files",
        f"GRANT pg_signal_backend TO {watcher};  -- end sessions in the way; never a superuser's",
    ]
    lines += _by_version(major, watcher)
    if replication_user != user:
        lines += _role(replication_user, "stream, make base backups")
    for index, database in enumerate(databases):
        lines += ["", f"\\connect {_identifier(database)}"]
        lines += [f"GRANT CONNECT ON DATABASE {_identifier(database)} TO {watcher};"]
        lines += [f"GRANT EXECUTE ON FUNCTION pg_catalog.{f} TO {watcher};" for f in WATCHER_FUNCTIONS]
        if index == 0:
            lines += [_REWIND_NOTE, f"GRANT CONNECT ON DATABASE {_identifier(database)} TO {streamer};"]
            lines += [f"GRANT EXECUTE ON FUNCTION pg_catalog.{f} TO {streamer};" for f in REWIND_FUNCTIONS]
    return "\n".join(lines) + "\n"


def _role(name: str, purpose: str) -> list[str]:
    create, known = f"CREATE ROLE {_identifier(name)}", f"rolname = {_literal(name)}"
    return [
        "",
        f"-- {purpose}",
        f"SELECT {_literal(create)}"  # noqa: S608  # quoted
        f" WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE {known}) \\gexec",
        f"ALTER ROLE {_identifier(name)} LOGIN REPLICATION;",
    ]


def _by_version(major: int, watcher: str) -> list[str]:
    """What only some versions can give away."""
    if major < 15:
        return [
            f"-- Before 15 only a superuser may use ALTER SYSTEM: {', '.join(PARAMETERS)}",
            "-- are then set through the shell of the node's host. So are checkpoints left out before a",
            "-- switchover: the stop takes longer. Without a shell pgvigil needs a superuser's login here.",
        ]
    lines = [f"GRANT pg_checkpoint TO {watcher};  -- quick switchovers and rewinds"]
    lines += [f"GRANT ALTER SYSTEM ON PARAMETER {name} TO {watcher};" for name in PARAMETERS]
    if major >= 16:
        lines.append(
            f"GRANT pg_use_reserved_connections TO {watcher};  -- get in when all others are taken"
            " (reserved_connections)"
        )
    return lines


def _one_line(name: str) -> str:
    return " ".join(name.split())


def _identifier(name: str) -> str:
    if not name or "\0" in name or "\n" in name:
        raise UsageError("that is no name of a role or database")
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    prefix = "E" if "\\" in text else ""
    return prefix + "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
