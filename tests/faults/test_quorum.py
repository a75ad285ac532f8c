"""Quorum mode when hosts are lost: nothing acknowledged is lost, no two acknowledge (SAFETY §3, I2, I3)."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.faults.product import Sections
from tests.faults.trial import QUICK, Trial, acknowledged_by, trial, writing_from
from tests.lab import Cluster, LabError, LabHost, Writer, await_that, faults

pytestmark = pytest.mark.faults
QUORUM: Sections = {**QUICK, "protection": "quorum", "sync_required": 1}


def waits_for(run: Trial) -> list[str]:
    """The standbys of which one acknowledges each commit, as far as is proved; none during a change."""
    sync = run.product.status().get("sync") or {}
    return list(sync["standbys"]) if sync and sync["acks"] == 1 and not sync["changing"] else []


def await_set(run: Trial, *standbys: LabHost) -> None:
    names = sorted(node.name for node in standbys)
    run.product.wait_for(lambda: waits_for(run) == names, f"commits wait for any of {names}")


@contextmanager
def promised(cluster: Cluster, sections: Sections = QUORUM) -> Iterator[Trial]:
    """A trial in which commits are proved to wait for a standby."""
    with trial(cluster, sections) as run:
        await_set(run, *run.standbys)
        yield run


def has_all(run: Trial, primary: LabHost, *writers: Writer) -> None:
    """Whatever any of these clients was told to be committed is there."""
    with run.cluster.lab.connect(primary) as connection:
        assert [writer.lost(connection) for writer in writers] == [()] * len(writers)


def is_proved(run: Trial) -> bool:
    """Whether each promotion so far was one that cannot have lost anything."""
    promotions = [event for event in run.product.events() if event["kind"] == "promote" and event["evidence"]]
    told = {text for event in promotions for text in event["evidence"] if text.startswith("fenced")}
    return bool(told) and told <= {"fenced: quorum", "fenced: stopped", "fenced: in_recovery"}


def cut_off_and_replaced(cluster: Cluster) -> None:
    """A primary that runs on where nobody reaches it acknowledges nothing, and is replaced."""
    with promised(cluster) as run, writing_from(run.first, cluster) as inside:
        cut = faults.link_down(run.first)
        second = run.await_failover()
        with pytest.raises(LabError, match="no write was acknowledged"):
            inside.first_after(cut.done, within_s=2)
        run.await_given_up(run.first)
        faults.link_up(run.first)
        run.product.await_healthy()
        assert inside.first_after(time.monotonic(), within_s=30).node == second.name
        assert not acknowledged_by(inside, run.first, since=cut.done)
        inside.stop()
        has_all(run, second, inside)
        assert is_proved(run)
        run.ends(second, generation=2)


# S2-12
def test_a_primary_that_is_cut_off_with_a_client_acknowledges_nothing(trio: Cluster) -> None:
    cut_off_and_replaced(trio)


def test_of_two_nodes_a_primary_that_is_cut_off_is_replaced(pair: Cluster) -> None:
    cut_off_and_replaced(pair)


def test_a_primary_that_only_the_controller_does_not_reach_serves_on(trio: Cluster) -> None:
    with promised(trio) as run, writing_from(run.standbys[0], trio) as aside:
        faults.isolate(run.first, [run.controller])
        run.product.await_finding("primary_unseen")
        run.stays(for_s=3)
        assert aside.first_after(time.monotonic(), within_s=5).node == run.first.name
        faults.heal(run.first)
        run.nothing_happened()


def lose_at_once(*hosts: LabHost) -> None:
    for host in hosts:
        faults.link_down(host)
    for host in hosts:
        faults.lose_host(host)


def test_a_primary_lost_with_a_standby_is_held_and_replaced_when_the_standby_is_back(trio: Cluster) -> None:
    """Forcing it instead: `tests/postgres/test_quorum.py`."""
    with promised(trio) as run:
        gone, left = run.standbys
        lose_at_once(gone, run.first)
        held = run.product.await_event("not_lossless")
        assert f"any 1 of {gone.name}, {left.name}" in held["text"]
        assert f"bring back {gone.name} or {run.first.name}" in held["hint"]
        assert "pgvigil failover lab --force" in held["hint"]
        run.stays_held("not_lossless", for_s=2)
        faults.revive_host(gone, start_postgres=True)
        run.await_failover()
        faults.revive_host(run.first)
        run.product.await_healthy()
        run.ends(run.cluster.primary(), generation=2)
        assert is_proved(run)


def test_a_standby_that_was_taken_out_before_is_not_needed(trio: Cluster) -> None:
    with promised(trio) as run, writing_from(run.first, trio) as inside:
        gone, left = run.standbys
        faults.lose_host(gone)
        await_set(run, left)
        cut = faults.link_down(run.first)
        assert run.await_failover() is left
        assert not acknowledged_by(inside, run.first, since=cut.done)
        run.await_given_up(run.first)
        faults.link_up(run.first)
        faults.revive_host(gone, start_postgres=True)
        run.ends(left, generation=2)
        assert is_proved(run)


def test_a_lone_standby_that_is_lost_is_waited_for_no_longer(pair: Cluster) -> None:
    with promised(pair) as run:
        (standby,) = run.standbys
        fault = faults.lose_host(standby)
        run.writer.first_after(fault.done, within_s=30)
        assert run.product.await_event("unprotected")["data"] is not None
        faults.revive_host(standby, start_postgres=True)
        await_set(run, standby)
        run.nothing_happened()


def test_a_lone_standby_that_only_the_primary_does_not_reach_is_waited_for_no_longer(pair: Cluster) -> None:
    """Both answer us; the primary itself takes it for a streaming one until `wal_sender_timeout`."""
    with promised(pair) as run:
        (standby,) = run.standbys
        fault = faults.isolate(standby, [run.first.address])
        run.writer.first_after(fault.done + 1, within_s=30)
        assert "confirms nothing" in run.product.await_event("sync_lowered")["text"]
        faults.heal(standby)
        await_set(run, standby)
        run.nothing_happened()


def test_without_degrade_commits_wait_and_status_says_so(pair: Cluster) -> None:
    with promised(pair, {**QUORUM, "degrade": False}) as run:
        (standby,) = run.standbys
        fault = faults.lose_host(standby)
        run.product.wait_for(lambda: rule(run) == "commits_wait", "status says that commits wait")
        assert standby.name in run.product.command("status", check=False).stdout
        with pytest.raises(LabError, match="no write was acknowledged"):
            run.writer.first_after(fault.done + 1, within_s=3)
        faults.revive_host(standby, start_postgres=True)
        run.await_writes()
        run.nothing_happened()


def rule(run: Trial) -> str:
    return str((run.product.status().get("decision") or {}).get("rule"))


def test_a_new_primary_that_dies_at_once_loses_nothing(trio: Cluster) -> None:
    with promised(trio) as run:
        faults.kill_postgres(run.first)
        await_that(lambda: bool(run.cluster.primaries()), 30, "another primary")
        faults.kill_postgres(run.cluster.primary())
        run.await_writes()
        run.product.await_healthy()
        after = run.cluster.primary()
        run.ends(after, generation=int(run.product.status()["generation"]))
        assert is_proved(run)
