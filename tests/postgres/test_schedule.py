"""Scheduled switchovers, restarts and drills on real servers; what is missed is told, never made up for."""

import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from pgvigil.controller.mode import Mode
from pgvigil.demo.servers import Server, Servers, wait_until
from pgvigil.demo.writer import Writer
from pgvigil.model.command import CancelScheduled, Drill, RestartServers, Schedule, Switchover
from pgvigil.model.spec import Hooks, Protection
from pgvigil.model.units import NodeName
from pgvigil.store.sqlite import SqliteStore
from tests.postgres.guard import Guard, cluster_spec, guarding

pytestmark = pytest.mark.postgres
Trio = tuple[Server, Server, Server]
PG2 = NodeName("pg2")


def soon(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


# S2-04
def test_a_scheduled_switchover_is_done_at_its_time_and_another_is_cancelled(guard: Guard) -> None:
    when = soon(2.0)
    assert guard.order(Schedule(when, Switchover(PG2))).result == "done"
    assert guard.order(Schedule(soon(2.0), Switchover(NodeName("pg3")))).result == "done"
    first, second = guard.status()["scheduled"]
    assert first["what"] == "switch over to pg2"
    assert guard.order(CancelScheduled(second["number"])).result == "done"
    assert guard.primary() == "pg1"
    assert guard.await_primary("pg1") == "pg2"
    (event,) = [e for e in guard.events() if e["kind"] == "switchover"]
    assert datetime.fromisoformat(event["at"]) >= when
    guard.await_health()
    assert guard.status()["scheduled"] == []
    assert guard.status()["generation"] == 2


def test_a_time_at_which_no_controller_ran_is_told_and_not_made_up_for(
    servers: Servers, trio_of_servers: Trio, tmp_path: Path
) -> None:
    spec = cluster_spec(servers, trio_of_servers)
    with guarding(spec, store=SqliteStore(tmp_path / "pgvigil.db")) as guard:
        guard.await_health()
        assert guard.order(Schedule(soon(1.0), Switchover(PG2))).result == "done"
        guard.order(Schedule(soon(3600), Drill()))
    past = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    with sqlite3.connect(tmp_path / "pgvigil.db") as db:
        db.execute(
            "update record set body = json_set(body, '$.scheduled[0].at', ?)", (past,)
        )  # five minutes go by
    db.close()
    with guarding(spec, store=SqliteStore(tmp_path / "pgvigil.db")) as guard:
        wait_until(lambda: "schedule_missed" in guard.kinds(), within_s=10, what="that it is told")
        guard.await_health()
        assert (guard.primary(), guard.status()["generation"]) == ("pg1", 1)
        assert [each["what"] for each in guard.status()["scheduled"]] == ["a drill with the best standby"]


def test_a_weekly_drill_is_done_and_stands_there_for_the_next_week_until_it_is_cancelled(
    servers: Servers, trio_of_servers: Trio, tmp_path: Path
) -> None:
    """Three weeks without a controller between the first and the next: told once, and not made up for."""
    spec, week = cluster_spec(servers, trio_of_servers), timedelta(days=7)
    told = tmp_path / "told"
    spec = replace(spec, hooks=Hooks(on_event=(f"cat >> {told}",)))
    when = soon(1.0)
    with guarding(spec, store=SqliteStore(tmp_path / "pgvigil.db")) as guard:
        guard.await_health()
        assert guard.order(Schedule(when, Drill(PG2), int(week.total_seconds()))).result == "done"
        wait_until(lambda: "schedule_due" in guard.kinds(), within_s=20, what="the drill to begin")
        ((number, at),) = [(s["number"], s["at"]) for s in guard.status()["scheduled"]]
        assert datetime.fromisoformat(at) == when + week
        wait_until(lambda: "schedule_done" in guard.kinds(), within_s=60, what="the drill to end")
        assert guard.status()["generation"] == 3
        wait_until(
            lambda: "a drill with pg2 (scheduled) is done" in told.read_text(), within_s=10, what="the hook"
        )
    with sqlite3.connect(tmp_path / "pgvigil.db") as db:
        db.execute(
            "update record set body = json_set(body, '$.scheduled[0].at', ?)",
            ((when - 2 * week).isoformat(),),
        )
    db.close()
    with guarding(spec, store=SqliteStore(tmp_path / "pgvigil.db")) as guard:
        wait_until(lambda: "schedule_missed" in guard.kinds(), within_s=10, what="that it is told")
        guard.await_health()
        assert (guard.primary(), guard.status()["generation"]) == ("pg1", 3)
        assert [(s["number"], datetime.fromisoformat(s["at"])) for s in guard.status()["scheduled"]] == [
            (number, when + week)
        ]
        assert guard.kinds().count("schedule_missed") == 1
        assert guard.order(CancelScheduled(number)).result == "done"
        assert guard.status()["scheduled"] == []


def test_without_a_running_controller_nothing_can_be_scheduled(
    servers: Servers, trio_of_servers: Trio
) -> None:
    with guarding(cluster_spec(servers, trio_of_servers), mode=Mode.ORDERS) as guard:
        outcome = guard.order(Schedule(soon(60), Switchover(PG2)))
        assert (outcome.result, "pgvigil run" in outcome.hint) == ("refused", True)


def test_a_drill_goes_there_and_back_and_measures_what_a_writer_sees(
    guard: Guard, trio_of_servers: Trio
) -> None:
    planned = guard.order(Drill(PG2), dry_run=True)
    assert (planned.result, guard.status()["generation"]) == ("planned", 1)
    with Writer({s.name: s.conninfo(dbname="postgres") for s in trio_of_servers}) as writer:
        wait_until(lambda: len(writer.acks) > 5, within_s=10, what="the writer to write")
        begun = writer.acks[-1].begun
        outcome = guard.order(Drill(PG2), within_s=120)
        assert outcome.result == "done", outcome
        seen = writer.longest_gap(begun)
        writer.stop()
        assert writer.lost(trio_of_servers[0].conninfo(dbname="postgres")) == []
    assert guard.primary() == "pg1"
    assert guard.status()["generation"] == 3
    legs = outcome.data["legs"]
    assert [leg["to"] for leg in legs] == ["pg2", "pg1"]
    assert all(leg["longest_gap_s"] > 0.02 and leg["healthy_after_s"] > 0 for leg in legs)
    assert all(leg["longest_gap_s"] < leg["healthy_after_s"] for leg in legs)
    assert seen > 0.02
    assert any("promote pg2" in step["step"] for step in legs[0]["steps"])
    assert any("sessions on pg1" in each for each in outcome.data["would_fail"])
    assert outcome.data["lag_bytes"].keys() == {"pg2", "pg3"}
    assert "drill" in guard.kinds()
    tables = trio_of_servers[0].sql("select count(*) from pg_class where relname like '%drill%'")
    assert tables == [(0,)]


def test_a_drill_is_refused_in_an_unhealthy_cluster_and_runs_on_a_schedule(
    guard: Guard, trio_of_servers: Trio
) -> None:
    trio_of_servers[2].stop()
    wait_until(lambda: guard.status()["health"] == "degraded", within_s=10, what="pg3 missed")
    refused = guard.order(Drill())
    assert (refused.result, guard.status()["generation"]) == ("refused", 1)
    trio_of_servers[2].start()
    guard.await_health()
    guard.order(Schedule(soon(1.0), Drill(PG2)))
    wait_until(lambda: "drill" in guard.kinds(), within_s=60, what="the drill of the schedule")
    assert (guard.primary(), guard.status()["generation"]) == ("pg1", 3)


# S2-07
def test_a_drill_in_quorum_mode_and_a_restart_on_a_schedule(servers: Servers, trio_of_servers: Trio) -> None:
    spec = replace(cluster_spec(servers, trio_of_servers), protection=Protection.QUORUM)
    with guarding(spec) as guard:
        guard.await_health()
        outcome = guard.order(Drill(), within_s=120)
        assert outcome.result == "done", outcome
        assert guard.primary() == "pg1"
        guard.await_health()
        ((began,),) = trio_of_servers[2].sql("select pg_postmaster_start_time()")
        guard.order(Schedule(soon(1.0), RestartServers((NodeName("pg3"),))))
        wait_until(lambda: "schedule_due" in guard.kinds(), within_s=20, what="the time of the restart")
        guard.await_health()
        wait_until(lambda: restarted(trio_of_servers[2], began), within_s=30, what="pg3 to be restarted")
        assert "schedule_failed" not in guard.kinds()


def restarted(server: Server, began: object) -> bool:
    try:
        return bool(server.sql("select pg_postmaster_start_time()")[0][0] != began)
    except psycopg.Error:
        return False
