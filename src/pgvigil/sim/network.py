"""Simulated links between places: messages in order, cut one way or both, slow.

A message that meets a cut waits, as TCP sends it again, and arrives late when the link heals in time. A place
is a host or the controller's. Who is dead or frozen is not known here.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

Place = str
Deliver = Callable[[], None]

GIVEN_UP_S: Final = 15.0
"""So long TCP tries to deliver what was written before a connection was given up (`tcp_user_timeout`)."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    deliver: Deliver
    sent: float


class Network:
    """All links of a world. `base_s`: one way, when nothing is slow."""

    def __init__(self, loop: asyncio.AbstractEventLoop, rng: random.Random) -> None:
        self._loop = loop
        self.base_s = rng.uniform(0.0002, 0.002)
        self._cut: dict[tuple[Place, Place], int] = defaultdict(int)
        self._slow: dict[tuple[Place, Place], float] = {}
        self._last: dict[tuple[Place, Place], float] = {}
        self._waiting: dict[tuple[Place, Place], list[_Waiting]] = defaultdict(list)
        self._changed: dict[tuple[Place, Place], float] = {}

    def up(self, source: Place, target: Place) -> bool:
        """Whether packets pass that way now."""
        return source == target or not self._cut[source, target]

    def both(self, one: Place, other: Place) -> bool:
        """Whether two places can talk."""
        return self.up(one, other) and self.up(other, one)

    def steady_since(self, one: Place, other: Place) -> float:
        """When the link between two places last changed, in either direction."""
        return max(self._changed.get((one, other), 0.0), self._changed.get((other, one), 0.0))

    def slow_s(self, one: Place, other: Place) -> float:
        """By how much a round trip is slowed down."""
        return self._slow.get((one, other), 0.0) + self._slow.get((other, one), 0.0)

    def send(self, source: Place, target: Place, deliver: Deliver) -> None:
        """Call `deliver` when the message arrives; after what was sent before it on that way."""
        key = (source, target)
        if source != target and self._cut[key]:
            self._waiting[key].append(_Waiting(deliver, self._loop.time()))
            return
        delay = 0.00005 if source == target else self.base_s + self._slow.get(key, 0.0)
        at = max(self._loop.time() + delay, self._last.get(key, 0.0))
        self._last[key] = at
        self._loop.call_at(at, self._arrive, key, deliver, self._loop.time())

    def _arrive(self, key: tuple[Place, Place], deliver: Deliver, sent: float) -> None:
        if key[0] != key[1] and self._cut[key]:
            self._waiting[key].append(_Waiting(deliver, sent))
        else:
            deliver()

    def cut(self, ways: Iterable[tuple[Place, Place]]) -> None:
        """No packet passes these ways from now on; cuts add up."""
        for key in ways:
            self._cut[key] += 1
            self._changed[key] = self._loop.time()

    def heal(self, ways: Iterable[tuple[Place, Place]]) -> None:
        """Take one cut back; what waited and was not given up arrives."""
        for key in ways:
            self._cut[key] -= 1
            self._changed[key] = self._loop.time()
            if not self._cut[key]:
                for waiting in self._waiting.pop(key, []):
                    if self._loop.time() - waiting.sent < GIVEN_UP_S:
                        self.send(*key, waiting.deliver)

    def slow(self, ways: Iterable[tuple[Place, Place]], delay_s: float) -> None:
        """Each packet takes so much longer from now on; 0: as before."""
        for key in ways:
            self._slow[key] = delay_s
            self._changed[key] = self._loop.time()
            if not delay_s:
                del self._slow[key]
