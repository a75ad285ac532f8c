"""`clone` and `reinit` on real servers, by the command line: rehearsed, from a standby, by an own command."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from pgvigil.cli.app import app
from pgvigil.demo.servers import REPLICATION_LOGIN, Server, Servers, config_text, wait_until

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(300)]
Run = Callable[..., Result]


@pytest.fixture
def trio(servers: Servers) -> tuple[Server, Server, Server]:
    """pg1, the primary, its standby pg2, and pg3, which is configured and has no data yet."""
    pg1 = servers.make_primary("pg1")
    pg1.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS i")
    pg2 = servers.add_standby("pg2", pg1)
    pg2.wait_streaming(pg1)
    return pg1, pg2, servers._new("pg3")


def configured(servers: Servers, nodes: dict[str, dict[str, Any]] | None = None, **more: object) -> Run:
    """The command line with the configuration of these servers; `nodes`: more of `postgres:` of a node."""
    document = yaml.safe_load(config_text(servers, "demo", **more))
    for name, postgres in (nodes or {}).items():
        document["clusters"]["demo"]["nodes"][name]["postgres"] |= postgres
    file = servers.home / "pgvigil.yaml"
    file.write_text(yaml.safe_dump(document))
    return lambda *words: CliRunner().invoke(app, ["--config", str(file), *words])


def leftovers(servers: Servers) -> list[Path]:
    return list(servers.home.glob("*.pgvigil-*"))


# S1-03
def test_a_rehearsal_shows_everything_and_changes_nothing(
    servers: Servers, trio: tuple[Server, Server, Server]
) -> None:
    pg1, pg2, pg3 = trio
    run = configured(servers)
    told = run("clone", "pg3", "--from", "pg2", "--max-rate", "20MB", "--dry-run", "--json")
    assert told.exit_code == 0, told.output
    checks = {check["check"]: check["found"] for check in json.loads(told.stdout)["data"]["checks"]}
    assert checks["source"].startswith(f"pg2 (127.0.0.1:{pg2.port}) answers: standby")
    assert "10 on pg2; 2 are needed" in checks["WAL senders"]
    assert checks["slot"].startswith("pg3 is created on pg1")
    assert checks["replication login at pg2"] == "replicator is let in from pg3"
    assert checks["replication login at pg1"] == "replicator is let in from pg3"
    assert checks["target directory"] == f"{pg3.data_dir} is made"
    assert checks["data size"].endswith("MB on pg2")
    line = checks["would run on pg3"]
    assert f"port={pg2.port}" in line
    assert "--max-rate=20480k" in line
    assert not pg3.data_dir.exists()
    assert not leftovers(servers)
    assert pg1.sql("SELECT slot_name FROM pg_replication_slots") == [("pg2",)]


# S1-03
def test_a_rehearsal_says_what_stands_in_the_way(
    servers: Servers, trio: tuple[Server, Server, Server]
) -> None:
    pg1, _, pg3 = trio
    pg3.data_dir.mkdir()
    (pg3.data_dir / "dear.txt").write_text("not ours")
    servers.account.own(pg3.data_dir)
    pg1.sql("ALTER ROLE replicator PASSWORD 'another'")
    told = configured(servers)("clone", "pg3", "--dry-run", "--json")
    assert told.exit_code == 3, told.output
    wrong = {c["check"]: c["found"] for c in json.loads(told.stdout)["data"]["checks"] if not c["ok"]}
    assert "holds something that is no data directory" in wrong["target directory"]
    assert "password" in wrong["replication login at pg1"]
    assert (pg3.data_dir / "dear.txt").read_text() == "not ours"


# S1-04
def test_a_new_node_is_copied_from_a_standby_with_its_wal_elsewhere(
    servers: Servers, trio: tuple[Server, Server, Server]
) -> None:
    pg1, pg2, pg3 = trio
    pg2.sql("ALTER SYSTEM SET log_replication_commands = on")
    pg2.sql("SELECT pg_reload_conf()")
    wal = servers.home / "wal3"
    wal.mkdir()
    servers.account.own(wal)
    run = configured(servers, {"pg3": {"wal_dir": str(wal / "pg_wal")}})
    told = run("clone", "pg3", "--from", "pg2", "--checkpoint", "fast", "--yes")
    assert told.exit_code == 0, told.output
    pg3.wait_streaming(pg1)
    assert pg3.sql("SELECT count(*) FROM t") == [(1000,)]
    assert (pg3.data_dir / "pg_wal").readlink() == wal / "pg_wal"
    assert "BASE_BACKUP" in pg2.log.read_text()
    assert (REPLICATION_LOGIN,) in pg1.sql("SELECT usename FROM pg_stat_replication")
    assert not leftovers(servers)


def test_a_copy_from_the_wrong_place_is_refused(
    servers: Servers, trio: tuple[Server, Server, Server]
) -> None:
    _, pg2, _ = trio
    run = configured(servers)
    assert run("clone", "pg3", "--from", "pg3", "--yes").exit_code == 2
    assert run("clone", "pg3", "--max-rate", "1kB", "--yes").exit_code == 2
    pg2.stop()
    told = run("clone", "pg3", "--from", "pg2", "--yes")
    assert told.exit_code == 3
    assert "pg2 cannot be copied" in told.output


OWN_COMMAND = (
    "PGPASSFILE={passfile} {{bin_dir}}/pg_basebackup -D {{new_dir}} -X fetch -U replicator "
    "-h {{source_host}} -p {{source_port}} && echo \"restore_command = 'false'\" >> "
    "{{new_dir}}/postgresql.auto.conf && touch {{new_dir}}/recovery.signal"
)


# S2-19
def test_reinit_by_an_own_command_keeps_what_it_needs(
    servers: Servers, trio: tuple[Server, Server, Server]
) -> None:
    """As with pgBackRest: it writes restore_command and recovery.signal itself."""
    pg1, pg2, _ = trio
    command = OWN_COMMAND.format(passfile=servers.passfile(REPLICATION_LOGIN))
    run = configured(servers, clone={"command": command})
    pg2.sql("ALTER SYSTEM SET work_mem = '7MB'")
    told = run("reinit", "pg2", "--yes")
    assert told.exit_code == 0, told.output
    pg2.wait_streaming(pg1)
    assert pg2.sql("SELECT pg_is_in_recovery()") == [(True,)]
    assert pg2.sql("SHOW restore_command") == [("false",)]
    assert pg2.sql("SHOW work_mem") == [("7MB",)]
    wait_until(lambda: not leftovers(servers), within_s=10, what="the old data to go")


def test_what_is_no_copy_of_this_cluster_is_not_put_in_place(
    servers: Servers, trio: tuple[Server, Server, Server]
) -> None:
    pg1, pg2, _ = trio
    stranger = servers.make_primary("stranger", own_system_id=True)
    stranger.stop()
    del servers.nodes["stranger"]
    run = configured(servers, clone={"command": f"cp -a {stranger.data_dir}/. {{new_dir}}"})
    told = run("reinit", "pg2", "--yes")
    assert told.exit_code == 1
    assert "is not one of pg1" in told.output
    pg2.wait_streaming(pg1)
    assert pg2.sql("SELECT count(*) FROM t") == [(1000,)]
    assert not leftovers(servers)


# S2-19
def test_status_shows_base_backups_that_others_take(
    servers: Servers, trio: tuple[Server, Server, Server]
) -> None:
    pg1, _, _ = trio
    run = configured(servers)
    login = pg1.conninfo(user=REPLICATION_LOGIN, passfile=str(servers.passfile(REPLICATION_LOGIN)))
    slow = servers.account.spawn(
        pg1.bin_dir / "pg_basebackup", "-D", servers.home / "by-hand", "-d", login, "-r", "64k", "-c", "fast",
        "-P", home=servers.home, log=servers.home / "log/slow",
    )  # fmt: skip
    try:
        wait_until(lambda: list((servers.home / "by-hand").glob("*")), within_s=20, what="a backup under way")
        told = run("status", "--json")
        (status,) = json.loads(told.stdout)
        (backup,) = next(node["backups"] for node in status["nodes"] if node["name"] == "pg1")
        assert backup["to"] == "127.0.0.1 (pg_basebackup)"
        assert backup["phase"] == "streaming database files"
        assert 0 < backup["sent_bytes"] < backup["total_bytes"]
        assert "base backup for 127.0.0.1 (pg_basebackup): streaming database files" in run("status").stdout
    finally:
        slow.kill()
        slow.wait(10)
    assert not [backup for node in json.loads(run("status", "--json").stdout)[0]["nodes"] if node["name"] ==
                "pg2" for backup in node["backups"]]  # fmt: skip


# S1-03
def test_a_rehearsal_counts_the_wal_senders(servers: Servers) -> None:
    pg1 = servers.make_primary("pg1", max_wal_senders=2)
    servers.add_standby("pg2", pg1).wait_streaming(pg1)
    servers._new("pg3")
    told = configured(servers)("clone", "pg3", "--dry-run")
    assert told.exit_code == 3, told.output
    words = " ".join(told.output.split())  # where lines break depends on how long a port is
    assert "1 free of 2 on pg1; 2 are needed" in words
    assert "not possible so" in words
