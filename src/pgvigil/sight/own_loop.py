"""How late the event loop of this process runs: a controller that is slow itself must not accuse others.

One that cannot keep up looks less often (`slowdown`) rather than late: a loop that is late all the time hears
answers late, takes them for silence, and has more to do than before.
"""

import asyncio
import math
import random
from collections.abc import Callable
from typing import Final

from pgvigil.model.units import Instant  # noqa: TC001  # as everywhere else
from pgvigil.ports.contract import Clock
from pgvigil.sight.bell import Wheel
from pgvigil.sight.pace import Pace

EVERY_S: Final = 0.1
MEMORY_S: Final = 2.0
TELL_S: Final = 0.5
"""So late, and it is told (`judge.controller_unfit` distrusts what was seen then)."""
TELL_EVERY_S: Final = 10.0
BUSY_S: Final = 0.03
"""A turn of the loop takes so long on average, and it has too much to do: it hardly ever waits any more.

Not by how late it is woken: a crowded machine wakes also those late who have little to do.
"""
TURN_WEIGHT: Final = 0.2
"""Of the newest turn in the average."""
SLOWER: Final = 1.02
"""Each 0.1 s in which it has too much to do, pauses grow to so many times what they were …"""
FASTER: Final = 0.995
"""… and shrink by this when it has not: probes that were put off come a second later."""
SLOWDOWN_MAX: Final = 20.0
HURRIES_UP_TO: Final = 3.0
"""Only calm clusters are looked at less often, up to this; beyond it those in trouble too, by the rest."""
TELL_SLOWDOWN: Final = 1.5
TELL_SLOWDOWN_EVERY_S: Final = 300.0
AT_ONCE: Final = 100
"""So many new sessions may be tried in one moment beside those that are late …"""
PER_S: Final = 300
"""… and so many a second after that, for each costs as much as ten probes …"""
ATTEMPT_WAITS_S: Final = 10.0
"""… but none waits longer than this. What was late answers meanwhile, as a rule."""
JUDGED_A_SECOND: Final = 500
"""So many calm clusters; of more, each is judged less often, for positions that move on tell little …"""
EASE_MAX: Final = 5.0
"""… but every so many seconds in any case: for what only grows old."""
GOLDEN: Final = (math.sqrt(5) - 1) / 2
"""Its multiples, without their whole part, lie evenly however many they are."""
CROWD_PER_S: Final = 1000
"""Where very many nodes are silent at once, this many attempts a second are made at them all told."""


class OwnLoop:
    """Measured once for all clusters that a process watches. `tell` hears of it when it ran very late.

    All that waits on its `wheel` measures too: whoever was woken late knows it already when he goes on.
    """

    def __init__(
        self,
        clock: Clock,
        tell: Callable[[float], None] = lambda _: None,
        tell_slowdown: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._clock, self._tell, self._tell_slowdown = clock, tell, tell_slowdown
        self._late: list[tuple[Instant, float]] = []
        self._told: Instant | None = None
        self._told_slowdown: Instant | None = None
        self._turned = clock.now()
        self._turn_s = 0.0
        self._attempts = Pace(clock, at_once=AT_ONCE, per_s=PER_S)
        self.busy = False
        """Whether it had too much to do in the last second or so."""
        self.slowdown = 1.0
        """Pauses between looks, while all is calm, are so many times as long as configured."""
        self.missed_s = 0.0
        """All the time it did not listen: a turn of the loop counts as at most 0.1 s of listening."""
        self.silent = 0
        """Nodes that do not answer now, of all that are watched here."""
        self.clusters = 0
        """So many are watched here."""
        self._places = 0
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
            begun = self._clock.now()
            await asyncio.sleep(0)
            self._set_slowdown(self._clock.now() - begun)

    def late_s(self) -> float:
        """By how much it ran late at worst within the last two seconds; 0 up to 0.1 s."""
        if not self._late:
            return 0.0
        now = self._clock.now()
        self._late = [(at, s) for at, s in self._late if now - at < MEMORY_S]
        return max((late for _, late in self._late), default=0.0)

    def crowd_s(self) -> float:
        """The pause between attempts at one silent node that all who are silent leave it."""
        return self.silent * self.slowdown / CROWD_PER_S

    def ease(self) -> float:
        """How many times less often a calm cluster is judged without news, and asked what hardly changes."""
        return self.stretch(calm=True) * min(max(self.clusters / JUDGED_A_SECOND, 1.0), EASE_MAX)

    def place(self) -> float:
        """Of one more node in the round of all, from 0 to 1: any number of them are evenly apart."""
        self._places += 1
        return self._places * GOLDEN % 1.0

    def stretch(self, *, calm: bool) -> float:
        """How many times longer than configured a node of a calm or troubled cluster waits for a look."""
        return self.slowdown if calm else max(self.slowdown / HURRIES_UP_TO, 1.0)

    def pause_s(self, wished_s: float, place: float, *, calm: bool) -> float:
        """The pause before the next look at a node, of a cluster that is calm or in trouble.

        Each node has its place in every such period, and comes back to it: looks that began together, as
        after a standstill, would for ever, and be too much at once. Up to a quarter longer than the period.
        """
        period_s = wished_s * self.stretch(calm=calm)
        now = self._clock.now()
        turn = math.ceil((now + period_s / 4) / period_s - place)
        return (turn + place) * period_s - now

    def spread(self, seconds: float) -> float:
        """About as long; for the next who asks another time: what broke together does not return together."""
        return seconds * self._random.uniform(0.75, 1.25)

    def attempt_s(self) -> float:
        """How long to wait before one more session is tried beside a late one: a crowd must be bearable."""
        return min(self._attempts.turn_s(), ATTEMPT_WAITS_S)

    def _set_slowdown(self, turn_s: float) -> None:
        """By how long a turn of the loop took just now."""
        self._turn_s += (turn_s - self._turn_s) * TURN_WEIGHT
        self.busy = self._turn_s > BUSY_S
        if self.busy:
            self.slowdown = min(self.slowdown * SLOWER, SLOWDOWN_MAX)
        elif self._turn_s < BUSY_S / 2:
            self.slowdown = max(self.slowdown * FASTER, 1.0)
        now, told = self._clock.now(), self._told_slowdown
        if self.slowdown >= TELL_SLOWDOWN and (told is None or now - told >= TELL_SLOWDOWN_EVERY_S):
            self._told_slowdown = now
            self._tell_slowdown(self.slowdown)

    def _note(self, late_s: float) -> None:
        now = self._clock.now()
        since_s, self._turned = now - self._turned, now
        if late_s <= EVERY_S:
            return
        self.missed_s += max(min(late_s, since_s) - EVERY_S, 0.0)
        self._late = [*((at, s) for at, s in self._late if now - at < MEMORY_S), (now, late_s)]
        if late_s >= TELL_S and (self._told is None or now - self._told >= TELL_EVERY_S):
            self._told = now
            self._tell(late_s)
