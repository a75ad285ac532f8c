"""Waiting that is cheap enough for thousands a second: to be rung, or until a time is over."""

import asyncio
import contextlib
import math
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Final

GRAIN_S: Final = 0.005
"""Times end together: up to so much later than asked, never earlier."""
RESOLUTION_S: Final = 1e-6
"""A loop may call a little early."""
_NEVER: Final = -1


class Wheel:
    """All times of one event loop that bells wait for: one timer for each grain in which any ends.

    What is asked for thousands of nodes then goes out together, and its answers come in together; a timer of
    the loop's for each would cost more than the asking.
    """

    def __init__(self, late: Callable[[float], None] = lambda _: None) -> None:
        """`late` hears, before anybody is rung, by how many seconds the loop itself has missed a time."""
        self.late = late
        self._grains: dict[int, list[Bell | Watchdog]] = {}
        self._order: list[int] = []
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, bell: "Bell | Watchdog", until: float, loop: asyncio.AbstractEventLoop) -> int:
        """Ring that bell soon after `until`, if it still waits for that. Returns the grain."""
        grain = math.ceil(until / GRAIN_S)
        if (bells := self._grains.get(grain)) is not None:
            bells.append(bell)
            return grain
        self._grains[grain] = [bell]
        heappush(self._order, grain)
        if self._order[0] == grain:
            self._set(loop)
        return grain

    def _set(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(self._order[0] * GRAIN_S, self._turn, loop)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time() + RESOLUTION_S
        self.late(now - self._order[0] * GRAIN_S)
        while self._order and self._order[0] * GRAIN_S <= now:
            grain = heappop(self._order)
            for bell in self._grains.pop(grain):
                bell.over(grain)
        if self._order:
            self._set(loop)


class Watchdog:
    """Calls when a time is over, unless it was called off before."""

    __slots__ = ("_call", "_grain", "_wheel")

    def __init__(self, wheel: Wheel, call: Callable[[], None]) -> None:
        self._wheel, self._call = wheel, call
        self._grain = _NEVER

    def set(self, within_s: float) -> None:
        """Call after `within_s`; what was set before does not count any more."""
        loop = asyncio.get_running_loop()
        self._grain = self._wheel.enter(self, loop.time() + within_s, loop)

    def off(self) -> None:
        """Do not call."""
        self._grain = _NEVER

    def over(self, grain: int) -> None:
        """The time of a grain is over; it may have been called off long since."""
        if grain == self._grain:
            self._grain = _NEVER
            self._call()


class Bell:
    """For one task that waits, at most; anybody may ring."""

    __slots__ = ("_grain", "_waiter", "_wheel")

    def __init__(self, wheel: Wheel) -> None:
        self._wheel = wheel
        self._waiter: asyncio.Future[None] | None = None
        self._grain = 0

    async def wait(self, within_s: float) -> None:
        """Return when it is rung, or after `within_s`. That it was rung before is not remembered."""
        loop = asyncio.get_running_loop()
        self._grain = self._wheel.enter(self, loop.time() + within_s, loop)
        self._waiter = loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def ring(self, _: object = None) -> None:
        """Whoever waits goes on. Fit for a future's callback."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def over(self, grain: int) -> None:
        """The time of a wait is over; it may have ended long since."""
        if grain == self._grain:
            self.ring()


class News(asyncio.Event):
    """An event that one task may wait for with a limit."""

    def __init__(self, wheel: Wheel) -> None:
        super().__init__()
        self._bell = Bell(wheel)

    def set(self) -> None:
        """There is news."""
        super().set()
        self._bell.ring()

    async def within(self, limit_s: float) -> None:
        """Return at once if there is news, else when there is, or after `limit_s`."""
        if not self.is_set():
            await self._bell.wait(limit_s)


async def heard(event: asyncio.Event, limit_s: float) -> None:
    """Return when the event is set, or after `limit_s`. For waits that are few: a timer each."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s):  # wait_for may lose a cancellation before 3.12
            await event.wait()
