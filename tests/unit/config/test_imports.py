"""Configurations of other programs become ours, say what they left out, and never repeat a secret."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pgvigil.cli.app import app
from pgvigil.config.imports import IMPORTERS, Source
from pgvigil.config.load import parse
from pgvigil.errors import ConfigError, UsageError
from pgvigil.model.spec import AfterCrash, ClusterSpec, PgCtl, PgCtlCluster, Protection, Systemd, Tag
from pgvigil.model.units import NodeName

FOREIGN = Path(__file__).parent / "foreign"


def sources(program: str, *names: str) -> list[Source]:
    folder = FOREIGN / program
    files = [folder / name for name in names] or sorted(folder.iterdir())
    return [Source(str(file), file.read_text()) for file in files]


def imported(program: str, *given: Source, name: str = "") -> str:
    return IMPORTERS[program](list(given) or sources(program), name).text()


def cluster(text: str) -> ClusterSpec:
    (only,) = parse(text.encode(), Path("/etc/pgvigil/pgvigil.yaml"), {}).clusters
    return only


def changed(source: Source, **texts: str) -> Source:
    """The same file with `key=value` lines of repmgr.conf in place of its own."""
    lines = [line for line in source.text.splitlines() if line.split("=")[0].strip() not in texts]
    return Source(source.name, "\n".join([*lines, *(f"{key}={value}" for key, value in texts.items())]))


def test_every_file_of_the_examples_has_secrets_to_hide() -> None:
    for program in IMPORTERS:
        assert "planted-" in "".join(source.text for source in sources(program))


@pytest.mark.parametrize("program", sorted(IMPORTERS))
def test_no_secret_is_repeated(program: str) -> None:
    text = imported(program)
    assert "planted" not in text
    assert "passwords are not taken over" in " ".join(re.sub(r"\n#\s*", " ", text).split())


def test_patroni() -> None:
    found = cluster(imported("patroni"))
    assert found.name == "orders"
    assert [(n.name, n.host, n.port, n.priority) for n in found.nodes] == [
        ("pg-ams-1", "10.20.0.11", 5432, 100),
        ("pg-ams-2", "10.20.0.12", 5432, 200),
        ("pg-ams-3", "10.20.0.13", 5432, 100),
    ]
    assert found.node(NodeName("pg-ams-3")).tags == {Tag.NEVER_PROMOTE, Tag.NO_LOAD_BALANCE}
    first = found.nodes[0]
    assert (first.data_dir, first.bin_dir) == ("/var/lib/pgsql/16/data", "/usr/pgsql-16/bin")
    assert dict(first.conninfo)["user"] == "postgres"
    assert dict(found.replication.conninfo) == {
        "user": "replicator",
        "sslmode": "verify-full",
        "sslrootcert": "/etc/pki/pg/ca.crt",
    }
    assert found.failover.max_lag_bytes == 32 * 2**20, "of show-config, not of bootstrap"
    assert found.failover.after_crash is AfterCrash.FAILOVER
    assert (found.protection, found.sync_required, found.degrade) == (Protection.QUORUM, 1, False)


def test_patroni_without_its_shared_settings_takes_the_first_ones_and_asks() -> None:
    text = imported("patroni", *sources("patroni", "pg1.yml", "pg2.yml", "pg3.yml"))
    assert cluster(text).failover.max_lag_bytes == 2**20
    assert cluster(text).protection is Protection.ASYNC
    assert "`patronictl show-config > FILE`" in re.sub(r"\n#\s+", " ", text)


def test_patroni_copies_and_cascades() -> None:
    one, two, three = sources("patroni", "pg1.yml", "pg2.yml", "pg3.yml")
    options = "  basebackup: [verbose, {max-rate: 100M}, {checkpoint: spread}, {waldir: /wal/16}]\n"
    told = [Source(each.name, each.text.replace("  pgpass:", f"{options}  pgpass:")) for each in (one, two)]
    last = Source("c.yml", three.text.replace("tags: {", "tags: {replicatefrom: pg-ams-2, "))
    found = cluster(text := imported("patroni", *told, last))
    assert (found.cloning.max_rate_bytes, found.cloning.checkpoint) == (100 * 2**20, "spread")
    assert [node.wal_dir for node in found.nodes] == ["/wal/16", "/wal/16", ""]
    assert [node.upstream for node in found.nodes] == [None, None, "pg-ams-2"]
    assert "postgresql.basebackup.verbose" in text


@pytest.mark.parametrize(
    ("options", "rate"),
    [
        ("'--max-rate=50M'", 50 * 2**20),
        ("'-r 64k --label=x'", 64 * 2**10),
        ("'--label=x'", 0),
        ("'-r 1k'", 0),
    ],
)
def test_repmgrs_limit_of_copies(options: str, rate: int) -> None:
    (source,) = sources("repmgr", "node1.conf")
    found = cluster(imported("repmgr", changed(source, pg_basebackup_options=options)))
    assert found.cloning.max_rate_bytes == rate


def test_two_scopes_are_two_clusters() -> None:
    one, two = sources("patroni", "pg1.yml", "pg2.yml")
    text = imported("patroni", one, Source("b", two.text.replace("scope: orders", "scope: sales")))
    assert [each.name for each in parse(text.encode(), Path("/x"), {}).clusters] == ["orders", "sales"]


def test_one_file_of_a_synchronous_cluster_cannot_promise_it() -> None:
    text = imported("patroni", *sources("patroni", "pg1.yml", "show-config.yml"))
    assert cluster(text).protection is Protection.ASYNC
    assert "give the files of all nodes" in text


def test_repmgr() -> None:
    found = cluster(imported("repmgr", name="orders"))
    assert found.name == "orders"
    assert [(n.name, n.host, n.priority, n.location) for n in found.nodes] == [
        ("db1", "db1.example.org", 100, "ams"),
        ("db2", "db2.example.org", 150, "ams"),
        ("db3", "db3.example.org", 100, "fra"),
    ]
    first = found.nodes[0]
    assert first.control == Systemd("postgresql@16-main", sudo=True)
    assert first.config_file == "/etc/postgresql/16/main/postgresql.conf"
    assert first.bin_dir == "/usr/lib/postgresql/16/bin"
    assert dict(first.conninfo) == {"user": "repmgr", "dbname": "repmgr"}
    assert dict(found.replication.conninfo) == {"user": "streamer", "passfile": "/var/lib/postgresql/.pgpass"}
    assert found.replication.slots
    assert found.failover.automatic
    assert [Tag.NEVER_PROMOTE in node.tags for node in found.nodes] == [False, False, True]


@pytest.mark.parametrize(
    ("start", "stop", "control"),
    [
        ("systemctl start pg.service", "systemctl stop pg.service", Systemd("pg", sudo=False)),
        ("/usr/bin/pg_ctlcluster 16 main start", "pg_ctlcluster 16 main stop", PgCtlCluster("16", "main")),
        ("", "", PgCtl()),
        ("'/opt/it''s start'", "/opt/stop", None),
        ("systemctl start a", "systemctl stop b", None),
    ],
)
def test_repmgrs_commands_of_control(start: str, stop: str, control: object) -> None:
    (source,) = sources("repmgr", "node1.conf")
    source = changed(source, service_start_command=start, service_stop_command=stop)
    found = cluster(imported("repmgr", source)).nodes[0].control
    if control is None:
        assert (getattr(found, "start", ""), getattr(found, "stop", "")) == (
            start.strip("'").replace("''", "'"),
            stop,
        )
    else:
        assert found == control


def test_repmgr_that_only_a_human_may_fail_over() -> None:
    given = [changed(source, failover="manual", use_replication_slots="no") for source in sources("repmgr")]
    found = cluster(imported("repmgr", *given))
    assert not found.failover.automatic
    assert not found.replication.slots
    assert not any(node.tags for node in found.nodes)


def test_pg_auto_failover() -> None:
    found = cluster(imported("pg_auto_failover"))
    assert found.name == "orders"
    assert [(n.name, n.host, n.port, n.priority) for n in found.nodes] == [
        ("node_1", "10.30.0.11", 5433, 50),
        ("node_2", "10.30.0.12", 5433, 60),
        ("node_3", "10.30.0.13", 5433, 100),
    ]
    assert found.nodes[2].tags == {Tag.NEVER_PROMOTE, Tag.NEVER_SYNC}
    assert found.nodes[0].data_dir == "/srv/postgres/16"
    assert found.nodes[0].bin_dir == "/usr/lib/postgresql/16/bin"
    assert dict(found.replication.conninfo) == {"user": "pgautofailover_replicator", "sslmode": "require"}
    assert (found.protection, found.sync_required, found.degrade) == (Protection.QUORUM, 1, False)
    assert found.cloning.max_rate_bytes == 100 * 2**20


def test_pg_auto_failover_from_its_state_alone() -> None:
    text = imported("pg_auto_failover", *sources("pg_auto_failover", "state.json"))
    assert [n.name for n in cluster(text).nodes] == ["node_1", "node_2", "node_3"]
    assert "pg_autoctl get formation settings --json" in re.sub(r"\n#\s+", " ", text)


def test_pg_auto_failover_with_one_standby_goes_on_without_it() -> None:
    found = cluster(imported("pg_auto_failover", *sources("pg_auto_failover", "node1.cfg", "node2.cfg")))
    assert (found.protection, found.sync_required, found.degrade) == (Protection.QUORUM, 1, True)


def test_its_monitor_is_no_node() -> None:
    ours = sources("pg_auto_failover", "node1.cfg", "node2.cfg")
    other = Source("m.cfg", "[pg_autoctl]\nrole = monitor\nhostname = 10.30.0.5\n[postgresql]\npgdata = /m\n")
    assert len(cluster(imported("pg_auto_failover", *ours, other)).nodes) == 2


PATRONI, REPMGR, PGAF = (sources(p, f)[0] for p, f in (
    ("patroni", "pg1.yml"), ("repmgr", "node1.conf"), ("pg_auto_failover", "node1.cfg")
))  # fmt: skip


@pytest.mark.parametrize(
    ("program", "given", "told"),
    [
        ("patroni", [Source("a.yml", "scope: x\n\tname: 'planted")], "a.yml:2 is no YAML"),
        ("patroni", [Source("a.yml", "- planted")], "a.yml is no file of Patroni"),
        ("patroni", [Source("a.yml", "")], "a.yml is no file of Patroni"),
        (
            "patroni",
            [Source("a.yml", "scope: x\nname: y\n")],
            "a.yml does not say where its server is reached",
        ),
        ("patroni", [Source("a.yml", "ttl: 30\n")], "no node of patroni is in a.yml"),
        ("patroni", [PATRONI, PATRONI], "another file has too"),
        ("repmgr", [Source("r.conf", "node_name=a\n= planted\n")], "r.conf:2 is no line of repmgr.conf"),
        ("repmgr", [Source("r.conf", "node_name=a\nconninfo='host=h planted'\n")], "is no connection string"),
        ("repmgr", [Source("r.conf", "node_name=a\nconninfo='user=u'\n")], "r.conf does not say where"),
        ("repmgr", [Source("r.conf", "conninfo='host=h'\n")], "r.conf has no node_name"),
        ("repmgr", [changed(REPMGR, priority="planted")], "priority in"),
        ("pg_auto_failover", [Source("p.cfg", "planted\n")], "p.cfg:1 is no line"),
        ("pg_auto_failover", [Source("p.cfg", "[a]\nb = 1\nplanted\n")], "p.cfg:3 is no line"),
        ("pg_auto_failover", [Source("p.json", '[{"planted": 1}]')], "p.json is not what pg_autoctl prints"),
        ("pg_auto_failover", [Source("p.json", '{"nodes":\n [}')], "p.json:2 is no JSON"),
        ("pg_auto_failover", [Source("p.json", "[]")], "no node of pg_auto_failover"),
        ("pg_auto_failover", [PGAF, PGAF], "another file has too"),
    ],
)
def test_what_cannot_be_read_is_told_by_its_place(program: str, given: list[Source], told: str) -> None:
    with pytest.raises(UsageError) as raised:
        imported(program, *given)
    assert told in str(raised.value)
    assert "planted" not in f"{raised.value} {raised.value.hint}"


def test_nodes_that_cannot_be_together_are_refused() -> None:
    one, two = sources("repmgr", "node1.conf", "node2.conf")
    with pytest.raises(ConfigError, match="makes no right configuration") as raised:
        imported("repmgr", one, Source("b", two.text.replace("db2.example.org", "db1.example.org")))
    assert "is the same server as" in raised.value.detail


def test_the_command_writes_a_file_that_is_right_and_never_over_one(tmp_path: Path) -> None:
    target, files = tmp_path / "pgvigil.yaml", [str(file) for file in sorted((FOREIGN / "repmgr").iterdir())]
    words = ["import", "repmgr", *files, "-o", str(target)]
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, done.stdout) == (0, "")
    checked = CliRunner().invoke(app, ["config", "check", str(target)])
    assert (checked.exit_code, checked.stdout.split(" is right: ")[-1]) == (0, "main (3 nodes)\n")
    before = target.read_text()
    assert CliRunner().invoke(app, words).exit_code == 2
    assert target.read_text() == before
    assert before == CliRunner().invoke(app, words[:-2]).stdout
    assert CliRunner().invoke(app, ["import", "repmgr", str(tmp_path / "none")]).exit_code == 2
