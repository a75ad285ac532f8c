"""How late the event loop of this process runs: a controller that is slow itself must not accuse others."""

import asyncio
from typing import Final

from pgvigil.model.units import Instant  # noqa: TC001  # as everywhere else
from pgvigil.ports.contract import Clock

EVERY_S: Final = 0.1
MEMORY_S: Final = 2.0


class OwnLoop:
    """Measured once for all clusters that a process watches."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._late: list[tuple[Instant, float]] = []

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            begun = self._clock.now()
            await asyncio.sleep(EVERY_S)
            now = self._clock.now()
            self._late = [(at, s) for at, s in self._late if now - at < MEMORY_S]
            if (late := now - begun - EVERY_S) > EVERY_S:
                self._late.append((now, late))

    def late_s(self) -> float:
        """By how much it ran late at worst within the last two seconds; 0 up to 0.1 s."""
        if not self._late:
            return 0.0
        now = self._clock.now()
        return max((late for at, late in self._late if now - at < MEMORY_S), default=0.0)
