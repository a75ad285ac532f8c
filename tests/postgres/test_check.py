import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pgvigil.config.load import parse
from pgvigil.controller.survey import check_cluster
from pgvigil.demo.binaries import Binaries
from pgvigil.demo.servers import Server, Servers, config_text, run_sql, wait_until
from pgvigil.errors import ConfigError
from pgvigil.model.check import CheckItem, CheckLevel
from pgvigil.model.shell import CommandShell
from pgvigil.model.spec import ClusterSpec, NodeSpec, PgCtl, Systemd, WhenUnreachable
from pgvigil.model.units import NodeName
from pgvigil.ports.clock import SystemClock
from pgvigil.ports.ping import NetworkPinger
from pgvigil.wiring import node_ports

pytestmark = pytest.mark.postgres

FAST: dict[str, str | int | bool] = {"fsync": False, "wal_retrieve_retry_interval": "100ms"}
PG1, PG2, PG3 = NodeName("pg1"), NodeName("pg2"), NodeName("pg3")
ERROR, WARNING, ADVICE, OK = CheckLevel.ERROR, CheckLevel.WARNING, CheckLevel.ADVICE, CheckLevel.OK
Change = Callable[[ClusterSpec], ClusterSpec]


@pytest.fixture(scope="module")
def trio(binaries: Binaries) -> Iterator[Servers]:
    """pg1 with standbys pg2 and pg3; tests put back what they change."""
    with Servers(binaries, settings=FAST, wal_segment_mb=1) as servers:
        primary = servers.make_primary("pg1")
        with ThreadPoolExecutor() as pool:
            standbys = list(pool.map(lambda name: servers.add_standby(name, primary), ("pg2", "pg3")))
        for standby in standbys:
            standby.wait_streaming(primary)
        servers.nodes = dict(sorted(servers.nodes.items()))
        yield servers


def spec_of(servers: Servers, **more: object) -> ClusterSpec:
    return parse(config_text(servers, "orders", **more).encode(), servers.home / "pgvigil.yaml").clusters[0]


def check(spec: ClusterSpec) -> list[CheckItem]:
    async def look() -> list[CheckItem]:
        nodes = {node.name: node_ports(node) for node in spec.nodes}
        try:
            return await check_cluster(spec, nodes, NetworkPinger(), SystemClock())
        finally:
            for ports in nodes.values():
                if ports.shell:
                    ports.shell.close()

    return asyncio.run(look())


def with_node(spec: ClusterSpec, name: NodeName, **changes: Any) -> ClusterSpec:
    nodes = (replace(node, **changes) if node.name == name else node for node in spec.nodes)
    return replace(spec, nodes=tuple(nodes))


def with_login(spec: ClusterSpec, **changes: str) -> ClusterSpec:
    def changed(node: NodeSpec) -> NodeSpec:
        return replace(node, conninfo=tuple({**dict(node.conninfo), **changes}.items()))

    return replace(spec, nodes=tuple(changed(node) for node in spec.nodes))


def assert_found(items: list[CheckItem], level: CheckLevel, place: str, what: str, fix: str = "") -> None:
    for item in items:
        if item.level is level and item.place == place and what in item.what and fix in item.fix:
            assert level is OK or item.fix
            return
    told = "\n".join(f"{item.level} {item.place}: {item.what} → {item.fix}" for item in items)
    pytest.fail(f"no {level} at {place} with {what!r} → {fix!r} among:\n{told}", pytrace=False)


@contextlib.contextmanager
def setting(server: Server, name: str, value: str) -> Iterator[None]:
    before = server.sql(f"SELECT current_setting('{name}')")[0][0]

    def put(text: str) -> None:
        quoted = text.replace("'", "''")
        run_sql(server, [f"ALTER SYSTEM SET {name} = '{quoted}'", "SELECT pg_reload_conf()"])

    put(value)
    try:
        yield
    finally:
        put(before)


# a healthy cluster


def test_a_healthy_trio_has_no_error_and_every_area_speaks(trio: Servers) -> None:
    items = check(spec_of(trio))
    assert not [item for item in items if item.level is ERROR]
    assert_found(items, OK, "orders/pg1", "primary on timeline 1")
    assert_found(items, OK, "orders", "pg1 is the primary, with 2 of 2 standbys")
    for node in ("orders/pg2", "orders/pg3"):
        assert_found(items, OK, node, "streams from pg1")
        assert_found(items, OK, node, "shell: local")
    assert_found(items, OK, "orders", "gets in from pg1, pg2 and pg3")
    assert_found(items, OK, "orders", "rights:")
    assert_found(items, OK, "orders", "slots:")
    assert_found(items, WARNING, "orders", "pg1, pg2 and pg3 are on one host")
    assert_found(items, WARNING, "orders", "every node: fsync is off", "ALTER SYSTEM SET fsync = on")
    assert_found(items, WARNING, "orders", "clients on its side could still write", "fencing:")
    assert_found(items, ADVICE, "orders", "no reference_targets")


# S0-01
def test_check_changes_nothing(trio: Servers) -> None:
    def state() -> list[object]:
        settings = "SELECT name, setting FROM pg_settings WHERE source = 'configuration file' ORDER BY 1"
        slots = "SELECT slot_name, slot_type, active FROM pg_replication_slots ORDER BY 1"
        texts = [(s.data_dir / "postgresql.auto.conf").read_text() for s in trio.nodes.values()]
        return [[s.sql(q) for s in trio.nodes.values() for q in (settings, slots)], texts]

    before = state()
    check(spec_of(trio))
    assert state() == before


# faults of the configuration: no server is touched

CONFIGURED: dict[str, tuple[Change, CheckLevel, str, str, str]] = {
    "wrong port": (
        lambda spec: with_node(spec, PG3, port=1),
        ERROR,
        "orders/pg3",
        "no server listens on",
        "correct port",
    ),
    "wrong data directory": (
        lambda spec: with_node(spec, PG2, data_dir="/var"),
        ERROR,
        "orders/pg2",
        "data_dir is /var, but the server uses",
        "data_dir:",
    ),
    "wrong program directory": (
        lambda spec: with_node(spec, PG2, bin_dir="/nowhere/bin"),
        ERROR,
        "orders/pg2",
        "no program directory /nowhere/bin",
        "pg_config",
    ),
    "incomplete program directory": (
        lambda spec: with_node(spec, PG2, bin_dir="/usr"),
        ERROR,
        "orders/pg2",
        "pg_rewind",
        "install",
    ),
    "no shell": (
        lambda spec: with_node(spec, PG2, shell=None),
        WARNING,
        "orders/pg2",
        "no shell",
        "via: ssh",
    ),
    "no shell, and the standby notices late": (
        lambda spec: with_node(spec, PG2, shell=None),
        WARNING,
        "orders/pg2",
        "only after 60 s",
        "wal_receiver_timeout",
    ),
    "broken shell": (
        lambda spec: with_node(spec, PG2, shell=CommandShell(("false",))),
        ERROR,
        "orders/pg2",
        "no shell on",
        "",
    ),
    "unknown database": (
        lambda spec: with_login(spec, dbname="nowhere"),
        ERROR,
        "orders",
        "there is no database nowhere",
        "dbname",
    ),
    "unknown role": (
        lambda spec: with_login(spec, user="nobody_here"),
        ERROR,
        "orders/pg1",
        "the password of nobody_here is wrong or missing",
        "nobody_here:PASSWORD",
    ),
    "missing passfile of ours": (
        lambda spec: with_login(spec, passfile="/nowhere/pgpass"),
        WARNING,
        "orders",
        "/nowhere/pgpass cannot be read",
        "passfile",
    ),
    "missing passfile on the nodes": (
        lambda spec: replace(
            spec, replication=replace(spec.replication, conninfo=(("user", "replicator"), ("passfile", "/x")))
        ),
        ERROR,
        "orders",
        "its password file for replication is missing: /x",
        "0600",
    ),
    "nobody named for replication": (
        lambda spec: replace(spec, replication=replace(spec.replication, conninfo=(("user", "stranger"),))),
        ERROR,
        "orders",
        "there is no role stranger",
        "CREATE ROLE stranger LOGIN REPLICATION",
    ),
    "silent reference target": (
        lambda spec: replace(spec, references=("no-such-host.invalid:53",)),
        WARNING,
        "orders",
        "reference target no-such-host.invalid:53 does not answer",
        "reference_targets",
    ),
    "nobody may be promoted": (
        lambda spec: with_node(with_node(spec, PG2, priority=0), PG3, priority=0),
        ERROR,
        "orders",
        "no standby may be promoted",
        "priority",
    ),
    "one standby only": (
        lambda spec: replace(spec, nodes=spec.nodes[:2]),
        ADVICE,
        "orders",
        "only one standby",
        "third host",
    ),
}


@pytest.mark.parametrize("fault", CONFIGURED)
def test_fault_of_the_configuration_is_told(trio: Servers, fault: str) -> None:
    change, level, place, what, fix = CONFIGURED[fault]
    assert_found(check(change(spec_of(trio))), level, place, what, fix)


def test_a_human_decides_instead_of_a_promotion_beside_an_unfenced_primary(trio: Servers) -> None:
    spec = spec_of(trio)
    waiting = replace(spec, fencing=replace(spec.fencing, unreachable=WhenUnreachable.WAIT))
    assert not [item for item in check(waiting) if "could still write" in item.what]


def test_wrong_password_and_open_passfile(trio: Servers, tmp_path: Path) -> None:
    passfile = tmp_path / "pgpass"
    passfile.write_text("*:*:*:pgvigil:wrong\n")
    passfile.chmod(0o600)
    wrong = check(with_login(spec_of(trio), passfile=str(passfile)))
    for node in trio.nodes:
        assert_found(
            wrong, ERROR, f"orders/{node}", "the password of pgvigil is wrong or missing", str(passfile)
        )
    assert_found(wrong, ERROR, "orders", "no node answers")
    passfile.chmod(0o644)
    opened = check(with_login(spec_of(trio), passfile=str(passfile)))
    assert_found(opened, ERROR, "orders", "open to others (mode 0644)", f"chmod 0600 {passfile}")


# S3-03
def test_shell_of_another_user_than_the_data_directory(trio: Servers) -> None:
    if not trio.account.switch:
        pytest.skip("only root can be somebody else")
    items = check(spec_of(trio, shell={"via": "local"}))
    assert_found(
        items, ERROR, "orders", "its shell is root, but the data directory belongs to", "shell: {user:"
    )


def test_systemd_clock_and_sudo_are_asked_through_the_shell(trio: Servers, tmp_path: Path) -> None:
    programs = {
        "systemctl": "echo LoadState=${LOADED:-loaded}; echo Restart=always",
        "sudo": "exit 1",
        "date": "echo 1000000000.5",
    }
    for name, line in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)

    def spec(*environment: str, control: Systemd | PgCtl) -> ClusterSpec:
        command = ("env", f"PATH={tmp_path}:/usr/bin:/bin", *environment, "sh")
        return with_node(spec_of(trio), PG2, shell=CommandShell(command), control=control)

    items = check(spec(control=Systemd("postgresql@15-main", sudo=True)))
    assert_found(items, ERROR, "orders/pg2", "may not stop, start and restart postgresql@15-main", "NOPASSWD")
    assert_found(items, ADVICE, "orders/pg2", "Restart=always")
    assert_found(items, WARNING, "orders/pg2", "behind the controller's", "NTP")
    unknown = check(spec("LOADED=not-found", control=Systemd("nothing")))
    assert_found(
        unknown, ERROR, "orders/pg2", "systemd knows no unit nothing (not-found)", "control: systemd:"
    )


# faults of the servers, put right again


def test_login_with_few_rights_is_told_each_missing_right(trio: Servers, tmp_path: Path) -> None:
    passfile = tmp_path / "pgpass"
    passfile.write_text("*:*:*:weak:w\n")
    passfile.chmod(0o600)
    primary = trio.nodes["pg1"]
    run_sql(primary, ["CREATE ROLE weak LOGIN PASSWORD 'w'"])
    for name in ("pg2", "pg3"):
        trio.nodes[name].wait_streaming(primary)
    try:
        spec = with_login(spec_of(trio), user="weak", passfile=str(passfile))
        items = check(spec)
        assert_found(items, ERROR, "orders", "weak may not look", "GRANT pg_monitor TO weak;")
        assert_found(
            items, ADVICE, "orders", "weak may not promote", "GRANT EXECUTE ON FUNCTION pg_catalog.pg_promote"
        )
        assert_found(items, ADVICE, "orders", "weak may not reload")
        assert_found(items, ADVICE, "orders", "weak may not point standbys")
        assert_found(
            items, WARNING, "orders", "weak may not make replication slots", "ALTER ROLE weak REPLICATION"
        )
        bare = replace(spec, nodes=tuple(replace(node, shell=None) for node in spec.nodes))
        assert_found(check(bare), ERROR, "orders", "weak may not promote, and no shell can do it")
        major = int(primary.sql("SHOW server_version_num")[0][0]) // 10000
        grants = ["GRANT pg_monitor, pg_signal_backend TO weak", "ALTER ROLE weak REPLICATION"]
        grants += ["GRANT EXECUTE ON FUNCTION pg_promote(boolean, integer), pg_reload_conf() TO weak"]
        if major >= 15:
            grants += ["GRANT pg_checkpoint TO weak"]
            grants += ["GRANT ALTER SYSTEM ON PARAMETER primary_conninfo, primary_slot_name TO weak"]
        run_sql(primary, grants)
        if major >= 15:
            assert_found(check(spec), OK, "orders", "rights: weak may do all that a failover takes")
    finally:
        run_sql(primary, ["DROP OWNED BY weak", "DROP ROLE weak"])


def test_pg_rewind_needs_rights_of_its_own(trio: Servers) -> None:
    items = check(spec_of(trio))
    superuser = trio.nodes["pg1"].sql("SELECT rolsuper FROM pg_roles WHERE rolname = 'replicator'")[0][0]
    denied = [item for item in items if "pg_rewind cannot work" in item.what and "may not call" in item.what]
    granted = trio.nodes["pg1"].sql(
        "SELECT has_function_privilege('replicator', 'pg_read_binary_file(text)', 'execute')"
    )[0][0]
    assert bool(denied) is not (superuser or granted)
    primary = trio.nodes["pg1"]
    run_sql(primary, ["REVOKE EXECUTE ON FUNCTION pg_read_binary_file(text) FROM replicator"])
    if not superuser:
        assert_found(check(spec_of(trio)), WARNING, "orders", "replicator may not call", "TO replicator;")
    if granted:
        run_sql(primary, ["GRANT EXECUTE ON FUNCTION pg_read_binary_file(text) TO replicator"])


# S3-08
def test_password_in_primary_conninfo(trio: Servers) -> None:
    standby = trio.nodes["pg2"]
    own = standby.sql("SHOW primary_conninfo")[0][0]
    with setting(standby, "primary_conninfo", f"{own} password=secret"):
        items = check(spec_of(trio))
    assert_found(items, WARNING, "orders/pg2", "a password stands in primary_conninfo", "pgvigil follow pg2")
    assert "secret" not in str(items)


def test_synchronous_commit_and_names(trio: Servers) -> None:
    primary = trio.nodes["pg1"]
    run_sql(primary, ["ALTER ROLE replicator SET synchronous_commit = off"])
    try:
        items = check(spec_of(trio))
        fix = "ALTER ROLE replicator RESET synchronous_commit;"
        assert_found(items, WARNING, "orders", "synchronous_commit is off for role replicator", fix)
        run_sql(primary, ["ALTER ROLE replicator SET synchronous_commit = local"])
        assert not [item for item in check(spec_of(trio)) if "synchronous_commit" in item.what]
        with setting(primary, "synchronous_standby_names", "ANY 1 (pg2, pg3)"):
            items = check(spec_of(trio))
        assert_found(items, WARNING, "orders/pg1", "synchronous_standby_names is 'ANY 1 (pg2, pg3)'")
        assert_found(items, WARNING, "orders", "synchronous_commit is local for role replicator")
        assert_found(items, ADVICE, "orders", "synchronous_standby_names is empty on pg2, pg3")
    finally:
        run_sql(primary, ["ALTER ROLE replicator RESET synchronous_commit"])


QUORUM: dict[str, object] = {"protection": "quorum"}


def test_a_quorum_says_what_it_promises_and_what_may_be_lost(trio: Servers) -> None:
    items = check(spec_of(trio, **QUORUM))
    assert_found(items, OK, "orders", "any 1 of pg2 and pg3; but any session may lower synchronous_commit")
    assert_found(items, ERROR, "orders", "every node: fsync is off", "ALTER SYSTEM SET fsync = on")
    assert_found(items, ADVICE, "orders", "each commit is on one standby only", "with a third standby")
    assert not [item for item in items if "clients on its side could still write" in item.what]
    strict = spec_of(trio, **QUORUM, sync_required=2, degrade=False)
    assert_found(check(strict), WARNING, "orders", "one that is away stops all writes", "degrade: true")
    waiting = spec_of(trio, **QUORUM, failover={"unreachable_after": "5s"}, fencing={"unreachable": "wait"})
    assert_found(check(waiting), ADVICE, "orders", "has no meaning with protection: quorum", "remove it")
    nodes = yaml.safe_load(config_text(trio))["clusters"]["demo"]["nodes"]
    nodes["pg3"]["tags"] = ["never_sync"]
    with pytest.raises(ConfigError, match="never_sync"):
        spec_of(trio, **QUORUM, sync_required=2, nodes=nodes)
    del nodes["pg3"]
    assert_found(check(spec_of(trio, **QUORUM, nodes=nodes)), ADVICE, "orders", "only one standby can")


def test_whatever_keeps_commits_from_waiting_is_an_error_of_a_quorum(trio: Servers) -> None:
    primary, spec = trio.nodes["pg1"], spec_of(trio, **QUORUM)
    lowered = {
        "ROLE replicator": "role replicator",
        "ROLE ALL": "all roles",
        "DATABASE postgres": "database postgres",
        "ROLE replicator IN DATABASE postgres": "role replicator in database postgres",
    }
    try:
        run_sql(primary, [f"ALTER {target} SET synchronous_commit = local" for target in lowered])
        items = check(spec)
        for target, whose in lowered.items():
            what = f"synchronous_commit is local for {whose}: commits are acknowledged before any standby"
            assert_found(items, ERROR, "orders", what, f"ALTER {target} RESET synchronous_commit;")
    finally:
        run_sql(primary, [f"ALTER {target} RESET synchronous_commit" for target in lowered])
    with setting(primary, "synchronous_commit", "remote_write"):
        what, fix = (
            "is remote_write for the server: commits are ack",
            "ALTER SYSTEM SET synchronous_commit = on",
        )
        assert_found(check(spec), ERROR, "orders/pg1", what, fix)
    with setting(primary, "full_page_writes", "off"):
        assert_found(check(spec), ERROR, "orders/pg1", "full_page_writes is off")
    with setting(primary, "synchronous_standby_names", "FIRST 1 (pg3)"):
        assert_found(check(spec), ADVICE, "orders/pg1", "is 'FIRST 1 (pg3)': pgvigil run takes it over")
    with setting(primary, "synchronous_standby_names", 'ANY 1 ("pg2", "pg3")'):
        assert not [item for item in check(spec) if "takes it over" in item.what]


def test_who_cannot_acknowledge_is_told_in_a_quorum(trio: Servers) -> None:
    primary, standby, spec = trio.nodes["pg1"], trio.nodes["pg2"], spec_of(trio, **QUORUM)
    own = str(standby.sql("SHOW primary_conninfo")[0][0])

    def streams_as(*names: str) -> Callable[[], bool]:
        sql = "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming' ORDER BY 1"
        return lambda: [row[0] for row in primary.sql(sql)] == sorted(names)

    called = own.replace("application_name=pg2", "application_name=walreceiver")
    with setting(standby, "primary_conninfo", called):
        wait_until(streams_as("walreceiver", "pg3"), within_s=10, what="streaming under another name")
        fix = "pgvigil run sees to it; or by hand: pgvigil follow orders pg2 pg1"
        items = check(spec)
        assert_found(items, ADVICE, "orders/pg2", "streams as 'walreceiver', not as pg2", fix)
        assert not [item for item in check(spec_of(trio)) if "walreceiver" in item.what]
    with setting(standby, "primary_conninfo", own.replace("application_name=pg2", "application_name=PG3")):
        wait_until(streams_as("PG3", "pg3"), within_s=10, what="streaming under the other's name")
        assert_found(check(spec), ERROR, "orders", "2 programs stream from pg1 as pg3: each counts as it")
    with setting(standby, "primary_conninfo", ""):
        wait_until(streams_as("pg3"), within_s=10, what="one standby")
        required = spec_of(trio, **QUORUM, sync_required=2)
        what = "for 2 of pg2 and pg3, but 1 stream from the primary: they will wait for 1"
        assert_found(check(required), ERROR, "orders", what, "bring back pg2; or sync_required: 1")
        what = "but 1 stream from the primary: every commit will stand still"
        assert_found(check(replace(required, degrade=False)), ERROR, "orders", what, "degrade: true")
    wait_until(streams_as("pg2", "pg3"), within_s=10, what="both standbys")


def test_login_without_the_rights_of_a_quorum(trio: Servers, tmp_path: Path) -> None:
    passfile = tmp_path / "pgpass"
    passfile.write_text("*:*:*:weak:w\n")
    passfile.chmod(0o600)
    primary = trio.nodes["pg1"]
    run_sql(primary, ["CREATE ROLE weak LOGIN PASSWORD 'w'"])
    for name in ("pg2", "pg3"):
        trio.nodes[name].wait_streaming(primary)
    (function,) = primary.sql(
        "SELECT oid::regprocedure::text FROM pg_proc WHERE proname = 'pg_logical_emit_message' "
        "AND prosrc = 'pg_logical_emit_message_text'"
    )[0]
    (end,) = primary.sql("SELECT 'pg_terminate_backend'::regproc::regprocedure::text")[0]
    try:
        spec = with_login(spec_of(trio, **QUORUM), user="weak", passfile=str(passfile))
        run_sql(primary, [f"REVOKE EXECUTE ON FUNCTION {name} FROM PUBLIC" for name in (function, end)])
        items = check(spec)
        assert_found(items, ADVICE, "orders", "weak may not set who commits wait for")
        assert_found(items, ERROR, "orders", "weak may not see what sessions wait for", "GRANT pg_monitor")
        assert_found(items, ERROR, "orders", "weak may not write a commit of its own", "pg_logical_emit")
        assert_found(items, WARNING, "orders", "weak may not end a session of its own", "pg_terminate")
        run_sql(primary, [item.fix for item in items if "a commit of its own" in item.what])
        run_sql(primary, [item.fix for item in items if "end a session of its own" in item.what])
        bare = replace(spec, nodes=tuple(replace(node, shell=None) for node in spec.nodes))
        items = check(bare)
        assert_found(items, ERROR, "orders", "weak may not set who commits wait for")
        assert not [item for item in items if "of its own" in item.what]
    finally:
        run_sql(primary, [f"GRANT EXECUTE ON FUNCTION {name} TO PUBLIC" for name in (function, end)])
        run_sql(primary, ["DROP OWNED BY weak", "DROP ROLE weak"])


def test_slots_missing_idle_and_holding_wal(trio: Servers) -> None:
    primary, standby = trio.nodes["pg1"], trio.nodes["pg2"]
    run_sql(
        primary, ["SELECT pg_create_physical_replication_slot('forgotten', true)", "SELECT pg_switch_wal()"]
    )
    try:
        with setting(standby, "primary_slot_name", ""):
            standby.wait_streaming(primary)
            items = check(spec_of(trio))
    finally:
        run_sql(primary, ["SELECT pg_drop_replication_slot('forgotten')"])
    standby.wait_streaming(primary)
    fix = "ALTER SYSTEM SET primary_slot_name = 'pg2'"
    assert_found(items, WARNING, "orders/pg2", "streams from pg1 without a slot", fix)
    fix = "pg_drop_replication_slot('forgotten')"
    assert_found(items, WARNING, "orders/pg1", "slot forgotten is used by nobody and holds", fix)


def test_delayed_standby(trio: Servers) -> None:
    with setting(trio.nodes["pg3"], "recovery_min_apply_delay", "1h"):
        items = check(spec_of(trio))
    assert_found(items, ADVICE, "orders/pg3", "replays with a delay", "never_promote")


def test_standbys_that_pg_hba_does_not_let_in(trio: Servers) -> None:
    primary = trio.nodes["pg1"]
    hba = primary.data_dir / "pg_hba.conf"
    before = hba.read_text()
    hba.write_text(before.replace("host    replication", "# host    replication"))
    run_sql(primary, ["SELECT pg_reload_conf()"])
    try:
        items = check(spec_of(trio))
    finally:
        hba.write_text(before)
        run_sql(primary, ["SELECT pg_reload_conf()"])
    fix = "host replication replicator 127.0.0.1/32 scram-sha-256"
    assert_found(
        items, ERROR, "orders", "pg2 and pg3: it cannot stream from pg1 as replicator: no pg_hba", fix
    )


# faults that need servers of their own


def test_settings_that_do_not_bear_a_failover(servers: Servers, binaries: Binaries) -> None:
    primary = servers.make_primary(
        "pg1",
        wal_log_hints=False,
        max_wal_senders=2,
        wal_keep_size=0,
        full_page_writes=False,
        max_replication_slots=1,
    )
    servers.add_standby("pg2", primary).wait_streaming(primary)
    items = check(spec_of(servers))
    assert_found(
        items, WARNING, "orders/pg1", "max_wal_senders is 2", "ALTER SYSTEM SET max_wal_senders = 10"
    )
    assert_found(items, ADVICE, "orders/pg1", "wal_keep_size is 0", "1GB")
    assert_found(items, WARNING, "orders/pg1", "full_page_writes is off")
    assert_found(items, WARNING, "orders", "max_wal_senders differs (2 on pg1, 10 on pg2)")
    if binaries.major < 18:  # later ones have checksums
        assert_found(items, WARNING, "orders/pg1", "neither wal_log_hints nor data checksums")
    three = with_node(spec_of(servers), PG2, port=1)
    third = replace(three.node(PG2), name=PG3, port=2)
    items = check(replace(three, nodes=(*three.nodes, third)))
    assert_found(
        items, ERROR, "orders/pg1", "max_replication_slots is 1: as primary it needs one for each of 2"
    )


def test_foreign_server_second_primary_and_stopped_standby(servers: Servers) -> None:
    primary = servers.make_primary("pg1")
    standby = servers.add_standby("pg2", primary)
    standby.wait_streaming(primary)
    servers.make_primary("pg3", own_system_id=True)
    items = check(spec_of(servers))
    assert_found(items, ERROR, "orders/pg3", "belongs to another cluster", "correct host")
    servers.nodes["pg3"].stop()
    del servers.nodes["pg3"]
    servers.make_primary("pg4")
    items = check(spec_of(servers))
    assert_found(items, ERROR, "orders", "two nodes take writes: pg1 (timeline 1) and pg4 (timeline 1)")
    servers.nodes["pg4"].stop()
    del servers.nodes["pg4"]
    primary.stop()
    items = check(spec_of(servers))
    assert_found(items, ERROR, "orders/pg1", "no server listens", "start it on pg1")
    assert_found(items, ERROR, "orders", "no node takes writes", "start the primary")
    assert_found(items, ERROR, "orders/pg2", "it does not stream")


def test_a_hung_server_delays_nobody(trio: Servers) -> None:
    hung = trio.nodes["pg3"]
    hung.freeze()
    try:
        begun = time.monotonic()
        items = check(spec_of(trio))
        took = time.monotonic() - begun
    finally:
        hung.thaw()
    assert_found(items, ERROR, "orders/pg3", "says nothing")
    assert_found(items, OK, "orders/pg2", "streams from pg1")
    assert took < 20
