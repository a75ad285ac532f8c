"""`protection: quorum` on real servers: what was acknowledged is on the next primary, whatever happens."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pgvigil.demo.servers import Server, Servers, wait_until
from pgvigil.demo.writer import Writer
from pgvigil.errors import TimedOut
from pgvigil.model.command import Failover, Pause, Resume, Switchover
from pgvigil.model.spec import ClusterSpec, Protection
from pgvigil.model.units import NodeName
from tests.postgres.guard import Guard, cluster_spec, guarding, with_timings
from tests.postgres.test_failover import Trio, lost_nothing

pytestmark = pytest.mark.postgres


def quorum(spec: ClusterSpec, *, acks: int = 1, degrade: bool = True) -> ClusterSpec:
    return replace(spec, protection=Protection.QUORUM, sync_required=acks, degrade=degrade)


@pytest.fixture
def guard(servers: Servers, trio_of_servers: Trio) -> Iterator[Guard]:
    with guarding(quorum(cluster_spec(servers, trio_of_servers))) as guard:
        await_promise(guard, "pg2", "pg3")
        yield guard


def await_promise(guard: Guard, *standbys: str, acks: int = 1, within_s: float = 30.0) -> None:
    """Until commits are known to wait for these."""

    def promised() -> bool:
        sync = guard.status()["sync"]
        return (
            bool(sync) and not sync["changing"] and (sync["acks"], sync["standbys"]) == (acks, list(standbys))
        )

    try:
        wait_until(promised, within_s=within_s, what=f"any {acks} of {standbys}")
    except TimedOut:
        story = "\n".join(f"{e['at']} {e['kind']} {e['text']}" for e in guard.events()[-25:])
        raise AssertionError(f"{guard.status()['sync']} {guard.status()['decision']}\n{story}") from None


def names(server: Server) -> str:
    return str(server.sql("show synchronous_standby_names")[0][0])


def test_it_takes_the_setting_over_and_commits_wait(guard: Guard, trio_of_servers: Trio) -> None:
    assert names(trio_of_servers[0]) == 'ANY 1 ("pg2", "pg3")'
    guard.await_health()
    assert "protected" in guard.kinds()


# S4-08
def test_a_crash_loses_nothing_and_the_new_primary_waits_too(
    guard: Guard, writer: Writer, trio_of_servers: Trio
) -> None:
    trio_of_servers[0].kill_all()
    new = guard.await_primary(other_than="pg1")
    guard.await_health()
    await_promise(guard, *sorted({"pg1", "pg2", "pg3"} - {new}))
    lost_nothing(writer, trio_of_servers, guard)


# S4-08
def test_a_switchover_loses_nothing(guard: Guard, writer: Writer, trio_of_servers: Trio) -> None:
    outcome = guard.order(Switchover(None))
    assert outcome.result == "done", outcome
    guard.await_health()
    await_promise(guard, *sorted({"pg1", "pg2", "pg3"} - {guard.primary()}))
    lost_nothing(writer, trio_of_servers, guard)


# S2-13, S4-08
def test_a_standby_that_leaves_is_waited_for_no_more_and_again_when_it_is_back(
    guard: Guard, writer: Writer, trio_of_servers: Trio
) -> None:
    _, pg2, pg3 = trio_of_servers
    pg3.kill_all()
    await_promise(guard, "pg2")
    assert names(trio_of_servers[0]) == 'ANY 1 ("pg2")'
    pg2.kill_all()
    wait_until(lambda: guard.status()["sync"]["acks"] == 0, within_s=30, what="degrading")
    before = time.monotonic()
    wait_until(lambda: writer.outage_after(before) is not None, within_s=30, what="a write")
    wait_until(lambda: guard.status()["health"] == "degraded", within_s=30, what="no change to be under way")
    assert "unprotected" in guard.kinds()
    pg2.start()
    pg3.start()
    await_promise(guard, "pg2", "pg3")
    lost_nothing(writer, trio_of_servers, guard)


# S2-13
def test_without_degrade_commits_wait_and_people_are_told(servers: Servers, trio_of_servers: Trio) -> None:
    pg1, pg2, pg3 = trio_of_servers
    pg1.sql("create table kept (n int)")
    with guarding(quorum(cluster_spec(servers, trio_of_servers), degrade=False)) as guard:
        await_promise(guard, "pg2", "pg3")
        pg2.kill_all()
        pg3.kill_all()
        wait_until(lambda: rule(guard) == "commits_wait", within_s=30, what="commits_wait")
        assert names(pg1) in ('ANY 1 ("pg2", "pg3")', 'ANY 1 ("pg3")')  # pg2 may have been let go in between
        pg2.start()
        wait_until(lambda: rule(guard) != "commits_wait", within_s=30, what="one of them")
        pg1.sql("insert into kept values (1)")


def rule(guard: Guard) -> str:
    return str(guard.status()["decision"]["rule"])


# S2-13
def test_what_cannot_be_proved_is_held_until_an_operator_accepts_it(
    servers: Servers, trio_of_servers: Trio
) -> None:
    """No shells: nothing can be stopped, no WAL can be fetched; and one of the two standbys hangs."""
    pg1, pg2, pg3 = trio_of_servers
    spec = quorum(cluster_spec(servers, trio_of_servers, shell=False))
    with guarding(with_timings(spec, unreachable_after=20.0)) as guard:
        await_promise(guard, "pg2", "pg3")
        pg3.freeze()
        wait_until(lambda: "found_standby_down" in guard.kinds(), within_s=30, what="the silence of pg3")
        pg1.kill_all()
        wait_until(lambda: rule(guard) == "not_lossless", within_s=40, what="not_lossless")
        told = guard.status()["decision"]
        assert "pg3" in told["hint"]
        assert "--force" in told["hint"]
        assert names(pg2) == "", "nothing was changed"
        assert pg2.sql("show primary_conninfo")[0][0], "nothing was cut"
        refused = guard.order(Failover())
        assert refused.result == "refused"
        guard.order(Failover(force=True), within_s=1)  # it would wait for pg3 too
        assert guard.await_primary(other_than="pg1") == "pg2"
        pg3.thaw()


def test_a_standby_ahead_of_the_new_primary_acknowledges_nothing_until_it_is_put_right(
    servers: Servers, trio_of_servers: Trio
) -> None:
    """It would claim to have flushed what it never got (PostgreSQL 17 and 18: internals/conformance.md)."""
    pg1, pg2, pg3 = trio_of_servers
    pg1.sql("create table kept (n int)")
    spec = quorum(cluster_spec(servers, trio_of_servers))
    with guarding(replace(spec, failover=replace(spec.failover, rescue_max_bytes=0))) as guard:
        await_promise(guard, "pg2", "pg3")
        assert guard.order(Pause()).result == "done"
        pg2.sql("alter system set primary_conninfo = ''")
        pg2.sql("select pg_reload_conf()")
        wait_until(lambda: not pg2.sql("select 1 from pg_stat_wal_receiver"), within_s=20, what="pg2 cut off")
        pg1.sql("insert into kept select generate_series(1, 5000)")
        pg3.wait_streaming(pg1)
        pg1.kill_all()
        guard.order(Failover(NodeName("pg2"), force=True), within_s=1)  # it would wait for the others too
        wait_until(lambda: pg2.sql("select pg_is_in_recovery()") == [(False,)], within_s=30, what="pg2")
        assert "pg3" not in names(pg2), "it has more than pg2, and nobody knows what it will claim"
        pg2.sql("insert into kept values (0)")
        guard.order(Resume())
        await_promise(guard, "pg1", "pg3", within_s=60)
        for server in (pg1, pg3):
            server.wait_streaming(pg2)
            assert server.sql("select n from kept") == [(0,)]
