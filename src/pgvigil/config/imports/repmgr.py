"""repmgr: the repmgr.conf of each node, lines of `key = value` (repmgr's manual, "Configuration file")."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from pgvigil.config.imports.written import (
    BY_PASSFILE,
    Draft,
    Imported,
    Map,
    Source,
    config_file,
    control_of,
    put,
    set_rate,
)
from pgvigil.errors import UsageError

NEXT: Final = (
    "repmgr service pause, then stop and disable repmgrd on every node: only one program may promote",
    "shell: let pgvigil in by ssh on every node, as repmgr does between them (docs/operate/ssh.md)",
    "a node that was only a witness for repmgr does not belong under nodes: (see docs/operate/witness.md)",
    "pgvigil config check, pgvigil check, pgvigil run",
)
CLUSTER: Final = "main"
"""repmgr's files name none."""
_TAKEN: Final = frozenset(
    {
        "node_name",
        "conninfo",
        "data_directory",
        "config_directory",
        "replication_user",
        "use_replication_slots",
        "location",
        "pg_bindir",
        "passfile",
        "priority",
        "failover",
        "service_start_command",
        "service_stop_command",
        "service_reload_command",
        "service_promote_command",
    }
)
_FORMS: Final = {
    "node_id": "nodes go by their names",
    "replication_type": "replication is physical streaming",
    "connection_check_type": "looks are SQL over one lasting session, and the host's shell",
    "promote_command": "pgvigil promotes by itself",
    "follow_command": "pgvigil points standbys at their primary by itself",
    "service_restart_command": "a restart is a stop and a start",
    "event_notification_command": "called differently: see hooks: on_event (JSON on standard input)",
    "event_notifications": "see hooks: on_event; each event has its kind and level",
    "failover_validation_command": "called differently: see hooks: before_failover, which can object",
    "ssh_options": "ssh_config is honoured; see shell:",
    "restore_command": "stays as it is in the servers' settings",
    "archive_cleanup_command": "stays as it is in the servers' settings",
    "recovery_min_apply_delay": "stays as it is in the servers' settings",
    "tablespace_mapping": "a copy keeps the paths of tablespaces, or chooses new ones beside them",
    "pg_basebackup_options": "only its limit of rate is known here; see clone:",
    "use_primary_conninfo_password": BY_PASSFILE,
    "primary_visibility_consensus": "always so: who still reaches the primary has a veto",
    "standby_disconnect_on_failover": "with protection: quorum standbys are cut from the old primary first",
    "degraded_monitoring_timeout": "the controller never gives up looking",
    "monitoring_history": "see `pgvigil history` and `pgvigil events`",
    "include": "give the file that it names as well",
    "include_if_exists": "give the file that it names as well",
    "include_directory": "give the files in it as well",
}
_FAMILIES: Final = (
    (r"reconnect_(attempts|interval)", "evidence decides: see failover.unreachable_after and hung_after"),
    (r"log_.*", "see log: in docs/reference/config.md"),
    (r"barman_.*|.*rsync.*", "copies are made by pg_basebackup, or by clone: {command: …}"),
    (r"child_nodes_.*", "see hooks: on_event for standbys that are lost, and protection: quorum"),
    (r".*_(timeout|interval|delay|attempts)|monitor_interval_secs", "waiting has time limits of its own"),
    (r"repmgrd_.*|repmgr_bindir|.*pid_file", "there is nothing of repmgr to be run"),
)
_LOGIN: Final = ("sslmode", "channel_binding", "require_auth", "gssencmode", "krbsrvname")
_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_RATE: Final = re.compile(r"(?:--max-rate[= ]|-r ?)(\d+[kM]?)\b")
_LINE: Final = re.compile(r"\s*([A-Za-z_][\w.]*)\s*=?\s*(?:'((?:[^']|'')*)'|([^#\n]*?))\s*(?:#.*)?")


def from_repmgr(sources: Sequence[Source], name: str = "") -> Imported:
    """One cluster. Raises UsageError, with the file's name and line."""
    found = Imported("repmgr", [source.name for source in sources], NEXT)
    draft = found.cluster(name or CLUSTER)
    manual: dict[str, bool] = {}
    for source in sources:
        values = dict(_read(source))
        _node(found, source, values, draft)
        manual[next(reversed(draft.nodes))] = values.get("failover", "manual").lower() != "automatic"
        if rate := _RATE.search(values.get("pg_basebackup_options", "")):
            set_rate(found, source, draft, "pg_basebackup_options", rate[1])
        for key in (key for key in values if key not in _TAKEN):
            found.leave(source, key, _why(key))
    if all(manual.values()):
        draft.section("failover")["automatic"] = False
    else:
        for node in (name for name, by_hand in manual.items() if by_hand):
            draft.nodes[node].setdefault("tags", []).append("never_promote")
    return found


def _read(source: Source) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(source.text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise UsageError(f"{source.name}:{number} is no line of repmgr.conf", hint="write key = 'value'")
        yield match[1], match[3] if match[2] is None else match[2].replace("''", "'")


def _why(key: str) -> str:
    if key in _FORMS:
        return _FORMS[key]
    return next((why for pattern, why in _FAMILIES if re.fullmatch(pattern, key)), "has no counterpart")


def _node(found: Imported, source: Source, values: Mapping[str, str], draft: Draft) -> None:
    if not values.get("node_name"):
        raise UsageError(f"{source.name} has no node_name", hint="give the repmgr.conf of each node")
    login = _conninfo(source, values.get("conninfo", ""))
    data_dir, own = values.get("data_directory", ""), Map()
    port = (login.get("port") or "5432").split(",")[0]
    if not port.isdecimal():
        raise UsageError(f"the port in conninfo of {source.name} is no number")
    put(own, "port", int(port) if port != "5432" else None)
    put(own, "data_dir", data_dir)
    put(own, "bin_dir", values.get("pg_bindir", "").rstrip("/"))
    put(own, "config_file", config_file(values.get("config_directory", ""), data_dir))
    own["control"] = _control(found, source, values)
    put(own, "promote_command", values.get("service_promote_command"))
    node: Map = {"host": (login.get("host") or login.get("hostaddr") or "").split(",")[0]}
    if not node["host"] or node["host"].startswith("/"):
        raise UsageError(
            f"{source.name} does not say where its server is reached", hint="set host in conninfo"
        )
    priority = values.get("priority", "100")
    if not priority.isdecimal():
        raise UsageError(f"priority in {source.name} is no number")
    put(node, "priority", int(priority) if priority != "100" else None)
    if priority == "0":
        node["priority"] = 0
    put(node, "location", values.get("location") if values.get("location") != "default" else None)
    draft.add(source, values["node_name"], {**node, "postgres": own})
    draft.settings.setdefault("shell", {"via": "ssh", "user": "postgres"})
    _logins(found, source, login, values, draft)


def _conninfo(source: Source, text: str) -> dict[str, str]:
    try:
        return {key: str(value) for key, value in conninfo_to_dict(text).items() if value is not None}
    except psycopg.Error:
        raise UsageError(
            f"conninfo in {source.name} is no connection string"
        ) from None  # it may hold a secret


def _control(found: Imported, source: Source, values: Mapping[str, str]) -> object:
    start, stop = values.get("service_start_command", ""), values.get("service_stop_command", "")
    if start and stop:
        return control_of(start, stop, values.get("service_reload_command", ""))
    for key in ("service_start_command", "service_stop_command"):
        if values.get(key):
            found.leave(source, key, "goes only together with the other; set control:")
    return "pg_ctl"


def _logins(
    found: Imported, source: Source, login: Mapping[str, str], values: Mapping[str, str], draft: Draft
) -> None:
    ours, theirs = draft.section("postgres"), draft.section("replication")
    put(ours, "user", login.get("user"))
    put(ours, "dbname", login.get("dbname"))
    put(theirs, "user", values.get("replication_user") or login.get("user"))
    theirs["slots"] = values.get("use_replication_slots", "no").lower() in ("yes", "true", "on", "1")
    for key in _LOGIN:
        put(ours, key, login.get(key))
        put(theirs, key, login.get(key))
    for key in (*_FILES, "passfile"):
        path = login.get(key) or (values.get("passfile") if key == "passfile" else "")
        if path and path.startswith("/"):
            theirs[key] = path
        if path:
            why = "a path on the nodes; pgvigil's login needs its own on the controller"
            found.leave(source, f"conninfo.{key}" if key in login else key, why)
    if "password" in login:
        found.leave(source, "conninfo.password", BY_PASSFILE)
    known = {"host", "hostaddr", "port", "user", "dbname", "password", "passfile", *_LOGIN, *_FILES}
    for key in (key for key in login if key not in known):
        why = "see probe.connect_timeout" if key == "connect_timeout" else "not needed"
        found.leave(source, f"conninfo.{key}", why)
