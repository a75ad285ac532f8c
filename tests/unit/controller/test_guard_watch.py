"""Renewals: what is believed of a guard, and how long its lease may last by the controller's own clock."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pgvigil.model.guard import GuardState
from pgvigil.model.record import Paths
from pgvigil.model.spec import Fencing, WhenUnreachable
from pgvigil.model.units import Instant, NodeName
from pgvigil.ports.contract import NodePorts, Output, ShellLost
from pgvigil.ports.guard import config_id, guard_config
from pgvigil.sight.guard import GuardWatch
from tests.builders import BIN_DIR, DATA_DIR, a_cluster, changed_spec
from tests.fake_shell import FakeShell
from tests.unit.controller.test_guards import beat, never, pulse_text

SPEC = changed_spec(a_cluster(), fencing=Fencing(WhenUnreachable.WAIT, guard=True)).spec
NODE = SPEC.node(NodeName("pg1"))
PATHS = Paths(DATA_DIR, BIN_DIR)
CONFIG = config_id(guard_config(SPEC, NODE, PATHS))
LEASE_S = 10.0


class Time:
    """A clock that goes on by a second at each question of a node."""

    def __init__(self) -> None:
        self.at = 100.0

    def now(self) -> Instant:
        return Instant(self.at)

    def wall(self) -> datetime:
        return datetime.now(UTC)


class Host(FakeShell):
    """A node's shell: what it says of its guard, and whether a lease gets through."""

    def __init__(self, clock: Time) -> None:
        self.clock, self.pulse, self.grants, self.status = clock, pulse_text(beat(config=CONFIG)), True, 0
        self.asked: list[str] = []

    async def ask(self, script: str, *, within_s: float) -> Output:
        self.clock.at += 1
        self.asked.append(script)
        if 'echo "clock=' in script:
            if not self.pulse:
                raise ShellLost("no answer")
            return Output(0, self.pulse.encode())
        if not self.grants:
            raise ShellLost("no answer")
        return Output(self.status)

    def close(self) -> None:
        self.asked.append("closed")


def watch(host: Host, *, grants: bool = True, paths: Paths = PATHS) -> GuardWatch:
    ports = NodePorts(NODE, never, None, host)  # type: ignore[arg-type]  # no session is used
    return GuardWatch(SPEC, ports, host.clock, lambda: paths, lambda: None, grants=lambda: grants)


async def once(watched: GuardWatch) -> None:
    """One renewal, whatever comes of it."""
    running = asyncio.ensure_future(watched.run())
    await asyncio.sleep(0.02)
    running.cancel()
    await asyncio.wait({running})


def renewed(host: Host, watched: GuardWatch) -> GuardState:
    asyncio.run(once(watched))
    assert watched.look is not None
    return watched.look.state


def test_a_controller_knows_nothing_at_first_and_counts_from_its_own_start() -> None:
    host = Host(Time())
    watched = watch(host)
    assert watched.look is not None
    assert (watched.look.state, watched.look.leased_until) == (GuardState.UNKNOWN, 100.0 + LEASE_S)


def test_a_lease_counts_from_when_the_reading_came_in_not_from_when_the_grant_was_answered() -> None:
    host = Host(Time())
    watched = watch(host)
    assert renewed(host, watched) is GuardState.ALIVE
    assert watched.look is not None
    assert watched.look.leased_until == 101.0 + LEASE_S
    assert host.clock.at == 102.0


def test_an_attempt_without_an_answer_prolongs_nothing() -> None:
    host = Host(Time())
    watched = watch(host)
    renewed(host, watched)
    host.pulse = ""
    assert renewed(host, watched) is GuardState.ALIVE
    assert watched.look is not None
    assert watched.look.leased_until == 101.0 + LEASE_S


def test_a_grant_whose_answer_is_lost_may_have_arrived() -> None:
    host = Host(Time())
    watched = watch(host)
    renewed(host, watched)
    host.grants = False
    assert renewed(host, watched) is GuardState.ALIVE
    assert watched.look is not None
    assert watched.look.leased_until == 103.0 + LEASE_S


@pytest.mark.parametrize("grants", [True, False])
def test_bad_news_counts_at_once_also_when_the_network_is_lost_right_then(grants: bool) -> None:
    host = Host(Time())
    watched = watch(host)
    assert renewed(host, watched) is GuardState.ALIVE
    host.pulse, host.grants = pulse_text(beat(config=CONFIG), process=""), grants
    assert renewed(host, watched) is GuardState.DEAD


def test_good_news_counts_only_when_the_lease_was_taken() -> None:
    host = Host(Time())
    host.grants = False
    assert renewed(host, watch(host)) is GuardState.UNKNOWN
    host = Host(Time())
    host.status = 1
    assert renewed(host, watch(host)) is GuardState.STALLED


def test_who_only_looks_gives_no_lease() -> None:
    host = Host(Time())
    watched = watch(host, grants=False)
    assert renewed(host, watched) is GuardState.ALIVE
    assert len(host.asked) == 1
    assert watched.look is not None
    assert watched.look.leased_until == 100.0 + LEASE_S


def test_no_lease_where_no_guard_is_and_other_nodes_are_sent_where_they_changed() -> None:
    host = Host(Time())
    host.pulse = pulse_text("", process="", installed=False)
    assert renewed(host, watch(host)) is GuardState.MISSING
    assert len(host.asked) == 1
    host.pulse = pulse_text(beat(config="old"))
    assert renewed(host, watch(host)) is GuardState.OUTDATED
    assert f"peer {SPEC.nodes[1].host}" in host.asked[-1]


def test_before_the_programs_are_found_a_guard_is_renewed_but_not_trusted() -> None:
    host = Host(Time())
    assert renewed(host, watch(host, paths=replace(PATHS, bin_dir=""))) is GuardState.UNKNOWN
    assert "lease" in host.asked[-1]
    assert "peer" not in host.asked[-1]
