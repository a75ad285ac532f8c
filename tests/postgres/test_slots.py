"""Replication slots on real servers: spare ones, those of nodes that are gone, logical ones (from 17 on)."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pgvigil.controller.operations import Result
from pgvigil.controller.survey import check_cluster
from pgvigil.decide import slots as deciding
from pgvigil.demo.binaries import find_postgres
from pgvigil.demo.servers import Server, Servers, wait_until
from pgvigil.model.command import Failover, FollowUpstream, Switchover
from pgvigil.model.spec import ClusterSpec, LogicalSlots, SpareSlots
from pgvigil.model.units import NodeName
from pgvigil.ports.clock import SystemClock
from pgvigil.ports.ping import NetworkPinger
from pgvigil.wiring import node_ports
from tests.postgres.conftest import FAST
from tests.postgres.guard import Guard, cluster_spec, guarding

pytestmark = pytest.mark.postgres

PG1, PG2, PG3 = NodeName("pg1"), NodeName("pg2"), NodeName("pg3")
MB = 2**20
NAMES = "select slot_name from pg_replication_slots where slot_type = 'physical' order by 1"
HELD = (
    "select pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else "
    "pg_current_wal_lsn() end, restart_lsn)::bigint from pg_replication_slots where slot_name = %s"
)


@pytest.fixture
def limited(servers: Servers) -> tuple[Server, Server, Server]:
    """Three servers whose slots may hold no more than 1 GB."""
    pg1 = servers.make_primary("pg1", max_slot_wal_keep_size="1GB")
    pg2, pg3 = (servers.add_standby(name, pg1, max_slot_wal_keep_size="1GB") for name in ("pg2", "pg3"))
    pg3.wait_streaming(pg1)
    return pg1, pg2, pg3


def names(server: Server) -> list[str]:
    return [row[0] for row in server.sql(NAMES)]


def held(server: Server, slot: str) -> int:
    return int(server.sql(HELD, slot)[0][0])


def write(server: Server, megabytes: int) -> None:
    """That much WAL, in whole segments."""
    for _ in range(megabytes):
        server.sql("select pg_logical_emit_message(false, '', repeat('x', 1048576))")


def away(guard: Guard, name: str) -> bool:
    return any(e["kind"] == "found_standby_down" and e["node"] == name for e in guard.events())


def told(guard: Guard, problem: str) -> list[str]:
    found = guard.status()["findings"]
    return [f"{f['node']}: {text}" for f in found if f["problem"] == problem for text in f["evidence"]]


# S0-10
def test_a_new_primary_holds_back_wal_for_the_others_from_its_first_moment(
    servers: Servers, limited: tuple[Server, Server, Server]
) -> None:
    pg1, pg2, pg3 = limited
    with guarding(cluster_spec(servers, limited)) as guard:
        wait_until(lambda: names(pg2) == ["pg1", "pg3"], within_s=20, what="spare slots on pg2")
        wait_until(lambda: names(pg3) == ["pg1", "pg2"], within_s=20, what="spare slots on pg3")
        write(pg1, 12)
        pg2.wait_streaming(pg1)
        wait_until(lambda: held(pg2, "pg3") < 2 * MB, within_s=30, what="pg2 to let go of what pg3 has")
        wait_until(lambda: held(pg2, "pg1") < 2 * MB, within_s=30, what="and of what pg1 has")
        pg3.stop()
        wait_until(lambda: away(guard, "pg3"), within_s=10, what="pg3 to be missed")
        write(pg1, 12)
        pg2.wait_streaming(pg1)
        pg2.sql("checkpoint")  # a restartpoint: without its slot WAL that pg3 lacks would be recycled now
        pg1.kill_all()
        assert guard.await_primary("pg1") == "pg2"
        assert held(pg2, "pg3") >= 11 * MB
        write(pg2, 4)
        for _ in range(2):
            pg2.sql("checkpoint")
        guard.order(FollowUpstream(PG3, PG2))
        pg3.start()
        pg3.wait_streaming(pg2)
        guard.await_health()
        methods = {
            e["data"].get("method") for e in guard.events() if e["kind"] == "rebuild" and e["node"] == "pg3"
        }
        assert "clone" not in methods


def test_without_a_limit_no_spare_slots_are_kept_and_what_moved_away_leaves_none(
    servers: Servers, trio_of_servers: tuple[Server, Server, Server]
) -> None:
    pg1, pg2, pg3 = trio_of_servers
    with guarding(cluster_spec(servers, trio_of_servers)) as guard:
        assert guard.order(FollowUpstream(PG3, PG2)).result is Result.DONE
        wait_until(lambda: names(pg1) == ["pg2"], within_s=20, what="pg1 to drop the slot that pg3 left")
        assert (names(pg2), names(pg3)) == (["pg3"], [])


def test_where_the_user_wants_them_spare_slots_are_kept_without_a_limit(
    servers: Servers, trio_of_servers: tuple[Server, Server, Server]
) -> None:
    pg1, _, pg3 = trio_of_servers
    spec = cluster_spec(servers, trio_of_servers)
    with guarding(
        replace(spec, replication=replace(spec.replication, spare_slots=SpareSlots.ALWAYS))
    ) as guard:
        wait_until(lambda: names(pg3) == ["pg1", "pg2"], within_s=20, what="spare slots on pg3")
        assert guard.order(FollowUpstream(PG3, PG2)).result is Result.DONE
        write(pg1, 6)
        wait_until(lambda: held(pg1, "pg3") < 2 * MB, within_s=30, what="pg1 to let go of what pg3 has")
        assert names(pg1) == ["pg2", "pg3"]
        assert "advanceslots" not in guard.kinds(), "that is no news"


def test_the_slot_of_a_node_that_was_removed_is_dropped(
    servers: Servers, trio_of_servers: tuple[Server, Server, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    pg1, _, pg3 = trio_of_servers
    monkeypatch.setattr(deciding, "REMOVED_IDLE_S", 2.0)
    spec = cluster_spec(servers, trio_of_servers)
    with guarding(spec) as guard:
        pg1.sql("select pg_create_physical_replication_slot('backups', true)")
        guard.await_health()
        guard.reload(replace(spec, nodes=tuple(n for n in spec.nodes if n.name != PG3)))
        wait_until(lambda: len(guard.status()["nodes"]) == 2, within_s=10, what="pg3 to be forgotten")
        assert names(pg1) == ["backups", "pg2", "pg3"], "it streams still"
        pg3.stop()
        wait_until(lambda: names(pg1) == ["backups", "pg2"], within_s=40, what="its slot to be dropped")


def test_wal_that_slots_hold_is_shown_and_told_before_the_disk_fills(
    servers: Servers, trio_of_servers: tuple[Server, Server, Server]
) -> None:
    pg1, pg2, _ = trio_of_servers
    spec = cluster_spec(servers, trio_of_servers)
    spec = replace(spec, replication=replace(spec.replication, slot_warning_bytes=4 * MB))
    with guarding(spec) as guard:
        pg2.stop()
        write(pg1, 5)
        wait_until(lambda: told(guard, "slot_holds_wal"), within_s=30, what="it to be told")
        (text,) = told(guard, "slot_holds_wal")
        assert text.startswith("pg1: slot pg2, used by nobody now, holds ")
        assert text.endswith("more than replication.slot_warning (4.0 MB)")
        slots = {
            s["name"]: s for s in next(n for n in guard.status()["nodes"] if n["name"] == "pg1")["slots"]
        }
        assert slots["pg2"]["held_bytes"] >= 4 * MB > slots["pg3"]["held_bytes"]
        pg2.start()
        pg2.wait_streaming(pg1)
        wait_until(lambda: not told(guard, "slot_holds_wal"), within_s=30, what="it to be over")


SYNCED = {"sync_replication_slots": "on", "hot_standby_feedback": "on"}


@pytest.fixture
def modern() -> Iterator[Servers]:
    """PostgreSQL 17, which copies logical slots to standbys."""
    with Servers(find_postgres(17), settings={**FAST, "wal_level": "logical"}, wal_segment_mb=1) as servers:
        yield servers


def logical(servers: Servers) -> tuple[ClusterSpec, Server, Server, Server]:
    """A subscribed primary; pg3 copies its logical slots, pg2 does not; pg2 would be promoted first."""
    pg1 = servers.make_primary("pg1")
    pg2, pg3 = servers.add_standby("pg2", pg1), servers.add_standby("pg3", pg1, slot=True, **SYNCED)
    pg3.wait_streaming(pg1)
    spec = cluster_spec(servers, (pg1, pg2, pg3))
    spec = replace(
        spec,
        replication=replace(spec.replication, conninfo=(*spec.replication.conninfo, ("dbname", "postgres"))),
    )
    pg1.sql("select pg_create_logical_replication_slot('sub', 'pgoutput', false, false, true)")
    return spec, pg1, pg2, pg3


def is_copied(server: Server) -> bool:
    found = server.sql("select synced and not temporary from pg_replication_slots where slot_name = 'sub'")
    return found == [(True,)]


def copied(guard: Guard, name: str) -> bool:
    (node,) = [n for n in guard.status()["nodes"] if n["name"] == name]
    return any(s["name"] == "sub" and s["synced"] for s in node["slots"])


def test_the_standby_that_copies_logical_slots_is_promoted_and_has_them(modern: Servers) -> None:
    spec, pg1, _, pg3 = logical(modern)
    with guarding(spec) as guard:
        assert (
            guard.order(FollowUpstream(PG3, PG1)).result is Result.DONE
        )  # now with a database in its conninfo
        pg1.sql("select pg_log_standby_snapshot()")
        wait_until(lambda: is_copied(pg3), within_s=60, what="pg3 to have the logical slot", every_s=0.2)
        wait_until(lambda: copied(guard, "pg3"), within_s=20, what="the controller to know")
        pg1.kill_all()
        assert guard.await_primary("pg1") == "pg3"
        assert pg3.sql("select slot_name from pg_replication_slots where slot_type = 'logical'") == [("sub",)]


def test_a_standby_without_the_logical_slots_is_held_back_when_they_are_required(modern: Servers) -> None:
    spec, *_ = logical(modern)
    strict = replace(spec, failover=replace(spec.failover, logical_slots=LogicalSlots.REQUIRE))
    with guarding(strict) as guard:
        guard.await_health()
        wait_until(lambda: guard.status()["nodes"][0]["slots"], within_s=20, what="slots to be known")
        refused = guard.order(Switchover(PG2))
        assert refused.result is Result.REFUSED
        assert "no copy of logical slots that must survive: sub" in f"{refused.text} {refused.detail}"
        assert guard.order(Failover(PG2, force=True), dry_run=True).result is Result.PLANNED


def test_check_says_what_logical_slots_lack(modern: Servers) -> None:
    spec, _, _, _ = logical(modern)

    async def look() -> list[str]:
        nodes = {node.name: node_ports(node) for node in spec.nodes}
        try:
            items = await check_cluster(spec, nodes, NetworkPinger(), SystemClock())
        finally:
            for ports in nodes.values():
                if ports.shell:
                    ports.shell.close()
        return [f"{item.place} {item.what} | {item.fix}" for item in items]

    said = "\n".join(asyncio.run(look()))
    assert "test/pg2 sync_replication_slots is off: it copies no logical slots" in said
    assert "test/pg2 hot_standby_feedback is off" in said
    assert "test/pg3 primary_conninfo names no database" in said
    assert "pgvigil follow test pg3 pg1" in said
    assert "test/pg3 it has no copy yet of logical slots that must survive: sub" in said
    assert "test/pg1 subscribers may receive changes before the standbys do" in said
    assert "does not survive a failover" not in said
