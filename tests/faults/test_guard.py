"""A guard on each node, async: who is cut off stops before another takes writes (SAFETY, I2)."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.product import Product, Sections, running
from tests.faults.trial import Trial, writing_from
from tests.lab import Ack, Cluster, LabHost, Writer, faults

pytestmark = pytest.mark.faults
LEASE_S = 3.0
GUARDED: Sections = {
    "failover": {"unreachable_after": "1s", "hung_after": "1s"},
    "fencing": {"guard": True, "guard_lease": f"{LEASE_S:g}s", "unreachable": "wait"},
}


@contextmanager
def guarded(cluster: Cluster, sections: Sections = GUARDED) -> Iterator[Trial]:
    """A trial with a guard on each node, put there by the command, and taken away by it."""
    product = Product(cluster, sections)
    with running(product, healthy=False), cluster.lab.writer(cluster.nodes) as writer:
        product.await_finding("guard_missing")
        product.command("guard", "install", "--yes")
        try:
            product.await_healthy()
            yield Trial(cluster, product, writer)
        finally:
            product.command("guard", "remove", "--yes", check=False)


def of(writer: Writer, node: LabHost) -> list[Ack]:
    """What that node acknowledged."""
    return [ack for ack in writer.acks if ack.node == node.name]


def guard_files(node: LabHost) -> Path:
    return node.dir / "data.pgvigil-guard"


def guard_process(node: LabHost) -> int:
    """The machine's id of the guard's process."""
    return next(
        p.pid
        for p in node.processes()
        if Path(f"/proc/{p.pid}/cmdline").read_bytes().split(b"\0")[1:3] == [b"./guard.sh", b"run"]
    )


def never_both(inside: Writer, run: Trial, new: LabHost) -> None:
    """The old primary acknowledged nothing any more when the new one began to take writes."""
    old = max(ack.acknowledged for ack in (*of(inside, run.first), *of(run.writer, run.first)))
    began = min(ack.begun for ack in (*of(inside, new), *of(run.writer, new)))
    assert old < began, f"both took writes for {old - began:.3f} s"


# S2-12
def test_a_primary_that_is_cut_off_with_a_client_stops_before_another_takes_writes(trio: Cluster) -> None:
    with guarded(trio) as run, writing_from(run.first, trio) as inside:
        cut = faults.link_down(run.first)
        second = run.await_failover()
        promoted = next(event for event in run.product.events() if event["kind"] == "promote")
        assert "fenced: guard" in promoted["evidence"]
        never_both(inside, run, second)
        assert of(inside, run.first)[-1].acknowledged > cut.done, "it took writes while it was cut off"
        assert (run.first.data_dir / "standby.signal").exists()
        faults.link_up(run.first)
        run.product.await_healthy()
        assert inside.first_after(time.monotonic(), within_s=30).node == second.name
        never_both(inside, run, second)


# S2-15
def test_two_nodes(pair: Cluster) -> None:
    with guarded(pair) as run, writing_from(run.first, pair) as inside:
        faults.link_down(run.first)
        second = run.await_failover()
        never_both(inside, run, second)
        faults.link_up(run.first)
        run.product.await_healthy()


@pytest.mark.parametrize("direction", ["in", "out"])
def test_a_cut_in_one_direction_is_one_in_both(trio: Cluster, direction: faults.Direction) -> None:
    with guarded(trio) as run, writing_from(run.first, trio) as inside:
        faults.drop_one_way(run.first, direction)
        second = run.await_failover()
        never_both(inside, run, second)
        faults.heal(run.first)
        run.product.await_healthy()


def test_a_primary_that_may_see_a_majority_is_not_replaced(trio: Cluster) -> None:
    """It is cut off together with one of two standbys: both are a majority, and its guard lets it go on."""
    with guarded(trio) as run, writing_from(run.first, trio) as inside:
        beside, alone = run.standbys
        addresses = [trio.lab.network.controller_address, alone.address]
        faults.isolate(run.first, addresses)
        faults.isolate(beside, addresses)
        held = run.product.await_event("not_fenced")
        assert "1 of 2 other nodes" in held["text"]
        run.stays(for_s=2 * LEASE_S)
        assert inside.first_after(time.monotonic(), within_s=10).node == run.first.name
        faults.heal(run.first)
        faults.heal(beside)
        run.ends(run.first, generation=1)


# S4-09
def test_without_controllers_nothing_happens_while_the_nodes_see_each_other(trio: Cluster) -> None:
    with guarded(trio) as run:
        run.product.stop()
        time.sleep(6 * LEASE_S)
        beat = (guard_files(run.first) / "beat").read_text().split()
        assert beat[5] == "held"
        assert run.writer.first_after(time.monotonic(), within_s=10).node == run.first.name
        assert run.writer.longest_gap() < LEASE_S
        with running(Product(trio, GUARDED)) as again:
            assert again.status()["primary"] == run.first.name


@pytest.mark.parametrize("what", [signal.SIGKILL, signal.SIGSTOP])
def test_a_guard_that_does_not_work_is_told_and_not_trusted(trio: Cluster, what: signal.Signals) -> None:
    with guarded(trio) as run, writing_from(run.first, trio) as inside:
        os.kill(guard_process(run.first), what)
        found = run.product.await_finding("guard_missing")
        assert found["node"] == run.first.name
        faults.link_down(run.first)
        held = run.product.await_event("not_fenced")
        assert "when it was last heard of" in held["text"]
        run.stays(for_s=LEASE_S + 5)
        assert inside.first_after(time.monotonic(), within_s=10).node == run.first.name
        faults.link_up(run.first)
        if what is signal.SIGSTOP:
            os.kill(guard_process(run.first), signal.SIGCONT)
        else:
            run.product.command("guard", "install", "lab", run.first.name, "--yes")
        run.ends(run.first, generation=1)


def test_a_controller_that_was_just_started_does_not_trust_a_guard_it_never_renewed(trio: Cluster) -> None:
    with guarded(trio) as run:
        product = run.product
        product.stop()
        faults.link_down(run.first)
        product.start(healthy=False)
        product.wait_for(lambda: bool(product.status()), "it answers")
        waited = product.await_event("guard_lease")
        held = product.await_event("not_fenced")
        assert waited["number"] < held["number"]
        assert "promote" not in product.kinds()
        faults.link_up(run.first)
        product.await_healthy()


def test_a_host_that_came_back_alone_as_a_primary_is_stopped_by_its_guard(trio: Cluster) -> None:
    with guarded(trio) as run:
        faults.lose_host(run.first)
        second = run.await_failover()
        faults.revive_host(run.first, start_postgres=True, connected=False)
        with writing_from(run.first, trio) as inside:
            inside.first_after(time.monotonic(), within_s=30)
            run.first.run("sh", str(guard_files(run.first) / "guard.sh"), "start")
            run.product.wait_for(lambda: run.first.postmaster() is None, "the guard stops it")
        faults.link_up(run.first)
        run.product.await_healthy()
        assert run.product.status()["primary"] == second.name
