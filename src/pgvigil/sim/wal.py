"""Simulated data directories: WAL as a row of records, control file, settings and notes on disk.

Positions are real LSNs, records stand for what was written. Two data directories share history as far as they
hold the very same records: one that wrote by itself has its own.
"""

from bisect import bisect_left
from dataclasses import dataclass, field
from enum import StrEnum, auto
from operator import attrgetter
from typing import Final

from pgvigil.model.units import Fork, History, Lsn, Timeline

FIRST: Final = Lsn(0x3000028)
"""Where WAL begins after initdb."""


class Kind(StrEnum):
    """What a WAL record is, as far as anybody here cares."""

    ROW = auto()
    """A committed client row."""
    CHECKPOINT = auto()
    SHUTDOWN = auto()
    PROMOTED = auto()
    """End of recovery: the first record of a timeline."""
    OTHER = auto()


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One WAL record; compared by identity."""

    start: int
    end: int
    timeline: int
    kind: Kind
    row: int = 0
    term: int = 1
    """Counts the promotions of this world: whose record it is, when two primaries share a timeline."""


@dataclass(slots=True)
class DataDirectory:
    """What lies on a node's disk."""

    wal: list[Record]
    standby_signal: bool = False
    settings: dict[str, str] = field(default_factory=dict)
    """postgresql.auto.conf."""
    pid: int | None = None
    """In postmaster.pid."""
    state: str = "in production"
    checkpoint: int = FIRST
    checkpoint_timeline: int = 1
    min_timeline: int = 0
    marker: str = ""
    slots: dict[str, int] = field(default_factory=dict)
    """Physical slots, and from where each holds WAL back."""
    oldest: int = FIRST
    """Where the WAL begins that has not been recycled."""
    carried: list[Record] = field(default_factory=list)
    """WAL put beside what was received (rescue): found when recovery ends."""

    @property
    def end(self) -> Lsn:
        """Behind the last record."""
        return Lsn(self.wal[-1].end)

    @property
    def reach(self) -> Lsn:
        """Where a recovery that ends now would end: what was carried counts."""
        end = self.end
        for record in self.carried:
            end = Lsn(record.end) if record.start == end else end
        return end

    @property
    def timeline(self) -> Timeline:
        """Of the last record."""
        return Timeline(self.wal[-1].timeline)

    @property
    def term(self) -> int:
        """Of the last record."""
        return self.wal[-1].term

    def append(
        self, kind: Kind, size: int, *, row: int = 0, timeline: int | None = None, term: int | None = None
    ) -> Record:
        """Write a record at the end; on the same timeline and in the same term, unless given."""
        last = self.wal[-1]
        record = Record(last.end, last.end + size, timeline or last.timeline, kind, row, term or last.term)
        self.wal.append(record)
        return record

    def has(self, record: Record) -> bool:
        """Whether that very record is in this WAL."""
        place = bisect_left(self.wal, record.start, key=attrgetter("start"))
        return place < len(self.wal) and self.wal[place] is record

    def within(self, other: "DataDirectory") -> bool:
        """Whether all of this WAL is part of the other's."""
        place = len(self.wal) - 1
        return place < len(other.wal) and other.wal[place] is self.wal[place]

    def beyond_its_timeline_in(self, other: "DataDirectory") -> bool:
        """Whether the other left this timeline for a newer one at a place before the end of this WAL."""
        shared = self.common(other)
        if not shared or shared == len(self.wal) or shared == len(other.wal):
            return False
        here, there = self.wal[shared], other.wal[shared]
        return self.wal[shared - 1].timeline == here.timeline == self.timeline < there.timeline

    def common(self, other: "DataDirectory") -> int:
        """How many records both share."""
        low, high = 0, min(len(self.wal), len(other.wal))
        while low < high:
            middle = (low + high + 1) // 2
            if self.wal[middle - 1] is other.wal[middle - 1]:
                low = middle
            else:
                high = middle - 1
        return low

    def history(self) -> History:
        """The timelines that led here and where each ended."""
        forks = [
            Fork(Timeline(before.timeline), Lsn(after.start))
            for before, after in zip(self.wal, self.wal[1:], strict=False)
            if before.timeline != after.timeline
        ]
        return History(self.timeline, tuple(forks))

    def rows(self) -> set[int]:
        """The client rows in it."""
        return {record.row for record in self.wal if record.row}


def first_wal() -> list[Record]:
    """The WAL of a new cluster: one checkpoint."""
    return [Record(int(FIRST), int(FIRST) + 0x78, 1, Kind.CHECKPOINT)]
