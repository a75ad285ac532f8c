"""Positions, timelines, instants and counters, each with its own type."""

import functools
import re
from dataclasses import dataclass
from typing import Final, NewType, Self

ClusterName = NewType("ClusterName", str)
NodeName = NewType("NodeName", str)
Instant = NewType("Instant", float)
"""Monotonic seconds of the controller's clock. Only differences mean anything."""
Generation = NewType("Generation", int)
"""Counts changes of the primary; only grows. 0 = never managed."""
Timeline = NewType("Timeline", int)
SystemId = NewType("SystemId", str)
"""PostgreSQL's system identifier: the same on every node of a cluster."""
SqlState = NewType("SqlState", str)

_VERSION: Final = re.compile(r"([1-9]\d)(?:\.(\d{1,4}))?", re.ASCII)


def server_version(text: str) -> int:
    """`17.6` as `server_version_num` has it (170006); `17` is the first of its major. Raises ValueError."""
    if (match := _VERSION.fullmatch(text)) is None:
        raise ValueError("is no version of PostgreSQL: write it as 17.6 or 17")
    return int(match[1]) * 10_000 + int(match[2] or 0)


def version_text(number: int) -> str:
    """What `server_version` read: `17.6`."""
    return f"{number // 10_000}.{number % 10_000}"


def period_text(seconds: int) -> str:
    """A period in its largest whole unit: `7 d`, `36 h`."""
    units = ((86_400, "d"), (3600, "h"), (60, "min"))
    return next((f"{seconds // size} {unit}" for size, unit in units if seconds % size == 0), f"{seconds} s")


SEGMENT_BYTES = 16 * 1024 * 1024
"""Default WAL segment size; the real one comes from pg_control."""


class Lsn(int):
    """A WAL position in bytes, written as PostgreSQL writes it (`0/3000148`).

    Raises ValueError for text that is not one (manual: 8.20 pg_lsn type).
    """

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `XXXXXXXX/XXXXXXXX`."""
        high, slash, low = text.partition("/")
        if not slash or not 0 < len(high) <= 8 or not 0 < len(low) <= 8:
            raise ValueError(f"{text!r} is no WAL position")
        return cls((int(high, 16) << 32) | int(low, 16))

    def __str__(self) -> str:
        return f"{self >> 32:X}/{self & 0xFFFFFFFF:X}"

    def __repr__(self) -> str:
        return f"Lsn({self})"

    def segment(self, timeline: Timeline, segment_bytes: int = SEGMENT_BYTES) -> str:
        """File name of the WAL segment that holds this position."""
        number = self // segment_bytes
        per_id = 0x100000000 // segment_bytes
        return f"{timeline:08X}{number // per_id:08X}{number % per_id:08X}"


@dataclass(frozen=True, slots=True)
class Fork:
    """Where a timeline ended and its child began: `timeline` is only valid up to `at`."""

    timeline: Timeline
    at: Lsn


@dataclass(frozen=True, slots=True)
class History:
    """A timeline and the forks that lead to it, oldest first (manual: 26.3.5 Timelines)."""

    timeline: Timeline
    forks: tuple[Fork, ...] = ()

    @classmethod
    def parse(cls, timeline: Timeline, text: str) -> Self:
        """Read the text of a `.history` file; an empty one is the first timeline's.

        Raises ValueError for a line that is neither a comment nor a fork.
        """
        forks = []
        for line in text.splitlines():
            if not (fields := line.split("#", 1)[0].split()):
                continue
            if len(fields) < 2 or not fields[0].isdigit():
                raise ValueError(f"{line!r} is no line of a timeline history")
            forks.append(Fork(Timeline(int(fields[0])), Lsn.parse(fields[1])))
        return cls(timeline, tuple(forks))

    def reaches(self, timeline: Timeline) -> Lsn | None:
        """Up to which position `timeline` is part of this history; None if it never was.

        The timeline itself has no end: the largest position stands for that.
        """
        if timeline == self.timeline:
            return Lsn(2**64 - 1)
        return next((fork.at for fork in self.forks if fork.timeline == timeline), None)


_SETTING: Final = re.compile(r"(\d+)(B|kB|MB|GB|TB|us|ms|s|min|h|d)?")
_UNITS: Final = {
    "B": 1.0,
    "kB": 2.0**10,
    "MB": 2.0**20,
    "GB": 2.0**30,
    "TB": 2.0**40,
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}


@functools.lru_cache(1024)
def setting_amount(text: str) -> float | None:
    """What `SHOW` prints of a size in bytes, of a duration in seconds; None: it is neither, such as -1."""
    match = _SETTING.fullmatch(text)
    return int(match[1]) * _UNITS[match[2] or "B"] if match else None


def bytes_text(amount: int, *, smallest: str = "bytes") -> str:
    """A size for people, in the units PostgreSQL uses (1 kB = 1024 B): `3.4 GB`. `smallest`: B, or bytes."""
    size, unit = float(amount), smallest
    for unit in (smallest, "kB", "MB", "GB", "TB", "PB"):
        if abs(size) < 1024 or unit == "PB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if size >= 10 or unit == smallest else f"{size:.1f} {unit}"
