"""Two things at once: whoever comes second is refused with the reason, or both reach a sound end."""

from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from pgvigil.controller.operations import Outcome, Result
from pgvigil.demo.servers import Server, Servers, config_text, wait_until
from pgvigil.demo.writer import Writer
from pgvigil.model.command import (
    Command,
    Drill,
    Maintenance,
    RestartServers,
    SetParameters,
    Switchover,
)
from pgvigil.model.units import NodeName
from tests.postgres.guard import Guard, cluster_spec, guarding, with_timings
from tests.postgres.service import Service

pytestmark = pytest.mark.postgres
Trio = tuple[Server, Server, Server]
PG1, PG2, PG3 = (NodeName(name) for name in ("pg1", "pg2", "pg3"))


class Both:
    """Commands given from several terminals."""

    def __init__(self, guard: Guard, pool: ThreadPoolExecutor) -> None:
        self._guard, self._pool = guard, pool

    def give(self, command: Command) -> "Future[Outcome]":
        return self._pool.submit(self._guard.order, command, within_s=100)

    def at_once(self, *commands: Command) -> list[Outcome]:
        """What came of each."""
        return [each.result() for each in [self.give(command) for command in commands]]


def set_to(value: str) -> SetParameters:
    return SetParameters({"work_mem": value}, "alice@host")


def one_primary(trio: Trio) -> str:
    (name,) = [s.name for s in trio if s.is_running() and s.sql("select pg_is_in_recovery()") == [(False,)]]
    return name


def test_the_second_of_two_contradicting_commands_is_refused(guard: Guard, trio_of_servers: Trio) -> None:
    with ThreadPoolExecutor() as pool:
        both = Both(guard, pool)
        outcomes = both.at_once(Switchover(PG2), Switchover(PG3))
        assert sorted(each.result for each in outcomes) == [Result.DONE, Result.REFUSED], outcomes
        guard.await_health()
        assert one_primary(trio_of_servers) == guard.primary() != "pg1"
        outcomes = both.at_once(set_to("7MB"), set_to("8MB"))
        assert sorted(each.result for each in outcomes) == [Result.DONE, Result.REFUSED], outcomes
        (why,) = [each.text for each in outcomes if each.result is Result.REFUSED]
        assert why == "a change of parameters is under way"
        values = {server.sql("show work_mem")[0][0] for server in trio_of_servers}
        assert len(values) == 1
        standby = NodeName(next(s.name for s in trio_of_servers if s.name != guard.primary()))
        outcomes = both.at_once(Maintenance(standby, on=True), Maintenance(standby, on=False))
        assert [each.result for each in outcomes] == [Result.DONE] * 2


def test_a_restart_during_a_drill_is_refused_and_the_drill_goes_home(
    guard: Guard, trio_of_servers: Trio
) -> None:
    with ThreadPoolExecutor() as pool:
        both = Both(guard, pool)
        drill = both.give(Drill(PG2))
        wait_until(lambda: guard.status()["phase"] != "stable", within_s=20, what="the first switchover")
        refused = guard.order(RestartServers())
        assert (refused.result, refused.text) == (Result.REFUSED, "a drill is under way")
        assert drill.result().result is Result.DONE
    assert one_primary(trio_of_servers) == guard.primary() == "pg1"


def test_a_primary_lost_during_a_drill_is_replaced_and_the_drill_ends(
    servers: Servers, guard: Guard, trio_of_servers: Trio
) -> None:
    with ThreadPoolExecutor() as pool, Writer(logins(trio_of_servers)) as writer:
        drill = Both(guard, pool).give(Drill(PG2))
        wait_until(
            lambda: (guard.status()["phase"], guard.primary()) == ("stable", "pg2"), within_s=30, what="pg2"
        )
        servers.nodes["pg2"].kill_all()
        outcome = drill.result(timeout=60)
        guard.await_health()
        primary = guard.primary()
        assert primary != "pg2"
        if outcome.result is Result.DONE:  # it was replaced by the one that the drill was going back to
            assert primary == "pg1"
        else:
            assert (outcome.result, f"{primary} is the primary" in outcome.text) == (Result.FAILED, True), (
                outcome
            )
        writer.stop()
    assert writer.lost(servers.nodes[primary].conninfo(dbname="postgres")) == []


def test_an_operator_who_switches_over_during_a_drill_ends_it(guard: Guard) -> None:
    with ThreadPoolExecutor() as pool:
        drill = Both(guard, pool).give(Drill(PG2))
        wait_until(
            lambda: (guard.status()["phase"], guard.primary()) == ("stable", "pg2"), within_s=30, what="pg2"
        )
        by_hand = guard.order(Switchover(PG3))
        outcome = drill.result(timeout=90)
    if by_hand.result is Result.DONE:
        assert outcome.result is Result.FAILED, outcome
    guard.await_health()


def test_parameters_set_while_the_primary_is_lost_are_set_or_not_and_can_be_given_again(
    servers: Servers, guard: Guard, trio_of_servers: Trio
) -> None:
    with ThreadPoolExecutor() as pool:
        change = Both(guard, pool).give(set_to("7MB"))
        servers.nodes["pg1"].kill_all()
        outcome = change.result(timeout=60)
        assert outcome.result in (Result.DONE, Result.FAILED, Result.REFUSED), outcome
    assert guard.await_primary("pg1") in ("pg2", "pg3")
    guard.await_health()
    again = guard.order(set_to("7MB"))
    assert again.result is Result.DONE, again
    assert {server.sql("show work_mem")[0][0] for server in trio_of_servers} == {"7MB"}


def test_two_reloads_at_once_leave_one_loop_and_its_status_can_always_be_asked(
    servers: Servers, trio_of_servers: Trio
) -> None:
    spec = cluster_spec(servers, trio_of_servers)
    specs = [with_timings(spec, unreachable_after=seconds) for seconds in (4.0, 5.0, 6.0)]
    with guarding(spec) as guard, ThreadPoolExecutor() as pool:
        guard.await_health()
        reloads = [pool.submit(guard.reload, each) for each in specs]
        while not all(each.done() for each in reloads):
            assert guard.status()["cluster"] == "test"
        assert [each.result() for each in reloads] == ["changed: test"] * 3
        outcome = guard.order(set_to("7MB"))
        assert outcome.result is Result.DONE, outcome
        assert guard.loops() == 1


def test_a_drill_leaves_a_node_under_maintenance_alone(guard: Guard, trio_of_servers: Trio) -> None:
    assert guard.order(Maintenance(PG3, on=True)).result is Result.DONE
    trio_of_servers[2].stop()
    refused = guard.order(Drill(PG3))
    assert refused.result is Result.REFUSED, refused
    outcome = guard.order(Drill(), within_s=100)
    assert outcome.result is Result.DONE, outcome
    assert guard.primary() == "pg1"
    assert not trio_of_servers[2].is_running()


def logins(trio: Trio) -> dict[str, str]:
    return {server.name: server.conninfo(dbname="postgres") for server in trio}


def test_a_node_that_is_being_copied_is_not_dropped(servers: Servers, trio_of_servers: Trio) -> None:
    (servers.home / "pgvigil.yaml").write_text(config_text(servers, "demo"))
    with Service(servers) as service, ThreadPoolExecutor() as pool:
        service.await_health()
        copy = pool.submit(service.command, "reinit", "pg3", "--max-rate", "2MB", "--yes")
        service.await_that(lambda s: any(n["progress"] for n in s["nodes"]), "the copy")
        refused = service.command("node", "drop", "pg3", "--destroy", "--yes")
        assert refused.returncode == 3, refused.stdout + refused.stderr
        assert "pg3 is being worked on" in refused.stderr
        told = copy.result()
        assert told.returncode == 0, told.stdout + told.stderr
        service.await_health()
    assert trio_of_servers[2].sql("select pg_is_in_recovery()") == [(True,)]
