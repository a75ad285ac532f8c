"""The controller's real time."""

import time
from datetime import UTC, datetime

from pgvigil.model.units import Instant


class SystemClock:
    """The operating system's clocks: the only place that reads them."""

    def now(self) -> Instant:
        """Monotonic seconds; never jumps when the wall clock is set."""
        return Instant(time.monotonic())

    def wall(self) -> datetime:
        """UTC, for people only."""
        return datetime.now(UTC)
