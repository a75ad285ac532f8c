"""A host without PostgreSQL tells a dead primary from a network that is split."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.faults.product import Sections
from tests.faults.test_host_lost import IN_FLIGHT
from tests.faults.trial import QUICK, Trial, trial, writing_from
from tests.lab import Cluster, LabHost, faults

pytestmark = pytest.mark.faults


@pytest.fixture
def witness(pair: Cluster) -> Iterator[LabHost]:
    """A third host, beside two nodes and the controller."""
    host = pair.lab.add_witness()
    yield host
    faults.heal(host)


def with_witness(host: LabHost) -> Sections:
    return {**QUICK, "witnesses": {host.name: host.address}}


def without_a_shell(host: LabHost) -> None:
    """Nothing can be asked through that host's sshd; its server serves on."""
    for process in host.processes():
        if process.name.startswith("sshd"):
            os.kill(process.pid, signal.SIGSTOP)


# S0-09, S1-12
def test_a_split_between_primary_and_standby_is_no_failover_while_the_witness_reaches_both(
    pair: Cluster, witness: LabHost
) -> None:
    with trial(pair, with_witness(witness)) as run, writing_from(witness, pair) as aside:
        standby = run.standbys[0]
        faults.isolate(run.first, [run.controller, standby.address])
        told = run.product.await_finding("primary_unseen")
        assert "w1 reaches it" in told["evidence"]
        run.stays(for_s=4)
        assert aside.first_after(time.monotonic(), within_s=10).node == run.first.name
        shown = run.product.command("status").stdout
        assert "w1 reaches it" in shown
        assert "witness w1" in shown
        faults.heal(run.first)
        run.nothing_happened()


def test_the_same_split_without_a_witness_is_a_lost_host(pair: Cluster) -> None:
    with trial(pair, QUICK) as run:
        faults.isolate(run.first, [run.controller, run.standbys[0].address])
        second = run.await_failover()
        run.await_given_up(run.first)
        faults.heal(run.first)
        run.ends(second, generation=2, lost_at_most=IN_FLIGHT, stray=run.first)


# S1-12
def test_a_lost_host_is_confirmed_by_the_witness_alone(pair: Cluster, witness: LabHost) -> None:
    with trial(pair, with_witness(witness)) as run:
        without_a_shell(run.standbys[0])
        faults.lose_host(run.first)
        try:
            second = run.await_failover()
            verdict = run.product.await_event("primary_lost", generation=2)
            assert "w1 cannot reach it either" in verdict["evidence"]
        finally:
            faults.thaw(run.standbys[0])
        faults.revive_host(run.first)
        run.ends(second, generation=2, lost_at_most=IN_FLIGHT)


def tells(run: Trial, problem: str, text: str) -> bool:
    finding = run.product.found(problem)
    return finding is not None and any(text in each for each in finding["evidence"])


def test_a_witness_that_is_cut_off_itself_proves_nothing_until_it_is_back(
    pair: Cluster, witness: LabHost
) -> None:
    with trial(pair, with_witness(witness)) as run:
        without_a_shell(run.standbys[0])
        faults.isolate(witness, [node.address for node in pair.nodes])
        faults.lose_host(run.first)
        try:
            run.product.wait_for(lambda: tells(run, "primary_unseen", "w1 does not reach it"), "the witness")
            run.stays(for_s=3)
            faults.heal(witness)
            second = run.await_failover()
        finally:
            faults.thaw(run.standbys[0])
        faults.revive_host(run.first)
        run.ends(second, generation=2, lost_at_most=IN_FLIGHT)


def test_check_tells_of_a_witness_that_does_not_reach_a_node(pair: Cluster, witness: LabHost) -> None:
    with trial(pair, with_witness(witness)) as run:
        fine = run.product.command("check", check=False).stdout
        assert "reaches every node that we reach" in fine
        faults.isolate(witness, [run.first.address])
        blind = run.product.command("check", check=False).stdout
        assert f"does not reach {run.first.name}" in blind
        faults.isolate(witness, [run.controller])
        dead = run.product.command("check", check=False)
        assert dead.returncode == 1
        assert "no shell on" in dead.stdout
        run.nothing_happened()
