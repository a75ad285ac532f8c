"""A large fleet is begun over seconds: clusters that run need not wait for those that open sessions."""

import asyncio
from typing import Final

from pgvigil.sight.own_loop import EVERY_S, OwnLoop

AT_ONCE: Final = 50
"""So many clusters are begun in one moment …"""
PER_S: Final = 100
"""… and the rest one after another, at this rate while the own loop keeps up with it …"""
PATIENCE: Final = 3
"""… and when it does not, after so many looks at it, a tenth of a second each."""


class Starts:
    """Whose turn it is to begin, of the clusters of one process."""

    def __init__(self, own_loop: OwnLoop | None) -> None:
        self._own_loop, self._queue = own_loop, asyncio.Lock()

    async def turn(self) -> None:
        """Wait for one's turn, in order."""
        async with self._queue:
            await asyncio.sleep(1 / PER_S)
            for _ in range(PATIENCE):
                if self._own_loop is None or not self._own_loop.busy:
                    break
                await asyncio.sleep(EVERY_S)
