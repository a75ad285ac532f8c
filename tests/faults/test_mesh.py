"""Three controllers and three servers of etcd: any may die or be cut off (SAFETY §7; I1, I2, I8, I10)."""

import time

import pytest

from tests.etcd import needs_etcd
from tests.faults.mesh import LEASE_S, Mesh, mesh
from tests.faults.test_host_lost import IN_FLIGHT
from tests.faults.test_witness import without_a_shell
from tests.lab import Cluster, LabHost, await_that, faults

pytestmark = [pytest.mark.faults, needs_etcd, pytest.mark.timeout(400)]


def primary_of(run: Mesh) -> LabHost:
    return run.cluster.primary()


# S2-11, S4-11
def test_two_controllers_killed_in_one_failover_and_another_in_the_next(trio: Cluster) -> None:
    with mesh(trio) as run:
        first, second, third = run.heirs()
        run[first].start(dies_at="saved:fencing", healthy=False)
        run.await_guarded(first)
        run[second].start(dies_at="before:Promote", healthy=False)
        run[third].start(dies_at="after:Promote", healthy=False)
        run.await_guarded(first, seen_by=second)
        run.await_guarded(first, seen_by=third)

        faults.kill_postgres(primary_of(run))
        run.await_killed(first, second, third)
        run[second].start(healthy=False)
        run.await_generation(2, seen_by=second)
        run.ends(2, seen_by=second)


# S2-11, S4-11
def test_controllers_and_etcd_that_are_cut_off_or_gone_do_no_harm_and_begin_nothing(trio: Cluster) -> None:
    with mesh(trio) as run:
        owner, heir, third = run.heirs()
        for name in (owner, heir, third):
            run[name].start(healthy=False)
        for name in (owner, heir, third):
            run.await_guarded(owner, seen_by=name)

        for name in (heir, third):  # who guards nothing is missed by nobody
            faults.link_down(run.hosts[name])
        run.stays(1, for_s=LEASE_S + 0.5, seen_by=owner)
        for name in (heir, third):
            faults.link_up(run.hosts[name])
        for name in (heir, third):
            run.await_guarded(owner, seen_by=name)

        leader = run.etcd.leader()
        faults.link_down(run.etcd_hosts[leader])  # a server of etcd, and the one that leads
        faults.kill_postgres(primary_of(run))
        run.await_generation(2, seen_by=third)
        faults.link_up(run.etcd_hosts[leader])

        faults.isolate(run.hosts[owner], [host.address for host in run.etcd_hosts])
        faults.kill_postgres(primary_of(run))  # the owner sees it, and may not act on it
        run.await_generation(3, seen_by=third)
        told = run[owner].status()
        assert told["decision"]["rule"] == "lease_lost", run[owner].explain(AssertionError(str(told)))
        assert run[third].status()["controller"] == heir
        faults.heal(run.hosts[owner])
        run.await_guarded(heir, owner, seen_by=owner)

        run.etcd.stop()
        await_that(run.hold, 60, "who guards knows that etcd is gone")
        run.writer.first_after(time.monotonic(), within_s=30)
        faults.kill_postgres(primary_of(run))
        await_that(run.sees_a_crash, 60, "the crash is seen")
        run.stays_without_a_primary(for_s=1.5)
        run.etcd.start()
        run.ends(4, seen_by=third)


def test_a_split_that_another_controller_sees_through_is_no_failover_and_a_loss_that_it_confirms_is(
    pair: Cluster,
) -> None:
    with mesh(pair) as run:
        owner, heir, third = run.heirs()
        for name in (owner, heir, third):
            run[name].start(healthy=False)
        for name in (owner, heir, third):
            run.await_guarded(owner, seen_by=name)

        first = primary_of(run)
        (standby,) = run.cluster.standbys()
        faults.isolate(first, [run.hosts[owner].address, standby.address])  # without the others: a lost host
        told = run[owner].await_finding("primary_unseen")
        assert {f"controller {name} reaches it" for name in (heir, third)} & set(told["evidence"])
        run.stays(1, for_s=4, seen_by=owner)
        faults.heal(first)
        run.await_caught_up(first, standby)

        without_a_shell(standby)
        faults.lose_host(first)
        try:
            verdict = run[owner].await_event("primary_lost", generation=2, within_s=60)
        finally:
            faults.thaw(standby)
        confirmed = {f"controller {name} cannot reach it either" for name in (heir, third)}
        assert confirmed & set(verdict["evidence"])
        faults.revive_host(first)
        run.ends(2, seen_by=owner, lost_at_most=IN_FLIGHT)
