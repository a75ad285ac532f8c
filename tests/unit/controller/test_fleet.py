"""How a large fleet is begun."""

import asyncio

from pgvigil.controller.starts import PATIENCE, PER_S, Starts
from pgvigil.ports.clock import SystemClock
from pgvigil.sight.own_loop import EVERY_S, OwnLoop


async def begun(clusters: int, *, busy: bool) -> tuple[list[int], float]:
    """In which order they had their turn, and how long that took."""
    own_loop, order = OwnLoop(SystemClock()), list[int]()
    own_loop.busy = busy
    starts, loop = Starts(own_loop), asyncio.get_running_loop()

    async def one(number: int) -> None:
        await starts.turn()
        order.append(number)

    at = loop.time()
    await asyncio.gather(*(one(number) for number in range(clusters)))
    return order, loop.time() - at


def test_the_clusters_of_a_large_fleet_are_begun_one_after_another() -> None:
    order, took_s = asyncio.run(begun(20, busy=False))
    assert order == list(range(20))
    assert took_s >= 20 / PER_S


def test_a_loop_that_cannot_keep_up_begins_clusters_more_slowly_but_begins_them() -> None:
    order, took_s = asyncio.run(begun(3, busy=True))
    assert order == list(range(3))
    assert took_s >= 3 * PATIENCE * EVERY_S
