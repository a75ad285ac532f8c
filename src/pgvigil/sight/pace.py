"""How many may begin at once, and how soon the others after them: what a crowd does must be bearable."""

from pgvigil.ports.contract import Clock


class Pace:
    """So many in one moment, and so many a second after that, each at its turn."""

    def __init__(self, clock: Clock, *, at_once: int, per_s: float) -> None:
        self._clock, self._at_once, self._per_s = clock, at_once, per_s
        self._next = float("-inf")

    def turn_s(self) -> float:
        """How long the one who asks waits for his turn: 0 while few ask. Each call takes one."""
        now = self._clock.now()
        self._next = max(self._next, now - self._at_once / self._per_s) + 1 / self._per_s
        return max(self._next - now, 0.0)

    @property
    def is_crowded(self) -> bool:
        """Whether one more would have to wait."""
        return self._next > self._clock.now()
