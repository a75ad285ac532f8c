"""Events that many clusters add at about the same time, written together.

A writing waits for the disk once, however many events it takes along. When many clusters fail at once, a
record that is saved waits for one such writing, not for hundreds.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class Batches(Generic[T]):
    """What is added waits for the writer, and goes with all that is added before it begins to write.

    `write` is given a function that hands it the batch, which it calls, from any thread, when it begins.
    """

    def __init__(self, write: Callable[[Callable[[], Sequence[T]]], Awaitable[None]]) -> None:
        self._write, self._lock = write, Lock()
        self._open: _Batch[T] | None = None

    async def add(self, items: Sequence[T]) -> None:
        """Return when they are written, all or none. Raises what the writing raises."""
        with self._lock:
            batch, begins = self._open or _Batch[T](), self._open is None
            self._open = batch
            batch.items.extend(items)
        if begins:
            batch.written = asyncio.ensure_future(self._written(batch))
            batch.written.add_done_callback(_looked_at)
        assert batch.written is not None
        await asyncio.shield(batch.written)

    async def _written(self, batch: "_Batch[T]") -> None:
        try:
            await self._write(lambda: self._taken(batch))
        finally:
            self._taken(batch)  # also where the writer never began

    def _taken(self, batch: "_Batch[T]") -> Sequence[T]:
        """All of it; what is added from now on goes into another."""
        with self._lock:
            if self._open is batch:
                self._open = None
            return batch.items


class _Batch(Generic[T]):
    def __init__(self) -> None:
        self.items: list[T] = []
        self.written: asyncio.Future[None] | None = None


def _looked_at(written: "asyncio.Future[None]") -> None:
    """Those who wait get the error; when nobody does any more, asyncio need not complain of it."""
    if not written.cancelled():
        written.exception()
