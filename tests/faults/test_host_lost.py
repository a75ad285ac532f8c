"""The primary's host vanishes, is cut off, or comes back: replaced, fenced, rejoined (SAFETY §2)."""

import time

import pytest

from tests.faults.trial import QUICK, WAIT, acknowledged_by, trial, writing_from
from tests.lab import Cluster, faults

pytestmark = pytest.mark.faults
IN_FLIGHT = 3
"""Async mode and no word from the old host: rows of its last moment (50 a second) may have reached nobody."""


# S0-17
def test_a_lost_host_is_replaced_rejoins_when_it_is_back_and_so_does_the_next(trio: Cluster) -> None:
    with trial(trio) as run:
        faults.lose_host(run.first)
        second = run.await_failover()
        faults.revive_host(run.first)
        run.product.await_healthy()
        faults.kill_postgres(second)
        third = run.await_failover(of=second)
        run.ends(third, generation=3, lost_at_most=IN_FLIGHT)
        assert {"primary_lost", "primary_crashed"} <= set(run.product.kinds())


def test_a_lost_host_that_comes_back_as_a_primary_is_fenced_and_rejoins(trio: Cluster) -> None:
    with trial(trio, QUICK) as run:
        faults.lose_host(run.first)
        second = run.await_failover()
        faults.revive_host(run.first, start_postgres=True, connected=False)
        with writing_from(run.first, trio) as inside:
            faults.link_up(run.first)
            run.product.await_event("fence", generation=2)  # through its host, maybe before it answers us
            run.product.await_healthy()
            assert not acknowledged_by(inside, run.first, since=time.monotonic())
            inside.first_after(time.monotonic(), within_s=30, not_on=[run.first.name])
        faults.kill_postgres(second)
        run.ends(run.await_failover(of=second), generation=3, lost_at_most=IN_FLIGHT, stray=run.first)


def test_two_nodes_survive_a_lost_host(pair: Cluster) -> None:
    with trial(pair) as run:
        faults.lose_host(run.first)
        second = run.await_failover()
        faults.revive_host(run.first)
        run.ends(second, generation=2, lost_at_most=IN_FLIGHT)


# S0-11
def test_a_host_cut_off_with_its_clients_is_fenced_when_it_is_back(trio: Cluster) -> None:
    with trial(trio) as run, writing_from(run.first, trio) as inside:
        faults.link_down(run.first)
        second = run.await_failover()
        run.await_given_up(run.first)
        assert inside.first_after(time.monotonic(), within_s=10).node == run.first.name
        faults.link_up(run.first)
        run.product.await_event("fence", generation=2)  # through its host, maybe before it answers us
        run.product.await_healthy()
        fenced = time.monotonic()
        assert inside.first_after(fenced, within_s=30).node == second.name
        assert not acknowledged_by(inside, run.first, since=fenced)
        run.ends(second, generation=2, lost_at_most=IN_FLIGHT, stray=run.first)
        promoted = next(event for event in run.product.events() if event["kind"] == "promote")
        assert "fenced: risk_accepted" in promoted["evidence"]
        (rebuilt,) = [event for event in run.product.events() if event["kind"] == "rebuild"]
        assert rebuilt["data"]["method"] == "rewind"  # over ssh, as the servers' account


def test_who_cannot_be_fenced_is_not_replaced_if_that_is_wanted(trio: Cluster) -> None:
    with trial(trio, {**QUICK, **WAIT}) as run, writing_from(run.first, trio) as inside:
        faults.link_down(run.first)
        held = run.product.await_event("not_fenced")
        assert held["hint"]
        run.stays(for_s=1)
        assert inside.first_after(time.monotonic(), within_s=10).node == run.first.name
        faults.link_up(run.first)
        run.ends(run.first, generation=1)
        assert inside.writers_at_once() == ()


@pytest.mark.parametrize("direction", ["in", "out"])
def test_a_host_that_only_hears_or_only_speaks_is_lost(trio: Cluster, direction: faults.Direction) -> None:
    with trial(trio) as run:
        faults.drop_one_way(run.first, direction)
        second = run.await_failover()
        run.await_given_up(run.first)
        faults.heal(run.first)
        run.ends(second, generation=2, lost_at_most=IN_FLIGHT, stray=run.first)


def test_a_network_that_heals_during_the_failover(trio: Cluster) -> None:
    with trial(trio) as run:
        faults.link_down(run.first)
        run.product.await_event("primary_lost", generation=2)
        faults.link_up(run.first)
        run.product.await_healthy()
        after = run.cluster.primary()
        # It may have been back before anybody was promoted: then it serves on, in a new generation.
        assert after is not run.first or "came_back" in run.product.kinds()
        run.ends(after, generation=2, lost_at_most=IN_FLIGHT, stray=run.first)


def test_a_host_that_stands_still_as_a_whole_is_replaced_and_fenced_when_it_goes_on(trio: Cluster) -> None:
    with trial(trio, QUICK) as run:
        faults.freeze(run.first, everything=True)
        try:
            second = run.await_failover()
            run.await_given_up(run.first)
        finally:
            faults.thaw(run.first)
        run.ends(second, generation=2, lost_at_most=IN_FLIGHT, stray=run.first)
