"""Events are written behind, each once and in the order of time, also while somebody reads all the time."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog

from pgvigil.controller.journal import CARRIED, Journal
from pgvigil.errors import StoreError
from pgvigil.model.record import ClusterRecord, Event, Level, Phase
from pgvigil.model.step import Act
from pgvigil.model.units import ClusterName, Generation, NodeName, SystemId, Timeline
from pgvigil.ports.clock import SystemClock
from pgvigil.store.memory import MemoryStore
from pgvigil.store.sqlite import SqliteStore

NAME = ClusterName("orders")
RECORD = ClusterRecord(NAME, Generation(1), Phase.STABLE, NodeName("pg1"), SystemId("1"), Timeline(1))
ACT = Act("failover", "pg1 crashed", record=RECORD)


class SlowStore(MemoryStore):
    """Takes events in as they are when it is asked, and answers later; refuses records when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses = False

    async def add(self, events: Sequence[Event]) -> None:
        taken = tuple(events)
        await asyncio.sleep(0.01)
        await super().add(taken)

    async def save(self, record: ClusterRecord, events: Sequence[Event] = ()) -> ClusterRecord:
        if self.refuses:
            raise StoreError("the disk is full")
        return await super().save(record, events)


class Ticking(SystemClock):
    """Every question about the time is answered by a later one."""

    def __init__(self) -> None:
        super().__init__()
        self._at = datetime(2026, 11, 22, tzinfo=UTC)

    def wall(self) -> datetime:
        self._at += timedelta(milliseconds=1)
        return self._at


def tell(journal: Journal, text: str) -> None:
    journal.tell("seen", text, Level.INFO, Generation(1))


async def told(store: MemoryStore, count: int) -> list[str]:
    journal = Journal(NAME, store, SystemClock(), structlog.get_logger())
    writing = asyncio.ensure_future(journal.run())
    for number in range(count):
        await asyncio.sleep(0)
        await journal.flush()  # a reader, while the writer waits for something to write
        tell(journal, str(number))
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    await journal.flush()
    writing.cancel()
    return [event.text for event in await store.events(NAME, limit=100)]


def test_no_event_is_lost_or_told_twice_while_somebody_reads() -> None:
    assert asyncio.run(told(MemoryStore(), 10)) == [str(number) for number in range(10)]


def test_no_event_is_lost_that_comes_while_a_reader_waits_for_the_store() -> None:
    async def come() -> list[str]:
        store = SlowStore()
        journal = Journal(NAME, store, SystemClock(), structlog.get_logger())
        writing = asyncio.ensure_future(journal.run())
        await asyncio.sleep(0)
        for after_s, text in ((0.002, "second"), (0.004, "third")):
            asyncio.get_running_loop().call_later(after_s, tell, journal, text)
        tell(journal, "first")
        await journal.flush()
        await asyncio.sleep(0.05)
        writing.cancel()
        return [event.text for event in await store.events(NAME, limit=100)]

    assert asyncio.run(come()) == ["first", "second", "third"]


@pytest.mark.parametrize("turns", range(6))
def test_what_was_told_before_a_decision_has_a_lower_number(tmp_path: Path, turns: int) -> None:
    async def decide() -> list[Event]:
        async with await SqliteStore.open(tmp_path) as store:
            journal = Journal(NAME, store, Ticking(), structlog.get_logger())
            writing = asyncio.ensure_future(journal.run())
            await asyncio.sleep(0)
            for number in range(3):
                tell(journal, str(number))
            for _ in range(turns):
                await asyncio.sleep(0)
            await journal.decided(ACT, Generation(0))
            await journal.flush()
            writing.cancel()
            return list(await store.events(NAME, limit=100))

    events = asyncio.run(decide())
    assert [event.kind for event in events] == ["seen"] * 3 + ["failover"]
    assert events == sorted(events, key=lambda event: event.at)


@pytest.mark.parametrize("count", [3, 5 * CARRIED])
def test_a_record_that_cannot_be_saved_loses_no_event(count: int) -> None:
    async def decide() -> list[str]:
        store = SlowStore()
        store.refuses = True
        journal = Journal(NAME, store, SystemClock(), structlog.get_logger())
        for number in range(count):
            tell(journal, str(number))
        with pytest.raises(StoreError):
            await journal.decided(ACT, Generation(0))
        tell(journal, "after")
        await journal.flush()
        return [event.text for event in await store.events(NAME, limit=1000)]

    assert asyncio.run(decide()) == [*map(str, range(count)), "after"]
