"""Requests take turns with everything else that lives in the loop: a burst of them delays nobody for long."""

import asyncio
from collections import deque
from typing import Final

AT_ONCE: Final = 8
"""So many requests begin before the loop looks at sockets and timers again: 2 to 4 ms of work."""
WAITING_MAX: Final = 8_000


class Turns:
    """`await turn()` returns at once, unless many have had theirs since the loop last came round."""

    def __init__(self) -> None:
        self._left, self._renews = AT_ONCE, False
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def turn(self) -> bool:
        """Wait for one's turn, in order; False: too many wait already."""
        if self._left:
            self._take()
            return True
        if len(self._waiting) >= WAITING_MAX:
            return False
        mine = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        await mine
        return True

    def _take(self) -> None:
        self._left -= 1
        if not self._renews:
            self._renews = True
            asyncio.get_running_loop().call_soon(self._renew)

    def _renew(self) -> None:
        """The loop came round: the next ones."""
        self._left, self._renews = AT_ONCE, False
        while self._left and self._waiting:
            mine = self._waiting.popleft()
            if not mine.done():
                self._take()
                mine.set_result(None)
