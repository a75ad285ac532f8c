"""What one task waits for: that it is rung, or that its time is over. Cheap enough for thousands a second."""

import asyncio


class Bell:
    """For one task that waits, at most; anybody may ring.

    A timer that a wait leaves behind is used by the next one: when it fires too early it is set anew. To
    cancel one for each wait would cost more than all the rest.
    """

    __slots__ = ("_timer", "_until", "_waiter")

    def __init__(self) -> None:
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._until = 0.0

    async def wait(self, within_s: float) -> None:
        """Return when it is rung, or after `within_s`. That it was rung before is not remembered."""
        loop = asyncio.get_running_loop()
        self._until = loop.time() + within_s
        if self._timer is None or self._timer.when() > self._until:
            self._set(loop)
        self._waiter = loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def ring(self, _: object = None) -> None:
        """Whoever waits goes on. Fit for a future's callback."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """Leave no timer behind."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(self._until, self._fired, loop)

    def _fired(self, loop: asyncio.AbstractEventLoop) -> None:
        timer, self._timer = self._timer, None
        if self._waiter is None or timer is None:
            return
        if timer.when() >= self._until:
            self.ring()
        else:
            self._set(loop)
