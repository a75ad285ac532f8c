"""Virtual time: an event loop that never waits, and the controller's clock on it.

Where a real loop would sleep, the clock jumps to the next timer. Tasks and futures get numbers as hashes, so
that a set of them is walked in the same order in every run: one seed, one course of events.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar
from datetime import UTC, datetime, timedelta
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, Final

from pgvigil.model.units import Instant

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""The wall clock when a simulation begins."""
FEW: Final = 512
"""So many cancelled timers may lie in the heap before it is swept."""

if TYPE_CHECKING:
    _Loop = asyncio.SelectorEventLoop
else:
    _Loop = asyncio.BaseEventLoop  # a selector loop would open a socket to wake itself


class NothingLeft(RuntimeError):
    """Every task waits for something that will never come."""


class Process:
    """What all tasks of one process have in common: it may stand still, and go on."""

    def __init__(self) -> None:
        self.waiting: list[_Handle] = []
        """What its tasks would have done while it stands still."""


PROCESS: Final[ContextVar[Process | None]] = ContextVar("process", default=None)
"""Whose task this is; None: the world's."""


class _Handle:
    """What is to be called: `asyncio.TimerHandle` without what only debugging needs."""

    __slots__ = ("_args", "_at", "_call", "_context", "_loop", "cancelled_")

    def __init__(
        self, loop: "VirtualLoop", at: float, call: Callable[..., object], args: Any, context: Context | None
    ) -> None:
        self._loop, self._at, self._call, self._args, self._context = loop, at, call, args, context
        self.cancelled_ = False

    def cancel(self) -> None:
        """It will not be called."""
        if not self.cancelled_:
            self.cancelled_, self._call, self._args = True, _nothing, ()
            if self._at >= 0:
                self._loop.forgotten()

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.cancelled_

    def when(self) -> float:
        """When it is due; 0 if at once."""
        return max(self._at, 0.0)

    def process(self) -> "Process | None":
        """Whose it is."""
        return None if self._context is None else self._context.get(PROCESS)

    def run(self) -> None:
        """Call it. What it raises ends the simulation: a task keeps its own errors, a callback is ours."""
        if self._context is None:
            self._call(*self._args)
        else:
            self._context.run(self._call, *self._args)


def _nothing() -> None:
    """What a cancelled handle calls."""


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
    """An event loop without sockets, threads or waiting.

    Its own queue, for speed: what is due at the same instant runs in the order in which it was asked for.
    """

    def __init__(self) -> None:
        super().__init__()
        self._selector: Any = _Nowhere()
        self._clock_resolution = 1e-9
        self._numbers = itertools.count(1)
        self._now = 0.0
        self._timers: list[tuple[float, int, _Handle]] = []
        self._due: deque[_Handle] = deque()
        self._dead = 0
        self._still: set[Process] = set()
        self._stopping: bool
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]  # a lighter handle
        """At this very instant, after what is due already."""
        handle = _Handle(self, -1.0, callback, args, context)
        self._due.append(handle)
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]  # a lighter handle
        """After so many virtual seconds."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]  # a lighter handle
        """At that virtual time, or at once if it has passed."""
        handle = _Handle(self, max(when, 0.0), callback, args, context)
        heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    def forgotten(self) -> None:
        """A timer was cancelled: when they are many, the heap is swept."""
        self._dead += 1
        if self._dead > FEW and self._dead * 2 > len(self._timers):
            self._timers[:] = [each for each in self._timers if not each[2].cancelled_]
            heapify(self._timers)
            self._dead = 0

    def _run_once(self) -> None:
        """All that is due now; when there is nothing, time jumps to the next timer."""
        due, timers = self._due, self._timers
        if not due and not self._stopping:
            while timers and timers[0][2].cancelled_:
                heappop(timers)
                self._dead -= 1
            if not timers:
                raise NothingLeft("every task waits for something that will never come")
            self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            due.append(heappop(timers)[2])
        for _ in range(len(due)):
            handle = due.popleft()
            if self._still and (process := handle.process()) in self._still and process:
                process.waiting.append(handle)
            else:
                handle.run()

    def freeze(self, process: Process) -> None:
        """Its tasks stand still from now on; what they wait for comes about all the same."""
        self._still.add(process)

    def thaw(self, process: Process) -> None:
        """It goes on, with all that it missed, in that order."""
        self._still.discard(process)
        waiting, process.waiting = process.waiting, []
        self._due.extend(waiting)

    def is_frozen(self, process: Process) -> bool:
        """Whether it stands still."""
        return process in self._still

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

    def _write_to_self(self) -> None:
        """Nobody sleeps, so nobody has to be woken."""


class _Nowhere:
    """Stands where a real loop has its selector."""

    def close(self) -> None:
        """Nothing to close."""


class SimClock:
    """`contract.Clock` on a virtual loop.

    `rate`: how fast it runs beside true time. `ahead_s`: by how much the wall clock is wrong; it may jump.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, rate: float = 1.0) -> None:
        self._loop, self.rate, self.ahead_s = loop, rate, 0.0

    def now(self) -> Instant:
        """Seconds, as this clock counts them."""
        return Instant(self._loop.time() * self.rate)

    def wall(self) -> datetime:
        """The wall clock of this machine."""
        return START + timedelta(seconds=self._loop.time() * self.rate + self.ahead_s)
