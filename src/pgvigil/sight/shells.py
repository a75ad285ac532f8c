"""Which hosts keep their shell open, of all that a process watches; the others' are opened when needed.

A connection that is kept costs 0.1 MB and, for its keepalives and looks, up to 0.5 ms of processor time a
second; a look over a new connection costs 12 ms (docs/measured.md#shells).
"""

from typing import Final

from pgvigil.ports.contract import Clock
from pgvigil.sight.pace import Pace

LOOKS_PER_S: Final = 5
"""So many hosts without a place are looked at a second while all is calm: 7 to 9 % of a core."""
REST_S: Final = 300.0
"""The shortest time between two such looks at one host …"""
SILENT_REST_S: Final = 60.0
"""… and at one whose shell did not answer: somebody may be putting that right."""
AT_ONCE: Final = 100
"""So many shells are opened in one moment when they are needed …"""
OPENED_PER_S: Final = 30
"""… and so many a second after that: all at once they would take each other's time, and none be open."""


class Shells:
    """One for all clusters of a process. Who asks is the watch of a host.

    `kept`: so many places; None: one for everybody. Who needs his shell all the time has one in any case.
    """

    def __init__(self, clock: Clock, kept: int | None = None) -> None:
        self.kept = kept
        self._placed: set[object] = set()
        self._looks = Pace(clock, at_once=0, per_s=LOOKS_PER_S)
        self._openings, self._openings_of_silent = (
            Pace(clock, at_once=AT_ONCE, per_s=OPENED_PER_S) for _ in range(2)
        )

    def keeps(self, watch: object, *, always: bool = False) -> bool:
        """Whether this one has a place now; one that is free is taken. First come, first served."""
        if always or self.kept is None:
            self._placed.add(watch)
        elif watch in self._placed:
            if len(self._placed) > self.kept:
                self._placed.discard(watch)
        elif len(self._placed) < self.kept:
            self._placed.add(watch)
        return watch in self._placed

    def leave(self, watch: object) -> None:
        """It is watched no more."""
        self._placed.discard(watch)

    def turn_s(self, *, least_s: float = 0.0) -> float:
        """How long until the turn for one more look at a host without a place. Each call takes a turn."""
        return max(self._looks.turn_s(), least_s)

    def opening_s(self, *, silent: bool) -> float:
        """How long to wait before one more shell is opened because it is needed: 0 unless very many are.

        Those of hosts that were `silent` when last asked wait for each other: a whole site may be, for days.
        """
        return (self._openings_of_silent if silent else self._openings).turn_s()

    @property
    def crowded(self) -> bool:
        """Whether one more, of a host that was not silent, would have to wait."""
        return self._openings.is_crowded
