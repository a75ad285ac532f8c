"""The fencing ladder on real servers: what happens when the old primary's host gives no shell."""

import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pgvigil.demo.servers import Server, Servers, wait_until
from pgvigil.model.command import Failover
from pgvigil.model.spec import ClusterSpec, Fencing, WhenUnreachable
from tests.postgres.guard import cluster_spec, guarding

pytestmark = pytest.mark.postgres
Trio = tuple[Server, Server, Server]


@pytest.fixture
def spec(servers: Servers, trio_of_servers: Trio) -> ClusterSpec:
    return cluster_spec(servers, trio_of_servers, shell=False)


def test_the_users_fence_command_must_succeed_before_anybody_is_promoted(
    spec: ClusterSpec, trio_of_servers: Trio, tmp_path: Path
) -> None:
    off = tmp_path / "power-is-off"
    line = f"echo $NODE $HOST >> {tmp_path}/asked; [ -e {off} ]"
    with guarding(replace(spec, fencing=Fencing(WhenUnreachable.WAIT, line))) as guard:
        guard.await_health()
        trio_of_servers[0].kill_all()
        wait_until((tmp_path / "asked").exists, within_s=10, what="the fence command being run")
        time.sleep(1.0)
        assert [s.sql("select pg_is_in_recovery()") for s in trio_of_servers[1:]] == [[(True,)], [(True,)]]
        off.touch()
        guard.await_primary(other_than="pg1")
        assert (tmp_path / "asked").read_text().split("\n")[0] == "pg1 127.0.0.1"
        assert "fencebycommand" in guard.kinds()


def test_without_any_fence_the_policy_wait_holds_until_a_human_forces(
    spec: ClusterSpec, trio_of_servers: Trio
) -> None:
    with guarding(replace(spec, fencing=Fencing(WhenUnreachable.WAIT))) as guard:
        guard.await_health()
        trio_of_servers[0].kill_all()
        wait_until(lambda: guard.status()["decision"]["rule"] == "not_fenced", within_s=10, what="holding")
        assert "--force" in guard.status()["decision"]["hint"]
        outcome = guard.order(Failover(force=True), within_s=15)
        assert guard.primary() in ("pg2", "pg3"), outcome


def test_a_fence_command_that_fails_too_long_leaves_the_policy_to_decide(
    spec: ClusterSpec, trio_of_servers: Trio
) -> None:
    fencing = Fencing(WhenUnreachable.PROMOTE, "exit 1", timedelta(seconds=2))
    with guarding(replace(spec, fencing=fencing)) as guard:
        guard.await_health()
        trio_of_servers[0].kill_all()
        guard.await_primary(other_than="pg1")
        assert "fencebycommand_failed" in guard.kinds()
