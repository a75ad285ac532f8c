"""The primary's server dies or stands still while its host lives (SAFETY §2, rows 4, 5 and 7; §8)."""

import pytest

from tests.faults.trial import QUICK, Trial, trial
from tests.lab import Cluster, LabHost, await_that, faults

pytestmark = pytest.mark.faults
UNFENCED = 1
"""Nothing is rescued from a host whose shell does not answer: its last row may have reached nobody."""


# S0-02
def test_a_crash_of_all_processes(trio: Cluster) -> None:
    with trial(trio) as run:
        faults.kill_postgres(run.first)
        run.ends(run.await_failover(), generation=2)


def test_a_crash_of_the_postmaster_alone(trio: Cluster) -> None:
    with trial(trio) as run:
        faults.kill_postmaster_only(run.first)
        run.ends(run.await_failover(), generation=2)


# S0-06
def test_two_nodes_survive_a_crash_and_the_next(pair: Cluster) -> None:
    with trial(pair) as run:
        faults.kill_postgres(run.first)
        second = run.await_failover()
        run.product.await_healthy()
        faults.kill_postgres(second)
        assert run.await_failover(of=second) is run.first
        run.ends(run.first, generation=3)


def test_a_crash_on_a_host_that_answers_slowly(trio: Cluster) -> None:
    with trial(trio) as run:
        faults.delay(run.first, 0.2)
        run.stays(for_s=3)
        faults.kill_postgres(run.first)
        second = run.await_failover()
        faults.heal(run.first)
        run.ends(second, generation=2)


def test_a_hung_server_is_killed_and_never_acknowledges_again(trio: Cluster) -> None:
    with trial(trio, QUICK) as run:
        frozen = {process.pid for process in run.first.server_processes()}
        faults.freeze(run.first)
        second = run.await_failover()
        assert not frozen & {process.pid for process in run.first.server_processes()}
        faults.thaw(run.first)
        run.ends(second, generation=2)
        kinds = run.product.kinds()
        assert kinds.index("primary_hung") < kinds.index("fence") < kinds.index("promote")


def shell_is_lost(run: Trial, node: LabHost) -> bool:
    nodes = run.product.status().get("nodes", [])
    return any(told["name"] == node.name and told["detail"] for told in nodes)


def test_without_ssh_nothing_fails_over_until_the_server_dies(trio: Cluster) -> None:
    with trial(trio) as run:
        faults.refuse_connections(run.first, 22)
        run.product.wait_for(lambda: shell_is_lost(run, run.first), "status tells of the lost shell")
        checked = run.product.command("check", check=False)
        assert checked.returncode == 1
        assert f"{run.first.name}" in checked.stdout
        run.stays(for_s=2)
        faults.kill_postgres(run.first)
        second = run.await_failover()
        verdict = run.product.await_event("primary_crashed", generation=2)
        words = " ".join(verdict["evidence"])  # over SQL or over the standbys' shells: whichever comes first
        assert "lost its upstream" in words or "cannot get through either" in words, words
        faults.heal(run.first)
        run.ends(second, generation=2, lost_at_most=UNFENCED)


def recovers_from_the_second_crash(run: Trial) -> None:
    """By another failover, or, while nobody has followed to the new timeline yet, by a restart in place."""
    run.await_writes()
    run.product.await_healthy()
    generation = run.product.status()["generation"]
    assert generation == 3 or "restarted" in run.product.kinds()
    run.ends(run.cluster.primary(), generation=generation)


def test_the_new_primary_crashes_as_soon_as_it_is_one(trio: Cluster) -> None:
    with trial(trio) as run:
        faults.kill_postgres(run.first)
        await_that(lambda: bool(run.cluster.primaries()), 30, "another primary")
        faults.kill_postgres(run.cluster.primary())
        recovers_from_the_second_crash(run)


def test_the_new_primary_crashes_while_the_old_one_rejoins(trio: Cluster) -> None:
    def rejoining() -> bool:
        nodes = run.product.status().get("nodes", [])
        return any(node["name"] == run.first.name and node["progress"] for node in nodes)

    with trial(trio) as run:
        faults.kill_postgres(run.first)
        second = run.await_failover()
        run.product.wait_for(rejoining, "the old primary is being brought back")
        faults.kill_postgres(second)
        recovers_from_the_second_crash(run)
