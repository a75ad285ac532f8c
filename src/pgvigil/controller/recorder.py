"""Remembers the newest decidings of a cluster, and has them kept when something happens.

A ring of ticks in memory costs no more than references to what was seen. From the first tick that decides or
finds something new they are collected until it is quiet again; packing and writing are the store's, in a
thread, and never delay a decision.
"""

import asyncio
from collections import deque
from typing import Final, assert_never

from pgvigil.controller.journal import Log
from pgvigil.decide.situation import Situation
from pgvigil.errors import StoreError
from pgvigil.model.command import Directive
from pgvigil.model.diagnosis import Diagnosis
from pgvigil.model.recording import Decided, Draft, Tick
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.step import Act, Hold, Plan, Rest
from pgvigil.model.units import Instant
from pgvigil.ports.contract import Store

BEFORE: Final = 16
"""Ticks kept of the time before an event: some seconds, and about 45 kB of memory for three nodes."""
AFTER_S: Final = 3.0
"""A recording ends when nothing new was decided or found for so long."""
LONGEST: Final = 400
"""Ticks of one recording; what goes on after that is another one."""
WAITING: Final = 4
"""Recordings of one cluster that may wait to be written; more are dropped."""


class Recorder:
    """The recordings of one cluster."""

    def __init__(self, spec: ClusterSpec, store: Store, log: Log) -> None:
        self._spec, self._store, self._log = spec, store, log
        self._ticks: deque[Tick] = deque()
        self._known: tuple[object, ...] | None = None
        self._until: Instant | None = None
        """When the recording under way ends; None: nothing happens."""
        self._done: asyncio.Queue[Draft] = asyncio.Queue(maxsize=WAITING)

    async def run(self) -> None:
        """Have recordings written, until cancelled."""
        while True:
            await self._keep(await self._done.get())

    def note(self, situation: Situation, decided: Decided, command: Directive | None = None) -> None:
        """One deciding: what it was made from, and what came of it."""
        view = situation.view
        self._ticks.append(Tick(situation.wall, situation.record, view, decided, command))
        known = _essence(decided, situation.diagnosis)
        if command is not None or (known != self._known and (self._known or known != QUIET)):
            self._until = Instant(view.at + AFTER_S)
        self._known = known if command is None else self._known
        if self._until is None:
            while len(self._ticks) > BEFORE:
                self._ticks.popleft()
        elif view.at >= self._until or len(self._ticks) >= LONGEST:
            self._close()

    async def flush(self) -> None:
        """Have written what there is of the event under way: somebody wants to know about it now.

        It goes on, and the whole of it is written when it ends.
        """
        if self._until is not None:
            self._hand_in()
        while not self._done.empty():
            await self._keep(self._done.get_nowait())

    def _close(self) -> None:
        self._hand_in()
        self._until = None
        while len(self._ticks) > BEFORE:
            self._ticks.popleft()

    def _hand_in(self) -> None:
        ticks = tuple(self._ticks)
        generations = {tick.record.generation for tick in ticks}
        try:
            self._done.put_nowait(Draft(self._spec, ticks, len(generations) > 1))
        except asyncio.QueueFull:
            self._log.warning("recording_dropped", cluster=self._spec.name)

    async def _keep(self, draft: Draft) -> None:
        try:
            await self._store.keep(draft)
        except StoreError as error:  # what could not be recorded hinders nothing
            self._log.warning("recording_not_kept", cluster=self._spec.name, error=str(error))


QUIET: Final[tuple[object, ...]] = (("rest",), frozenset(), frozenset())


def _essence(decided: Decided, diagnosis: Diagnosis) -> tuple[object, ...]:
    """What must change for it to be news: not the figures in the reasons."""
    found = frozenset((each.problem, each.node, each.urgency) for each in diagnosis.findings)
    if not isinstance(decided, Plan):
        return (("step",), frozenset(), found)
    match decided.decision:
        case Act(rule=rule):
            what: tuple[object, ...] = ("act", rule)
        case Hold(rule=rule):
            what = ("hold", rule)
        case Rest():
            what = ("rest",)
        case _:
            assert_never(decided.decision)
    return (what, frozenset(type(step) for step in decided.repairs), found)
