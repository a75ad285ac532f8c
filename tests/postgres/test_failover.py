"""The main job on real servers: the primary fails in every way, and nothing that was committed is lost."""

import os
import signal
import time
from dataclasses import replace
from functools import partial

import pytest

from pgvigil.demo.processes import processes_in
from pgvigil.demo.servers import Server, Servers, wait_until
from pgvigil.demo.writer import Writer
from pgvigil.model.command import Failover, Rejoin
from pgvigil.model.units import NodeName
from tests.postgres.guard import Guard, cluster_spec, guarding, with_timings

pytestmark = pytest.mark.postgres
Trio = tuple[Server, Server, Server]


def by_name(trio: Trio, name: str) -> Server:
    return next(server for server in trio if server.name == name)


def freeze_senders(server: Server) -> None:
    """Stop the primary's WAL senders: what is committed from now on reaches no standby."""
    for (pid,) in server.sql("select pid from pg_stat_replication"):
        os.kill(pid, signal.SIGSTOP)


def lost_nothing(writer: Writer, trio: Trio, guard: Guard) -> None:
    time.sleep(0.2)
    writer.stop()
    assert writer.lost(by_name(trio, guard.primary()).conninfo(dbname="postgres")) == []


# S0-02, S3-01
def test_a_crash_fails_over_and_the_old_primary_returns(
    guard: Guard, writer: Writer, trio_of_servers: Trio
) -> None:
    trio_of_servers[0].kill_all()
    guard.await_primary(other_than="pg1")
    guard.await_health()
    assert "primary_crashed" in guard.kinds()
    assert guard.status()["generation"] == 2
    lost_nothing(writer, trio_of_servers, guard)


def test_committed_rows_that_were_never_sent_are_rescued(guard: Guard, trio_of_servers: Trio) -> None:
    pg1 = trio_of_servers[0]
    pg1.sql("create table kept (n int)")
    wait_until(lambda: trio_of_servers[1].sql("select to_regclass('kept')")[0][0], within_s=5, what="table")
    freeze_senders(pg1)
    for n in range(400):
        pg1.sql("insert into kept values (%s)", n)
    pg1.kill_all()
    new = by_name(trio_of_servers, guard.await_primary(other_than="pg1"))
    assert new.sql("select count(*) from kept") == [(400,)]
    guard.await_health()
    (rescued,) = [event for event in guard.events() if event["kind"] == "rescue"]
    assert rescued["data"]["commits"] >= 400
    for server in trio_of_servers:
        wait_until(partial(has_rows, server, 400), within_s=10, what="the rows on every node")


def has_rows(server: Server, count: int) -> bool:
    return server.sql("select count(*) from kept") == [(count,)]


def test_a_hung_primary_is_killed_before_another_is_promoted(
    servers: Servers, trio_of_servers: Trio, writer: Writer
) -> None:
    pg1 = trio_of_servers[0]
    with guarding(with_timings(cluster_spec(servers, trio_of_servers), hung_after=1.0)) as guard:
        guard.await_health()
        frozen = processes_in(pg1.data_dir)
        pg1.freeze()
        guard.await_primary(other_than="pg1")
        assert not set(frozen) & set(processes_in(pg1.data_dir))
        guard.await_health()
        lost_nothing(writer, trio_of_servers, guard)


def test_a_restart_within_its_grace_is_no_failover(guard: Guard, trio_of_servers: Trio) -> None:
    pg1 = trio_of_servers[0]
    pg1.stop()
    time.sleep(1)
    pg1.start()
    guard.await_health(within_s=20)
    assert guard.status()["generation"] == 1
    assert guard.primary() == "pg1"


# S1-07
def test_a_stop_beyond_its_grace_fails_over_and_loses_nothing(
    servers: Servers, trio_of_servers: Trio, writer: Writer
) -> None:
    with guarding(with_timings(cluster_spec(servers, trio_of_servers), restart_grace=1.0)) as guard:
        guard.await_health()
        trio_of_servers[0].stop()
        guard.await_primary(other_than="pg1")
        guard.await_health()
        lost_nothing(writer, trio_of_servers, guard)


def test_the_new_primary_may_crash_at_once(guard: Guard, writer: Writer, trio_of_servers: Trio) -> None:
    """Another standby takes over if it has come along; else the crashed one is started where it is."""
    trio_of_servers[0].kill_all()
    second = guard.await_primary(other_than="pg1")
    by_name(trio_of_servers, second).kill_all()
    wait_until(lambda: "seen" in guard.kinds() and guard.status()["health"] != "ok", within_s=10, what="news")
    guard.await_health(within_s=60)
    lost_nothing(writer, trio_of_servers, guard)


def test_without_a_shell_a_crash_needs_a_standby_as_witness(servers: Servers, trio_of_servers: Trio) -> None:
    with guarding(cluster_spec(servers, trio_of_servers, shell=False)) as guard:
        guard.await_health()
        trio_of_servers[0].kill_all()
        guard.await_primary(other_than="pg1")
        (event,) = [e for e in guard.events() if e["kind"] == "primary_crashed"]
        assert any("lost its upstream" in text for text in event["evidence"])


# S2-05, S2-20
def test_a_standby_too_far_behind_is_promoted_by_an_operator_only(
    servers: Servers, trio_of_servers: Trio
) -> None:
    pg1 = trio_of_servers[0]
    spec = cluster_spec(servers, trio_of_servers, shell=False)  # no host that could hand over the rest
    with guarding(replace(spec, failover=replace(spec.failover, max_lag_bytes=64 * 1024))) as guard:
        guard.await_health()
        freeze_senders(pg1)
        pg1.sql("select pg_logical_emit_message(false, '', repeat('x', 1048576))")
        lags = "a lag beyond max_lag"
        wait_until(lambda: guard.kinds().count("found_standby_lagging") >= 2, within_s=20, what=lags)
        pg1.kill_all()
        wait_until(lambda: guard.status()["decision"]["rule"] == "nobody_fit", within_s=20, what="a hold")
        refused = guard.order(Failover(NodeName("pg3")))
        assert (refused.result, guard.status()["generation"]) == ("refused", 1), refused
        guard.order(Failover(NodeName("pg3"), force=True), within_s=5)  # it would wait for pg1 too
        assert guard.await_primary(other_than="pg1") == "pg3"


def test_a_pid_file_that_names_a_stranger_harms_neither_the_stranger_nor_the_return(
    servers: Servers, trio_of_servers: Trio
) -> None:
    """After a reboot the old postmaster's number may be another process's: it is left alone."""
    pg1 = trio_of_servers[0]
    spec = cluster_spec(servers, trio_of_servers)
    with guarding(replace(spec, failover=replace(spec.failover, auto_rejoin=False))) as guard:
        guard.await_health()
        pg1.kill_all()
        guard.await_primary(other_than="pg1")
        stranger = pg1.account.spawn("sleep", "300", home=pg1.home, log=pg1.home / "stranger.log")
        try:
            lines = (pg1.data_dir / "postmaster.pid").read_text().splitlines()
            (pg1.data_dir / "postmaster.pid").write_text("\n".join([str(stranger.pid), *lines[1:], ""]))
            assert guard.order(Rejoin(NodeName("pg1"))).result == "done"
            assert stranger.poll() is None, "a process that has nothing to do with PostgreSQL was ended"
        finally:
            stranger.kill()
            stranger.wait()
        (rebuilt,) = [event for event in guard.events() if event["kind"] == "rebuild"]
        assert rebuilt["data"]["method"] == "start"
