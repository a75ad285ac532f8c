"""Nodes and clusters that come and go at run time, beside a controller that is not restarted."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest
import yaml
from typer.testing import CliRunner

from pgvigil.cli import changing
from pgvigil.cli.app import app
from pgvigil.demo.servers import Server, Servers, config_text, wait_until
from tests.postgres.service import Service

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(300)]


@pytest.fixture
def pair(servers: Servers) -> tuple[Server, Server]:
    pg1 = servers.make_primary("pg1")
    pg2 = servers.add_standby("pg2", pg1)
    pg2.wait_streaming(pg1)
    return pg1, pg2


@pytest.fixture
def service(servers: Servers, pair: tuple[Server, Server]) -> Iterator[Service]:
    configure(servers)
    with Service(servers) as service:
        service.await_health()
        yield service


def configure(servers: Servers, **more: object) -> None:
    text = config_text(servers, "demo", **more)
    (servers.home / "pgvigil.yaml").write_text(f"# our file\n{text}# its end\n")


def nodes_of(service: Service) -> set[str]:
    return {node["name"] for node in service.status()["nodes"]}


def file_text(servers: Servers) -> str:
    return (servers.home / "pgvigil.yaml").read_text()


def done(told: subprocess.CompletedProcess[str]) -> str:
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout + told.stderr


# S1-01, S4-07
def test_a_node_is_added_cloned_and_dropped_beside_the_controller(
    servers: Servers, pair: tuple[Server, Server], service: Service
) -> None:
    pg1, _ = pair
    pid, before = service.pid, file_text(servers)
    pg3 = servers._new("pg3")
    place = ["--host", "127.0.0.1", "--port", str(pg3.port), "--data-dir", str(pg3.data_dir)]
    words = ["node", "add", "pg3", *place, "--bin-dir", str(pg3.bin_dir)]
    assert "+      pg3" in done(service.command(*words, "--dry-run"))
    assert file_text(servers) == before
    done(service.command(*words, "--clone", "--yes"))
    pg3.wait_streaming(pg1)
    assert nodes_of(service) == {"pg1", "pg2", "pg3"}
    assert ("pg3",) in pg1.sql("SELECT slot_name FROM pg_replication_slots")
    told = done(service.command("node", "drop", "pg3", "--destroy", "--yes"))
    assert "its data lies in" in told
    assert nodes_of(service) == {"pg1", "pg2"}
    assert service.pid == pid
    assert file_text(servers) == before
    assert not pg3.is_running()
    assert not pg3.data_dir.exists()
    (aside,) = servers.home.glob("pg3.pgvigil-dropped-*")
    assert (aside / "PG_VERSION").exists()
    assert pg1.sql("SELECT slot_name FROM pg_replication_slots") == [("pg2",)]
    service.await_health()


def test_a_primary_is_never_dropped(servers: Servers, service: Service) -> None:
    before = file_text(servers)
    for destroy in ([], ["--destroy"]):
        told = service.command("node", "drop", "pg1", "--yes", *destroy)
        assert told.returncode == 3, told.stdout + told.stderr
        assert "pg1 is the primary" in told.stderr
    assert file_text(servers) == before
    assert nodes_of(service) == {"pg1", "pg2"}


def test_one_that_was_promoted_by_hand_is_not_dropped_either(
    servers: Servers, pair: tuple[Server, Server]
) -> None:
    """Without a controller nobody has fenced it: it takes writes, whatever the record says."""
    pg1, pg2 = pair
    pg3 = servers.add_standby("pg3", pg1)
    configure(servers)
    service = Service(servers)
    done(service.command("maintenance", "on", "pg3", "--yes"))
    pg3.sql("SELECT pg_promote()")
    told = service.command("node", "drop", "pg3", "--destroy", "--yes")
    assert told.returncode == 3, told.stdout + told.stderr
    assert "pg3 takes writes" in told.stderr
    assert pg3.is_running()
    assert "pg3" in file_text(servers)
    assert pg2.is_running()


# S4-07
def test_a_dropped_standby_runs_on_without_slot_and_acknowledges_nothing(servers: Servers) -> None:
    pg1 = servers.make_primary("pg1")
    for name in ("pg2", "pg3"):
        servers.add_standby(name, pg1).wait_streaming(pg1)
    configure(servers, protection="quorum")
    pg3 = servers.nodes["pg3"]
    with Service(servers) as service:
        service.await_that(lambda status: status["health"] == "ok" and status["sync"], "quorum", within_s=60)
        assert '"pg3"' in str(pg1.sql("SHOW synchronous_standby_names"))
        done(service.command("node", "drop", "pg3", "--yes"))
        service.await_that(
            lambda status: status["sync"] and status["sync"]["standbys"] == ["pg2"], "one less to wait for"
        )
        names = str(pg1.sql("SHOW synchronous_standby_names"))
        assert '"pg3"' not in names
        assert '"pg2"' in names
    assert pg3.is_running()
    wait_until(lambda: pg3.sql("SHOW primary_slot_name") == [("",)], within_s=10, what="no slot")
    pg3.wait_streaming(pg1)
    assert pg1.sql("SELECT slot_name FROM pg_replication_slots") == [("pg2",)]


# S1-10, S4-01
def test_clusters_come_and_go_beside_the_controller(servers: Servers, service: Service) -> None:
    other = servers.make_primary("other", own_system_id=True)
    before = file_text(servers)
    document = yaml.safe_load(before)
    shared = {k: v for k, v in document["clusters"]["demo"].items() if k in ("postgres", "shell")}
    file = servers.home / "pgvigil.yaml"
    file.write_text(yaml.safe_dump({**document, "defaults": shared}, sort_keys=False))
    kept = file_text(servers)
    address = f"o1=127.0.0.1:{other.port}"
    done(service.command("cluster", "create", "second", "--node", address, "--yes"))
    status = service.command("status", "second", "--json")
    wait_until(
        lambda: '"primary": "o1"' in service.command("status", "second", "--json").stdout,
        within_s=20,
        what=f"the second cluster taken over: {status.stdout}",
    )
    of_two = file_text(servers)
    done(service.command("cluster", "drop", "second", "--yes"))
    assert file_text(servers) == kept
    assert service.command("status", "second").returncode == 2
    assert other.is_running()
    assert service.command("cluster", "drop", "demo", "--yes").returncode == 2
    service.await_health()
    file.write_text(kept.replace("clusters:", "clusters: []", 1))  # a mistake is told, and nothing changes
    os.kill(service.pid, signal.SIGHUP)
    wait_until(lambda: "not_reloaded" in service.log, within_s=20, what="the mistake to be told")
    service.await_health()
    file.write_text(of_two)
    os.kill(service.pid, signal.SIGHUP)
    wait_until(lambda: service.of("second"), within_s=20, what="the file to be read again")
    assert service.stop() == 0


def test_one_that_feeds_another_is_not_dropped(servers: Servers) -> None:
    pg1 = servers.make_primary("pg1")
    pg2 = servers.add_standby("pg2", pg1)
    servers.add_standby("pg3", pg2).wait_streaming(pg2)
    configure(servers)
    told = Service(servers).command("node", "drop", "pg2", "--destroy", "--yes")
    assert told.returncode == 3, told.stdout + told.stderr
    assert "pg3 streams from pg2" in told.stderr
    assert "pgvigil follow demo pg3 pg1" in told.stderr
    assert pg2.is_running()
    assert "pg2" in file_text(servers)


def test_a_drop_that_was_interrupted_goes_on(
    servers: Servers, pair: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C right before the file is written: server, slot and data are gone already."""
    pg1, _ = pair
    pg3 = servers.add_standby("pg3", pg1)
    pg3.wait_streaming(pg1)
    configure(servers)
    words = ["--config", str(servers.home / "pgvigil.yaml"), "node", "drop", "pg3", "--destroy", "--yes"]
    with monkeypatch.context() as patch:
        patch.setattr(changing, "write", interrupt)
        told = CliRunner().invoke(app, words)
    assert told.exit_code == 130, told.output
    assert "give the command again" in told.output
    assert "pg3" in file_text(servers)
    assert not pg3.data_dir.exists()
    told = CliRunner().invoke(app, [*words, "--json"])
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["result"] == "done"
    assert "pg3" not in yaml.safe_load(file_text(servers))["clusters"]["demo"]["nodes"]
    assert len(list(servers.home.glob("pg3.pgvigil-dropped-*"))) == 1
    assert pg1.sql("SELECT slot_name FROM pg_replication_slots") == [("pg2",)]


def interrupt(_: object) -> None:
    raise KeyboardInterrupt


def test_what_lies_outside_of_a_dropped_data_directory_is_named_and_left(
    servers: Servers, pair: tuple[Server, Server]
) -> None:
    """A tablespace, WAL on another disk, and a copy that was replaced; the whole can be started again."""
    pg1, pg2 = pair
    account, home = servers.account, servers.home
    elsewhere, wal = home / "elsewhere", home / "wal-of-pg2"
    old = f"{pg2.data_dir}.pgvigil-old-{20 * '1'}"
    account.run("mkdir", "-p", home / "ts", old, home=home)
    pg1.sql(f"CREATE TABLESPACE ts LOCATION '{home}/ts'")
    pg2.wait_streaming(pg1)
    pg2.stop()
    (link,) = (pg2.data_dir / "pg_tblspc").iterdir()
    account.run("cp", "-a", home / "ts", elsewhere, home=home)
    account.run("ln", "-sfn", elsewhere, link, home=home)
    account.run("mv", pg2.data_dir / "pg_wal", wal, home=home)
    account.run("ln", "-s", wal, pg2.data_dir / "pg_wal", home=home)
    configure(servers)
    words = [
        "--config",
        str(servers.home / "pgvigil.yaml"),
        "node",
        "drop",
        "pg2",
        "--destroy",
        "--yes",
        "--json",
    ]
    planned = json.loads(CliRunner().invoke(app, [*words, "--dry-run"]).stdout)
    assert any("lie elsewhere stay" in line for line in planned["plan"])
    told = json.loads(CliRunner().invoke(app, words).stdout)
    assert told["result"] == "done"
    outside = [f"tablespace {elsewhere}", f"WAL {wal}", f"copy {old}"]
    assert told["data"]["outside"] == outside
    assert f"outside of it, untouched: {', '.join(outside)}" in told["detail"]
    (aside,) = home.glob("pg2.pgvigil-dropped-*")
    assert (aside / "pg_wal").resolve() == wal
    assert next((aside / "pg_tblspc").iterdir()).resolve() == elsewhere
    again = replace(pg2, name=aside.name)
    again.start()
    assert again.sql("SELECT pg_is_in_recovery()") == [(True,)]
