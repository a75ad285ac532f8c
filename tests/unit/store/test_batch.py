"""Events of many clusters in one writing."""

import asyncio
from collections.abc import Callable, Sequence

from pgvigil.errors import StoreError
from pgvigil.store.batch import Batches


class Disk:
    """Writes one batch at a time, when it is let; or fails."""

    def __init__(self) -> None:
        self.ready, self.begun = asyncio.Event(), asyncio.Event()
        self.writings = list[list[int]]()
        self.broken = False
        self._one = asyncio.Lock()

    async def write(self, take: Callable[[], Sequence[int]]) -> None:
        async with self._one:
            await self.ready.wait()
            batch = take()
            self.begun.set()
            await asyncio.sleep(0)
            if self.broken:
                raise StoreError("the disk is full")
            self.writings.append(list(batch))


def test_what_is_added_while_the_disk_is_busy_goes_in_one_writing_and_in_order() -> None:
    async def writings() -> list[list[int]]:
        disk = Disk()
        batches = Batches[int](disk.write)
        adding = [asyncio.create_task(batches.add([n, n + 100])) for n in range(50)]
        await asyncio.sleep(0)
        disk.ready.set()
        await asyncio.gather(*adding)
        await batches.add([1000])
        return disk.writings

    first, second = asyncio.run(writings())
    assert first == [each for n in range(50) for each in (n, n + 100)]
    assert second == [1000]


def test_whoever_adds_after_the_writing_has_begun_goes_with_the_next() -> None:
    async def writings() -> list[list[int]]:
        disk = Disk()
        batches = Batches[int](disk.write)
        disk.ready.set()
        one = asyncio.create_task(batches.add([1]))
        await disk.begun.wait()
        await asyncio.gather(one, batches.add([2]))
        return disk.writings

    assert asyncio.run(writings()) == [[1], [2]]


def test_a_writing_that_fails_fails_for_all_who_are_in_it_and_for_nobody_else() -> None:
    async def course() -> tuple[list[str], list[list[int]]]:
        disk = Disk()
        disk.broken = True
        batches = Batches[int](disk.write)
        adding = [asyncio.create_task(batches.add([n])) for n in range(3)]
        await asyncio.sleep(0)
        adding[0].cancel()
        disk.ready.set()
        done = await asyncio.gather(*adding, return_exceptions=True)
        disk.broken = False
        await batches.add([7])
        return [type(each).__name__ for each in done], disk.writings

    assert asyncio.run(course()) == (["CancelledError", "StoreError", "StoreError"], [[7]])
