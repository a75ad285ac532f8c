"""One node's session: a late probe, and the new session that is tried beside it."""

import asyncio
import gc
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from bench.fleet.stand_in import Node
from pgvigil.errors import Bug
from pgvigil.judge.controller_unfit import LOOKS_EVERY_S
from pgvigil.model.sighting import Farewell, Silence
from pgvigil.ports.clock import SystemClock
from pgvigil.ports.contract import NodePorts, Row, SessionEnded
from pgvigil.sight.own_loop import OwnLoop
from pgvigil.sight.sql import RETRY_S, SqlWatch
from tests.builders import TIMINGS, a_cluster


class Late:
    """A session that never answers, until it is closed under the question."""

    def __init__(self) -> None:
        self.is_open = True
        self._closed: asyncio.Future[tuple[Row, ...]] = asyncio.get_running_loop().create_future()

    async def open(self, *, within_s: float) -> None:
        return

    async def query(self, sql: str, params: Sequence[str | None] = (), *, within_s: float) -> tuple[Row, ...]:
        return await asyncio.shield(self._closed)

    async def ended(self) -> Farewell:
        never: asyncio.Future[Farewell] = asyncio.get_running_loop().create_future()
        return await never

    def close(self) -> None:
        self.is_open = False
        if not self._closed.done():
            self._closed.set_exception(SessionEnded("no session with us", Farewell(message="closed by us")))


async def told_by_the_loop() -> tuple[list[dict[str, Any]], bool]:
    """What asyncio has to complain of after a new session won, and whether that one is kept."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
    spec = a_cluster("pg1*").spec.nodes[0]
    late, new = Late(), Late()
    ports = NodePorts(spec, lambda: new, late, None)
    timings = replace(TIMINGS, suspect_after=timedelta(milliseconds=1))
    watch = SqlWatch(ports, timings, SystemClock(), lambda: None)
    await watch._once()
    assert getattr(watch.look, "silence", None) is Silence.OVERDUE
    for _ in range(3):
        await asyncio.sleep(0)
        gc.collect()
    return complaints, ports.session is new


def test_a_late_session_whose_place_another_takes_leaves_no_complaint() -> None:
    assert asyncio.run(told_by_the_loop()) == ([], True)


class Broken(Late):
    """A session that cannot be opened for a reason of ours."""

    async def open(self, *, within_s: float) -> None:
        raise Bug("broken")


async def beside_a_broken_one() -> bool:
    """Whether the fault of a session that was tried beside a late one gets out, and ends the late one."""
    spec = a_cluster("pg1*").spec.nodes[0]
    late = Late()
    timings = replace(TIMINGS, suspect_after=timedelta(milliseconds=1))
    watch = SqlWatch(NodePorts(spec, Broken, late, None), timings, SystemClock(), lambda: None)
    try:
        await asyncio.wait_for(watch._once(), 30.0)
    except Bug:
        return not late.is_open
    return False


def test_a_fault_of_ours_beside_a_late_session_is_not_kept_for_ever() -> None:
    assert asyncio.run(beside_a_broken_one())


class Idle(Late):
    """A session that answers nothing but its end, which somebody else may bring about."""

    def __init__(self) -> None:
        super().__init__()
        self._farewell: asyncio.Future[Farewell] = asyncio.get_running_loop().create_future()
        self.waits = 0

    async def ended(self) -> Farewell:
        self.waits += 1
        return await asyncio.shield(self._farewell)

    def end(self) -> None:
        """As a server that dies while nobody asks it."""
        self.is_open = False
        self._farewell.set_result(Farewell(message="killed"))


async def an_idle_session_that_ends() -> tuple[SqlWatch, Idle, int]:
    """The watch after it was woken twice in its pause, and then its session ended in the third."""
    spec = a_cluster("pg1*").spec.nodes[0]
    idle = Idle()
    watch = SqlWatch(NodePorts(spec, Late, idle, None), TIMINGS, SystemClock(), lambda: None)
    answer = a_cluster("pg1*").view.node(spec.name).answer
    assert answer
    watch.look = answer
    for _ in range(2):
        pause = asyncio.create_task(watch._pause())
        await asyncio.sleep(0)
        watch.wake()
        await pause
        watch._wanted = False
    waits = idle.waits
    pause = asyncio.create_task(watch._pause())
    await asyncio.sleep(0)
    idle.end()
    await pause
    return watch, idle, waits


def test_the_end_of_a_session_that_idles_is_seen_at_once_by_one_task_for_all_its_pauses() -> None:
    watch, _, waits = asyncio.run(an_idle_session_that_ends())
    assert getattr(watch.look, "silence", None) is Silence.CLOSED
    assert waits == 1


class Slow(Late):
    """A session that answers a probe a moment later than it is suspected."""

    async def query(self, sql: str, params: Sequence[str | None] = (), *, within_s: float) -> tuple[Row, ...]:
        await asyncio.sleep(0.03)
        return tuple(Node(0, 0).rows(sql) or ())


async def looks(late_s: float) -> list[str]:
    """Which looks a slow answer gives, when our own loop was that late a moment ago."""
    spec, clock = a_cluster("pg1*").spec.nodes[0], SystemClock()
    own_loop, seen = OwnLoop(clock), list[str]()
    ports = NodePorts(spec, Late, Slow(), None)
    timings = replace(TIMINGS, suspect_after=timedelta(milliseconds=1))
    watch = SqlWatch(ports, timings, clock, lambda: seen.append(type(watch.look).__name__), own_loop)
    own_loop.wheel.late(late_s)
    await watch._once()
    return seen


def test_what_our_own_loop_missed_is_not_counted_as_silence_of_a_node() -> None:
    assert asyncio.run(looks(10.0)) == ["Answer"]
    assert asyncio.run(looks(0.0))[0] == "NoAnswer"


def test_many_silent_nodes_are_tried_again_at_a_bearable_rate_and_not_in_step() -> None:
    own_loop = OwnLoop(SystemClock())
    spec = a_cluster("pg1*").spec.nodes[0]
    watch = SqlWatch(
        NodePorts(spec, Late, Idle.__new__(Idle), None), TIMINGS, SystemClock(), lambda: None, own_loop
    )
    assert {watch._retry_s(1.0) for _ in range(9)} == {RETRY_S}
    own_loop.silent = 500
    crowd = [watch._retry_s(1.0) for _ in range(200)]
    assert 0.3 < min(crowd) < max(crowd) < 0.7
    own_loop.silent = 100_000
    longest = [*(watch._retry_s(1.0) for _ in range(200)), *(watch._retry_s(99.0) for _ in range(200))]
    assert RETRY_S < min(longest) < max(longest) < LOOKS_EVERY_S
    own_loop.slowdown = 5.0  # it cannot keep up with that either
    assert min(watch._retry_s(1.0) for _ in range(200)) > 2 * LOOKS_EVERY_S * 0.75
    own_loop.silent = 3
    assert watch._retry_s(1.0) == RETRY_S


async def counted() -> list[int]:
    """How many are silent: at first, when one does not answer, when it answers, when nobody looks."""
    spec, clock = a_cluster("pg1*").spec.nodes[0], SystemClock()
    own_loop = OwnLoop(clock)
    ports = NodePorts(spec, Late, Slow(), None)
    watch = SqlWatch(ports, TIMINGS, clock, lambda: None, own_loop)
    found = [own_loop.silent]
    for _ in range(2):
        watch._publish_silence(Silence.REFUSED, clock.now())
    found.append(own_loop.silent)
    await watch._once()
    found.append(own_loop.silent)
    watch._publish_silence(Silence.REFUSED, clock.now())
    running = asyncio.create_task(watch.run())
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait({running})
    return [*found, own_loop.silent]


def test_silent_nodes_are_counted_once_each_and_no_more_when_they_answer_or_nobody_looks() -> None:
    assert asyncio.run(counted()) == [0, 1, 0, 0]
