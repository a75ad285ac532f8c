"""What a host's looks, one after another, say together."""

import asyncio

import pytest

from pgvigil.model.record import Paths
from pgvigil.model.sighting import HostAnswer
from pgvigil.model.units import Instant
from pgvigil.ports.clock import SystemClock
from pgvigil.ports.contract import NodePorts, Output
from pgvigil.sight.shell import HostWatch
from pgvigil.sight.shells import Shells
from tests.builders import a_cluster
from tests.fake_shell import FakeShell

CLOCK_S = 1_800_000_000.0


class Host(FakeShell):
    """A shell that tells one process state after another, and the last one for ever; the rest where asked."""

    def __init__(self, *states: str) -> None:
        self._states = list(states)

    async def ask(self, script: str, *, within_s: float) -> Output:
        state = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        rest = f"free=2048\nclock={CLOCK_S}\n" if "clock=" in script else ""
        return Output(0, f"ok=1\npid=4711\nstate={state}\n{rest}".encode())


def looks_at(*states: str) -> list[HostAnswer]:
    """What each look tells."""

    async def looks() -> list[HostAnswer]:
        spec, clock = a_cluster().spec, SystemClock()
        ports = NodePorts(spec.nodes[0], lambda: None, None, Host(*states))  # type: ignore[arg-type, return-value]  # no SQL here
        shells, paths = Shells(clock), Paths("/data", "/bin")
        watch = HostWatch(spec, ports, clock, lambda: paths, lambda: None, shells)
        running = asyncio.ensure_future(watch.run())
        found = []
        for _ in states:
            await watch.again()
            assert isinstance(watch.look, HostAnswer)
            found.append(watch.look)
        running.cancel()
        return found

    return asyncio.run(looks())


def frozen_since(*states: str) -> list[Instant | None]:
    """How long it has been so, as each look tells."""
    return [look.frozen_since for look in looks_at(*states)]


def test_disk_space_and_clock_are_known_between_the_looks_that_ask_for_them() -> None:
    first, second = looks_at("S", "S")
    assert first.wal_free_bytes == second.wal_free_bytes == 2 * 2**20
    assert first.clock_s == CLOCK_S
    assert second.clock_s is not None
    assert second.clock_s - CLOCK_S == pytest.approx(second.at - first.at, abs=1e-5), "it has gone on since"


def test_a_process_is_frozen_since_the_first_of_looks_that_all_say_so() -> None:
    first, second, well, again = frozen_since("T", "D", "S", "D")
    assert first is not None
    assert second == first
    assert well is None
    assert again is not None
    assert again > first
