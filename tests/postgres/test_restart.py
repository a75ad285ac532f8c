"""`restart` on real servers: one after another, under a writer that notices a switchover and nothing else."""

import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from threading import Thread

import psycopg
import pytest

from pgvigil.controller.mode import Mode
from pgvigil.demo.binaries import Binaries
from pgvigil.demo.servers import Server, Servers, wait_until
from pgvigil.demo.writer import Writer
from pgvigil.model.command import Rejoin, ReloadServers, RestartServers, Role, Schedule
from pgvigil.model.spec import Protection
from pgvigil.model.step import RebuildMethod
from pgvigil.model.units import NodeName, server_version
from tests.postgres.guard import Guard, cluster_spec, guarding

pytestmark = pytest.mark.postgres
Trio = tuple[Server, Server, Server]


def started(trio: Trio) -> dict[str, object]:
    return {s.name: s.sql("select pg_postmaster_start_time()")[0][0] for s in trio}


def breaks(writer: Writer) -> list[tuple[str, str]]:
    """Where a row failed or another node took over: who acknowledged before and after."""
    return [(a.node, b.node) for a, b in pairwise(writer.acks) if a.node != b.node or b.id != a.id + 1]


def serves(server: Server) -> bool:
    try:
        return bool(server.sql("select 1"))
    except psycopg.Error:
        return False


def everywhere(trio: Trio, statement: str) -> None:
    for server in trio:
        server.sql(statement)


def test_a_server_that_was_started_from_its_parent_directory_is_restarted_and_started_again(
    guard: Guard, trio_of_servers: Trio
) -> None:
    pg3 = trio_of_servers[2]
    relative = f'{pg3.bin_dir}/postgres "-D" "pg3"\n'
    (pg3.data_dir / "postmaster.opts").write_text(relative)
    outcome = guard.order(RestartServers((NodeName("pg3"),)), within_s=60)
    assert outcome.result == "done", outcome
    pg3.stop()
    (pg3.data_dir / "postmaster.opts").write_text(relative)
    outcome = guard.order(Rejoin(NodeName("pg3"), RebuildMethod.START), within_s=60)
    assert outcome.result == "done", outcome
    guard.await_health()


def test_all_are_restarted_and_writers_notice_one_switchover(guard: Guard, trio_of_servers: Trio) -> None:
    before = started(trio_of_servers)
    with Writer({s.name: s.conninfo(dbname="postgres") for s in trio_of_servers}) as writer:
        outcome = guard.order(RestartServers(), within_s=120)
        assert outcome.result == "done", outcome
        guard.await_health()
        writer.stop()
    after = started(trio_of_servers)
    assert all(after[name] != before[name] for name in before)
    assert guard.primary() != "pg1"
    assert breaks(writer) == [("pg1", guard.primary())]
    assert writer.lost(trio_of_servers[1].conninfo(dbname="postgres")) == []
    assert guard.status()["generation"] == 2


def test_a_primary_restarted_in_place_is_not_failed_over(guard: Guard, trio_of_servers: Trio) -> None:
    before = started(trio_of_servers)
    outcome = guard.order(RestartServers(role=Role.PRIMARY, in_place=True))
    assert outcome.result == "done", outcome
    guard.await_health()
    after = started(trio_of_servers)
    assert [name for name in before if before[name] != after[name]] == ["pg1"]
    assert (guard.primary(), guard.status()["generation"]) == ("pg1", 1)
    assert {"restart_in_place", "restarted"} <= set(guard.kinds())


# S2-07
def test_only_the_node_that_waits_for_it_is_restarted(guard: Guard, trio_of_servers: Trio) -> None:
    before = started(trio_of_servers)
    trio_of_servers[2].sql("alter system set max_connections = 120")
    assert guard.order(ReloadServers()).hint == "pgvigil restart --pending"
    outcome = guard.order(RestartServers(pending=True), within_s=60)
    assert outcome.result == "done", outcome
    after = started(trio_of_servers)
    assert [name for name in before if before[name] != after[name]] == ["pg3"]
    assert trio_of_servers[2].sql("show max_connections") == [("120",)]
    assert guard.order(RestartServers(pending=True)).text.startswith("nothing to do")


def test_a_lowered_limit_restarts_the_primary_first_and_only_in_place(
    guard: Guard, trio_of_servers: Trio
) -> None:
    everywhere(trio_of_servers, "alter system set max_connections = 25")
    guard.order(ReloadServers())
    refused = guard.order(RestartServers(pending=True))
    assert refused.result == "refused"
    assert "add --in-place" in refused.detail
    with Writer({s.name: s.conninfo(dbname="postgres") for s in trio_of_servers}) as writer:
        outcome = guard.order(RestartServers(pending=True, in_place=True), within_s=120)
        assert outcome.result == "done", outcome
        writer.stop()
    assert outcome.plan[0].startswith("restart the primary pg1 in place")
    assert breaks(writer) == [("pg1", "pg1")]
    assert [s.sql("show max_connections") for s in trio_of_servers] == [[("25",)]] * 3


def test_a_rehearsal_says_the_order_and_restarts_nothing(guard: Guard, trio_of_servers: Trio) -> None:
    before = started(trio_of_servers)
    outcome = guard.order(RestartServers((NodeName("pg1"), NodeName("pg2"))), dry_run=True)
    assert outcome.plan == (
        "restart the standby pg2, and wait until it streams again",
        "switch over to the best standby, which restarts pg1 as its standby",
    )
    assert started(trio_of_servers) == before


def test_a_restart_that_was_begun_is_finished_without_the_controller(
    servers: Servers, trio_of_servers: Trio
) -> None:
    """The controller goes away as soon as the server's last session of ours has ended."""
    before = started(trio_of_servers)
    with guarding(cluster_spec(servers, trio_of_servers)) as guard:
        guard.await_health()
        asked = Thread(target=guard.order, args=(RestartServers((NodeName("pg2"),)),), daemon=True)
        asked.start()
        wait_until(lambda: any("pg2: " in e["text"] and e["kind"] == "seen" for e in guard.events()),
            within_s=30, what="pg2 to go")  # fmt: skip
    wait_until(lambda: serves(trio_of_servers[1]), within_s=30, what="pg2 to serve again")
    after = started(trio_of_servers)
    assert [name for name in before if before[name] != after[name]] == ["pg2"]
    assert trio_of_servers[1].sql("select pg_is_in_recovery()") == [(True,)]


def test_without_a_controller_a_command_does_all_of_it(servers: Servers, trio_of_servers: Trio) -> None:
    before = started(trio_of_servers)
    with guarding(cluster_spec(servers, trio_of_servers), mode=Mode.ORDERS) as guard:
        outcome = guard.order(RestartServers(), within_s=120)
        assert outcome.result == "done", outcome
        assert guard.primary() != "pg1"
    after = started(trio_of_servers)
    assert all(after[name] != before[name] for name in before)


def test_with_quorum_nothing_acknowledged_is_lost(servers: Servers, trio_of_servers: Trio) -> None:
    spec = replace(cluster_spec(servers, trio_of_servers), protection=Protection.QUORUM)
    with guarding(spec) as guard:
        guard.await_health()
        with Writer({s.name: s.conninfo(dbname="postgres") for s in trio_of_servers}) as writer:
            assert guard.order(RestartServers(), within_s=180).result == "done"
            guard.await_health()
            in_place = guard.order(RestartServers(role=Role.PRIMARY, in_place=True), within_s=60)
            assert in_place.result == "done", in_place
            guard.await_health()
            writer.stop()
        assert [before != after for before, after in breaks(writer)] == [True, False]
        assert writer.lost(trio_of_servers[0].conninfo(dbname="postgres")) == []


def an_older_minor(binaries: Binaries, home: Path) -> Path:
    """These server programs, telling the minor release before: as if their package had not been updated."""
    programs = binaries.bin_dir.resolve()
    for beside in ("lib", "share"):  # where PostgreSQL looks for the rest of itself, unless built for /usr
        if (programs.parent / beside).is_dir():
            (home / beside).symlink_to(programs.parent / beside)
    now = server_version(binaries.version)
    told = (programs / "postgres").read_bytes()
    told = told.replace(now.to_bytes(4, "little"), (now - 1).to_bytes(4, "little"))
    (home / "bin").mkdir()
    (home / "bin/postgres").write_bytes(told)
    for path in (home, home / "bin", home / "bin/postgres"):
        path.chmod(0o755)
    return home / "bin"


def versions(trio: Trio) -> list[int]:
    return [int(s.sql("show server_version_num")[0][0]) for s in trio]


# S2-07
def test_after_an_update_only_the_older_servers_are_restarted(
    servers: Servers, trio_of_servers: Trio, binaries: Binaries
) -> None:
    """pg2 and pg3 run what was installed before; pg1 was restarted by hand already."""
    now = server_version(binaries.version)
    with tempfile.TemporaryDirectory(prefix="pgvigil-", dir="/var/tmp") as home:
        old = an_older_minor(binaries, Path(home))
        for server in trio_of_servers[1:]:
            server.stop()
            replace(server, bin_dir=old).start()
            server.wait_streaming(trio_of_servers[0])
        before = started(trio_of_servers)
        assert versions(trio_of_servers) == [now, now - 1, now - 1]
        with guarding(cluster_spec(servers, trio_of_servers)) as guard:
            guard.await_health()
            nothing = guard.order(RestartServers(below_version=now - 1))
            assert nothing.text.startswith("nothing to do: no such node runs a PostgreSQL older than")
            pending = RestartServers(pending=True, below_version=now)
            assert guard.order(pending).text.startswith("nothing to do")
            primary = RestartServers(role=Role.PRIMARY, below_version=now)
            assert guard.order(primary).text.startswith("nothing to do")
            planned = guard.order(RestartServers(below_version=now), dry_run=True)
            assert [line.split()[3] for line in planned.plan] == ["pg2,", "pg3,"]
            guard.order(Schedule(datetime.now(UTC) + timedelta(seconds=1), RestartServers(below_version=now)))
            (scheduled,) = guard.status()["scheduled"]
            assert scheduled["what"] == f"restart every server older than {binaries.version}"
            wait_until(
                lambda: "restarted: pg2, pg3" in [e["text"] for e in guard.events()], within_s=60, what="it"
            )
            guard.await_health()
        after = started(trio_of_servers)
        assert [name for name in before if before[name] != after[name]] == ["pg2", "pg3"]
        assert versions(trio_of_servers) == [now] * 3
