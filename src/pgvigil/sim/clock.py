"""Virtual time: an event loop that never waits, and the controller's clock on it.

Where a real loop would sleep, the clock jumps to the next timer. Tasks and futures get numbers as hashes, so
that a set of them is walked in the same order in every run: one seed, one course of events.
"""

import asyncio
import itertools
from collections.abc import Coroutine, Generator
from contextvars import Context
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from pgvigil.model.units import Instant

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""The wall clock when a simulation begins."""

if TYPE_CHECKING:
    _Loop = asyncio.SelectorEventLoop
else:
    _Loop = asyncio.BaseEventLoop  # a selector loop would open a socket to wake itself


class NothingLeft(RuntimeError):
    """Every task waits for something that will never come."""


class _Jump:
    """Stands in for a selector: nothing is ever ready, time passes instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        """Let `timeout` pass at once."""
        if timeout is None:
            raise NothingLeft("every task waits for something that will never come")
        if timeout > 0:
            self.now += timeout
        return []

    def close(self) -> None:
        """Nothing to close."""


class _Numbered:
    """Hashes by a number given at birth."""

    number: int

    def __hash__(self) -> int:
        return self.number


class _Future(_Numbered, asyncio.Future[Any]):
    def __init__(self, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self.number = number
        super().__init__(loop=loop)


class _Task(_Numbered, asyncio.Task[Any]):
    def __init__(self, number: int, coro: Any, loop: asyncio.AbstractEventLoop, **more: Any) -> None:
        self.number = number
        super().__init__(coro, loop=loop, **more)


class VirtualLoop(_Loop):
    """An event loop without sockets, threads or waiting."""

    def __init__(self) -> None:
        super().__init__()
        self._jump = _Jump()
        self._selector: Any = self._jump
        self._clock_resolution = 1e-9
        self._numbers = itertools.count(1)
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._jump.now

    def create_future(self) -> "asyncio.Future[Any]":
        """A future that hashes by number."""
        return _Future(next(self._numbers), self)

    def _make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coro: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        context: Context | None = None,
    ) -> "asyncio.Task[Any]":
        more: dict[str, Any] = {} if context is None else {"context": context}
        return _Task(next(self._numbers), coro, loop, **more)

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps, so nobody has to be woken."""


class SimClock:
    """`contract.Clock` on a virtual loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now(self) -> Instant:
        """Virtual seconds."""
        return Instant(self._loop.time())

    def wall(self) -> datetime:
        """The virtual wall clock, which runs as fast."""
        return START + timedelta(seconds=self._loop.time())
