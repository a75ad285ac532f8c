"""Waiting on one wheel for all: rung, or until a time is over."""

import asyncio
import time

from pgvigil.sight.bell import GRAIN_S, Bell, News, Watchdog, Wheel


async def course() -> list[str]:
    """What ends which wait, told by those who waited."""
    wheel, said = Wheel(), list[str]()
    one, other = Bell(wheel), Bell(wheel)

    async def wait(bell: Bell, within_s: float, what: str) -> None:
        await bell.wait(within_s)
        said.append(what)

    rung = asyncio.create_task(wait(one, 60.0, "rung"))
    over = asyncio.create_task(wait(other, 0.01, "over"))
    await asyncio.sleep(0)
    one.ring()
    await rung
    await over
    return said


def test_a_wait_ends_when_it_is_rung_and_else_when_its_time_is_over() -> None:
    assert asyncio.run(course()) == ["rung", "over"]


async def elapsed(first_s: float, second_s: float) -> float:
    """How long a wait lasts that was begun after one with an earlier end was rung."""
    bell = Bell(Wheel())
    first = asyncio.create_task(bell.wait(first_s))
    await asyncio.sleep(0)
    bell.ring()
    await first
    begun = time.monotonic()
    await bell.wait(second_s)
    return time.monotonic() - begun


def test_the_end_of_an_earlier_wait_does_not_end_a_later_one() -> None:
    assert asyncio.run(elapsed(0.02, 0.1)) >= 0.1


def test_an_earlier_end_asked_for_later_comes_first() -> None:
    async def order() -> list[str]:
        wheel, said = Wheel(), list[str]()

        async def wait(within_s: float, what: str) -> None:
            await Bell(wheel).wait(within_s)
            said.append(what)

        await asyncio.gather(wait(0.2, "late"), wait(4 * GRAIN_S, "early"), wait(0.1, "between"))
        return said

    assert asyncio.run(order()) == ["early", "between", "late"]


def test_a_wheel_tells_how_late_its_loop_was_before_anybody_goes_on() -> None:
    async def known() -> float:
        late: list[float] = []
        bell = Bell(Wheel(late.append))
        waiting = asyncio.create_task(bell.wait(0.01))
        await asyncio.sleep(0)
        time.sleep(0.3)  # noqa: ASYNC251  # that is the fault
        await waiting
        return max(late)

    assert asyncio.run(known()) >= 0.2


def test_news_that_came_before_is_not_waited_for() -> None:
    async def both() -> tuple[bool, bool]:
        news = News(Wheel())
        news.set()
        await asyncio.wait_for(news.within(60.0), 10.0)
        before = news.is_set()
        news.clear()
        waiting = asyncio.create_task(news.within(60.0))
        await asyncio.sleep(0)
        news.set()
        await asyncio.wait_for(waiting, 10.0)
        return before, news.is_set()

    assert asyncio.run(both()) == (True, True)


async def calls() -> list[str]:
    """Which of three watchdogs call: one that is left alone, one called off, one set anew for later."""
    wheel, called = Wheel(), list[str]()
    dogs = [Watchdog(wheel, lambda name=name: called.append(name)) for name in ("left", "off", "anew")]  # type: ignore[misc]
    for dog in dogs:
        dog.set(GRAIN_S)
    dogs[1].off()
    dogs[2].set(60.0)
    await Bell(wheel).wait(4 * GRAIN_S)
    return called


def test_a_watchdog_calls_once_unless_it_was_called_off_or_set_anew() -> None:
    assert asyncio.run(calls()) == ["left"]
