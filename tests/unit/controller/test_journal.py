"""Events are written behind, each once, also when somebody reads them all the time."""

import asyncio

import structlog

from pgvigil.controller.journal import Journal
from pgvigil.model.record import Level
from pgvigil.model.units import ClusterName, Generation
from pgvigil.ports.clock import SystemClock
from pgvigil.store.memory import MemoryStore

NAME = ClusterName("orders")


async def told(count: int) -> list[str]:
    store = MemoryStore()
    journal = Journal(NAME, store, SystemClock(), structlog.get_logger())
    writing = asyncio.ensure_future(journal.run())
    for number in range(count):
        await asyncio.sleep(0)
        await journal.flush()  # a reader, while the writer waits for something to write
        journal.tell("seen", str(number), Level.INFO, Generation(1))
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    await journal.flush()
    writing.cancel()
    return [event.text for event in await store.events(NAME, limit=100)]


def test_no_event_is_lost_or_told_twice_while_somebody_reads() -> None:
    assert asyncio.run(told(10)) == [str(number) for number in range(10)]
