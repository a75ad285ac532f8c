"""What waits for one target: told once, gathered in quiet times, held to a rate, tried again.

Time comes as an argument: monotonic seconds for waiting, the wall clock for times of day.
"""

from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from pgvigil.model.notify import TargetSpec
from pgvigil.model.record import Event, Level
from pgvigil.ports.notify.grades import grade, wanted

WAITING_AT_MOST: Final = 500
"""Events that wait for a target; beyond that the oldest of the least urgent are dropped, and counted."""
REMEMBERED_AT_MOST: Final = 5_000
"""Conditions that were told and are not told again yet."""
TOGETHER_S: Final = 1.0
"""What happens within this goes out as one message, which thus never competes with a failover for a CPU."""
AGAIN_S: Final = (5.0, 15.0, 60.0, 300.0)
"""After so many failures in a row: how long until the next try. The last one goes on."""

Key = tuple[object, ...]


@dataclass(slots=True)
class Item:
    """One thing to tell."""

    event: Event
    grade: Level
    since: float
    """When it began to wait."""
    count: int = 1
    """How often it was seen, this time with it."""


@dataclass(slots=True)
class _Told:
    at: float
    count: int = 0
    last: Event | None = None


class Mailbox:
    """The queue of one target."""

    def __init__(self, target: TargetSpec) -> None:
        self.target = target
        self.failures = 0
        """Tries in a row that failed."""
        self.dropped = 0
        """Events that were dropped since the last message."""
        self._waiting: dict[Key, Item] = {}
        self._told: dict[Key, _Told] = {}
        self._sent: deque[float] = deque()
        self._not_before = 0.0
        self._zone = ZoneInfo(target.timezone) if target.timezone else None

    @property
    def idle(self) -> bool:
        """Whether nothing waits, nor will without news."""
        return not self._waiting and not any(told.count for told in self._told.values())

    def take(self, event: Event, now: float) -> None:
        """Keep the event if the target wants it. One that was told a short while ago is only counted."""
        if not wanted(event, self.target):
            return
        key = (event.cluster, event.kind, event.node, event.generation)
        self._forget(now)
        told = self._told.get(key)
        if told is not None:
            told.count, told.last = told.count + 1, event
        else:
            self._told[key] = _Told(now)
            self._wait(key, Item(event, grade(event), now))

    def due(self, now: float, wall: datetime) -> list[Item]:
        """What goes out now, as one message; nothing while it is not its time."""
        self._forget(now)
        quiet = self.is_quiet(wall)
        items = [item for item in self._waiting.values() if not quiet or item.grade is Level.ALERT]
        if not items or now < self._not_before or now < min(item.since for item in items) + TOGETHER_S:
            return []
        return [] if self._spent(now) else items

    def delivered(self, items: list[Item], now: float) -> None:
        """They have gone out."""
        ids = {id(item) for item in items}
        self._waiting = {key: item for key, item in self._waiting.items() if id(item) not in ids}
        self._sent.append(now)
        self.failures, self.dropped, self._not_before = 0, 0, 0.0

    def failed(self, now: float) -> None:
        """They have not; they are tried again, later each time."""
        self._not_before = now + AGAIN_S[min(self.failures, len(AGAIN_S) - 1)]
        self.failures += 1

    def is_quiet(self, wall: datetime) -> bool:
        """Whether it is a time of day at which only what is urgent goes out."""
        here = self.local(wall)
        minute = here.hour * 60 + here.minute
        return any(quiet.covers(here.weekday(), minute) for quiet in self.target.quiet)

    def local(self, wall: datetime) -> datetime:
        """That time where the target is."""
        return wall.astimezone(self._zone)

    def _wait(self, key: Key, item: Item) -> None:
        before = self._waiting.get(key)
        if before is not None:
            item.since, item.count = before.since, before.count + item.count
        self._waiting[key] = item
        if len(self._waiting) > WAITING_AT_MOST:
            least = next((k for k, i in self._waiting.items() if i.grade is not Level.ALERT), None)
            del self._waiting[least if least is not None else next(iter(self._waiting))]
            self.dropped += 1

    def _forget(self, now: float) -> None:
        """What was told long enough ago may be told again; if it was seen meanwhile, it is."""
        window = self.target.repeat_after.total_seconds()
        while self._told:
            key, told = next(iter(self._told.items()))
            if now < told.at + window and len(self._told) <= REMEMBERED_AT_MOST:
                return
            del self._told[key]
            if told.last is not None:
                self._told[key] = _Told(now)
                self._wait(key, Item(told.last, grade(told.last), now, told.count))

    def _spent(self, now: float) -> bool:
        """Whether as many messages have gone out as may."""
        rate = self.target.rate
        if rate is None:
            return False
        while self._sent and now >= self._sent[0] + rate.within.total_seconds():
            self._sent.popleft()
        return len(self._sent) >= rate.count
