"""What must not make a failover, and what a human did by hand."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from pgvigil.demo.servers import Server, Servers, wait_until
from pgvigil.errors import TimedOut
from pgvigil.model.command import Command, Failover, Pause, PromoteNode, Rejoin, Resume, Switchover
from pgvigil.model.record import ClusterRecord, Event
from pgvigil.model.units import NodeName
from pgvigil.store.memory import MemoryStore
from tests.postgres.guard import Guard, cluster_spec, guarding, with_timings

pytestmark = pytest.mark.postgres
Trio = tuple[Server, Server, Server]


@pytest.fixture
def guard(servers: Servers, trio_of_servers: Trio) -> Iterator[Guard]:
    spec = with_timings(cluster_spec(servers, trio_of_servers), unreachable_after=1.5, hung_after=1.5)
    with guarding(spec) as guard:
        guard.await_health()
        yield guard


def stays(guard: Guard, *, for_s: float = 3.0) -> None:
    """Nothing is failed over during that time."""
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        status = guard.status()
        assert (status["generation"], status["primary"], status["phase"]) == (1, "pg1", "stable")
        time.sleep(0.1)


def found(guard: Guard, problem: str) -> Any:
    return next((f for f in guard.status()["findings"] if f["problem"] == problem), None)


def as_it_was(trio: Trio) -> list[object]:
    """What plain watching must leave alone: the processes, the configuration, the slots, our own traces."""
    questions = (
        "select pg_postmaster_start_time()",
        "select name, setting from pg_settings where source = 'configuration file' order by 1",
        "select slot_name from pg_replication_slots order by 1",
        "select extname from pg_extension order by 1",
        "select relname from pg_class where relnamespace = 'public'::regnamespace order by 1",
        "select pid from pg_stat_wal_receiver",
    )
    files = [(server.data_dir / "postgresql.auto.conf").read_text() for server in trio]
    return [files, [[server.sql(question) for question in questions] for server in trio]]


class SlowStore(MemoryStore):
    """Each record takes its time, as on a disk that others use."""

    async def save(self, record: ClusterRecord, events: Sequence[Event] = ()) -> ClusterRecord:
        await asyncio.sleep(1.0)
        return await super().save(record, events)


def test_a_cluster_is_not_well_before_it_is_on_record(servers: Servers, trio_of_servers: Trio) -> None:
    spec, told = cluster_spec(servers, trio_of_servers), []
    with guarding(spec, store=SlowStore(), wait=False) as guard:
        while not (status := guard.status())["generation"]:
            told.append((status["health"], status["decision"]["rule"]))
            time.sleep(0.05)
        assert set(told) == {("held", "looking")}
        guard.await_health()


# S0-01, S4-02
def test_a_running_cluster_is_taken_over_untouched(servers: Servers, trio_of_servers: Trio) -> None:
    with psycopg.connect(trio_of_servers[0].conninfo(dbname="postgres"), autocommit=True) as client:
        before = as_it_was(trio_of_servers)
        with guarding(cluster_spec(servers, trio_of_servers)) as guard:
            guard.await_health()
            stays(guard, for_s=1)
            assert as_it_was(trio_of_servers) == before
        client.execute("select 1")  # the same session as before


# S0-08
def test_a_hiccup_shorter_than_unreachable_after(guard: Guard, trio_of_servers: Trio) -> None:
    for seconds in (0.4, 0.8, 1.2):
        trio_of_servers[0].freeze()
        time.sleep(seconds)
        trio_of_servers[0].thaw()
        guard.await_health()
    stays(guard, for_s=1)


@contextlib.contextmanager
def administrator(server: Server) -> Iterator[psycopg.Connection[Any]]:
    """A second superuser's session, for what our own login must not have."""
    server.sql("create role administrator superuser login password 'only here'")
    login = server.conninfo(user="administrator", password="only here", dbname="postgres")
    with psycopg.connect(login, autocommit=True) as session:
        yield session


# S0-18
def test_a_broken_login_is_told_and_nothing_else(guard: Guard, trio_of_servers: Trio) -> None:
    with administrator(trio_of_servers[0]) as session:
        session.execute("alter role pgvigil nologin")
        session.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'pgvigil'")
        wait_until(lambda: found(guard, "primary_locked_out"), within_s=5, what="being locked out")
        stays(guard)
        session.execute("alter role pgvigil login")
        guard.await_health()


# S0-18
def test_a_full_primary_is_overloaded_not_lost(guard: Guard, trio_of_servers: Trio) -> None:
    pg1 = trio_of_servers[0]
    with administrator(pg1) as session, contextlib.ExitStack() as stack:
        session.execute("alter role pgvigil nosuperuser")
        session.execute("grant pg_monitor to pgvigil")

        def shut_out() -> bool:
            """Take every place, the controller's too: it may be quicker than we, so again and again."""
            session.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pgvigil'"
            )
            with contextlib.suppress(psycopg.OperationalError):
                while True:
                    stack.enter_context(psycopg.connect(pg1.conninfo(dbname="postgres"), autocommit=True))
            return found(guard, "primary_overloaded") is not None

        wait_until(shut_out, within_s=20, what="being shut out", every_s=0.3)
        stays(guard)
    guard.await_health()


# S0-09
def test_unreachable_references_hold(servers: Servers, trio_of_servers: Trio) -> None:
    spec = with_timings(cluster_spec(servers, trio_of_servers, shell=False), unreachable_after=1.0)
    with socket.create_server(("127.0.0.1", 0)) as target:
        port = target.getsockname()[1]
    spec = replace(spec, references=(f"127.0.0.1:{port}", "192.0.2.1:9"))
    with guarding(spec) as guard:
        guard.await_health()
        trio_of_servers[0].freeze()
        stays(guard)
        trio_of_servers[0].thaw()
        guard.await_health()


# S1-08
def test_an_old_primary_started_by_hand_is_fenced_and_rejoined(guard: Guard, trio_of_servers: Trio) -> None:
    pg1 = trio_of_servers[0]
    pg1.kill_all()
    new = guard.await_primary(other_than="pg1")
    guard.await_health()
    pg1.stop()
    signal_file = pg1.data_dir / "standby.signal"
    signal_file.unlink()
    pg1.start()  # as a primary; not for long
    wait_until(lambda: "stale_primary" in guard.kinds(), within_s=10, what="being found")
    guard.await_health()
    assert guard.primary() == new
    assert pg1.sql("select pg_is_in_recovery()") == [(True,)]


# S2-09
def test_a_standby_promoted_by_hand_beside_the_primary_is_fenced(guard: Guard, trio_of_servers: Trio) -> None:
    trio_of_servers[1].sql("select pg_promote()")
    wait_until(lambda: "stale_primary" in guard.kinds(), within_s=10, what="being found")
    guard.await_health()
    assert guard.primary() == "pg1"
    assert guard.status()["generation"] == 1
    assert trio_of_servers[1].sql("select pg_is_in_recovery()") == [(True,)]


def test_a_standby_promoted_by_hand_while_the_primary_is_down_is_adopted(
    guard: Guard, trio_of_servers: Trio
) -> None:
    guard.order(Pause())
    trio_of_servers[0].stop()
    trio_of_servers[2].sql("select pg_promote()")
    wait_until(lambda: guard.primary() == "pg3", within_s=15, what="adoption")
    assert "adopted" in guard.kinds()
    guard.order(Resume())
    guard.await_health()


# S2-06
def test_a_failure_during_pause_is_acted_on_after_resume(guard: Guard, trio_of_servers: Trio) -> None:
    guard.order(Pause())
    trio_of_servers[0].kill_all()
    stays(guard, for_s=2)
    assert guard.status()["decision"]["rule"] == "paused"
    guard.order(Resume())
    guard.await_primary(other_than="pg1")
    guard.await_health()


# S0-04
def test_unsafe_commands_are_refused_and_change_nothing(guard: Guard, trio_of_servers: Trio) -> None:
    commands: list[tuple[Command, str]] = [
        (Failover(), "refused"),
        (Failover(NodeName("pg2")), "refused"),
        (Switchover(NodeName("pg1")), "wrong"),
        (Switchover(NodeName("pg9")), "wrong"),
        (PromoteNode(NodeName("pg1")), "refused"),
        (PromoteNode(NodeName("pg2")), "refused"),
        (Rejoin(NodeName("pg1")), "refused"),
        (Rejoin(NodeName("pg2")), "refused"),
    ]
    for command, result in commands:
        outcome = guard.order(command)
        assert outcome.result == result, command
        assert outcome.text
        assert outcome.hint
    stays(guard, for_s=0.5)
    with pytest.raises(TimedOut):
        guard.await_primary(other_than="pg1", within_s=0.5)
