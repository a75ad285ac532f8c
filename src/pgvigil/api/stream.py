"""Server-sent events: what happens, and how clusters are, to any number of clients at their own pace.

Everything is looked at and written down once for all of them, and given to a few at a time, so that a
thousand listeners delay no probe. Each has a mailbox: a short queue of events, and the newest state of each
cluster, so that many clusters fill no queue. A client that does not read is dropped; it comes back with
`Last-Event-ID` and gets from the store what it missed.
"""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pgvigil.api.encoded import Encoded
from pgvigil.controller.operations import Json, Operations
from pgvigil.errors import PgvigilError
from pgvigil.model.units import ClusterName

QUEUE_MAX: Final = 256
"""Events that may wait for one client."""
STREAMS_MAX: Final = 2_000
LOOK_EVERY_S: Final = 0.25
"""How often events and states are looked at for all clients together."""
STATE_EVERY_S: Final = 1.0
"""Positions and lags of a busy cluster change all the time: so often they are told, all at once."""
SILENCE_MAX_S: Final = 15.0
"""A comment is sent after so long without news: proxies end what is silent."""
CATCH_UP_MAX: Final = 1_000
TOLD_AT_ONCE: Final = 16
"""So many clients are given news before the loop has its turn: 1 to 2 ms."""
SEEN_AT_ONCE: Final = 8
"""So many clusters are looked at, likewise."""
CHUNK: Final = 64 * 1024

Message = bytes
SILENCE: Final = b": still here\n\n"


def message(kind: str, body: Json, number: int | None = None) -> Message:
    """One server-sent event."""
    return _message(kind, json.dumps(body, separators=(",", ":"), default=str).encode(), number)


def _message(kind: str, text: bytes, number: int | None = None) -> Message:
    head = b"id: %d\n" % number if number is not None else b""
    return b"%sevent: %s\ndata: %s\n\n" % (head, kind.encode(), text)


@dataclass(frozen=True, slots=True)
class _Told:
    """What the listeners know of a cluster."""

    state: Json
    lasting: object
    urgent: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class News:
    """What one look found: for all clusters, or for one."""

    events: tuple[Message, ...]
    states: Mapping[str, Message]
    whole: Message
    """All of it in one piece, shared by everybody who takes it in time."""

    @classmethod
    def of(cls, events: Iterable[Message], states: Mapping[str, Message]) -> "News":
        """News of these."""
        events = tuple(events)
        return cls(events, states, b"".join((*events, *states.values())))


class Mailbox:
    """What waits for one client: events in their order, and of each cluster only the newest state."""

    def __init__(self) -> None:
        self._next: News | None = None
        self._events: list[Message] = []
        self._states: dict[str, Message] = {}
        self._filled = asyncio.Event()
        self.is_closed = False

    def put(self, news: News) -> None:
        """News; too many events that nobody takes close it."""
        if self.is_closed:
            return
        if self._next is None:
            self._next = news
        else:
            self._events += news.events
            self._states.update(news.states)
        if len(self._events) > QUEUE_MAX:
            self.close()
        self._filled.set()

    def close(self) -> None:
        """Nothing more is put in; what waits is not sent."""
        self.is_closed = True
        self._next, self._events, self._states = None, [], {}
        self._filled.set()

    async def take(self) -> list[Message]:
        """All that waits, as soon as there is something; nothing: it was closed."""
        await self._filled.wait()
        if self.is_closed or self._next is None:
            return []
        self._filled.clear()
        found = [self._next.whole, *self._events, *self._states.values()]
        self._next, self._events, self._states = None, [], {}
        return found


class Hub:
    """Looks once for all listeners. Costs nothing while nobody listens."""

    def __init__(self, ops: Operations, encoded: Encoded) -> None:
        self._ops, self._encoded = ops, encoded
        self._listeners: dict[Mailbox, ClusterName | None] = {}
        self._task: asyncio.Task[None] | None = None
        self._starting, self._one_reader = asyncio.Lock(), asyncio.Lock()
        self._last = 0
        self._told: dict[str, _Told] = {}
        self._all_told = self._spoke = -SILENCE_MAX_S

    @property
    def is_full(self) -> bool:
        """Whether nobody else may listen."""
        return len(self._listeners) >= STREAMS_MAX

    async def listen(self, cluster: ClusterName | None, after: int | None) -> AsyncIterator[Message]:
        """Events of a cluster, or of all, from after that number on, and states whenever they change."""
        mailbox = Mailbox()
        try:
            self._listeners[mailbox] = cluster
            await self._start()  # first, so that nothing falls between what was and what comes
            for each in _chunks(await self._beginning(cluster, after)):
                yield each
            while found := await mailbox.take():
                for each in _chunks(found):
                    yield each
        finally:
            self._listeners.pop(mailbox, None)

    async def close(self) -> None:
        """End every stream."""
        for mailbox in self._listeners:
            mailbox.close()
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _beginning(self, cluster: ClusterName | None, after: int | None) -> list[Message]:
        """How things stand, and what the client missed."""
        states = await self._ops.status(cluster)
        first = [_message("state", self._encoded.of(state)) for state in states]
        if after is None:
            return first
        async with self._one_reader:  # after a restart all come back at once
            missed = await self._ops.events(cluster, limit=CATCH_UP_MAX, after=after)
        return [*first, *(message("event", event, int(event["number"])) for event in missed)]

    async def _start(self) -> None:
        async with self._starting:
            if self._task is None or self._task.done():
                newest = await self._ops.events(None, limit=1)
                self._last = int(newest[-1]["number"]) if newest else 0
                self._task = asyncio.create_task(self._look(), name="event streams")

    async def _look(self) -> None:
        while self._listeners:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self._tell_news()
            except PgvigilError:
                continue  # a state that cannot be read now is told by `status`; streams go on afterwards

    async def _tell_news(self) -> None:
        events: dict[str, list[Message]] = defaultdict(list)
        for event in await self._ops.events(None, limit=CATCH_UP_MAX, after=self._last):
            self._last = max(self._last, int(event["number"]))
            events[event["cluster"]].append(message("event", event, int(event["number"])))
        now = time.monotonic()
        if lasting := now - self._all_told >= STATE_EVERY_S:
            self._all_told = now
        states: dict[str, Message] = {}
        for count, state in enumerate(await self._ops.status(), start=1):
            if self._is_news(state, lasting=lasting):
                states[state["cluster"]] = _message("state", self._encoded.of(state))
            if count % SEEN_AT_ONCE == 0:
                await asyncio.sleep(0)
        if events or states:
            self._spoke = now
            await self._give(events, states)
        elif now - self._spoke >= SILENCE_MAX_S:
            self._spoke = now
            await self._give({"": [SILENCE]}, {})

    def _is_news(self, state: Json, *, lasting: bool) -> bool:
        """Whether it says something else than what was told of that cluster last."""
        before = self._told.get(state["cluster"])
        if before and before.state is state:
            return False
        urgent = _urgent(state)
        if before and urgent == before.urgent and not lasting:
            return False
        kept = _Told(state, _lasting(state), urgent)
        self._told[state["cluster"]] = kept
        return before is None or urgent != before.urgent or kept.lasting != before.lasting

    async def _give(self, events: Mapping[str, list[Message]], states: Mapping[str, Message]) -> None:
        """To everybody what he listens to; of no cluster: to all."""
        everything = News.of((each for told in events.values() for each in told), states)
        of_one: dict[str, News] = {}
        for count, (mailbox, wanted) in enumerate(list(self._listeners.items()), start=1):
            if wanted is None:
                mailbox.put(everything)
            else:
                if wanted not in of_one:
                    own = {str(wanted): states[wanted]} if wanted in states else {}
                    of_one[wanted] = News.of((*events.get(wanted, ()), *events.get("", ())), own)
                if of_one[wanted].whole:
                    mailbox.put(of_one[wanted])
            if mailbox.is_closed:
                self._listeners.pop(mailbox, None)
            if count % TOLD_AT_ONCE == 0:
                await asyncio.sleep(0)


def _chunks(messages: list[Message]) -> Iterator[Message]:
    """The same, in few pieces."""
    piece, size = [], 0
    for each in messages:
        piece.append(each)
        size += len(each)
        if size >= CHUNK:
            yield b"".join(piece)
            piece, size = [], 0
    if piece:
        yield b"".join(piece)


PASSING: Final = frozenset(
    {"at", "last_seen_s", "silent_s", "due_s", "until_s", "host_seen_s", "clock_skew_s", "lag_s", "probe_s"}
)
"""Keys that change with every look: alone they are no news."""


def _lasting(value: object) -> object:
    """A state without what changes with every look."""
    match value:
        case dict():
            return {key: _lasting(each) for key, each in value.items() if key not in PASSING}
        case list():
            return [_lasting(each) for each in value]
        case _:
            return value


def _urgent(state: Json) -> tuple[object, ...]:
    """What is told at once: who is primary, and what state everybody is in."""
    nodes = ((node["name"], node["state"], node["progress"]) for node in state["nodes"])
    return (state["health"], state["phase"], state["primary"], state["decision"]["rule"], *nodes)
