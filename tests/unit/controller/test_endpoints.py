"""The newest aim wins, each endpoint goes its own way, failures are told and tried again, and no more."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import structlog

from pgvigil.controller.endpoints import Endpoints
from pgvigil.controller.journal import Journal
from pgvigil.controller.tenure import Tenure
from pgvigil.errors import StepFailed, Unreachable
from pgvigil.model.endpoint import Aim
from pgvigil.model.record import Event, Level
from pgvigil.model.units import ClusterName, Generation, NodeName
from pgvigil.ports.clock import SystemClock
from pgvigil.store.memory import MemoryStore

PG1, PG2 = NodeName("pg1"), NodeName("pg2")
FIRST, SECOND = Aim(Generation(1), PG1), Aim(Generation(2), PG2)
Work = Callable[[Aim], Awaitable[str]]


class Doing:
    """An endpoint that does what the test says."""

    def __init__(self, name: str, work: Work, hold: Callable[[], Awaitable[None]] | None = None) -> None:
        self.name, self.moves, self._work, self._hold = name, list[Aim](), work, hold

    async def look(self) -> str:
        return "well"

    async def hold(self) -> None:
        if self._hold:
            await self._hold()

    def close(self) -> None:
        """It keeps nothing open."""

    async def move(self, aim: Aim) -> str:
        self.moves.append(aim)
        return await self._work(aim)


async def well(aim: Aim) -> str:
    return f"leads to {aim.primary}"


async def silent(_: Aim) -> str:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


class Scene:
    """Endpoints under way, and the events they lead to."""

    def __init__(self, *endpoints: Doing) -> None:
        self.told: list[Event] = []
        log = structlog.get_logger()
        journal = Journal(ClusterName("orders"), MemoryStore(), SystemClock(), log, (self,))
        self.all = Endpoints(endpoints, journal, SystemClock(), Tenure(None, ClusterName("orders")))

    def tell(self, event: Event) -> None:
        self.told.append(event)

    def kinds(self) -> list[str]:
        return [event.kind for event in self.told]

    async def until(self, fact: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not fact():  # noqa: ASYNC110  # a test waits for a state
                await asyncio.sleep(0.005)


def run(scene: Scene, play: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        running = asyncio.ensure_future(scene.all.run())
        try:
            await play()
        finally:
            running.cancel()
            await asyncio.wait({running})

    asyncio.run(whole())


def test_a_silent_endpoint_keeps_no_other_waiting_and_a_newer_aim_ends_its_attempt() -> None:
    quick, dead = Doing("quick", well), Doing("dead", silent)
    scene = Scene(quick, dead)

    async def play() -> None:
        scene.all.point(FIRST)
        await scene.until(lambda: quick.moves == [FIRST] and dead.moves == [FIRST])
        scene.all.point(SECOND)
        await scene.until(lambda: quick.moves == [FIRST, SECOND] and dead.moves == [FIRST, SECOND])
        states = {each["name"]: (each["state"], each["primary"]) for each in scene.all.status()}
        assert states == {"quick": ("ok", "pg2"), "dead": ("unseen", None)}

    run(scene, play)
    assert [e.text for e in scene.told] == [
        "endpoint quick: leads to pg1",
        "endpoint quick: leads to pg2",
    ]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Unreachable("nobody there", hint="look"), "nobody there"),
        (ValueError("a bug of ours"), "ValueError: a bug of ours"),
    ],
)
def test_a_failure_is_told_once_and_tried_again_until_it_works(error: Exception, said: str) -> None:
    async def fails_a_while(aim: Aim) -> str:
        if len(endpoint.moves) < 5:
            raise error
        return ""

    endpoint = Doing("one", fails_a_while)
    scene = Scene(endpoint)

    async def play() -> None:
        scene.all.point(FIRST)
        await scene.until(lambda: "endpoint_moved" in scene.kinds())
        (state,) = scene.all.status()
        assert (state["state"], state["detail"], state["primary"]) == ("ok", "", "pg1")

    run(scene, play)
    assert scene.kinds() == ["endpoint_failed", "endpoint_moved"]
    assert said in scene.told[0].text
    assert scene.told[0].level is Level.ALERT
    assert scene.told[0].hint


def test_another_choice_of_standbys_ends_no_attempt_and_is_followed() -> None:
    gate = asyncio.Event()

    async def waits(aim: Aim) -> str:
        await gate.wait()
        return ""

    endpoint = Doing("one", waits)
    scene = Scene(endpoint)
    wider = Aim(Generation(1), PG1, (PG2,))

    async def play() -> None:
        scene.all.point(FIRST)
        await scene.until(lambda: endpoint.moves == [FIRST])
        scene.all.point(wider)
        await asyncio.sleep(0)
        gate.set()
        await scene.until(lambda: endpoint.moves == [FIRST, wider])

    run(scene, play)


def test_clients_are_held_only_if_all_endpoints_hold_them() -> None:
    async def refuses() -> None:
        raise StepFailed("a transaction does not end", hint="end it")

    assert asyncio.run(Scene(Doing("one", well)).all.hold()) is None
    with pytest.raises(StepFailed, match=r"two does not have clients wait: a transaction") as late:
        asyncio.run(Scene(Doing("one", well), Doing("two", well, refuses)).all.hold())
    assert late.value.hint == "end it"


def test_settled_waits_for_what_is_under_way_and_no_longer_than_told() -> None:
    quick, dead = Doing("quick", well), Doing("dead", silent)
    scene = Scene(quick, dead)

    async def play() -> None:
        scene.all.point(FIRST)
        await scene.all.settled(within_s=0.5)
        assert [each["state"] for each in scene.all.status()] == ["ok", "unseen"]

    run(scene, play)
