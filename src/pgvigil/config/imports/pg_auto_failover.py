"""pg_auto_failover: the pg_autoctl.cfg of its nodes, and what `pg_autoctl … --json` prints.

Read are `show state --json` (a list of nodes) and `get formation settings --json` (an object); either form
alone or together with files.
"""

import configparser
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pgvigil.config.imports.written import (
    BY_PASSFILE,
    Draft,
    Imported,
    Map,
    Source,
    mapping,
    plain_name,
    put,
    set_quorum,
    set_rate,
)
from pgvigil.errors import UsageError

NEXT: Final = (
    "stop pg_autoctl on every standby, then on the primary, and start each server again by pg_ctl or a unit: "
    "only one program may promote, and pg_autoctl stops its server when it ends",
    "pgvigil render grants: the roles that pgvigil logs in as",
    "shell: let pgvigil in by ssh on every node (docs/operate/ssh.md)",
    "pgvigil config check, pgvigil check, pgvigil run",
)
_LEFT: Final = {
    "pg_autoctl.monitor": "pgvigil's controller takes the place of that server",
    "pg_autoctl.group": "groups of a Citus cluster become clusters of their own",
    "pg_autoctl.nodekind": "groups of a Citus cluster become clusters of their own",
    "postgresql.host": "pgvigil logs in over TCP",
    "postgresql.dbname": "pgvigil keeps nothing in a database and logs in to postgres",
    "postgresql.username": "pgvigil logs in as a role of its own: `pgvigil render grants`",
    "postgresql.listen_addresses": "stays as it is in the servers' settings",
    "postgresql.auth_method": "`pgvigil render pg_hba` says what must be in pg_hba.conf",
    "postgresql.hba_level": "servers keep the pg_hba.conf they have",
    "replication.slot": "slots are named after the nodes",
    "replication.backup_directory": "a copy is made beside the data directory",
    "replication.password": BY_PASSFILE,
    "timeout.network_partition_timeout": "see fencing: {guard: true} and `pgvigil guard install`",
}
_SECTIONS: Final = {
    "ssl": "stays as it is in the servers' settings",
    "timeout": "evidence decides: see failover.unreachable_after, hung_after, restart_grace",
    "citus": "each group is a cluster of its own here; they are not coordinated",
}
_TAKEN: Final = frozenset(
    {
        "pg_autoctl.role",
        "pg_autoctl.formation",
        "pg_autoctl.name",
        "pg_autoctl.hostname",
        "pg_autoctl.nodename",
        "postgresql.pgdata",
        "postgresql.pg_ctl",
        "postgresql.port",
        "ssl.active",
        "ssl.sslmode",
        "replication.username",
        "replication.maximum_backup_rate",
    }
)
_STANDBYS_THAT_WAIT: Final = 2
"""From so many on pg_auto_failover waits for one by default; with one it goes on without."""


@dataclass(slots=True)
class _Told:
    """What the JSON forms said."""

    priorities: dict[str, int] = field(default_factory=dict)
    quorum: dict[str, bool] = field(default_factory=dict)
    standbys: int | None = None
    places: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    """Of each node: host, port, group."""


def from_pg_auto_failover(sources: Sequence[Source], name: str = "") -> Imported:
    """One cluster for each formation and group. Raises UsageError, with the file's name."""
    found = Imported("pg_auto_failover", [source.name for source in sources], NEXT)
    told, last = _Told(), sources[-1]
    for source in sources:
        text = source.text.lstrip()
        if text.startswith(("[{", "{")) or (text.startswith("[") and text[1:].lstrip().startswith("{")):
            _json(source, told)
    for source in sources:
        if not source.text.lstrip().startswith(("{", "[{")) and not _is_list(source):
            _file(found, source, name)
    if not found.clusters:
        for node, (host, port, group) in told.places.items():
            draft = found.cluster(_cluster(name, "default", group))
            draft.add(last, node, {"host": host, "postgres": {"port": port, "control": "pg_ctl"}})
            found.leave(
                last,
                "pgdata and pg_ctl of the nodes",
                "asked of the running servers; pg_autoctl.cfg has them",
            )
    for draft in found.clusters.values():
        _settle(found, last, draft, told)
    return found


def _is_list(source: Source) -> bool:
    return source.text.lstrip()[:1] == "[" and source.text.lstrip()[1:].lstrip()[:1] in ("{", "]")


def _cluster(name: str, theirs: str, group: int) -> str:
    whole = name or ("main" if theirs == "default" else theirs)
    return f"{whole}-{group}" if group else whole


def _json(source: Source, told: _Told) -> None:
    try:
        read = json.loads(source.text)
    except json.JSONDecodeError as wrong:
        raise UsageError(f"{source.name}:{wrong.lineno} is no JSON", detail=wrong.msg) from None
    try:
        if isinstance(read, list):
            for node in map(mapping, read):
                _state(node, told)
        else:
            _shared_settings(mapping(read), told)
    except (KeyError, ValueError, TypeError):
        raise UsageError(
            f"{source.name} is not what pg_autoctl prints",
            hint="give the output of pg_autoctl show state --json, or of get formation settings --json",
        ) from None


def _state(node: Map, told: _Told) -> None:
    name = plain_name(str(node["nodename"]))
    told.places[name] = str(node["nodehost"]), int(node["nodeport"]), int(node.get("group_id", 0))
    if "candidate_priority" in node:
        told.priorities[name] = int(node["candidate_priority"])
    if "replication_quorum" in node:
        told.quorum[name] = _true(node["replication_quorum"])


def _shared_settings(settings: Map, told: _Told) -> None:
    """Rows with `setting` and `value`, in families."""
    for row in (mapping(each) for family in settings.values() if isinstance(family, list) for each in family):
        match row["setting"]:
            case "number_sync_standbys":
                told.standbys = int(row["value"])
            case "candidate priority" | "candidate_priority":
                told.priorities[plain_name(str(row["nodename"]))] = int(row["value"])
            case "replication quorum" | "replication_quorum":
                told.quorum[plain_name(str(row["nodename"]))] = _true(row["value"])
            case _:
                continue


def _true(value: Any) -> bool:  # JSON has true, "true", "t", "on"
    return str(value).lower() in ("true", "t", "on", "1")


def _file(found: Imported, source: Source, name: str) -> None:
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=("#", ";"))
    try:
        parser.read_string(source.text)
    except configparser.Error as wrong:
        errors: list[tuple[int, str]] = getattr(wrong, "errors", [])
        line = errors[0][0] if errors else getattr(wrong, "lineno", 1)
        raise UsageError(f"{source.name}:{line} is no line of pg_autoctl.cfg") from None
    values = {f"{part}.{key}": text for part in parser.sections() for key, text in parser.items(part)}
    if values.get("pg_autoctl.role") == "monitor":
        found.leave(source, "the whole file", "is of the monitor, whose work pgvigil's controller does")
        return
    host = values.get("pg_autoctl.hostname") or values.get("pg_autoctl.nodename")
    if not host:
        raise UsageError(
            f"{source.name} does not say where its server is reached", hint="set pg_autoctl.hostname"
        )
    group, port = values.get("pg_autoctl.group", "0"), values.get("postgresql.port", "5432")
    if not (group.isdecimal() and port.isdecimal()):
        raise UsageError(f"group or port in {source.name} is no number")
    draft = found.cluster(_cluster(name, values.get("pg_autoctl.formation", "default"), int(group)))
    own: Map = {"control": "pg_ctl"}
    put(own, "port", int(port) if port != "5432" else None)
    put(own, "data_dir", values.get("postgresql.pgdata", "").rstrip("/"))
    put(own, "bin_dir", values.get("postgresql.pg_ctl", "").rpartition("/")[0])
    draft.add(source, values.get("pg_autoctl.name") or host, {"host": host, "postgres": own})
    _logins(values, draft)
    if rate := values.get("replication.maximum_backup_rate"):
        set_rate(found, source, draft, "replication.maximum_backup_rate", rate)
    for key in (key for key in values if key not in _TAKEN):
        default = _SECTIONS.get(key.partition(".")[0], "has no counterpart")
        found.leave(source, key, _LEFT.get(key, default))


def _logins(values: Mapping[str, str], draft: Draft) -> None:
    draft.section("postgres").setdefault("user", "pgvigil")
    theirs = draft.section("replication")
    theirs["user"] = values.get("replication.username") or "pgautofailover_replicator"
    if values.get("ssl.active") == "1":
        put(theirs, "sslmode", values.get("ssl.sslmode"))
        put(draft.section("postgres"), "sslmode", values.get("ssl.sslmode"))
    draft.settings.setdefault("shell", {"via": "ssh", "user": "postgres"})


def _settle(found: Imported, source: Source, draft: Draft, told: _Told) -> None:
    """What concerns all nodes of a cluster, once they are known."""
    draft.section("postgres").setdefault("user", "pgvigil")
    draft.section("replication").setdefault("user", "pgautofailover_replicator")
    draft.settings.setdefault("shell", {"via": "ssh", "user": "postgres"})
    for name, node in draft.nodes.items():
        priority = told.priorities.get(name)
        if priority == 0:
            node.setdefault("tags", []).append("never_promote")
        elif priority is not None:
            node["priority"] = priority
        if told.quorum.get(name, True) is False:
            node.setdefault("tags", []).append("never_sync")
        if priority is None:
            why = "give `pg_autoctl show state --json` as one more file"
            found.leave(source, "candidate priority and replication quorum", why)
    waits = told.standbys
    if waits is None:
        waits = 1 if len(draft.nodes) > _STANDBYS_THAT_WAIT else 0
        why = "taken as its default is; give `pg_autoctl get formation settings --json` as one more file"
        found.leave(source, "number_sync_standbys", why)
    set_quorum(found, source, draft, max(waits, 1), degrade=waits == 0)
