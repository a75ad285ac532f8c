"""The SQL that gives pgvigil's logins what they need, and no more. Pure.

Sources: manual 22.5 (predefined roles), 9.28.6 (pg_promote), GRANT … ON PARAMETER (since 15), pg_rewind's
page (the four functions it reads a running server with).
"""

from typing import Final

from pgvigil.model.spec import ClusterSpec

SETTINGS: Final = ("primary_conninfo", "primary_slot_name", "synchronous_standby_names")
"""The settings that pgvigil changes."""

REWIND: Final = (
    "pg_ls_dir(text, boolean, boolean)",
    "pg_stat_file(text, boolean)",
    "pg_read_binary_file(text)",
    "pg_read_binary_file(text, bigint, bigint, boolean)",
)


def grants(spec: ClusterSpec | None = None) -> str:
    """Statements for psql, to be run once on the primary as superuser (PostgreSQL 15 or later)."""
    login = replication = ""
    if spec is not None:
        login = dict(spec.nodes[0].conninfo).get("user", "")
        replication = dict(spec.replication.conninfo).get("user", "")
    watcher, streamer = _identifier(login or "pgvigil"), _identifier(replication or "replicator")
    lines = [
        "-- Run once on the primary, as superuser. Give both logins a password with \\password,",
        "-- or let them in by certificate or peer; standbys need pg_hba.conf lines for both.",
        f"create role {watcher} login replication;",
        f"grant pg_monitor to {watcher};                        -- look",
        f"grant pg_checkpoint to {watcher};                     -- quick switchovers",
        f"grant execute on function pg_promote(boolean, integer) to {watcher};",
        f"grant execute on function pg_reload_conf() to {watcher};",
        f"grant alter system on parameter {', '.join(SETTINGS)} to {watcher};",
    ]
    if streamer != watcher:
        lines += ["", f"create role {streamer} login replication;"]
    lines += ["", "-- pg_rewind reads the present primary with these:"]
    lines += [f"grant execute on function pg_catalog.{function} to {streamer};" for function in REWIND]
    return "\n".join(lines)


def _identifier(name: str) -> str:
    plain = name.isascii() and name.replace("_", "a").isalnum() and name == name.lower()
    return name if plain and not name[0].isdigit() else '"' + name.replace('"', '""') + '"'
