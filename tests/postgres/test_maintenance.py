"""A standby under maintenance is stopped, started and left behind by failovers, and nobody interferes."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from pgvigil.demo.servers import Server, Servers, wait_until
from pgvigil.model.command import Maintenance, Switchover
from pgvigil.model.spec import Protection
from pgvigil.model.units import NodeName
from pgvigil.store.sqlite import SqliteStore
from tests.postgres.guard import cluster_spec, guarding

pytestmark = pytest.mark.postgres
Trio = tuple[Server, Server, Server]


# S2-08, S4-06
def test_it_is_left_alone_never_promoted_and_taken_back(
    servers: Servers, trio_of_servers: Trio, tmp_path: Path
) -> None:
    pg1, _, pg3 = trio_of_servers
    spec = cluster_spec(servers, trio_of_servers)
    nodes = tuple(replace(n, priority=900) if n.name == "pg3" else n for n in spec.nodes)
    spec = replace(spec, nodes=nodes, failover=replace(spec.failover, restart_standbys=True))
    store = SqliteStore(tmp_path / "pgvigil.db")
    with guarding(spec, store=store) as guard:
        guard.await_health()
        refused = guard.order(Maintenance(NodeName("pg1"), on=True))
        assert (refused.result, "pgvigil switchover" in refused.hint) == ("refused", True)
        assert guard.order(Maintenance(NodeName("pg3"), on=True)).result == "done"

        pg3.stop()
        wait_until(lambda: state(guard.status(), "pg3") == "- failed", within_s=10, what="pg3 seen down")
        time.sleep(2.0)
        assert not pg3.is_running(), guard.kinds()
        assert guard.status()["health"] == "ok"
        assert not {"rebuild", "found_standby_down", "found_standby_detached"} & set(guard.kinds())

        outcome = guard.order(Switchover())
        assert (outcome.result, guard.primary()) == ("done", "pg2"), outcome
        pg3.start()
    with guarding(spec, store=SqliteStore(tmp_path / "pgvigil.db")) as guard:
        assert under_maintenance(guard.status()) == ["pg3"]
        guard.await_health()
        servers.nodes["pg2"].kill_all()
        assert guard.await_primary("pg2") == "pg1"
        assert guard.order(Maintenance(NodeName("pg3"), on=False)).result == "done"
        guard.await_health()
        wait_until(
            lambda: upstream(guard.status(), "pg3") == "pg1",
            within_s=30,
            what="pg3 to follow the new primary",
        )
        assert pg1.sql("select pg_is_in_recovery()") == [(False,)]
        pg3.stop()  # now it is missed: `restart_standbys` has it started again
        wait_until(lambda: pg3.is_running() and guard.status()["health"] == "ok", within_s=40, what="a start")


def test_quorum_waits_for_others_meanwhile(servers: Servers, trio_of_servers: Trio) -> None:

    spec = replace(cluster_spec(servers, trio_of_servers), protection=Protection.QUORUM)
    with guarding(spec) as guard:
        guard.await_health()
        wait_until(
            lambda: standbys(guard.status()) == ["pg2", "pg3"], within_s=20, what="both to acknowledge"
        )
        guard.order(Maintenance(NodeName("pg3"), on=True))
        time.sleep(1.0)
        assert standbys(guard.status()) == ["pg2", "pg3"]
        trio_of_servers[2].stop()
        wait_until(lambda: standbys(guard.status()) == ["pg2"], within_s=20, what="pg3 to be let go")
        trio_of_servers[2].start()
        trio_of_servers[2].wait_streaming(trio_of_servers[0])
        time.sleep(2.0)
        assert standbys(guard.status()) == ["pg2"]
        guard.order(Maintenance(NodeName("pg3"), on=False))
        wait_until(lambda: standbys(guard.status()) == ["pg2", "pg3"], within_s=20, what="pg3 to be back")


def node(status: dict[str, object], name: str) -> dict[str, object]:
    nodes = status["nodes"]
    assert isinstance(nodes, list)
    return next(each for each in nodes if each["name"] == name)


def state(status: dict[str, object], name: str) -> object:
    return node(status, name)["state"]


def upstream(status: dict[str, object], name: str) -> object:
    return node(status, name)["upstream"]


def under_maintenance(status: dict[str, object]) -> list[str]:
    nodes = status["nodes"]
    assert isinstance(nodes, list)
    return [each["name"] for each in nodes if each["maintenance"]]


def standbys(status: dict[str, object]) -> object:
    sync = status["sync"]
    return sync["standbys"] if isinstance(sync, dict) and not sync["changing"] else None
