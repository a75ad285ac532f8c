"""Cascading standbys on real servers: pointed by an operator, orphaned, and put back as configured."""

from dataclasses import replace
from datetime import timedelta

import pytest

from pgvigil.controller.operations import Result
from pgvigil.demo.servers import Server, Servers, wait_until
from pgvigil.model.command import FollowUpstream
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.units import NodeName
from tests.postgres.guard import Guard, cluster_spec, guarding

pytestmark = pytest.mark.postgres

Trio = tuple[Server, Server, Server]
PG1, PG2, PG3 = NodeName("pg1"), NodeName("pg2"), NodeName("pg3")


def node(guard: Guard, name: str) -> dict[str, object]:
    return next(each for each in guard.status()["nodes"] if each["name"] == name)


def await_upstream(guard: Guard, name: str, upstream: str) -> None:
    def streams() -> bool:
        seen = node(guard, name)
        return seen["upstream"] == upstream and seen["receiver"] is not None

    wait_until(streams, within_s=30, what=f"{name} to stream from {upstream}", every_s=0.05)


def follows(guard: Guard) -> list[str]:
    return [event["text"] for event in guard.events() if event["kind"] == "follow"]


def with_upstream(spec: ClusterSpec, name: str, upstream: str, *, return_after_s: float) -> ClusterSpec:
    nodes = tuple(replace(n, upstream=NodeName(upstream)) if n.name == name else n for n in spec.nodes)
    pause = timedelta(seconds=return_after_s)
    return replace(spec, nodes=nodes, replication=replace(spec.replication, return_after=pause))


# S1-11
def test_a_standby_cascades_as_asked_and_is_taken_to_the_primary_once_when_its_upstream_dies(
    servers: Servers, trio_of_servers: Trio
) -> None:
    pg1, pg2, pg3 = trio_of_servers
    with guarding(cluster_spec(servers, trio_of_servers)) as guard:
        done = guard.order(FollowUpstream(PG3, PG2))
        assert (done.result, done.text) == (Result.DONE, "pg3 streams from pg2 on timeline 1")
        assert pg3.sql("select sender_port from pg_stat_wal_receiver") == [(pg2.port,)]
        circle = guard.order(FollowUpstream(PG2, PG3))
        assert (circle.result, circle.text) == (Result.REFUSED, "pg3 streams from pg2 itself")
        pg2.kill_all()
        await_upstream(guard, "pg3", "pg1")
        pg2.start()
        await_upstream(guard, "pg2", "pg1")
        pg1.sql("create table t as select 1 as a")
        pg3.wait_streaming(pg1)
        assert follows(guard) == ["point pg3 at pg2", "point pg3 at pg1"]
        assert node(guard, "pg3")["upstream"] == "pg1"


def test_a_standby_goes_back_to_the_upstream_that_is_configured(
    servers: Servers, trio_of_servers: Trio
) -> None:
    _, pg2, _ = trio_of_servers
    spec = with_upstream(cluster_spec(servers, trio_of_servers), "pg3", "pg2", return_after_s=2)
    with guarding(spec) as guard:
        await_upstream(guard, "pg3", "pg2")
        refused = guard.order(FollowUpstream(PG3, PG1))
        assert refused.result is Result.REFUSED
        assert "stream from pg2" in refused.text
        pg2.kill_all()
        await_upstream(guard, "pg3", "pg1")
        pg2.start()
        await_upstream(guard, "pg3", "pg2")
        assert follows(guard) == ["point pg3 at pg2", "point pg3 at pg1", "point pg3 at pg2"]


def test_an_upstream_that_lets_nobody_in_is_not_tried_over_and_over(
    servers: Servers, trio_of_servers: Trio
) -> None:
    pg1, pg2, pg3 = trio_of_servers
    hba = pg2.data_dir / "pg_hba.conf"
    hba.write_text("\n".join(line for line in hba.read_text().splitlines() if "replication" not in line))
    pg2.sql("select pg_reload_conf()")
    spec = with_upstream(cluster_spec(servers, trio_of_servers), "pg3", "pg2", return_after_s=3)
    with guarding(spec) as guard:
        wait_until(lambda: len(follows(guard)) >= 2, within_s=40, what="pg3 to be sent there and back")
        await_upstream(guard, "pg3", "pg1")
        pg1.sql("create table t as select 1 as a")
        pg3.wait_streaming(pg1)
        assert follows(guard)[:2] == ["point pg3 at pg2", "point pg3 at pg1"]
        assert guard.order(FollowUpstream(PG2, PG1), dry_run=True).result is Result.PLANNED


def test_the_upstream_is_promoted_and_its_standby_stays_with_it(
    servers: Servers, trio_of_servers: Trio
) -> None:
    pg1, pg2, pg3 = trio_of_servers
    spec = with_upstream(cluster_spec(servers, trio_of_servers), "pg3", "pg2", return_after_s=1)
    with guarding(spec) as guard:
        await_upstream(guard, "pg3", "pg2")
        pg1.kill_all()
        assert guard.await_primary("pg1") == "pg2"
        guard.await_health()
        pg2.sql("create table t as select 1 as a")
        pg3.wait_streaming(pg2)
        assert set(follows(guard)) == {"point pg3 at pg2"}
        assert node(guard, "pg1")["upstream"] == "pg2"


def test_a_delayed_standby_is_neither_promoted_nor_lagging_and_follows_the_new_primary(
    servers: Servers,
) -> None:
    pg1 = servers.make_primary("pg1")
    pg2 = servers.add_standby("pg2", pg1, recovery_min_apply_delay="1h")
    pg3 = servers.add_standby("pg3", pg1)
    pg3.wait_streaming(pg1)
    spec = cluster_spec(servers, (pg1, pg2, pg3))
    preferred = tuple(replace(n, priority=900) if n.name == PG2 else n for n in spec.nodes)
    strict = replace(spec.failover, max_lag_bytes=64 * 1024)
    with guarding(replace(spec, nodes=preferred, failover=strict)) as guard:
        pg1.sql("create table t (a int)")  # commits are what it waits for: all behind this one is held up
        pg1.sql("insert into t select generate_series(1, 20000)")
        pg3.wait_streaming(pg1)

        def has_received_it() -> bool:
            seen = node(guard, "pg2")
            return seen["lag_bytes"] == 0 and int(str(seen["replay_lag_bytes"])) > 64 * 1024

        wait_until(has_received_it, within_s=15, what="pg2 to have received it, and not replayed")
        assert node(guard, "pg2")["apply_delay_s"] == 3600
        wait_until(lambda: not guard.status()["findings"], within_s=10, what="nothing to be found of it")
        pg1.kill_all()
        assert guard.await_primary("pg1") == "pg3"
        await_upstream(guard, "pg2", "pg3")
        guard.await_health()
        assert pg2.sql("show recovery_min_apply_delay") == [("1h",)]
