import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psycopg
import pytest
import yaml

from pgvigil.demo.binaries import Binaries, find_postgres
from pgvigil.demo.ports import PORTS, SHARE, free_port
from pgvigil.demo.processes import Account, processes_in, server_account
from pgvigil.demo.servers import Server, Servers, config_text, run_sql
from pgvigil.demo.writer import Writer
from pgvigil.errors import ConfigError, StepFailed, UsageError

pytestmark = pytest.mark.postgres

Trio = tuple[Server, Server, Server]
Eventually = Callable[[Callable[[], object]], None]


def zombies() -> list[str]:
    """Server processes among our children that ended and were not collected."""
    told = subprocess.run(["ps", "-o", "stat=,pid=,comm=", "--ppid", str(os.getpid())],
                          capture_output=True, text=True, check=False)  # fmt: skip
    return [line for line in told.stdout.splitlines() if line.startswith("Z") and "post" in line]


def start_by_pg_ctl(server: Server, account: Account) -> None:
    """As a controller does: the postmaster is an orphan as soon as pg_ctl has ended."""
    account.run(
        server.bin_dir / "pg_ctl", "-D", server.data_dir, "-w", "-l", server.log, "start", home=server.home
    )


def test_two_standbys_stream_from_the_primary(trio_of_servers: Trio) -> None:
    primary, pg2, pg3 = trio_of_servers
    seen = primary.sql("SELECT application_name, state FROM pg_stat_replication ORDER BY 1")
    assert seen == [("pg2", "streaming"), ("pg3", "streaming")]
    assert primary.sql("SELECT slot_name, active FROM pg_replication_slots ORDER BY 1") == [
        ("pg2", True),
        ("pg3", True),
    ]
    run_sql(primary, ["CREATE TABLE t (a int)", "INSERT INTO t VALUES (7)"])
    for standby in (pg2, pg3):
        standby.wait_streaming(primary)
        assert standby.sql("SELECT a, pg_is_in_recovery() FROM t WHERE a = %s", 7) == [(7, True)]


def test_a_standby_can_stream_from_a_standby(servers: Servers) -> None:
    primary = servers.make_primary("pg1")
    middle = servers.add_standby("pg2", primary)
    last = servers.add_standby("pg3", middle, slot=False)
    last.wait_streaming(middle)
    assert middle.sql("SELECT application_name FROM pg_stat_replication") == [("pg3",)]


def test_killing_all_leaves_nothing_and_the_server_starts_again(
    trio_of_servers: Trio, eventually: Eventually
) -> None:
    primary, pg2, _ = trio_of_servers
    processes = processes_in(primary.data_dir)
    assert len(processes) > 5
    primary.kill_all()
    assert not primary.is_running()
    assert not processes_in(primary.data_dir)
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in processes))
    assert not zombies()
    primary.start()
    pg2.wait_streaming(primary)


def test_a_postmaster_that_pg_ctl_started_is_collected_too(
    servers: Servers, binaries: Binaries, eventually: Eventually
) -> None:
    server = servers.make_primary("pg1")
    server.stop()
    start_by_pg_ctl(server, servers.account)
    pid = server.pid()
    assert pid
    server.kill_postmaster()
    eventually(lambda: not Path(f"/proc/{pid}").exists())
    server.start()
    assert server.sql("SELECT 1") == [(1,)]


def test_the_reaper_leaves_the_exit_codes_of_others_alone(servers: Servers) -> None:
    server = servers.make_primary("pg1")
    for new_session in (False, True):
        ours = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"], start_new_session=new_session)
        os.waitid(os.P_PID, ours.pid, os.WEXITED | os.WNOWAIT)
        server.kill_all()
        server.start()
        assert ours.wait() == 7


def test_a_frozen_server_is_silent_until_it_is_thawed(servers: Servers) -> None:
    server = servers.make_primary("pg1")
    server.freeze()
    assert server.is_running()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(server.conninfo(connect_timeout=2))
    server.thaw()
    assert server.sql("SELECT 1") == [(1,)]


def test_with_the_postmaster_frozen_only_new_connections_hang(servers: Servers) -> None:
    server = servers.make_primary("pg1")
    with psycopg.connect(server.conninfo(), autocommit=True) as session:
        server.freeze(only_postmaster=True)
        assert session.execute("SELECT 1").fetchone() == (1,)
        server.thaw()


@pytest.mark.parametrize("how", ["running", "frozen", "killed", "started by pg_ctl"])
def test_closing_ends_every_server_and_removes_the_directory(binaries: Binaries, how: str) -> None:
    with Servers(binaries, settings={"fsync": False}, wal_segment_mb=1) as servers:
        server = servers.make_primary("pg1")
        if how == "frozen":
            server.freeze()
        elif how == "killed":
            server.kill_postmaster()
        elif how == "started by pg_ctl":
            server.stop()
            start_by_pg_ctl(server, servers.account)
    assert not processes_in(servers.home)
    assert not servers.home.exists()


@pytest.mark.parametrize("mode", ["smart", "fast", "immediate"])
def test_a_stopped_server_starts_again(servers: Servers, mode: str) -> None:
    server = servers.make_primary("pg1")
    server.stop(mode)  # type: ignore[arg-type]  # parametrize gives str
    assert server.pid() is None
    server.stop()
    server.start()
    with pytest.raises(UsageError):
        server.start()


def test_a_server_that_cannot_start_says_why(servers: Servers) -> None:
    with pytest.raises(StepFailed) as refused:
        servers.make_primary("pg1", no_such_setting=1)
    assert "no_such_setting" in refused.value.detail


def test_primaries_share_a_system_identifier_unless_told_otherwise(servers: Servers) -> None:
    made = [
        servers.make_primary("a"),
        servers.make_primary("b"),
        servers.make_primary("c", own_system_id=True),
    ]
    one, two, three = (
        server.sql("SELECT system_identifier FROM pg_control_system()")[0][0] for server in made
    )
    assert one == two != three


def test_ports_leave_outgoing_connections_alone(trio_of_servers: Trio) -> None:
    assert {server.port for server in trio_of_servers} <= set(PORTS)
    assert len({server.port for server in trio_of_servers}) == 3


def test_two_processes_never_hand_out_the_same_port() -> None:
    """Between the question and the server that listens there is time for another process to ask."""
    ask = "from pgvigil.demo.ports import *; print(*(free_port() for _ in range(600)), flush=True); input()"
    piped = partial(subprocess.Popen, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    others = [piped([sys.executable, "-c", ask]) for _ in range(2)]
    told = [{int(port) for port in other.stdout.readline().split()} for other in others if other.stdout]
    told.append({free_port() for _ in range(SHARE)})
    for other in others:
        other.communicate("\n")
    for ports in told:  # all of a share, but for those on which somebody listens
        assert SHARE * 0.9 < len(ports) <= SHARE
        assert len({(port - PORTS.start) // SHARE for port in ports}) == 1
    assert len(told) == 3
    assert not told[0] & told[1]
    assert not told[2] & (told[0] | told[1])


def test_password_files_are_for_the_servers_account_alone(servers: Servers) -> None:
    for login in ("pgvigil", "replicator"):
        found = servers.passfile(login).stat()
        assert (found.st_mode & 0o777, found.st_uid) == (0o600, server_account().uid)


def test_the_configuration_names_every_node(trio_of_servers: Trio, servers: Servers) -> None:
    text = yaml.safe_load(config_text(servers, "orders", protection="quorum"))
    cluster = text["clusters"]["orders"]
    assert cluster["protection"] == "quorum"
    assert cluster["nodes"]["pg2"]["postgres"]["port"] == trio_of_servers[1].port
    assert ("user" in cluster["shell"]) == (os.geteuid() == 0)


def test_a_major_version_that_is_not_there_is_an_error_with_a_way_out() -> None:
    with pytest.raises(ConfigError) as missing:
        find_postgres(7)
    assert "PostgreSQL 7" in missing.value.what
    assert "PGVIGIL_BIN_DIR" in missing.value.hint


def test_an_explicit_directory_without_programs_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGVIGIL_BIN_DIR", str(tmp_path))
    with pytest.raises(ConfigError):
        find_postgres()


def test_the_writer_finds_the_new_primary_and_nothing_is_lost(
    trio_of_servers: Trio, eventually: Eventually
) -> None:
    primary, pg2, _ = trio_of_servers
    with Writer({server.name: server.conninfo() for server in trio_of_servers}) as writer:
        eventually(lambda: len(writer.acks) > 10)
        assert writer.outage_after(time.monotonic()) is None
        assert {ack.node for ack in writer.acks} == {"pg1"}
        primary.stop()  # waits for its standbys: nothing may be lost
        mark = time.monotonic()
        pg2.sql("SELECT pg_promote()")
        eventually(lambda: writer.outage_after(mark))
        outage = writer.outage_after(mark)
    assert writer.acks[-1].node == "pg2"
    assert outage
    assert writer.longest_gap(since=mark) >= outage
    assert writer.lost(pg2.conninfo()) == []


def test_the_writer_leaves_a_frozen_primary_and_counts_what_only_that_one_has(
    trio_of_servers: Trio, eventually: Eventually
) -> None:
    primary, pg2, _ = trio_of_servers
    with Writer({server.name: server.conninfo() for server in trio_of_servers}) as writer:
        primary.freeze()
        mark = time.monotonic()
        pg2.sql("SELECT pg_promote()")
        eventually(lambda: writer.outage_after(mark, not_on=["pg1"]))
        primary.thaw()
        eventually(lambda: any(ack.node == "pg1" and ack.begun > mark for ack in writer.acks))
    assert writer.lost(pg2.conninfo())
