"""Planned changes of primary: nothing is lost, and what cannot be finished is undone."""

import os
import signal

import pytest

from pgvigil.demo.servers import Server
from pgvigil.demo.writer import Writer
from pgvigil.model.command import Switchover
from pgvigil.model.units import NodeName
from tests.postgres.guard import Guard

pytestmark = pytest.mark.postgres
Trio = tuple[Server, Server, Server]


# S0-03, S1-06
def test_there_and_back_under_load_loses_nothing(guard: Guard, trio_of_servers: Trio) -> None:
    with Writer({s.name: s.conninfo(dbname="postgres") for s in trio_of_servers}) as writer:
        for to in ("pg2", "pg1", "pg3", "pg1"):
            outcome = guard.order(Switchover(NodeName(to)))
            assert (outcome.result, guard.primary()) == ("done", to), outcome
            guard.await_health()
        writer.stop()
        assert writer.lost(trio_of_servers[0].conninfo(dbname="postgres")) == []
    assert guard.status()["generation"] == 5


def test_a_rehearsal_changes_nothing(guard: Guard) -> None:
    outcome = guard.order(Switchover(), dry_run=True)
    assert outcome.result == "planned", outcome
    assert any("stop PostgreSQL on pg1" in step for step in outcome.plan)
    assert guard.status()["generation"] == 1


# S1-06
def test_a_candidate_that_does_not_catch_up_leaves_the_old_primary_serving(
    guard: Guard, trio_of_servers: Trio
) -> None:
    """The candidate's receiver is frozen: the last WAL cannot reach it, so the change is undone."""
    pg1, pg2, _ = trio_of_servers
    ((receiver,),) = pg2.sql("select pid from pg_stat_wal_receiver")
    os.kill(receiver, signal.SIGSTOP)
    try:
        outcome = guard.order(Switchover(NodeName("pg2")), within_s=90)
    finally:
        os.kill(receiver, signal.SIGCONT)
    assert outcome.result in ("failed", "timed_out"), outcome
    guard.await_health(within_s=60)
    assert guard.primary() == "pg1"
    assert guard.status()["timeline"] == 1
    assert pg1.sql("select pg_is_in_recovery()") == [(False,)]
