"""What is under way beside the loop, put on record by the loop: it alone writes the record."""

import asyncio
from dataclasses import replace

from pgvigil.errors import StoreError
from pgvigil.model.record import ClusterRecord, Underway
from pgvigil.ports.contract import Store


class Notes:
    """From those who go over several nodes, to the record."""

    def __init__(self, store: Store, news: asyncio.Event) -> None:
        self._store, self._news = store, news
        self._waiting: list[tuple[Underway | None, asyncio.Future[None]]] = []

    async def make(self, underway: Underway | None) -> None:
        """Return when that is durable. Raises StoreError."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((underway, done))
        self._news.set()
        await done

    async def written(self, record: ClusterRecord) -> ClusterRecord:
        """The record with what was noted since, saved. Whoever noted it hears of a failure."""
        waiting, self._waiting = self._waiting, []
        for underway, done in waiting:
            try:
                record = await self._store.save(replace(record, underway=underway))
            except StoreError as error:
                if not done.done():
                    done.set_exception(error)
            else:
                if not done.done():
                    done.set_result(None)
        return record
