"""How far a copy has come: as a value, and as the one sentence that is told of it and read back from it.

Progress goes to people as sentences, over the socket too. A terminal that can draw reads this one again.
"""

import re
from dataclasses import dataclass
from typing import Final

_SENTENCE: Final = re.compile(
    r"copied (\d+) of (\d+) kB \((?:\d+) %\) from ([\w.-]+)(?:, (\d+) kB/s)?(?:, (\d+) s left)?"
)


@dataclass(frozen=True, slots=True)
class Copied:
    """So much of a data directory is there. `total` is an estimate, and may grow."""

    source: str
    done_kb: int
    total_kb: int
    rate_kb_s: int | None = None
    """Since the copy began; None: it has just begun."""

    @property
    def percent(self) -> int:
        """Of the estimate; 100 at most."""
        return min(100, 100 * self.done_kb // self.total_kb) if self.total_kb else 0

    @property
    def left_s(self) -> int | None:
        """Seconds to go at this rate; None: nobody can tell."""
        if not self.rate_kb_s:
            return None
        return max(0, self.total_kb - self.done_kb) // self.rate_kb_s

    def sentence(self) -> str:
        """What `parse` reads."""
        text = f"copied {self.done_kb} of {self.total_kb} kB ({self.percent} %) from {self.source}"
        if self.rate_kb_s:
            text += f", {self.rate_kb_s} kB/s, {self.left_s} s left"
        return text

    @classmethod
    def parse(cls, text: str) -> "Copied | None":
        """The copy of which a report tells, if it tells of one."""
        match = _SENTENCE.search(text)
        if match is None:
            return None
        done, total, source, rate, _ = match.groups()
        return cls(source, int(done), int(total), int(rate) if rate else None)
