"""How late the event loop of this process runs: a controller that is slow itself must not accuse others."""

import asyncio
import random
from collections.abc import Callable
from typing import Final

from pgvigil.model.units import Instant  # noqa: TC001  # as everywhere else
from pgvigil.ports.contract import Clock
from pgvigil.sight.bell import Wheel

EVERY_S: Final = 0.1
MEMORY_S: Final = 2.0
TELL_S: Final = 0.5
"""So late, and it is told (`judge.controller_unfit` distrusts what was seen then)."""
TELL_EVERY_S: Final = 10.0


class OwnLoop:
    """Measured once for all clusters that a process watches. `tell` hears of it when it ran very late.

    All that waits on its `wheel` measures too: whoever was woken late knows it already when he goes on.
    """

    def __init__(self, clock: Clock, tell: Callable[[float], None] = lambda _: None) -> None:
        self._clock, self._tell = clock, tell
        self._late: list[tuple[Instant, float]] = []
        self._told: Instant | None = None
        self.silent = 0
        """Nodes that do not answer now, of all that are watched here."""
        self._random = random.Random(0)  # noqa: S311  # nothing secret, and a simulation repeats it
        self.total_s = 0.0
        """All lateness so far."""
        self.wheel = Wheel(self._note)

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            begun = self._clock.now()
            await asyncio.sleep(EVERY_S)
            late_s = self._clock.now() - begun - EVERY_S
            self._note(late_s)
            self.total_s += late_s if late_s > EVERY_S else 0.0

    def late_s(self) -> float:
        """By how much it ran late at worst within the last two seconds; 0 up to 0.1 s."""
        if not self._late:
            return 0.0
        now = self._clock.now()
        self._late = [(at, s) for at, s in self._late if now - at < MEMORY_S]
        return max((late for _, late in self._late), default=0.0)

    def spread(self, seconds: float) -> float:
        """About as long; for the next who asks another time: what broke together does not return together."""
        return seconds * self._random.uniform(0.75, 1.25)

    def _note(self, late_s: float) -> None:
        if late_s <= EVERY_S:
            return
        now = self._clock.now()
        self._late = [*((at, s) for at, s in self._late if now - at < MEMORY_S), (now, late_s)]
        if late_s >= TELL_S and (self._told is None or now - self._told >= TELL_EVERY_S):
            self._told = now
            self._tell(late_s)
