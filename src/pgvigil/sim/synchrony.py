"""Synchronous replication of one simulated server, process by process, as PostgreSQL's syncrep.c has it.

A reload reaches each process at its own moment; until then it looks as before. The checkpointer decides
whether commits wait at all. Each WAL sender decides about its own standby, counts with its own k, and looks
at those who wait when its standby has said something. Who is released once stays released: a position never
goes back.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import TYPE_CHECKING, Final

from pgvigil.sim.wal import Record

if TYPE_CHECKING:
    from pgvigil.sim.server import Server
    from pgvigil.sim.streaming import Stream

NAMES: Final = "synchronous_standby_names"
IDLE_EVENTS: Final = ("CheckpointerMain", "CheckpointWriteDelay")
BUSY_EVENT: Final = "DataFileSync"
CHECKPOINTING: Final = 0.05
"""So often a reload meets an immediate checkpoint: the checkpointer takes note when that has ended."""
INSTANT_S: Final = 0.0003
_ANY: Final = re.compile(r"\s*ANY\s+(\d+)\s*\((.*)\)\s*", re.IGNORECASE)
_NAME: Final = re.compile(r'\s*(?:"((?:[^"]|"")*)"|(\w+))\s*')


Answer = Callable[[Record, "Told | None"], None]
"""Takes a commit and what was told of it; None: its session ended first."""


class Told(StrEnum):
    """What a client was told of its commit, and on what grounds."""

    REPLICATED = auto()
    """Enough standbys had flushed it."""
    UNWAITED = auto()
    """No standby is asked for."""
    LOCAL = auto()
    """The session asked for no standby (`synchronous_commit`)."""


@dataclass(frozen=True, slots=True)
class Names:
    """`ANY k (standbys)`. k 0: the setting is empty, nobody waits."""

    k: int = 0
    standbys: frozenset[str] = frozenset()

    def lists(self, name: str) -> bool:
        """Whether a standby of this application_name may acknowledge."""
        return name.lower() in self.standbys


@dataclass(slots=True, eq=False)
class Waiting:
    """A commit that waits, and who is told."""

    record: Record
    told: Answer


def read_names(text: str) -> Names:
    """The setting's value. Raises ValueError for a form that the simulation does not know."""
    if not text.strip():
        return Names()
    match = _ANY.fullmatch(text)
    names = [_NAME.fullmatch(part) for part in match[2].split(",")] if match else []
    if not match or not int(match[1]) or not all(names):
        raise ValueError(f"{NAMES} = {text!r}")
    words = {(name[1] or name[2]).replace('""', '"').lower() for name in names if name}
    return Names(int(match[1]), frozenset(words))


class Synchrony:
    """Who waits on one server, and who may release them."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self.waits = False
        """What the checkpointer last wrote where backends look: whether commits wait."""
        self.event = IDLE_EVENTS[0]
        """What the checkpointer waits for, as pg_stat_activity tells."""
        self._released = 0
        self._waiting: list[Waiting] = []

    @property
    def waiting(self) -> int:
        """How many commits wait."""
        return len(self._waiting)

    def begin(self) -> None:
        """The server starts: every process reads the file that there is."""
        self._released, self.event = 0, IDLE_EVENTS[0]
        self.waits = bool(self._names().k)

    def signal(self) -> None:
        """Every process is told of new settings; the checkpointer may not listen for a while.

        In an immediate checkpoint it does not, and one that waits for a processor looks idle meanwhile.
        """
        server, rng = self._server, self._server.world.rng
        if rng.random() < CHECKPOINTING:
            self.event = BUSY_EVENT
            server.later(rng.uniform(0.05, 3.0), self._checkpointer_reads)
        else:
            server.later(server.world.scheduled_s(), self._checkpointer_reads)
        for stream in server.senders.values():
            self.soon_reads(stream)

    def soon_reads(self, stream: "Stream") -> None:
        """A WAL sender has the file's setting an instant from now: before it passes anything on."""
        self._server.later(self._server.world.rng.uniform(0.0, INSTANT_S), lambda: self.sender_reads(stream))

    def sender_reads(self, stream: "Stream") -> None:
        """A WAL sender looks up whether its standby counts. One of a standby's own never does."""
        stream.names = self._names()
        name = stream.below.server.name
        stream.priority = int(not self._server.in_recovery and stream.names.lists(name))

    def commit(self, record: Record, told: Answer, *, local: bool = False) -> None:
        """A client's commit is flushed here: tell it, at once or when enough standbys have it."""
        if local:
            told(record, Told.LOCAL)
        elif not self.waits:
            told(record, Told.UNWAITED)
        elif record.end <= self._released:
            told(record, Told.REPLICATED)
        else:
            self._waiting.append(Waiting(record, told))

    def cancel(self, record: Record) -> bool:
        """The client waits no longer: it is committed here, and was not acknowledged."""
        before = len(self._waiting)
        self._waiting = [each for each in self._waiting if each.record is not record]
        return len(self._waiting) < before

    def heard(self, stream: "Stream") -> None:
        """A WAL sender has had a reply of its standby: release who has waited long enough."""
        if not stream.priority:
            return
        flushed = sorted((s.flushed for s in self._server.senders.values() if s.counts), reverse=True)
        if len(flushed) < stream.names.k or not stream.names.k:
            return
        reached = flushed[stream.names.k - 1]
        if reached > self._released:
            self._released = reached
            self._release(lambda each: each.record.end <= reached, Told.REPLICATED)

    def end(self) -> None:
        """The server is gone, or stops: the sessions that waited end without an answer."""
        self._release(lambda _: True, None)

    def forget(self) -> None:
        """The host is gone: nobody hears anything."""
        self._waiting.clear()

    def state_of(self, stream: "Stream") -> str:
        """`sync_state` as pg_stat_replication tells it."""
        return "quorum" if stream.priority and self._server.settings.get(NAMES) else "async"

    def _checkpointer_reads(self) -> None:
        self.event = self._server.world.rng.choice(IDLE_EVENTS)
        self.waits = bool(self._names().k)
        if not self.waits:
            self._release(lambda _: True, Told.UNWAITED)

    def _release(self, which: Callable[[Waiting], bool], told: Told | None) -> None:
        released = [each for each in self._waiting if which(each)]
        self._waiting = [each for each in self._waiting if not which(each)]
        for each in released:
            each.told(each.record, told)

    def _names(self) -> Names:
        text = self._server.data.settings.get(NAMES, "")
        try:
            return read_names(text)
        except ValueError as unknown:
            self._server.world.rules.drifted(str(unknown))
            return Names()
