"""Standby clusters on real servers: they follow, lose their leader, are promoted, and change places."""

from dataclasses import replace

import pytest

from pgvigil.controller.operations import Result
from pgvigil.demo.servers import Server, Servers, wait_until
from pgvigil.model.command import DemoteSite, Drill, Failover, PromoteSite, RestartServers, Switchover
from pgvigil.model.spec import Protection
from pgvigil.model.units import Lsn, NodeName
from tests.postgres.guard import Guard, guarding
from tests.postgres.sites import DR, MAIN, Sites, follower, make_sites

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(240)]


@pytest.fixture
def sites(servers: Servers) -> Sites:
    return make_sites(servers)


def await_rows(server: Server, count: int) -> None:
    """Until that standby, which may be starting, shows so many rows of `t`."""

    def there() -> bool:
        return bool(server.sql("select count(*) from t") == [(count,)])

    wait_until(there, within_s=60, what=f"{server.name} to have {count} rows", every_s=0.05)


def await_leader(guard: Guard, name: str) -> None:
    def leads() -> bool:
        status = guard.status(DR)
        return bool(status["primary"] == name and status["health"] == "ok")

    wait_until(leads, within_s=40, what=f"{name} to lead, and all well", every_s=0.05)


def started(server: Server) -> float:
    return float(server.sql("select extract(epoch from pg_postmaster_start_time())")[0][0])


def far_nodes(guard: Guard) -> list[str]:
    """Who of the other cluster answers, or is streamed from, as the standby cluster sees it."""
    status = guard.status(DR)
    upstreams = {str(node["upstream"]) for node in status["nodes"] if node["receiver"]}
    return [*map(str, status["standby_of"]["answers"]), *(name for name in upstreams if "/" in name)]


def in_recovery(servers: tuple[Server, ...]) -> bool:
    return all(server.sql("select pg_is_in_recovery()") == [(True,)] for server in servers)


def test_it_is_taken_over_as_a_standby_cluster_and_follows_a_failover_and_a_switchover(sites: Sites) -> None:
    a1, a2 = sites.main
    with guarding(*sites.specs()) as guard:
        await_leader(guard, "b1")
        guard.await_health(cluster=MAIN)
        a1.sql("create table t (a int)")
        a1.kill_all()
        wait_until(lambda: guard.status(MAIN)["primary"] == "a2", within_s=30, what="a failover there")
        guard.await_health(cluster=MAIN)
        a2.sql("insert into t values (1)")
        for server in sites.dr:
            await_rows(server, 1)
        done = guard.order(Switchover(NodeName("a1")), cluster=MAIN)
        assert done.result is Result.DONE, done
        a1.sql("insert into t values (2)")
        for server in sites.dr:
            await_rows(server, 2)
        await_leader(guard, "b1")
        assert in_recovery(sites.dr)
        assert guard.status(DR)["generation"] == 1


def test_a_leader_that_is_killed_is_replaced_and_follows_when_it_returns(sites: Sites) -> None:
    (a1, _), (b1, b2) = sites.main, sites.dr
    with guarding(*sites.specs()) as guard:
        await_leader(guard, "b1")
        b1.kill_all()
        wait_until(lambda: guard.status(DR)["primary"] == "b2", within_s=30, what="another leader")
        a1.sql("create table t as select 1 as a")
        await_rows(b2, 1)
        assert guard.status(DR)["generation"] == 2
        b1.start()
        await_leader(guard, "b2")
        b1.wait_streaming(b2)
        back = guard.order(Switchover(), cluster=DR)
        assert (back.result, back.text) == (
            Result.DONE,
            "b1 leads the standby cluster now; every other node streams from it",
        )
        b2.wait_streaming(b1)
        begun = {server.name: started(server) for server in sites.dr}
        restarted = guard.order(RestartServers(), cluster=DR, within_s=90)
        assert (restarted.result, restarted.text) == (Result.DONE, "restarted: b2, b1")
        assert all(started(server) > begun[server.name] for server in sites.dr)
        assert guard.order(Drill(), cluster=DR).result is Result.REFUSED
        refused = guard.order(Failover(), cluster=DR)
        assert refused.result is Result.REFUSED
        assert "promote-site" in refused.hint
        assert in_recovery(sites.dr)


def test_it_is_promoted_when_the_other_cluster_is_dead_and_not_before(sites: Sites) -> None:
    (a1, a2), (b1, b2) = sites.main, sites.dr
    with guarding(*sites.specs()) as guard:
        await_leader(guard, "b1")
        guard.await_health(cluster=MAIN)
        a1.sql("create table t as select 1 as a")
        await_rows(b2, 1)
        lives = guard.order(PromoteSite(), cluster=DR)
        assert (lives.result, lives.text) == (
            Result.REFUSED,
            "main/a1 of the cluster that is followed takes writes",
        )
        guard.reload(sites.specs()[1])
        a1.kill_all()
        wait_until(
            lambda: not guard.status(DR)["standby_of"]["primary"], within_s=10, what="its end to be seen"
        )
        half = guard.order(PromoteSite(), cluster=DR)
        assert half.result is Result.REFUSED
        assert half.text == "main/a2 answers in recovery, and may be promoted there"
        a2.kill_all()
        wait_until(lambda: not far_nodes(guard), within_s=10, what="nobody to answer there")
        done = guard.order(PromoteSite(), cluster=DR)
        assert done.result is Result.DONE, done
        b1.sql("insert into t values (2)")
        await_rows(b2, 2)
        status = guard.status(DR)
        assert (status["primary"], status["generation"], status["standby_cluster"]) == ("b1", 2, False)
        (event,) = [e for e in guard.events(DR) if e["kind"] == "promote_site"]
        assert any("when it was last heard" in line for line in event["evidence"])


def test_a_site_in_quorum_mode_waits_for_its_own_standby_once_it_is_promoted(sites: Sites) -> None:
    main, dr = (replace(spec, protection=Protection.QUORUM) for spec in sites.specs())
    (a1, _), (b1, b2) = sites.main, sites.dr
    with guarding(main, dr) as guard:
        await_leader(guard, "b1")
        guard.await_health(cluster=MAIN)
        assert a1.sql("show synchronous_standby_names") == [('ANY 1 ("a2")',)]
        assert b1.sql("show synchronous_standby_names") == [("",)]
        a1.sql("create table t as select 1 as a")
        await_rows(b2, 1)
        guard.reload(dr)
        for server in sites.main:
            server.kill_all()
        wait_until(lambda: not far_nodes(guard), within_s=10, what="nobody to answer there")
        done = guard.order(PromoteSite(), cluster=DR)
        assert done.result is Result.DONE, done
        wait_until(lambda: (guard.status(DR)["sync"] or {}).get("acks") == 1, within_s=20, what="the promise")
        b1.sql("insert into t values (2)")
        await_rows(b2, 2)
        assert b1.sql("show synchronous_standby_names") == [('ANY 1 ("b2")',)]


def test_a_primary_whose_last_wal_the_other_site_does_not_get_serves_again(sites: Sites) -> None:
    (a1, a2), (b1, b2) = sites.main, sites.dr
    main, dr = sites.specs()
    with guarding(main, dr) as guard:
        await_leader(guard, "b1")
        guard.await_health(cluster=MAIN)
        alone = replace(dr, standby_of=None)
        guard.reload(follower(main, alone), alone)  # as the file is while they change places
        wait_until(lambda: answering(guard, MAIN) == ["dr/b1", "dr/b2"], within_s=10, what="dr to be seen")
        a1.sql("create table t as select 1 as a")
        for server in sites.dr:
            server.freeze()
        failed = guard.order(DemoteSite(), cluster=MAIN, within_s=90)
        assert failed.result is Result.FAILED, failed
        for server in sites.dr:
            server.thaw()
        assert not a1.sql("select pg_is_in_recovery()")[0][0]
        a1.sql("insert into t values (2)")
        await_rows(b2, 2)
        wait_until(lambda: answering(guard, MAIN) == ["dr/b1", "dr/b2"], within_s=10, what="dr to be seen")
        wait_until(lambda: sends_to(a1, "dr/b1"), within_s=30, what="b1 to stream from a1")

        last = ""

        def demoted() -> bool:
            nonlocal last
            outcome = guard.order(DemoteSite(), cluster=MAIN)
            last = outcome.data.get("last_checkpoint", "")
            assert outcome.result in (Result.DONE, Result.REFUSED), (
                outcome
            )  # not before it was seen to stream
            return outcome.result is Result.DONE

        wait_until(demoted, within_s=20, what="a1 to be demoted")
        handed_over = PromoteSite(handed_over=Lsn.parse(last))
        # Refused until a look has seen that somebody has it.
        wait_until(lambda: guard.order(handed_over, cluster=DR).result is Result.DONE, within_s=20, what=DR)
        new = {"b1": b1, "b2": b2}[guard.status(DR)["primary"]]
        new.sql("insert into t values (3)")
        for server in (a1, a2):
            await_rows(server, 3)
        assert in_recovery(sites.main)


def answering(guard: Guard, cluster: str) -> list[str]:
    """Who of the other cluster answers, as this one sees it."""
    return sorted(map(str, guard.status(cluster)["standby_of"]["answers"]))


def sends_to(server: Server, name: str) -> bool:
    text = "select true from pg_stat_replication where application_name = %s and state = 'streaming'"
    return bool(server.sql(text, name))
