"""Server-sent events: what happens, and how clusters are, to any number of clients at their own pace.

Each client has a mailbox: a short queue of events, and the newest state of each cluster, so that many
clusters fill no queue. A client that does not read is dropped; it comes back with `Last-Event-ID` and gets
from the store what it missed.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from pgvigil.controller.operations import Json, Operations
from pgvigil.errors import PgvigilError
from pgvigil.model.units import ClusterName

QUEUE_MAX: Final = 256
"""Events that may wait for one client."""
STREAMS_MAX: Final = 2_000
LOOK_EVERY_S: Final = 0.25
"""How often events and states are looked at for all clients together."""
STATE_EVERY_S: Final = 1.0
"""Positions and lags of a busy cluster change all the time: so often they are told."""
SILENCE_MAX_S: Final = 15.0
"""A comment is sent after so long without news: proxies end what is silent."""
CATCH_UP_MAX: Final = 1_000

Message = bytes


def message(kind: str, body: Json, number: int | None = None) -> Message:
    """One server-sent event."""
    text = json.dumps(body, separators=(",", ":"), default=str)
    head = f"id: {number}\n" if number is not None else ""
    return f"{head}event: {kind}\ndata: {text}\n\n".encode()


@dataclass(frozen=True, slots=True)
class _Told:
    """What the listeners know of a cluster."""

    lasting: object
    urgent: tuple[object, ...]
    at: float


class Mailbox:
    """What waits for one client: events in their order, and of each cluster only the newest state."""

    def __init__(self) -> None:
        self._events: deque[Message] = deque()
        self._states: dict[str, Message] = {}
        self._news = asyncio.Event()
        self.is_closed = False

    def put_event(self, what: Message) -> None:
        """One more event; one too many closes it."""
        if len(self._events) >= QUEUE_MAX:
            self.close()
            return
        self._events.append(what)
        self._news.set()

    def put_state(self, cluster: str, what: Message) -> None:
        """The newest state of a cluster takes the place of what was not read yet."""
        self._states[cluster] = what
        self._news.set()

    def close(self) -> None:
        """Nothing more is put in; what waits is not sent."""
        self.is_closed = True
        self._events.clear()
        self._states.clear()
        self._news.set()

    async def take(self, within_s: float) -> list[Message]:
        """All that waits, as soon as there is something. Raises TimeoutError."""
        async with asyncio.timeout(within_s):
            await self._news.wait()
        if not self.is_closed:
            self._news.clear()
        found = [*self._events, *self._states.values()]
        self._events.clear()
        self._states.clear()
        return found


class Hub:
    """Looks once for all listeners. Costs nothing while nobody listens."""

    def __init__(self, ops: Operations) -> None:
        self._ops = ops
        self._listeners: dict[Mailbox, ClusterName | None] = {}
        self._task: asyncio.Task[None] | None = None
        self._last = 0
        self._states: dict[str, _Told] = {}

    @property
    def is_full(self) -> bool:
        """Whether nobody else may listen."""
        return len(self._listeners) >= STREAMS_MAX

    async def listen(self, cluster: ClusterName | None, after: int | None) -> AsyncIterator[Message]:
        """Events of a cluster, or of all, from after that number on, and states whenever they change."""
        mailbox = Mailbox()
        try:
            for each in await self._beginning(cluster, after):
                yield each
            self._listeners[mailbox] = cluster
            self._start()
            while not mailbox.is_closed:
                try:
                    found = await mailbox.take(SILENCE_MAX_S)
                except TimeoutError:
                    found = [b": still here\n\n"]
                for each in found:
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
        first = [message("state", state) for state in await self._ops.status(cluster)]
        if after is None:
            return first
        missed = await self._ops.events(cluster, limit=CATCH_UP_MAX, after=after)
        return [*first, *(message("event", event, int(event["number"])) for event in missed)]

    def _start(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look(), name="event streams")

    async def _look(self) -> None:
        newest = await self._ops.events(None, limit=1)
        self._last = int(newest[-1]["number"]) if newest else 0
        while self._listeners:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self._tell_news()
            except PgvigilError:
                continue  # a state that cannot be read now is told by `status`; streams go on afterwards

    async def _tell_news(self) -> None:
        for event in await self._ops.events(None, limit=CATCH_UP_MAX, after=self._last):
            self._last = max(self._last, int(event["number"]))
            told = message("event", event, int(event["number"]))
            for mailbox in self._mailboxes(event["cluster"]):
                mailbox.put_event(told)
        now = asyncio.get_running_loop().time()
        for state in await self._ops.status():
            name, lasting, urgent = state["cluster"], _lasting(state), _urgent(state)
            before = self._states.get(name, _Told({}, (), -STATE_EVERY_S))
            if urgent != before.urgent or (lasting != before.lasting and now - before.at >= STATE_EVERY_S):
                self._states[name] = _Told(lasting, urgent, now)
                told = message("state", state)
                for mailbox in self._mailboxes(name):
                    mailbox.put_state(name, told)

    def _mailboxes(self, cluster: str) -> list[Mailbox]:
        """Whoever wants to hear of a cluster. Those that read nothing are forgotten."""
        for closed in [mailbox for mailbox in self._listeners if mailbox.is_closed]:
            del self._listeners[closed]
        return [mailbox for mailbox, wanted in self._listeners.items() if wanted in (None, cluster)]


PASSING: Final = frozenset(
    {"at", "last_seen_s", "silent_s", "due_s", "until_s", "clock_skew_s", "lag_s", "probe_s"}
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
