"""What users write, and what they are told when it is wrong."""

import os
import textwrap
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pgvigil.config.advice import WAYS_TO_LOG_IN
from pgvigil.config.load import Config, find, load, parse
from pgvigil.config.schema import LogFormat, LogLevel
from pgvigil.errors import ConfigError
from pgvigil.model.face import HttpSpec
from pgvigil.model.shell import CommandShell, LocalShell, ShellSpec, SshShell
from pgvigil.model.spec import (
    AfterCrash,
    ClusterSpec,
    Control,
    FailoverPolicy,
    Fencing,
    Hooks,
    NodeSpec,
    OwnCommands,
    PgCtl,
    PgCtlCluster,
    Protection,
    Rate,
    Replication,
    Systemd,
    Tag,
    Timings,
    WhenUnreachable,
    WitnessSpec,
)
from pgvigil.model.units import ClusterName, NodeName

FILE = Path("/etc/pgvigil/pgvigil.yaml")
ENV = {"HOME": "/home/ann"}
SMALLEST = "clusters: {orders: {nodes: {pg1: 10.0.0.11}}}"


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")


def read(text: str, **env: str) -> Config:
    return parse(textwrap.dedent(text).encode(), FILE, ENV | env)


def orders(text: str) -> ClusterSpec:
    return read(text).cluster(ClusterName("orders"))


def wrong(text: str | bytes) -> list[str]:
    """Each mistake as its line number, place and message."""
    raw = text if isinstance(text, bytes) else textwrap.dedent(text).lstrip("\n").encode()
    with pytest.raises(ConfigError) as refusal:
        parse(raw, FILE, ENV)
    assert refusal.value.hint
    lines = refusal.value.detail.splitlines()
    assert all(line.startswith(f"{FILE}:") for line in lines)
    return [line.removeprefix(f"{FILE}:") for line in lines]


# What is accepted


# S4-10
def test_every_default_in_one_place() -> None:
    """A change of a default is a change of this test, and of the documentation."""
    s, ms = timedelta(seconds=1), timedelta(milliseconds=1)
    assert read(SMALLEST) == Config(
        file=FILE,
        clusters=(
            ClusterSpec(
                name=ClusterName("orders"),
                nodes=(
                    NodeSpec(
                        name=NodeName("pg1"),
                        host="10.0.0.11",
                        port=5432,
                        conninfo=(("dbname", "postgres"),),
                        password_command="",
                        data_dir="",
                        bin_dir="",
                        config_file="",
                        control=PgCtl(""),
                        shell=None,
                        priority=100,
                        location="",
                        tags=frozenset(),
                    ),
                ),
                protection=Protection.ASYNC,
                replication=Replication(conninfo=(), slots=True),
                timings=Timings(
                    probe_interval=500 * ms,
                    suspect_after=250 * ms,
                    probe_timeout=5 * s,
                    connect_timeout=2 * s,
                    shell_timeout=1 * s,
                    unreachable_after=3 * s,
                    hung_after=5 * s,
                    restart_grace=5 * s,
                ),
                failover=FailoverPolicy(
                    automatic=True,
                    after_crash=AfterCrash.FAILOVER,
                    max_lag_bytes=16 * 1024 * 1024,
                    max_per=Rate(3, timedelta(minutes=15)),
                    rescue_max_bytes=256 * 1024 * 1024,
                    rescue_timeout=10 * s,
                    auto_rejoin=True,
                ),
                fencing=Fencing(WhenUnreachable.PROMOTE, "", 30 * s),
                references=(),
                hooks=Hooks(timeout=10 * s),
                keep_old_data=False,
            ),
        ),
        state_dir=Path("/home/ann/.local/state/pgvigil"),
        socket=Path("/home/ann/.local/state/pgvigil/pgvigil.sock"),
        log_format=LogFormat.TEXT,
        log_level=LogLevel.INFO,
        http=HttpSpec(),
        notify={ClusterName("orders"): ()},
    )


DESIGN = """
clusters:
  orders:
    nodes:
      pg1: {host: 10.0.0.11}
      pg2: {host: 10.0.0.12, priority: 200}
      pg3: {host: 10.0.0.13, tags: [never_promote]}
    postgres:                       # libpq keywords; no password here
      user: pgvigil
      port: 5432
      passfile: ~/.pgpass
      data_dir: /var/lib/postgresql/16/main
      bin_dir: /usr/lib/postgresql/16/bin
      control: systemd:postgresql@16-main
    replication: {user: replicator, slots: true}
    shell: {via: ssh, user: postgres, key: ~/.ssh/id_ed25519, known_hosts: ~/.ssh/known_hosts}
    protection: async
    failover: {automatic: true, unreachable_after: 3s, hung_after: 5s, max_lag: 16MB, after_crash: failover, max_per: 3 in 15min}
    fencing: {unreachable: promote}
"""  # noqa: E501  # as in the design


def test_the_example_of_the_design() -> None:
    cluster = orders(DESIGN)
    pg1, pg2, pg3 = cluster.nodes
    assert pg1 == NodeSpec(
        NodeName("pg1"),
        "10.0.0.11",
        5432,
        (("user", "pgvigil"), ("passfile", "/home/ann/.pgpass"), ("dbname", "postgres")),
        data_dir="/var/lib/postgresql/16/main",
        bin_dir="/usr/lib/postgresql/16/bin",
        control=Systemd("postgresql@16-main"),
        shell=SshShell(
            "10.0.0.11", "postgres", 0, ("/home/ann/.ssh/id_ed25519",), "/home/ann/.ssh/known_hosts"
        ),
    )
    assert (pg2.priority, pg3.tags) == (200, frozenset({Tag.NEVER_PROMOTE}))
    assert cluster.replication == Replication((("user", "replicator"),), slots=True)


def test_a_node_may_differ_in_any_key() -> None:
    cluster = orders(
        """
        clusters:
          orders:
            postgres: {user: pgvigil, port: 5433, data_dir: /srv/pg, sslmode: verify-full}
            shell: {via: ssh, user: postgres, key: /k1, port: 2222}
            nodes:
              pg1: db1
              pg2: {host: db2, port: 5434, control: pg_ctlcluster:16/main, location: Bonn,
                    postgres: {data_dir: /data, dbname: app}, shell: {host: adm2, keys: [/k2, ~/k3]}}
              pg3: {host: db3, shell: none}
              pg4: {host: db4, shell: {via: local}}
        """
    )
    pg1, pg2, pg3, pg4 = cluster.nodes
    assert (pg1.host, pg1.port, pg1.data_dir) == ("db1", 5433, "/srv/pg")
    assert pg1.shell == SshShell("db1", "postgres", 2222, ("/k1",))
    assert (pg2.port, pg2.data_dir, pg2.location) == (5434, "/data", "Bonn")
    assert pg2.control == PgCtlCluster("16", "main")
    assert dict(pg2.conninfo) == {"user": "pgvigil", "sslmode": "verify-full", "dbname": "app"}
    assert pg2.shell == SshShell("adm2", "postgres", 2222, ("/k2", "/home/ann/k3"))
    assert (pg3.shell, pg4.shell) == (None, LocalShell())
    assert cluster.replication == Replication((("user", "pgvigil"),))


# S4-01
def test_defaults_lie_below_every_cluster() -> None:
    config = read(
        """
        reference_targets: [10.0.0.1]
        hooks: {on_event: logger}
        defaults:
          postgres: {user: watcher, port: 6000}
          shell: {user: pg}
          failover: {unreachable_after: 1s, rescue: {max: 1GB}}
          replication: {sslmode: require}
        clusters:
          a:
            nodes: {a1: h1}
            failover: {hung_after: 2s, rescue: {timeout: 1s}}
            postgres: {port: 7000}
            reference_targets: []
          b:
            nodes: {b1: {host: h2, postgres: {user: other}}}
            hooks: {timeout: 1min}
        """
    )
    a, b = config.clusters
    assert (a.nodes[0].port, dict(a.nodes[0].conninfo)["user"]) == (7000, "watcher")
    assert (b.nodes[0].port, dict(b.nodes[0].conninfo)["user"]) == (6000, "other")
    assert a.nodes[0].shell == SshShell("h1", "pg")
    assert (a.timings.unreachable_after, a.timings.hung_after) == (timedelta(seconds=1), timedelta(seconds=2))
    assert (a.failover.rescue_max_bytes, a.failover.rescue_timeout) == (2**30, timedelta(seconds=1))
    assert (a.references, b.references) == ((), ("10.0.0.1",))
    assert b.hooks == Hooks(("logger",), timeout=timedelta(minutes=1))
    assert dict(b.replication.conninfo) == {"user": "watcher", "sslmode": "require"}


# S0-16
@pytest.mark.parametrize(
    ("written", "control"),
    [
        ("pg_ctl", PgCtl()),
        ("{pg_ctl: true, options: '-o -p5'}", PgCtl("-o -p5")),
        ("systemd:postgresql@16-main", Systemd("postgresql@16-main")),
        ("{systemd: postgresql, sudo: true}", Systemd("postgresql", sudo=True)),
        ("pg_ctlcluster:9.6/main", PgCtlCluster("9.6", "main")),
        ("{start: run up, stop: run down}", OwnCommands("run up", "run down")),
        ("{start: u, stop: d, reload: r}", OwnCommands("u", "d", "r")),
    ],
)
@pytest.mark.parametrize("where", ["{control: %s, host: h}", "{postgres: {control: %s}, host: h}"])
def test_ways_to_start_and_stop(written: str, control: Control, where: str) -> None:
    node = where.replace("%s", written)
    base = "defaults: {postgres: {control: {start: a, stop: b, reload: c}}}\n"
    assert orders(f"{base}clusters: {{orders: {{nodes: {{pg1: {node}}}}}}}").nodes[0].control == control


@pytest.mark.parametrize(
    ("written", "shell"),
    [
        ("ssh", SshShell("h")),
        ("{}", SshShell("h")),
        ("none", None),
        ("local", LocalShell()),
        ("{via: local, user: postgres}", LocalShell("postgres")),
        ("{config: ssh_config}", SshShell("h", config="/etc/pgvigil/ssh_config")),
        (
            "{via: command, command: [kubectl, exec, -i, '{node}', --, sh]}",
            CommandShell(("kubectl", "exec", "-i", "pg1", "--", "sh")),
        ),
    ],
)
def test_ways_to_a_shell(written: str, shell: ShellSpec | None) -> None:
    text = f"clusters: {{orders: {{shell: {written}, nodes: {{pg1: h}}}}}}"
    assert orders(text).nodes[0].shell == shell


def test_a_cluster_says_via_and_its_nodes_the_command() -> None:
    text = "clusters: {orders: {shell: command, nodes: {pg1: {host: h, shell: {command: [nsenter, sh]}}}}}"
    assert orders(text).nodes[0].shell == CommandShell(("nsenter", "sh"))


def test_a_service_names_its_own_database() -> None:
    text = "clusters: {orders: {nodes: {pg1: h}, postgres: {service: orders, sslrootcert: system}}}"
    assert orders(text).nodes[0].conninfo == (("sslrootcert", "system"), ("service", "orders"))


def test_no_limit_to_failovers_and_a_grace_of_nothing() -> None:
    cluster = orders(
        "clusters: {orders: {nodes: {p: h}, failover: {max_per: none, restart_grace: 0s, rescue: {max: 0B}}}}"
    )
    assert cluster.failover.max_per is None
    assert cluster.timings.restart_grace == timedelta(0)
    assert cluster.failover.rescue_max_bytes == 0


def test_anchors_and_merge_keys() -> None:
    cluster = orders(
        """
        clusters:
          orders:
            nodes:
              pg1: &one {host: h1, priority: 7, location: here}
              pg2: {<<: *one, host: h2}
              pg3: {<<: *one, host: h3, priority: 8}
        """
    )
    assert [(n.host, n.priority, n.location) for n in cluster.nodes] == [
        ("h1", 7, "here"),
        ("h2", 7, "here"),
        ("h3", 8, "here"),
    ]


def test_sections_with_nothing_in_them_are_left_at_their_defaults() -> None:
    text = SMALLEST.replace("nodes", "postgres: , failover: {rescue: }, hooks: , nodes")
    assert read(f"{text}\ndefaults:\nlog:\n") == read(SMALLEST)


@pytest.mark.parametrize(
    ("line", "env", "state_dir", "socket"),
    [
        ("", {"XDG_STATE_HOME": "/x"}, "/x/pgvigil", "/x/pgvigil/pgvigil.sock"),
        ("", {"XDG_STATE_HOME": "x"}, "/home/ann/.local/state/pgvigil", None),
        ("", {"XDG_STATE_HOME": "/x", "STATE_DIRECTORY": "/var/lib/pgvigil:/b"}, "/var/lib/pgvigil", None),
        ("state_dir: /s", {"STATE_DIRECTORY": "/var/lib/pgvigil"}, "/s", "/s/pgvigil.sock"),
        ("state_dir: ~/s", {}, "/home/ann/s", None),
        ("state_dir: s", {}, "/etc/pgvigil/s", None),
        ("state_dir: /s\nsocket: /run/v.sock", {}, "/s", "/run/v.sock"),
    ],
)
def test_where_state_lives(line: str, env: dict[str, str], state_dir: str, socket: str | None) -> None:
    config = read(f"{SMALLEST}\n{line}", **env)
    assert config.state_dir == Path(state_dir)
    assert config.socket == Path(socket or f"{state_dir}/pgvigil.sock")


def test_the_log() -> None:
    config = read(f"{SMALLEST}\nlog: {{format: json, level: debug}}")
    assert (config.log_format, config.log_level) == (LogFormat.JSON, LogLevel.DEBUG)


# What is refused


def node(settings: str) -> str:
    return f"clusters: {{orders: {{nodes: {{pg1: {{host: h, {settings}}}}}}}}}"


BOUNCER = "{host: b.example, databases: [a], file: /f}"


def cluster_of(settings: str) -> str:
    return f"clusters: {{orders: {{nodes: {{pg1: h}}, {settings}}}}}"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        # unknown keys, with the nearest that is known
        ("clusterz: {}", "clusterz: unknown key; did you mean clusters?"),
        (cluster_of("failover: {unreachable: 3s}"), "unknown key; did you mean unreachable_after?"),
        (cluster_of("failover: {hung-after: 3s}"), "unknown key; did you mean hung_after?"),
        (cluster_of("unreachable_after: 3s"), "unknown key here; it belongs under failover:"),
        (cluster_of("failover: {suspect_after: 3s}"), "unknown key here; it belongs under probe:"),
        (cluster_of("state_dir: /x"), "unknown key here; it belongs at the top of the file"),
        (cluster_of("fencing: {zzz: 1}"), "unknown key; known here: unreachable, command, command_timeout"),
        (node("prio: 3"), "clusters.orders.nodes.pg1.prio: unknown key; did you mean priority?"),
        (node("nodes: {}"), "unknown key"),
        ("defaults: {nodes: {a: b}}", "defaults.nodes: unknown key here; it belongs under clusters:"),
        # refused on purpose, with the way out
        (cluster_of("postgres: {password: s3cret}"), "postgres.password: no password is kept in this file"),
        (cluster_of("replication: {password: s3cret}"), "Way out: passfile, a path on the nodes"),
        (node("postgres: {password: s3cret}"), "Ways out: passfile"),
        (cluster_of("shell: {passphrase: s3cret}"), "use ssh-agent"),
        (cluster_of("postgres: {host: a}"), "postgres.host: unknown key here; it belongs under nodes: or"),
        (cluster_of("postgres: {hostaddr: a}"), "a node has one address"),
        (cluster_of("postgres: {target_session_attrs: primary}"), "whatever its role"),
        (cluster_of("postgres: {connect_timeout: 3}"), "is probe.connect_timeout"),
        (
            cluster_of("protection: quorum"),
            "clusters.orders.protection: wants 1 of the other nodes to acknowledge",
        ),
        (cluster_of("sync_required: 1"), "goes with protection: quorum"),
        (cluster_of("endpoints: [{}]"), "endpoints.0: needs exactly one of haproxy, pgbouncer"),
        (
            cluster_of("endpoints: [{haproxy: {adress: /run/h}}]"),
            "endpoints.0.haproxy.adress: unknown key; did",
        ),
        (cluster_of("endpoints: [{haproxy: {address: here}}]"), "must be the path of a socket"),
        (cluster_of("endpoints: [{haproxy: {address: /a}}, {haproxy: {address: /b}}]"), "called haproxy"),
        (cluster_of(f"endpoints: [{{pgbouncer: {BOUNCER}}}]"), "endpoints.0.pgbouncer: needs shell"),
        (
            cluster_of("endpoints: [{pgbouncer: {host: /tmp, databases: {a: host=b}, file: /f}}]"),
            "pgvigil's to",
        ),
        (
            cluster_of("endpoints: [{pgbouncer: {host: /tmp, databases: [a], file: /f, pause_timeout: 1h}}]"),
            "must not be more than 50s",
        ),
        (
            "defaults: {endpoints: [{pgbouncer: {host: /tmp, databases: [a], file: /f}}]}\n"
            "clusters: {one: {nodes: {pg1: a}}, two: {nodes: {pg1: b}}}",
            "endpoints: has the same PgBouncer and file as one",
        ),
        (
            cluster_of("fencing: {guard: true, guard_lease: 2s}"),
            "fencing.guard_lease: must not be less than failover.unreachable_after (3s)",
        ),
        (
            cluster_of("fencing: {guard: true, guard_lease: 5s}, probe: {shell_timeout: 2s}"),
            "fencing.guard_lease: must not be less than three times probe.shell_timeout (6s)",
        ),
        # types
        ("[]", "must be a mapping"),
        ("clusters: []", "clusters: must be a mapping"),
        ("clusters: {}", "clusters: must not be empty"),
        ("clusters: {orders: {nodes: {}}}", "clusters.orders.nodes: must not be empty"),
        ("clusters: {orders: }", "clusters.orders.nodes: is missing"),
        ("clusters: {orders: {nodes: {pg1: }}}", "nodes.pg1.host: is missing"),
        ("clusters: {orders: {nodes: {pg1: 10}}}", "nodes.pg1: must be a mapping"),
        ("state_dir: /s", "clusters: is missing"),
        (node("port: '5432'"), "nodes.pg1.port: must be a whole number"),
        (node("port: 5432.5"), "nodes.pg1.port: must be a whole number"),
        (node("port: 0"), "nodes.pg1.port: must be greater than or equal to 1"),
        (node("port: 65536"), "nodes.pg1.port: must be less than or equal to 65535"),
        (node("port: true"), "nodes.pg1.port: must be a whole number"),
        (node("priority: -1"), "nodes.pg1.priority: must be greater than or equal to 0"),
        (node("tags: never_promote"), "nodes.pg1.tags: must be a list"),
        (node("tags: [never]"), "must be never_promote, never_sync, no_load_balance or clone_source"),
        (cluster_of("postgres: {user: 5}"), "postgres.user: must be text; put it in quotes"),
        (cluster_of("postgres: {user: }"), "postgres.user: has no value"),
        (cluster_of("postgres: {user: ''}"), "postgres.user: must not be empty"),
        (cluster_of('postgres: {user: "a\\nb"}'), "must be one line"),
        (cluster_of("shell: "), "orders.shell: has no value"),
        (cluster_of("postgres: []"), "orders.postgres: must be a mapping"),
        (cluster_of("postgres: {sslmode: on}"), "sslmode: must be disable, allow, prefer, require"),
        (cluster_of("protection: full"), "protection: must be async or quorum"),
        (cluster_of("failover: {automatic: 'yes'}"), "failover.automatic: must be true or false"),
        (cluster_of("failover: {automatic: 1}"), "failover.automatic: must be true or false"),
        (cluster_of("reference_targets: 10.0.0.1"), "reference_targets: must be a list"),
        # units
        (
            cluster_of("failover: {unreachable_after: 3}"),
            "unreachable_after: needs a unit (ms, s, min, h, d)",
        ),
        (cluster_of("failover: {unreachable_after: '3'}"), "unreachable_after: needs a unit"),
        (cluster_of("failover: {unreachable_after: 3m}"), "has no unit that is known"),
        (cluster_of("failover: {unreachable_after: soon}"), "must be a duration: a number and its unit"),
        (cluster_of("failover: {unreachable_after: -3s}"), "must be a duration"),
        (cluster_of("failover: {unreachable_after: }"), "must be a duration"),
        (cluster_of("failover: {unreachable_after: true}"), "must be a duration"),
        (cluster_of("failover: {unreachable_after: 0s}"), "must be more than 0"),
        (cluster_of("failover: {unreachable_after: 999999999999999d}"), "is more than a year"),
        (cluster_of("failover: {max_lag: 16}"), "max_lag: needs a unit (B, kB, MB, GB, TB)"),
        (cluster_of("failover: {max_lag: 16mb}"), "has no unit that is known"),
        (cluster_of("failover: {max_lag: 9999TB}"), "is more than 1024TB"),
        (cluster_of("failover: {max_per: 3}"), "must be a number of times in a duration"),
        (cluster_of("failover: {max_per: }"), "max_per: has no value"),
        (cluster_of("failover: {max_per: 3 in 15}"), "needs a unit"),
        (cluster_of("failover: {max_per: 0 in 15s}"), "never lets anything happen"),
        (f"etcd: [e1]\n{SMALLEST}", "etcd: is store: {kind: etcd, endpoints: […]}, at the top of the file"),
        (f"listen: 0.0.0.0:8009\n{SMALLEST}", "listen: unknown key here; it belongs under http:"),
        # names and addresses
        ("clusters: {'a b': {nodes: {pg1: h}}}", "clusters.a b: a name has letters"),
        ("clusters: {orders: {nodes: {'é': h}}}", "a name has letters"),
        ("clusters: {orders: {nodes: {on: h}}}", "nodes.on: is no text for YAML"),
        ("clusters: {orders: {nodes: {pg1: 'a:5432'}}}", "the port is a key of its own"),
        ("clusters: {orders: {nodes: {pg1: /tmp}}}", "must be a name or an address"),
        ("clusters: {orders: {nodes: {pg1: 'a,b'}}}", "must be one name or one address"),
        # ways to start, ways in
        (node("control: upstart"), "control: must be pg_ctl, systemd:UNIT"),
        (node("control: 'systemd:a b'"), "is no name of a systemd unit"),
        (node("control: 'systemd:'"), "control.systemd: must not be empty"),
        (node("control: 'pg_ctlcluster:main'"), "must name a Debian cluster as VERSION/NAME"),
        (node("control: {}"), "needs exactly one of pg_ctl"),
        (node("control: "), "control: has no value"),
        (node("control: {systemd: a, start: b, stop: c}"), "needs exactly one of pg_ctl"),
        (node("control: {start: b}"), "needs both start and stop"),
        (node("control: {start: a, stop: b, sudo: true}"), "sudo goes with systemd only"),
        (node("control: {systemd: a, options: x}"), "options goes with pg_ctl only"),
        (node("control: pg_ctl, postgres: {control: pg_ctl}"), "pg1.control: is given twice"),
        (node("port: 5432, postgres: {port: 5432}"), "pg1.port: is given twice"),
        (node("postgres: {data_dir: ~/data}"), "data_dir is a path on the node: write it in full"),
        (cluster_of("replication: {passfile: ~/.pgpass}"), "passfile is a path on the nodes"),
        (cluster_of("shell: {via: telnet}"), "shell.via: must be ssh, local, command or none"),
        (cluster_of("shell: {via: command}"), "via: command needs command:"),
        (cluster_of("shell: {via: command, command: []}"), "shell.command: must not be empty"),
        (cluster_of("shell: {via: command, command: sh}"), "shell.command: must be a list"),
        (cluster_of("shell: {via: local, key: /k}"), "orders.shell: key does not go with via: local"),
        (cluster_of("shell: {key: /k, keys: [/l]}"), "orders.shell: takes key or keys, not both"),
        (node("shell: {command: [sh]}"), "nodes.pg1.shell: command does not go with via: ssh"),
        # what must be true between keys
        (cluster_of("probe: {suspect_after: 3s}"), "must be more than probe.suspect_after (3s)"),
        (cluster_of("failover: {hung_after: 250ms}"), "must be more than probe.suspect_after (250ms)"),
        (cluster_of("failover: {unreachable_after: 400ms}"), "must not be less than probe.interval (500ms)"),
        (node("tags: [never_promote]"), "nodes: at least one must be allowed to be primary"),
        (node("priority: 0"), "nodes: at least one must be allowed to be primary"),
        ("clusters: {orders: {nodes: {a: h, b: H}}}", "nodes.b.host: is the same server as a: H:5432"),
        ("clusters: {orders: {nodes: {a.b: h, a-b: i}}}", "nodes.a-b: would have the same replication slot"),
        (f"state_dir: /{'s' * 100}\n{SMALLEST}", "state_dir: makes a socket path of more than 107 bytes"),
        (f"{SMALLEST}\nsocket: /{'s' * 107}", "socket: makes a socket path of more than 107 bytes"),
        # YAML
        (
            "clusters: {orders: {nodes: {a: h, a: i}}}",
            "orders.nodes.a: is there twice; the first is on line 1",
        ),
        ("a: [", "did not find expected node content"),
        ("a: b: c", "mapping values are not allowed"),
        ("a: *b", "an alias (*) without its anchor"),
        ("--- {}\n--- {}", "more than one document"),
        ("a: !secret x", "a tag (!) that is not known"),
        ("a: !!python/object/apply:os.system [x]", "a tag (!) that is not known"),
        ("{[a]: b}", "has a key that is a mapping or a list"),
        ("&a [*a]", "an anchor contains itself"),
        ("[" * 100 + "]" * 100, "nested too deep"),
        (b"a: \xff\xfe", "no text"),
        (b"a: \x00", "no text"),
    ],
)
def test_mistakes_are_told(text: str | bytes, complaint: str) -> None:
    said = wrong(text)
    assert any(complaint in line for line in said), said
    assert "s3cret" not in "".join(said)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "null"])
def test_an_empty_file_is_told_how_to_be_filled(text: str) -> None:
    with pytest.raises(ConfigError, match="is empty") as refusal:
        read(text)
    assert "pgvigil discover" in refusal.value.hint


def test_all_mistakes_at_once_each_on_its_line() -> None:
    assert wrong(
        """
        defaults:
          failover:
            max_lag: 16
        clusters:
          orders:
            nodes:
              pg1: {host: h1}
              pg2:
                host: h2
                port: none
              pg1: {host: h3}
            postgres:
              password: s3cret
          web:
            nodez: {}
        """
    ) == [
        "3: defaults.failover.max_lag: needs a unit (B, kB, MB, GB, TB), for example 16MB",
        "10: clusters.orders.nodes.pg2.port: must be a whole number",
        "11: clusters.orders.nodes.pg1: is there twice; the first is on line 7",
        f"13: clusters.orders.postgres.password: {WAYS_TO_LOG_IN}",
        "14: clusters.web.nodes: is missing",
        "15: clusters.web.nodez: unknown key; did you mean nodes?",
    ]


# S4-10
def test_what_does_not_go_together_is_told_where_it_was_written() -> None:
    assert wrong(
        """
        defaults:
          failover:
            hung_after: 100ms
          protection: quorum
        clusters:
          a: {nodes: {a1: h1}}
          b: {nodes: {b1: h2}}
        """
    ) == [
        "3: defaults.failover.hung_after: must be more than probe.suspect_after (250ms)",
        "3: defaults.failover.hung_after: must not be less than probe.interval (500ms)",
        "4: defaults.protection: wants 1 of the other nodes to acknowledge, whoever is primary; there may be "
        "only 0 without never_sync",
    ]


def test_a_heap_of_mistakes_is_cut_short() -> None:
    nodes = "\n".join(f"      n{i}: {{host: h{i}, bad: 1}}" for i in range(80))
    said = wrong_lines(f"clusters:\n  orders:\n    nodes:\n{nodes}")
    assert (len(said), said[-1]) == (51, "… and 30 more")


def wrong_lines(text: str) -> list[str]:
    with pytest.raises(ConfigError) as refusal:
        read(text)
    return refusal.value.detail.splitlines()


def test_aliases_that_stand_for_billions_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "stands for more than" in wrong("\n".join(lines))[0]


@pytest.mark.parametrize(
    "text",
    [
        "clusters: {orders: {nodes: {pg1: h}, postgres: {port: s3cret}}}",
        "clusters: {orders: {nodes: {pg1: 'postgresql://u:s3cret@h/db'}}}",
        "clusters: {orders: {nodes: {p: h}, failover: {max_lag: s3cret, hung_after: s3cret}}}",
        "clusters: {orders: {nodes: {p: h}, failover: {max_per: s3cret}}}",
        "clusters: {orders: {nodes: {pg1: {host: h, control: s3cret, tags: [s3cret]}}}}",
        "clusters: {orders: {nodes: {pg1: {host: h, control: 'systemd:s3cret word'}}}}",
        "clusters: {orders: {nodes: {pg1: h}, protection: s3cret, shell: s3cret}}",
        "clusters: {orders: {nodes: s3cret}}",
        "password: *s3cret",
        "password: !s3cret x",
        "password: 's3cret",
        "password: s3cret: s3cret",
        "s3 cret\npassword: s3cret",
    ],
)
def test_no_value_is_repeated(text: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        read(text)
    error: BaseException | None = refusal.value
    assert "s3cret" not in f"{refusal.value} {refusal.value.hint}"
    assert error is not None
    assert error.__cause__ is None or "s3cret" not in str(vars(error.__cause__).get("what", ""))


# Witnesses.
WITNESSED = """
defaults:
  shell: {user: postgres, key: ~/.ssh/id_ed25519, known_hosts: ~/.ssh/known_hosts}
  witnesses: {w1: 10.9.0.1}
clusters:
  orders: {nodes: {pg1: 10.0.0.11, pg2: 10.0.0.12}}
  shop:
    nodes: {pg1: 10.0.0.21}
    witnesses:
      w2: {host: gate, shell: {user: probe, port: 2222}}
      w3: {host: k, shell: {via: command, command: [k, "{host}", sh]}}
"""


# S1-12
def test_witnesses_take_the_clusters_shell_and_may_differ() -> None:
    config = read(WITNESSED)
    keys = {"keys": ("/home/ann/.ssh/id_ed25519",), "known_hosts": "/home/ann/.ssh/known_hosts"}
    assert config.clusters[0].witnesses == (
        WitnessSpec("w1", "10.9.0.1", SshShell("10.9.0.1", user="postgres", **keys)),  # type: ignore[arg-type]
    )
    assert config.clusters[1].witnesses == (
        WitnessSpec("w2", "gate", SshShell("gate", user="probe", port=2222, **keys)),  # type: ignore[arg-type]
        WitnessSpec("w3", "k", CommandShell(("k", "k", "sh"))),
    )


def test_a_witness_without_any_shell_in_the_file_is_reached_by_ssh() -> None:
    found = orders("clusters: {orders: {nodes: {pg1: 10.0.0.11}, witnesses: {w1: gate}}}").witnesses
    assert found == (WitnessSpec("w1", "gate", SshShell("gate")),)


@pytest.mark.parametrize(
    ("witnesses", "told"),
    [
        ("{pg2: gate}", "witnesses.pg2: is a node's name too; call it otherwise"),
        ("{w1: 10.0.0.11}", "witnesses.w1.host: is the host of pg1 too: it sees no more than that one"),
        ("{w1: a, w2: A}", "witnesses.w2.host: is the host of w1 too: it sees no more than that one"),
        (
            "{w1: {host: a, shell: none}}",
            "witnesses.w1.shell: needs a shell on another host than the controller's: ssh or command",
        ),
        (
            "{w1: {host: a, shell: local}}",
            "witnesses.w1.shell: needs a shell on another host than the controller's: ssh or command",
        ),
        (
            "{w1: {host: a, shell: {command: [x]}}}",
            "witnesses.w1.shell: command does not go with via: ssh",
        ),
        ("{w1: {host: a, port: 1}}", "witnesses.w1.port: unknown key here; it belongs under nodes"),
        ("{w1: {}}", "witnesses.w1.host: is missing"),
        ("[a]", "witnesses: must be a mapping: key: value"),
    ],
)
def test_a_witness_that_could_not_help_is_refused(witnesses: str, told: str) -> None:
    text = f"clusters: {{orders: {{nodes: {{pg1: 10.0.0.11, pg2: b}}, witnesses: {witnesses}}}}}"
    assert any(f"clusters.orders.{told}" in line for line in wrong(text)), wrong(text)


# Finding the file


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pgvigil.config.load.USUAL_PLACES", (Path("pgvigil.yaml"), tmp_path / "etc.yaml"))
    return tmp_path


def test_the_file_is_looked_for_in_this_order(folder: Path) -> None:
    env = {"PGVIGIL_CONFIG": "named.yaml"}
    assert find(Path("given.yaml"), env) == Path("given.yaml")
    assert find(None, env) == Path("named.yaml")
    (folder / "etc.yaml").touch()
    assert find(None, {}) == folder / "etc.yaml"
    (folder / "pgvigil.yaml").touch()
    assert find(None, {}) == Path("pgvigil.yaml")


def test_no_file_is_told_how_to_get_one(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no configuration file") as refusal:
        load(None, {})
    assert "pgvigil discover" in refusal.value.hint


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "directory"),
        (lambda path: path.write_bytes(b"#" * (16 * 2**20 + 1)), "more than 16 MB"),
        pytest.param(
            lambda path: path.touch(0o000),
            "Permission denied",
            marks=pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything"),
        ),
    ],
)
def test_a_file_that_cannot_be_read(folder: Path, make: Callable[[Path], object], said: str) -> None:
    make(folder / "it.yaml")
    with pytest.raises(ConfigError, match=said):
        load(folder / "it.yaml")


def test_relative_paths_begin_at_the_files_folder(folder: Path) -> None:
    (folder / "pgvigil.yaml").write_text(f"{SMALLEST}\nstate_dir: state\n")
    config = load(None, {})
    assert config.state_dir == folder / "state"
    assert replace(config, file=FILE).clusters == read(SMALLEST).clusters


@pytest.mark.parametrize(
    ("http", "place"),
    [
        ("{listen: nowhere}", "http.listen"),
        ("{listen: '1.2.3.4:0'}", "http.listen"),
        ("{listen: '1.2.3.4:70000'}", "http.listen"),
        ("{listen: true}", "http.listen"),
        ("{listen: 8009}", "http.listen"),
        ("{cert: a.crt}", "belong together"),
        ("{client_ca: ca.crt}", "client_ca needs"),
        ("{cert: a, key: b, clients: {x: viewer}}", "clients needs"),
        ("{cert: a, key: b, client_ca: c, clients: {x: king}}", "http.clients.x"),
        ("{port: 8009}", "http.port"),
    ],
)
def test_a_wrong_http_section_is_named(http: str, place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(
            f"clusters: {{orders: {{nodes: {{pg1: a}}}}}}\nhttp: {http}".encode(), Path("/etc/pgvigil.yaml")
        )
    assert place in str(caught.value)


@pytest.mark.parametrize(
    ("http", "listen"),
    [("off", None), ("'off'", None), ("'[::1]:99'", ("::1", 99)), ("'a.b:8009'", ("a.b", 8009))],
)
def test_where_http_listens(http: str, listen: tuple[str, int] | None) -> None:
    text = f"clusters: {{orders: {{nodes: {{pg1: a}}}}}}\nhttp: {{listen: {http}}}"
    spec = parse(text.encode(), Path("/etc/pgvigil.yaml")).http
    assert (spec and (spec.host, spec.port)) == listen
    assert spec is None or spec.asked_for


ETCD = "kind: etcd\n  endpoints: [10.0.0.21:2379, 'https://etcd2:2379']\n"


def test_a_store_in_etcd_is_read_with_its_defaults(tmp_path: Path) -> None:
    text = f"clusters: {{c: {{nodes: {{a: h1}}}}}}\nstore:\n  {ETCD}  name: ctl1\n  ca: ca.crt\n"
    store = parse(text.encode(), tmp_path / "pgvigil.yaml").store
    assert store is not None
    assert store.endpoints == ("https://10.0.0.21:2379", "https://etcd2:2379")
    assert (store.name, store.prefix, store.ca) == ("ctl1", "/pgvigil", f"{tmp_path}/ca.crt")
    assert (store.lease_s, store.retry_s) == (10.0, 3.0)


# S2-01
@pytest.mark.parametrize(
    ("store", "wrong"),
    [
        ("lease: 10s\n", "lease: only with kind: etcd"),
        ("kind: etcd\n", "needs endpoints"),
        ("kind: etcd\n  endpoints: [10.0.0.21]\n", "no address with a port"),
        (f"{ETCD}  lease: 2s\n  retry: 500ms\n", "not less than 3s"),
        (f"{ETCD}  lease: 6s\n", "at least three times retry (3s)"),
        (f"{ETCD}  prefix: pgvigil/\n", "begins with a slash"),
        (f"{ETCD}  name: 'a b'\n", "is a word"),
        (f"{ETCD}  password_file: x\n", "a password needs a user"),
        (f"{ETCD}  cert: x\n", "belong together"),
    ],
)
def test_what_does_not_go_together_in_a_store_is_said(store: str, wrong: str, tmp_path: Path) -> None:
    text = f"clusters: {{c: {{nodes: {{a: h1}}}}}}\nstore:\n  {store}"
    with pytest.raises(ConfigError) as error:
        parse(text.encode(), tmp_path / "pgvigil.yaml")
    assert wrong in str(error.value.detail)
