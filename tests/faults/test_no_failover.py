"""What looks like a failure and is none: nobody is promoted, and people are told (SAFETY §2, §8)."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.faults.product import Sections
from tests.faults.trial import QUICK, Trial, trial, writing_from
from tests.lab import Cluster, LabHost, faults

pytestmark = pytest.mark.faults

PATIENT: Sections = {"failover": {"restart_grace": "60s"}}
"""Crash recovery and a start can take long on a machine that has too much to do."""


@pytest.mark.parametrize("seconds", [0.5, 1.2, 1.8])
def test_a_hiccup_of_the_network(trio: Cluster, seconds: float) -> None:
    """Who looks for a host by ARP asks once a second: a cable that is back is out for up to a second more."""
    with trial(trio) as run:
        faults.link_down(run.first)
        time.sleep(seconds)
        faults.link_up(run.first)
        run.stays(for_s=4)
        run.nothing_happened()


def test_a_network_that_loses_packets(trio: Cluster) -> None:
    with trial(trio) as run:
        faults.lose_packets(run.first, 30)
        run.stays(for_s=5)
        faults.heal(run.first)
        run.nothing_happened()


def test_a_slow_network(trio: Cluster) -> None:
    with trial(trio) as run:
        faults.delay(run.first, 0.3, jitter_s=0.2)
        run.stays(for_s=6)
        faults.heal(run.first)
        run.nothing_happened()


def test_a_primary_that_only_the_controller_cannot_reach(trio: Cluster) -> None:
    with trial(trio, QUICK) as run, writing_from(run.standbys[0], trio) as aside:
        faults.isolate(run.first, [run.controller])
        told = run.product.await_finding("primary_unseen")
        assert any("reaches it" in text for text in told["evidence"])
        run.stays(for_s=3)
        assert aside.first_after(time.monotonic(), within_s=5).node == run.first.name
        faults.heal(run.first)
        run.nothing_happened()


@contextmanager
def all_cut_off(run: Trial, *, primary_first_s: float = 0.0) -> Iterator[None]:
    """The controller reaches no node, while all nodes reach each other; the primary comes back first."""
    for node in run.cluster.nodes:
        faults.isolate(node, [run.controller])
    yield
    faults.heal(run.first)
    time.sleep(primary_first_s)
    for node in run.cluster.nodes:
        faults.heal(node)


def references(cluster: Cluster, *, answering: bool) -> dict[str, object]:
    """Reference targets: the standbys' hosts, which go with the rest, or something beside us."""
    hosts = [node.address for node in cluster.nodes[1:]]
    targets = ["127.0.0.1"] if answering else [f"{address}:22" for address in hosts]
    return {"reference_targets": targets}


# S0-09
@pytest.mark.parametrize("targets", ["none", "lost", pytest.param("answering")])
def test_a_controller_that_is_cut_off_from_all_holds_and_goes_on_afterwards(
    trio: Cluster, targets: str
) -> None:
    sections = {} if targets == "none" else references(trio, answering=targets == "answering")
    with trial(trio, {**QUICK, **sections}) as run, writing_from(run.standbys[0], trio) as aside:
        with all_cut_off(run):
            run.product.await_finding("primary_unseen" if targets == "answering" else "controller_isolated")
            run.stays(for_s=3)
            assert aside.first_after(time.monotonic(), within_s=5).node == run.first.name
        run.product.await_healthy()
        faults.kill_postgres(run.first)
        run.ends(run.await_failover(), generation=2)


@pytest.mark.parametrize("primary_first_s", [0.0, 4.0])
def test_a_crash_while_the_controller_is_cut_off_is_seen_to_afterwards(
    trio: Cluster, primary_first_s: float
) -> None:
    """By a failover; or by a start where it is, if no standby is back in sight when its host is."""
    with trial(trio, QUICK) as run:
        with all_cut_off(run, primary_first_s=primary_first_s):
            run.product.await_finding("controller_isolated")
            faults.kill_postgres(run.first)
            run.stays(for_s=2)
            run.await_given_up(run.first)
        run.await_writes()
        run.product.await_healthy()
        status = run.product.status()
        run.ends(run.cluster.node(status["primary"]), generation=status["generation"])
        done = {"promote", "startprimary"} & set(run.product.kinds())
        assert done == {"startprimary"} if primary_first_s else done


def freeze_sshd(host: LabHost) -> None:
    for process in host.processes():
        if process.name.startswith("sshd"):
            os.kill(process.pid, signal.SIGSTOP)


def test_ssh_that_hangs_while_the_server_serves(trio: Cluster) -> None:
    with trial(trio) as run:
        freeze_sshd(run.first)
        run.stays(for_s=8)
        faults.thaw(run.first)
        run.nothing_happened()


def test_a_firewall_that_refuses_for_a_server_that_runs(trio: Cluster) -> None:
    with trial(trio) as run:
        faults.refuse_connections(run.first)
        told = run.product.await_finding("primary_overloaded")
        assert any("alive" in text for text in told["evidence"])
        run.stays(for_s=7)
        faults.heal(run.first)
        run.nothing_happened()


def test_a_killed_backend_makes_the_server_restart_itself(trio: Cluster) -> None:
    with trial(trio, PATIENT) as run:
        faults.kill_backend(run.first)
        run.product.wait_for(lambda: bool(run.writer.ends), "the restart is felt")
        run.await_writes()
        run.stays(for_s=2)
        run.nothing_happened()


def test_a_stop_that_is_over_within_its_grace(trio: Cluster) -> None:
    with trial(trio, PATIENT) as run:
        faults.stop_clean(run.first)
        run.product.wait_for(lambda: bool(run.product.found("primary_restarting")), "the stop is seen")
        faults.start(run.first)
        run.nothing_happened()
