"""One life of a controller: what it sends and saves counts only as long as it lives.

A killed process runs no cleaning up: from the moment of the kill nothing that its tasks still do reaches the
world or the store.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from pgvigil.errors import StoreError
from pgvigil.model.parameter import ParameterVersion, Trial
from pgvigil.model.record import ClusterRecord, Event
from pgvigil.model.recording import Draft, Kept
from pgvigil.model.units import ClusterName
from pgvigil.ports.contract import Store
from pgvigil.sim.clock import Process

if TYPE_CHECKING:
    from pgvigil.controller.cluster import ClusterController
    from pgvigil.sim.world import World

CONTROLLER = "controller"
"""The place where a single controller lives."""


class Life(Process):
    """A controller process, from its start to its kill."""

    def __init__(self, world: "World", name: str = CONTROLLER, place: str = CONTROLLER) -> None:
        super().__init__()
        self.world, self.name, self.place, self.alive = world, name, place, True
        self.kill_after = 0
        """Killed at that many sends and saves from now; 0: not. Between two of them it has no effect on
        anything, so that these are all the moments at which it can be killed."""
        self.freeze_at_act = 0
        """Stands still at that many sends from now that change something; 0: not."""
        self.freeze_speechless = False
        """Then, before the packet has left; else just after."""
        self.freeze_at_save = 0
        """Stands still at that many turns of saving from now; 0: not."""
        self.kill_at_save = 0
        """Killed at that many turns of saving from now, two a save: before it, and after it; 0: not."""
        self.killed = asyncio.Event()
        self.stopped = asyncio.Event()
        """Set to end it in an orderly way (SIGTERM)."""
        self.controller: ClusterController | None = None
        """The one that it guards its cluster with, or did last."""
        self._unsent: list[tuple[str, str, Callable[[], None]]] = []

    @property
    def frozen(self) -> bool:
        """Whether it stands still."""
        return self.world.loop.is_frozen(self)

    def freeze(self) -> None:
        """SIGSTOP, or its machine is suspended: clocks run on."""
        if self.alive and not self.frozen:
            self.world.say(self.name, "stands still")
            self.world.loop.freeze(self)

    def thaw(self) -> None:
        """It goes on, and knows nothing."""
        if self.frozen:
            self.world.say(self.name, "goes on")
            unsent, self._unsent = self._unsent, []
            for message in unsent if self.alive else ():
                self.world.network.send(*message)
            self.world.loop.thaw(self)

    def kill(self) -> None:
        """From now on nothing it does counts."""
        if self.alive:
            self.alive = False
            self.world.say(self.name, "is killed")
            self.killed.set()
            self.world.loop.thaw(self)

    def lives(self) -> None:
        """One more thing that it does. A dead one does nothing any more."""
        if self.kill_after and self.alive:
            self.kill_after -= 1
            if not self.kill_after:
                self.kill()
        if not self.alive:
            raise asyncio.CancelledError

    def acts(self, what: str) -> None:
        """It is about to send what changes something."""
        if self.world.sharing and self.alive:
            self.world.sharing.acts(self, what)
        if self.freeze_at_act:
            self.freeze_at_act -= 1
            if not self.freeze_at_act:
                self.world.say(
                    self.name, f"stands still {'before' if self.freeze_speechless else 'after'} {what[:60]}"
                )
                if self.freeze_speechless:
                    self.freeze()
                else:
                    self.world.loop.call_soon(self.freeze)

    def sends(self, source: str, target: str, deliver: Callable[[], None]) -> None:
        """A message of this process."""
        if self.frozen:
            self._unsent.append((source, target, deliver))
        elif self.alive:
            self.world.network.send(source, target, deliver)


class KeptStore:
    """`contract.Store` as one life of a controller sees it: shared by all lives, sometimes broken."""

    def __init__(self, life: Life, store: Store) -> None:
        self._life, self._store = life, store

    async def load(self, cluster: ClusterName) -> ClusterRecord | None:
        """See `Store`."""
        await self._turn()
        return await self._store.load(cluster)

    async def save(self, record: ClusterRecord, events: Sequence[Event] = ()) -> ClusterRecord:
        """See `Store`; the kill may fall just before or just after."""
        await self._saving()
        saved = await self._save(record, events)
        await self._saving()
        return saved

    async def _save(self, record: ClusterRecord, events: Sequence[Event]) -> ClusterRecord:
        before = await self._store.load(record.cluster)
        saved = await self._store.save(record, events)
        self._life.world.rules.saved(before, saved)
        return saved

    async def add(self, events: Sequence[Event]) -> None:
        """See `Store`."""
        await self._turn()
        await self._store.add(events)

    async def events(self, cluster: ClusterName | None, *, limit: int, after: int = 0) -> tuple[Event, ...]:
        """See `Store`."""
        return await self._store.events(cluster, limit=limit, after=after)

    async def event(self, number: int) -> Event | None:
        """See `Store`."""
        return await self._store.event(number)

    async def keep(self, draft: Draft) -> None:
        """See `Store`; it takes no time, so that recording changes no course of events."""
        await self._store.keep(draft)

    async def recordings(self, cluster: ClusterName) -> tuple[Kept, ...]:
        """See `Store`."""
        return await self._store.recordings(cluster)

    async def recording(self, cluster: ClusterName, at: datetime) -> bytes | None:
        """See `Store`."""
        return await self._store.recording(cluster, at)

    async def add_version(self, version: ParameterVersion) -> None:
        """See `Store`."""
        await self._turn()
        await self._store.add_version(version)

    async def note_trial(self, cluster: ClusterName, trial: Trial | None) -> None:
        """Keep or forget a trial, unless the controller is dead."""
        await self._turn()
        await self._store.note_trial(cluster, trial)

    async def trial(self, cluster: ClusterName) -> Trial | None:
        """What is being tried."""
        return await self._store.trial(cluster)

    async def versions(self, cluster: ClusterName, *, limit: int) -> tuple[ParameterVersion, ...]:
        """See `Store`."""
        return await self._store.versions(cluster, limit=limit)

    async def _saving(self) -> None:
        """Before a save, and after it: the moments at which dying, or failing, matters most."""
        life = self._life
        if life.kill_at_save and life.alive:
            life.kill_at_save -= 1
            if not life.kill_at_save:
                life.kill()
        if life.freeze_at_save:
            life.freeze_at_save -= 1
            if not life.freeze_at_save:
                life.freeze()
        if life.world.failing_saves:
            life.world.failing_saves -= 1
            if not life.world.failing_saves:
                raise StoreError("the state cannot be written", detail="input/output error")
        await self._turn()

    async def _turn(self) -> None:
        self._life.lives()
        if self._life.world.store_broken:
            raise StoreError("the state cannot be written", detail="no space left on device")
        await asyncio.sleep(self._life.world.rng.uniform(0.0002, 0.004))
        self._life.lives()


class SharedStore(KeptStore):
    """The store in etcd as one life of a controller sees it: it has its own times and failures."""

    async def _save(self, record: ClusterRecord, events: Sequence[Event]) -> ClusterRecord:
        return await self._store.save(record, events)  # rules are told by etcd

    async def _turn(self) -> None:
        self._life.lives()
