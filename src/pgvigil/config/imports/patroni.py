"""Patroni: the YAML of its nodes, and what `patronictl show-config` prints of the settings they share.

A source with `scope` and `name` is a node's file; one without is taken for the shared settings.
"""

from collections.abc import Sequence
from typing import Final

import yaml

from pgvigil.config.imports.written import (
    BY_PASSFILE,
    LARGEST_PRIORITY,
    Draft,
    Imported,
    Map,
    Source,
    config_file,
    mapping,
    plain_name,
    put,
    set_quorum,
    set_rate,
    split_address,
)
from pgvigil.config.units import size_text
from pgvigil.errors import UsageError

NEXT: Final = (
    "patronictl pause, then stop Patroni on every node: servers run on, and only one program may promote",
    "shell: let pgvigil in by ssh on every node (docs/operate/ssh.md)",
    "control: nobody starts the servers at boot any more; make them units, or write control: systemd:UNIT",
    "pgvigil config check, pgvigil check, pgvigil run",
)
_LEFT: Final = {
    "namespace": "pgvigil needs no shared store",
    "restapi": "pgvigil looks over SQL and ssh; health for load balancers is asked of pgvigil itself",
    "ctl": "goes with Patroni's REST API",
    **dict.fromkeys(
        ("etcd", "etcd3", "consul", "zookeeper", "exhibitor", "kubernetes", "raft"),
        "pgvigil needs no shared store to decide",
    ),
    "log": "see log: in docs/reference/config.md",
    "citus": "each group is a cluster of its own here; they are not coordinated",
    "watchdog": "see fencing: {guard: true, guard_watchdog: DEVICE} and `pgvigil guard install`",
}
_LEFT_OF_SERVER: Final = {
    "parameters": "servers keep the settings they have; see `pgvigil config`",
    "pg_hba": "servers keep the pg_hba.conf they have; `pgvigil render pg_hba` says what must be in it",
    "pg_ident": "servers keep the pg_ident.conf they have",
    "pgpass": "Patroni rewrites that file; give passfiles of your own",
    "callbacks": "see hooks: callbacks, which get the same arguments",
    "create_replica_methods": "copies are made by pg_basebackup, or by clone: {command: …}",
    "recovery_conf": "stays as it is in the servers' settings",
    "custom_conf": "stays as it is on the servers",
    "remove_data_directory_on_rewind_failure": "a copy never deletes what it replaces before it streams",
    "remove_data_directory_on_diverged_timelines": "a copy never deletes what it replaces before it streams",
    "pre_promote": "see hooks: before_failover, which can object",
    "pg_ctl_timeout": "stops and starts have time limits of their own",
    "use_unix_socket": "pgvigil logs in over TCP",
    "use_unix_socket_repl": "standbys log in over TCP",
    "proxy_address": "applications' addresses: see `pgvigil uri`",
    "listen": "stays as it is in the servers' settings",
    "before_stop": "see hooks",
}
_LEFT_SHARED: Final = {
    **dict.fromkeys(
        ("ttl", "loop_wait", "retry_timeout"),
        "a lease's times; here evidence decides: see failover.unreachable_after, hung_after, probe.interval",
    ),
    "maximum_lag_on_syncnode": "which standbys acknowledge is decided anew as they come and go",
    "max_timelines_history": "all of the history is kept",
    "primary_stop_timeout": "stops have time limits of their own",
    "master_stop_timeout": "stops have time limits of their own",
    "failsafe_mode": "without a shared store nothing has to be survived; databases run on without pgvigil",
    "check_timeline": "timelines are always compared",
    "primary_race_backoff": "a primary that still sends WAL is never taken for lost",
    "standby_cluster": "a cluster that follows another one is set up by hand here",
    "slots": "slots of other programs are left as they are",
    "ignore_slots": "slots of other programs are left as they are",
    "member_slots_ttl": "a configured node's slot is kept as long as it is configured",
    "pause": "nothing is paused here at first: pgvigil pause",
}
_TAKEN: Final = frozenset(
    {
        "authentication",
        "basebackup",
        "bin_dir",
        "config_dir",
        "connect_address",
        "data_dir",
        "name",
        "use_pg_rewind",
        "use_slots",
    }
)
_TLS: Final = ("sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "channel_binding", "gssencmode")


def from_patroni(sources: Sequence[Source], name: str = "") -> Imported:
    """One cluster for each `scope`. Raises UsageError, with the file's name."""
    found = Imported("patroni", [source.name for source in sources], NEXT)
    shared: list[tuple[Source, Map]] = []
    first_told: dict[str, tuple[Source, Map]] = {}
    for source in sources:
        values = _values(source)
        if "scope" not in values and "postgresql" in values and "name" in values:
            raise UsageError(f"{source.name} names no scope", hint="give Patroni's file of each node")
        if "scope" in values:
            draft = found.cluster(name or str(values["scope"]))
            _node(found, source, values, draft)
            told = mapping(mapping(values.get("bootstrap")).get("dcs"))
            first_told.setdefault(name or str(values["scope"]), (source, told))
            _bootstrap(found, source, values)
        else:
            shared.append((source, values))
    if len(shared) > 1 or (shared and len(found.clusters) > 1):
        raise UsageError(
            "shared settings of more than one cluster",
            detail=", ".join(source.name for source, _ in shared),
            hint="import one cluster at a time: the files of its nodes and its `patronictl show-config`",
        )
    for cluster, (source, told) in first_told.items():
        where, values, prefix = (*shared[0], "") if shared else (source, told, "bootstrap.dcs.")
        _settings(found, where, values, found.cluster(cluster), prefix)
        if not shared:
            why = "settings may have changed since: give `patronictl show-config > FILE` as one more file"
            found.leave(source, "what is in the shared store", why)
    return found


def _values(source: Source) -> Map:
    try:
        read = yaml.safe_load(source.text)
    except yaml.YAMLError as wrong:
        mark = getattr(wrong, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UsageError(f"{source.name}{line} is no YAML") from None  # its own text repeats the values
    if not isinstance(read, dict):
        raise UsageError(f"{source.name} is no file of Patroni", detail="it has no keys")
    return mapping(read)


def _node(found: Imported, source: Source, values: Map, draft: Draft) -> None:
    server = mapping(values.get("postgresql"))
    address = str(server.get("connect_address") or server.get("listen") or "").split(",")[0]
    try:
        host, port = split_address(address)
    except ValueError:
        host, port = "", 0
    if host in ("", "*", "0.0.0.0", "::"):  # noqa: S104  # nothing listens here
        raise UsageError(
            f"{source.name} does not say where its server is reached", hint="set postgresql.connect_address"
        )
    data_dir, own = str(server.get("data_dir") or ""), Map()
    put(own, "port", port if port != 5432 else None)
    for key, path in (
        ("data_dir", data_dir),
        ("bin_dir", str(server.get("bin_dir") or "")),
        ("config_file", config_file(str(server.get("config_dir") or ""), data_dir)),
    ):
        if path.startswith("/"):
            own[key] = path
        elif path:
            found.leave(source, f"postgresql.{key}", "is no full path; write it in full")
    own["control"] = "pg_ctl"
    node: Map = {"host": host, **_tags(found, source, mapping(values.get("tags"))), "postgres": own}
    draft.add(source, str(values.get("name") or host), node)
    draft.settings.setdefault("shell", {"via": "ssh", "user": "postgres"})
    _logins(found, source, mapping(server.get("authentication")), draft)
    if server.get("use_slots") is False:
        draft.section("replication")["slots"] = False
    _copies(found, source, server.get("basebackup"), draft)
    for key in server:
        if key in _LEFT_OF_SERVER:
            found.leave(source, f"postgresql.{key}", _LEFT_OF_SERVER[key])
        elif key not in _TAKEN:
            found.leave(source, f"postgresql.{key}", "has no counterpart")
    known = ("scope", "name", "postgresql", "tags", "bootstrap")
    for key in (key for key in values if key not in known):
        found.leave(source, key, _LEFT.get(key, "has no counterpart"))


def _copies(found: Imported, source: Source, options: object, draft: Draft) -> None:
    """Options of pg_basebackup: a mapping, or a list of words and of mappings with one key each."""
    given = options if isinstance(options, list) else [options]
    for option in given:
        for key, value in (mapping(option) or ({option: ""} if isinstance(option, str) else {})).items():
            match key:
                case "max-rate":
                    set_rate(found, source, draft, "postgresql.basebackup.max-rate", str(value))
                case "checkpoint" if value in ("fast", "spread"):
                    draft.section("clone")["checkpoint"] = value
                case "waldir" if str(value).startswith("/"):
                    draft.nodes[next(reversed(draft.nodes))]["postgres"]["wal_dir"] = value
                case _:
                    found.leave(source, f"postgresql.basebackup.{key}", "has no counterpart")


def _tags(found: Imported, source: Source, tags: Map) -> Map:
    node, ours = Map(), []
    for name, value in tags.items():
        match name, value:
            case ("nofailover", True) | ("failover_priority", 0):
                ours.append("never_promote")
            case "failover_priority", int(priority) if not isinstance(priority, bool):
                node["priority"] = min(100 * priority, LARGEST_PRIORITY)
            case "noloadbalance", True:
                ours.append("no_load_balance")
            case "clonefrom", True:
                ours.append("clone_source")
            case ("nosync", True) | ("sync_priority", 0):
                ours.append("never_sync")
            case _, False:
                continue
            case "replicatefrom", _:
                node["upstream"] = plain_name(str(value))
            case _:
                found.leave(source, f"tags.{name}", "has no counterpart")
    put(node, "tags", list(dict.fromkeys(ours)))
    return node


def _logins(found: Imported, source: Source, logins: Map, draft: Draft) -> None:
    ours, theirs = mapping(logins.get("superuser")), mapping(logins.get("replication"))
    place = "postgresql.authentication"
    put(draft.section("postgres"), "user", ours.get("username") or "postgres")
    put(draft.section("postgres"), "sslmode", ours.get("sslmode"))
    put(draft.section("replication"), "user", theirs.get("username"))
    for key in _TLS:
        value = theirs.get(key)
        if value and (key in ("sslmode", "channel_binding", "gssencmode") or str(value).startswith("/")):
            draft.section("replication")[key] = value
        if key != "sslmode" and ours.get(key):
            why = "a path on the nodes; pgvigil's login needs its own on the controller"
            found.leave(source, f"{place}.superuser.{key}", why if key.startswith("ssl") else "not needed")
    for who, login in (
        ("superuser", ours),
        ("replication", theirs),
        ("rewind", mapping(logins.get("rewind"))),
    ):
        for key in ("password", "sslpassword"):
            if key in login:
                found.leave(source, f"{place}.{who}.{key}", BY_PASSFILE)
    if "username" in ours:
        why = "works, but fewer rights do: `pgvigil render grants` makes a role for pgvigil"
        found.leave(source, f"{place}.superuser as a superuser", why)
    if "rewind" in logins:
        why = "pg_rewind logs in as the replication user; `pgvigil render grants` gives it the right to"
        found.leave(source, f"{place}.rewind", why)


def _bootstrap(found: Imported, source: Source, values: Map) -> None:
    for key in mapping(values.get("bootstrap")):
        if key != "dcs":
            found.leave(source, f"bootstrap.{key}", "only for making a new cluster; this one is there")


def _settings(found: Imported, source: Source, values: Map, draft: Draft, prefix: str) -> None:
    """What all nodes share."""
    for key, value in values.items():
        match key:
            case "maximum_lag_on_failover" if isinstance(value, int):
                draft.section("failover")["max_lag"] = size_text(value)
            case "primary_start_timeout" | "master_start_timeout":
                draft.section("failover")["after_crash"] = "restart" if value else "failover"
                if value:
                    why = (
                        "a crashed primary is started where it is; how long that may take is not limited here"
                    )
                    found.leave(source, f"{prefix}{key} in seconds", why)
            case "synchronous_mode" | "synchronous_mode_strict" | "synchronous_node_count":
                continue
            case "postgresql":
                _shared_server(found, source, mapping(value), draft, f"{prefix}{key}.")
            case _:
                found.leave(source, f"{prefix}{key}", _LEFT_SHARED.get(key, "has no counterpart"))
    if values.get("synchronous_mode") in (True, "on", "quorum"):
        count = values.get("synchronous_node_count", 1)
        strict = values.get("synchronous_mode_strict") is True
        set_quorum(found, source, draft, count if isinstance(count, int) else 1, degrade=not strict)


def _shared_server(found: Imported, source: Source, server: Map, draft: Draft, prefix: str) -> None:
    for key, value in server.items():
        if key == "use_slots":
            if value is False:
                draft.section("replication")["slots"] = False
        elif key != "use_pg_rewind":
            found.leave(source, f"{prefix}{key}", _LEFT_OF_SERVER.get(key, "has no counterpart"))
        elif value is False:
            why = "an old primary is rewound where that is possible; without the right to it is copied"
            found.leave(source, f"{prefix}{key}", why)
