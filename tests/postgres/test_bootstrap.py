"""A cluster made of nothing, on empty directories, by one command; and again after it was interrupted."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from typer.testing import CliRunner, Result

from pgvigil.cli.app import app
from pgvigil.controller.bootstrap import NOTE
from pgvigil.demo.ports import HOST
from pgvigil.demo.servers import LOGIN, REPLICATION_LOGIN, Server, Servers, config_text, wait_until
from pgvigil.store.lock import StateLock
from tests.postgres.service import Service

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(300)]
WORDS = ["--set", "fsync=off", "--set", "shared_buffers=16MB", "--set", "wal_keep_size=64MB"]


class Ground:
    """Servers that are configured, and do not exist yet."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.nodes = [servers._new(name) for name in ("pg1", "pg2", "pg3")]
        self.file = servers.home / "pgvigil.yaml"
        self.sockets = f"unix_socket_directories={servers.home}/socket"
        self.configure()

    def configure(self, **of_pg1: object) -> None:
        document = yaml.safe_load(config_text(self.servers, "orders"))
        document["clusters"]["orders"]["nodes"]["pg1"]["postgres"] |= of_pg1
        self.file.write_text(yaml.safe_dump(document))

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(app, ["--config", str(self.file), *words])

    def bootstrap(self, *words: str) -> Result:
        return self.run("bootstrap", "orders", *WORDS, "--set", self.sockets, *words)

    def one(self, server: Server, sql: str) -> Any:
        return server.sql(sql)[0][0]

    def beside(self) -> list[Path]:
        return list(self.servers.home.glob("pg?.pgvigil-*"))


@pytest.fixture
def ground(servers: Servers) -> Ground:
    return Ground(servers)


# S2-02, S4-02
def test_a_cluster_is_made_on_empty_hosts(ground: Ground) -> None:
    wal = ground.servers.home / "wal"
    wal.mkdir()
    ground.servers.account.own(wal)
    ground.configure(wal_dir=str(wal / "pg1"))
    planned = ground.bootstrap("--dry-run", "--json")
    assert planned.exit_code == 0, planned.output
    assert "initdb on pg1" in json.loads(planned.stdout)["plan"][0]
    assert not any(node.data_dir.exists() for node in ground.nodes)
    told = ground.bootstrap("--encoding", "LATIN1", "--locale", "C", "--allow", "10.9.0.0/16", "--yes")
    assert told.exit_code == 0, told.output
    pg1, pg2, pg3 = ground.nodes
    for standby in (pg2, pg3):
        standby.wait_streaming(pg1)
        assert not (standby.data_dir / NOTE).exists()
    assert ground.one(pg1, "SHOW server_encoding") == "LATIN1"
    assert ground.one(pg1, "SHOW data_checksums") == "on"
    assert ground.one(pg3, "SHOW port") == str(pg3.port)
    assert ground.one(pg1, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
    assert (pg1.data_dir / "pg_wal").readlink() == wal / "pg1"
    rules = (pg1.data_dir / "pg_hba.conf").read_text()
    assert "host  all  all  10.9.0.0/16  scram-sha-256" in rules
    assert "trust" not in rules
    with pytest.raises(psycopg.OperationalError, match=r"no pg_hba\.conf entry"):
        psycopg.connect(pg1.conninfo(user=REPLICATION_LOGIN, dbname="template1",
                                     passfile=str(ground.servers.passfile(REPLICATION_LOGIN))))  # fmt: skip
    kept = ground.one(pg1, f"SELECT count(*) FROM pg_stat_replication WHERE usename = '{REPLICATION_LOGIN}'")
    assert kept == 2
    assert not ground.beside()
    found = ground.run("check", "orders", "--json")
    errors = [item for item in json.loads(found.stdout) if item["level"] == "error"]
    assert not errors
    again = ground.bootstrap("--yes")
    assert again.exit_code == 3
    assert "is not empty" in again.output


def as_in_a_terminal() -> None:
    """Ctrl-C counts: what a shell starts behind itself ignores it, and hands that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_it_goes_on_after_an_interruption(ground: Ground) -> None:
    """The first node is made, and Ctrl-C comes before the others are."""
    pg1, pg2, pg3 = ground.nodes
    words = [*WORDS, "--set", ground.sockets, "--yes"]
    program = [sys.executable, "-m", "pgvigil", "--config", str(ground.file), "bootstrap", "orders", *words]
    process = subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=as_in_a_terminal
    )
    try:
        wait_until(pg1.is_running, within_s=60, what="the first node")
        process.send_signal(signal.SIGINT)
        told_there, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, told_there
    assert "give the command again" in told_there
    assert (pg1.data_dir / NOTE).exists()
    system = ground.one(pg1, "SELECT system_identifier FROM pg_control_system()")
    told = ground.bootstrap("--yes")
    assert told.exit_code == 0, told.output
    assert ground.one(pg1, "SELECT system_identifier FROM pg_control_system()") == system
    for standby in (pg2, pg3):
        standby.wait_streaming(pg1)
    assert not (pg1.data_dir / NOTE).exists()
    assert not ground.beside()


def test_half_an_initdb_is_done_anew(ground: Ground) -> None:
    pg1 = ground.nodes[0]
    new = Path(f"{pg1.data_dir}.pgvigil-new")
    new.mkdir()
    (new / "half").write_text("")
    ground.servers.account.own(new)
    refused = ground.bootstrap("--yes")
    assert refused.exit_code == 3
    assert "pg1.pgvigil-new is there" in refused.output
    assert (new / "half").exists()
    ground.servers.account.write(Path(f"{pg1.data_dir}.pgvigil-bootstrap"), "\n")
    assert ground.bootstrap("--yes").exit_code == 0
    ground.nodes[1].wait_streaming(pg1)
    assert not ground.beside()


def test_a_port_that_is_taken_is_told(ground: Ground) -> None:
    pg2 = ground.nodes[1]
    ground.servers.make_primary("another", port=pg2.port)
    refused = ground.bootstrap("--yes")
    assert refused.exit_code == 3, refused.output
    assert f"pg2: another server answers on {HOST}:{pg2.port}" in refused.output
    assert not any(node.data_dir.exists() for node in ground.nodes)


# S2-02
@pytest.mark.parametrize("name", ["pg1", "pg3"])
def test_what_lies_there_is_never_touched(ground: Ground, name: str) -> None:
    data = ground.servers.nodes[name].data_dir
    data.mkdir()
    (data / "dear.txt").write_text("dear")
    ground.servers.account.own(data)
    refused = ground.bootstrap("--yes")
    assert refused.exit_code == 3, refused.output
    assert f"{name}: its data directory" in refused.output
    assert [path.name for path in data.iterdir()] == ["dear.txt"]
    assert [node.name for node in ground.nodes if node.data_dir.exists()] == [name]


def test_without_passwords_nothing_is_begun_and_none_is_shown(ground: Ground) -> None:
    secret = ground.servers.passfile(REPLICATION_LOGIN).read_text().split(":")[4].strip()
    ground.servers.passfile(REPLICATION_LOGIN).write_text(f"other:*:*:*:{secret}\n")
    told = ground.bootstrap("--yes")
    assert told.exit_code == 2, told.output
    assert "no password for replicator on pg1" in told.output
    assert secret not in told.output
    ground.servers.passfile(LOGIN).write_text("")
    told = ground.bootstrap("--yes")
    assert "no password for pgvigil" in told.output
    assert not any(node.data_dir.exists() for node in ground.nodes)
    assert HOST in ground.file.read_text()


def test_the_server_never_gets_a_password_in_the_clear(ground: Ground) -> None:
    passfiles = (ground.servers.passfile(login).read_text() for login in (LOGIN, REPLICATION_LOGIN))
    secrets = [text.split(":")[4].strip() for text in passfiles]
    told = ground.bootstrap("--set", "log_statement=all", "--set", "logging_collector=on", "--yes")
    assert told.exit_code == 0, told.output
    pg1 = ground.nodes[0]
    wait_until(lambda: list((pg1.data_dir / "log").iterdir()), within_s=10, what="a log")
    written = told.output + "".join(p.read_text() for p in (pg1.data_dir / "log").iterdir())
    assert not any(secret in written for secret in secrets)


def test_a_controller_that_runs_takes_it_over(ground: Ground) -> None:
    with Service(ground.servers) as service:
        service.await_that(lambda status: status["generation"] == 0, "nothing there yet")
        told = service.command("bootstrap", "orders", *WORDS, "--set", ground.sockets, "--yes")
        assert told.returncode == 0, told.stdout + told.stderr
        status = service.await_health()
        assert status["primary"] == "pg1"
        ground.nodes[2].wait_streaming(ground.nodes[0])


def test_configuration_outside_of_the_data_directory(ground: Ground) -> None:
    """As on Debian: /etc has the files, made by pg_createcluster; the data directory is empty."""
    document = yaml.safe_load(ground.file.read_text())
    account, home = ground.servers.account, ground.servers.home
    for node in ground.nodes:
        etc = home / f"etc-{node.name}"
        etc.mkdir()
        account.own(etc)
        text = f"data_directory = '{node.data_dir}'\nhba_file = '{etc}/pg_hba.conf'\nport = {node.port}\n"
        text += f"unix_socket_directories = '{home}/socket'\nfsync = off\nlisten_addresses = '{HOST}'\n"
        account.write(etc / "postgresql.conf", text)
        account.write(etc / "pg_hba.conf", f"# of {node.name}\nlocal all all peer\n")
        postgres = document["clusters"]["orders"]["nodes"][node.name]["postgres"]
        postgres["config_file"] = str(etc / "postgresql.conf")
    ground.file.write_text(yaml.safe_dump(document))
    told = ground.run("bootstrap", "orders", "--yes")
    assert told.exit_code == 0, told.output
    pg1, _, pg3 = ground.nodes
    pg3.wait_streaming(pg1)
    for node in ground.nodes:
        rules = (home / f"etc-{node.name}" / "pg_hba.conf").read_text()
        assert rules.endswith(f"# of {node.name}\nlocal all all peer\n")
        assert rules.count("# Lines of pgvigil bootstrap") == 1
        assert ground.one(node, "SHOW config_file") == str(home / f"etc-{node.name}" / "postgresql.conf")


def test_two_at_once_do_not_disturb_each_other(ground: Ground) -> None:
    """The second on the same controller is refused; one from elsewhere sees the first at work."""
    words = ["--set", ground.sockets, "--yes"]
    with StateLock(ground.servers.home / "state", name="bootstrap-orders.lock"):
        assert ground.bootstrap(*words).exit_code == 3
    pg1, account = ground.nodes[0], ground.servers.account
    new = Path(f"{pg1.data_dir}.pgvigil-new")
    account.write(Path(f"{pg1.data_dir}.pgvigil-bootstrap"), "\n")
    new.mkdir()
    account.own(new)
    (new / "half").write_text("")
    other = account.spawn("sh", "-c", "sleep 60; :", str(new), home=ground.servers.home,
                          log=ground.servers.home / "log/other")  # fmt: skip
    try:
        told = ground.bootstrap(*words)
        assert told.exit_code == 1, told.output
        assert "another bootstrap" in told.output
        assert (new / "half").exists()
    finally:
        other.kill()
        other.wait(10)
