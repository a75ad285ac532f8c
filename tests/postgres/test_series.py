"""Crashes in quick succession: the new primary dies right after its promotion, and the next one too."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from pgvigil.demo.servers import Server, Servers, wait_until
from pgvigil.demo.writer import Writer
from pgvigil.model.command import Failover
from pgvigil.model.spec import AfterCrash, Rate
from tests.postgres.guard import Guard, cluster_spec, guarding

pytestmark = pytest.mark.postgres


@contextmanager
def cluster_of(servers: Servers, count: int) -> Iterator[tuple[dict[str, Server], Guard, Writer]]:
    """So many nodes, guarded without a cool-down, and a client that never stops."""
    first = servers.make_primary("pg1")
    names = [f"pg{number}" for number in range(2, count + 1)]
    with ThreadPoolExecutor() as pool:
        standbys = list(pool.map(lambda name: servers.add_standby(name, first), names))
    for standby in standbys:
        standby.wait_streaming(first)
    nodes = {server.name: server for server in (first, *standbys)}
    with (
        guarding(cluster_spec(servers, tuple(nodes.values()))) as guard,
        Writer({name: server.conninfo(dbname="postgres") for name, server in nodes.items()}) as writer,
    ):
        guard.await_health()
        yield nodes, guard, writer


def next_write(writer: Writer, since: float) -> str:
    """The node that acknowledged the first write begun after `since`.

    It may be the one that crashed: while nobody has followed it to its timeline yet, it is started again.
    """

    def found() -> str:
        return next((ack.node for ack in writer.acks if ack.begun > since), "")

    wait_until(found, within_s=60, what="a write after the crash", every_s=0.02)
    return found()


def ends_well(nodes: dict[str, Server], guard: Guard, writer: Writer) -> None:
    """All nodes follow one primary again, and it has every row that was ever acknowledged."""
    guard.await_health(within_s=90)
    writer.stop()
    running = [s.name for s in nodes.values() if s.sql("select pg_is_in_recovery()") == [(False,)]]
    assert running == [guard.primary()]
    assert writer.lost(nodes[running[0]].conninfo(dbname="postgres")) == []
    status = guard.status()
    upstreams = {node["name"]: node["upstream"] for node in status["nodes"] if node["name"] != running[0]}
    assert set(upstreams.values()) == {running[0]}


# S0-06, S0-17
@pytest.mark.parametrize("pause_s", [0.0, 0.1, 0.5, 3.0])
@pytest.mark.parametrize(("count", "crashes"), [(3, 2), (4, 3)])
def test_each_new_primary_dies_right_after_its_first_write(
    servers: Servers, count: int, crashes: int, pause_s: float
) -> None:
    with cluster_of(servers, count) as (nodes, guard, writer):
        serving = "pg1"
        for _ in range(crashes):
            nodes[serving].kill_all()
            serving = next_write(writer, time.monotonic())
            time.sleep(pause_s)
        ends_well(nodes, guard, writer)


def test_the_cool_down_holds_a_series_and_says_what_to_do(servers: Servers) -> None:
    with cluster_of(servers, 3) as (nodes, _, writer):
        writer.stop()
    spec = cluster_spec(servers, tuple(nodes.values()))
    strict = replace(spec, failover=replace(spec.failover, max_per=Rate(2, timedelta(minutes=15))))
    with guarding(strict) as guard:
        for _ in range(2):
            guard.await_health(within_s=60)
            serving = guard.primary()
            nodes[serving].kill_all()
            guard.await_primary(other_than=serving)
        guard.await_health(within_s=60)
        serving = guard.primary()
        nodes[serving].kill_all()
        wait_until(lambda: guard.status()["decision"]["rule"] == "cool_down", within_s=20, what="a hold")
        decision = guard.status()["decision"]
        assert decision["reason"] == "there were 2 failovers in 0:15:00 already"
        assert "pgvigil failover test" in decision["hint"]
        time.sleep(1)
        assert guard.primary() == serving
        assert guard.order(Failover()).result == "done"
        guard.await_health(within_s=60)
        assert guard.primary() != serving


# S2-10
def test_a_primary_that_crashes_after_each_restart_in_place_is_replaced(servers: Servers) -> None:
    with cluster_of(servers, 2) as (nodes, _, writer):
        writer.stop()
    spec = cluster_spec(servers, tuple(nodes.values()))
    policy = replace(spec.failover, after_crash=AfterCrash.RESTART, max_per=Rate(2, timedelta(minutes=15)))
    with guarding(replace(spec, failover=policy)) as guard:
        for times in (1, 2):
            guard.await_health(within_s=60)
            nodes["pg1"].kill_all()
            wait_until(
                lambda n=times: guard.kinds().count("restarted") >= n,  # type: ignore[misc]  # bound here
                within_s=30,
                what="a restart in place",
            )
            assert guard.primary() == "pg1"
        guard.await_health(within_s=60)
        nodes["pg1"].kill_all()
        assert guard.await_primary(other_than="pg1") == "pg2"
        guard.await_health(within_s=60)
