"""A burst of requests does not keep the rest of the loop waiting."""

import asyncio
import itertools

from pgvigil.api import turns
from pgvigil.api.turns import AT_ONCE, Turns


def test_between_turns_the_loop_comes_round() -> None:
    seen: list[str] = []

    async def request(shared: Turns, number: int) -> None:
        assert await shared.turn()
        seen.append(f"request {number}")

    async def probe() -> None:
        for _ in range(6):
            seen.append("probe")
            await asyncio.sleep(0)

    async def story() -> None:
        shared = Turns()
        async with asyncio.TaskGroup() as group:
            for number in range(10 * AT_ONCE):
                group.create_task(request(shared, number))
            group.create_task(probe())
        assert await shared.turn()

    asyncio.run(story())
    requests = [each for each in seen if each != "probe"]
    assert requests == [f"request {number}" for number in range(10 * AT_ONCE)]  # nobody is passed over
    probes = [place for place, each in enumerate(seen) if each == "probe"]
    between = [later - earlier - 1 for earlier, later in itertools.pairwise(probes)]
    assert max(between) <= 2 * AT_ONCE


def test_who_goes_away_while_waiting_takes_nobodys_turn() -> None:
    async def story() -> None:
        shared = Turns()
        for _ in range(AT_ONCE):
            await shared.turn()
        waiting = [asyncio.ensure_future(shared.turn()) for _ in range(AT_ONCE)]
        last = asyncio.ensure_future(shared.turn())
        for each in waiting:
            each.cancel()
        assert await last

    asyncio.run(story())


def test_more_than_can_wait_are_refused() -> None:
    async def story() -> None:
        shared = Turns()
        many = [asyncio.ensure_future(shared.turn()) for _ in range(turns.WAITING_MAX + AT_ONCE + 5)]
        assert sum(not taken for taken in await asyncio.gather(*many)) == 5

    asyncio.run(story())
