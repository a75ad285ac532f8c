"""The state of several controllers in etcd: records, events, recordings, versions of parameters.

What belongs to a cluster is written only by the controller that holds its lock, in one transaction with
the condition that the lock is still the one it took, and that the record is the one it read.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from types import TracebackType
from typing import Final, Self

from pgvigil.errors import StoreError
from pgvigil.model.parameter import ParameterVersion, Trial
from pgvigil.model.record import ClusterRecord, Event
from pgvigil.model.recording import Draft, Kept, packed
from pgvigil.model.units import ClusterName
from pgvigil.store.batch import Batches
from pgvigil.store.codec import from_json, to_json
from pgvigil.store.etcd_events import AT_ONCE, EtcdEvents
from pgvigil.store.etcd_shelf import EtcdShelf
from pgvigil.store.gateway import Json
from pgvigil.store.limits import EVENTS_KEPT, record_changed, version_taken
from pgvigil.store.sqlite import SCHEMA_VERSION
from pgvigil.store.transactions import Transactions

TRIES: Final = 50
"""How often a write that other controllers' events came before is tried."""

Locks = Callable[[ClusterName], int | None]
"""The revision of etcd at which this controller took the cluster's lock; None: it does not hold it."""
Pack = Callable[[Draft], Awaitable[bytes]]
"""A recording as a file."""


def owner_key(cluster: ClusterName) -> str:
    """Where the lock of a cluster lies: its value names the controller."""
    return f"owner/{cluster}"


@dataclass(frozen=True, slots=True)
class _Known:
    """A record as it was read or written last: how often it was written, and etcd's revision of that."""

    version: int
    modified: int


class EtcdStore:
    """`ports.contract.Store` in etcd. `locks` tells which clusters may be written."""

    def __init__(
        self,
        keys: Transactions,
        locks: Locks,
        *,
        events_kept: int = EVENTS_KEPT,
        writes: bool = True,
        pack: Pack | None = None,
    ) -> None:
        """`writes`: whether anything will be written; else nothing is prepared for that.

        `pack`: how recordings are packed; else in a thread.
        """
        self._keys, self._locks, self._writes = keys, locks, writes
        self._events = EtcdEvents(keys, events_kept)
        self._batches = Batches[Event](self._add)
        self._adding, self._counting = asyncio.Lock(), asyncio.Lock()
        self._shelf = EtcdShelf(keys)
        self._read: dict[ClusterName, _Known] = {}
        self._pack = pack or self._in_a_thread
        self._packer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pgvigil-recordings")

    async def __aenter__(self) -> Self:
        await self.prepare()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._packer.shutdown(wait=False)

    async def prepare(self) -> None:
        """See that what is there is of our version. Raises StoreError."""
        found = await self._keys.get("format")
        if found is None and not self._writes:
            return
        if found is None:
            await self._keys.change(
                [self._keys.modified("format", 0)], [self._keys.put("format", str(SCHEMA_VERSION))]
            )
        elif found.value != str(SCHEMA_VERSION):
            raise StoreError(
                f"{self._keys.prefix} in etcd was written by another version of pgvigil",
                detail=f"it has version {found.value}, this one knows {SCHEMA_VERSION}; nothing was changed",
                hint="let all controllers be of one version; see docs/operate/several-controllers.md",
            )

    async def recorded(self) -> tuple[ClusterName, ...]:
        """All clusters that have a record, configured or not."""
        found = await self._keys.below("record/", keys_only=True)
        return tuple(ClusterName(key.name.partition("/")[2]) for key in found)

    async def take_in(self, events: Sequence[Event], recordings: Sequence[tuple[Kept, bytes]]) -> None:
        """Keep another store's under the numbers that they have; what else there is of them is removed."""
        for folder in ("event/", "event-of/", "recording/", "recording-body/", "version/", "trial/"):
            await self._keys.change([], [self._keys.delete_below(folder)])
        await self._events.restart(events[0].number if events else 1)
        await self.add(events)
        await self._shelf.take_in(recordings)

    async def forget_records(self) -> None:
        """Remove all records: they are kept elsewhere now."""
        await self._keys.change([], [self._keys.delete_below("record/")])

    async def load(self, cluster: ClusterName) -> ClusterRecord | None:
        """The record, None if the cluster was never managed."""
        found = await self._keys.get(_record(cluster))
        if found is None:
            self._read.pop(cluster, None)
            return None
        self._read[cluster] = _Known(found.version, found.modified)
        return replace(from_json(ClusterRecord, found.value), revision=found.version)

    async def save(self, record: ClusterRecord, events: Sequence[Event] = ()) -> ClusterRecord:
        """Durable on return, with its new revision. Raises StoreError, also if it was changed meanwhile."""
        saved = replace(record, revision=record.revision + 1)
        key, keys = _record(record.cluster), self._keys
        conditions = [self._locked(record.cluster), keys.written(key, record.revision)]
        known = self._read.get(record.cluster)
        if known is not None and known.version == record.revision:
            conditions.append(keys.modified(key, known.modified))
        changes = [keys.put(key, to_json(saved))]
        revision = await self._write(record.cluster, conditions, changes, events, record)
        self._read[record.cluster] = _Known(saved.revision, revision)
        return saved

    async def add(self, events: Sequence[Event]) -> None:
        """Append events, together with those that others add while etcd is busy with earlier ones."""
        if events:
            await self._batches.add(events)

    async def _add(self, take: Callable[[], Sequence[Event]]) -> None:
        async with self._adding:
            events = take()
            for begin in range(0, len(events), AT_ONCE):
                await self._write(None, [], [], events[begin : begin + AT_ONCE], None)

    async def _write(
        self,
        cluster: ClusterName | None,
        conditions: Sequence[Json],
        changes: Sequence[Json],
        events: Sequence[Event],
        record: ClusterRecord | None,
    ) -> int:
        """One transaction; with events one after another, for each counts on from the one before."""
        if not events:
            return await self._attempt(cluster, conditions, changes, events, record)
        async with self._counting:
            return await self._attempt(cluster, conditions, changes, events, record)

    async def _attempt(
        self,
        cluster: ClusterName | None,
        conditions: Sequence[Json],
        changes: Sequence[Json],
        events: Sequence[Event],
        record: ClusterRecord | None,
    ) -> int:
        """One transaction, again when only the count of events has grown meanwhile; etcd's revision of it."""
        if events and not self._events.last:
            await self._events.refresh()
        for _ in range(TRIES):
            last = self._events.last + len(events)
            counted, added = self._events.added(events)
            if revision := await self._keys.change([*conditions, *counted], [*changes, *added]):
                if events:
                    self._events.counted(last, revision)
                return revision
            await self._complain(cluster, record)
            await self._events.refresh()
        raise StoreError("etcd does not keep up", detail="other controllers write events all the time")

    async def _complain(self, cluster: ClusterName | None, record: ClusterRecord | None) -> None:
        """Raise StoreError if it is not only the events of others that came before."""
        if cluster is None:
            return
        lock = await self._keys.get(owner_key(cluster))
        if lock is None or lock.created != self._locks(cluster):
            raise _not_ours(cluster, lock.value if lock else "")
        if record is not None:
            stored = await self._keys.get(_record(cluster))
            known = self._read.get(cluster)
            version = stored.version if stored else 0
            replaced = known and stored and known.version == version and known.modified != stored.modified
            if version != record.revision or replaced:
                raise record_changed(record, version)

    def _locked(self, cluster: ClusterName) -> Json:
        created = self._locks(cluster)
        if created is None:
            raise _not_ours(cluster, "")
        return self._keys.created(owner_key(cluster), created)

    async def events(self, cluster: ClusterName | None, *, limit: int, after: int = 0) -> tuple[Event, ...]:
        """The newest `limit` events with a number above `after`, oldest first."""
        return await self._events.newest(cluster, limit=limit, after=after)

    async def event(self, number: int) -> Event | None:
        """The event of that number; None: there is none, or not any more."""
        return await self._events.one(number)

    async def keep(self, draft: Draft) -> None:
        """Keep a recording; the oldest make room. Nothing waits for it."""
        await self._shelf.keep(draft, await self._pack(draft))

    async def _in_a_thread(self, draft: Draft) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(self._packer, packed, draft)

    async def recordings(self, cluster: ClusterName) -> tuple[Kept, ...]:
        """The recordings that are kept, oldest first."""
        return await self._shelf.kept(cluster)

    async def recording(self, cluster: ClusterName, at: datetime) -> bytes | None:
        """The recording of that moment, as a file."""
        return await self._shelf.of_moment(cluster, at)

    async def add_version(self, version: ParameterVersion) -> None:
        """Make a version durable, and forget its trial. Raises StoreError if its number is taken."""
        keys, key = self._keys, _version(version.cluster, version.number)
        conditions = [self._locked(version.cluster), keys.modified(key, 0)]
        changes = [keys.put(key, to_json(version)), keys.delete(_trial(version.cluster))]
        if not await keys.change(conditions, changes):
            await self._complain(version.cluster, None)
            raise version_taken(version)

    async def versions(self, cluster: ClusterName, *, limit: int) -> tuple[ParameterVersion, ...]:
        """The newest `limit` versions, oldest first."""
        found = await self._keys.below(f"version/{cluster}/")
        return tuple(from_json(ParameterVersion, key.value) for key in found[-limit:]) if limit > 0 else ()

    async def note_trial(self, cluster: ClusterName, trial: Trial | None) -> None:
        """Make durable what is being tried on the cluster's nodes. None: nothing any more."""
        keys, key = self._keys, _trial(cluster)
        change = keys.put(key, to_json(trial)) if trial is not None else keys.delete(key)
        if not await keys.change([self._locked(cluster)], [change]):
            await self._complain(cluster, None)
            raise StoreError(f"what is tried on {cluster} could not be noted")

    async def trial(self, cluster: ClusterName) -> Trial | None:
        """What is noted as being tried."""
        found = await self._keys.get(_trial(cluster))
        return from_json(Trial, found.value) if found else None


def _record(cluster: ClusterName) -> str:
    return f"record/{cluster}"


def _version(cluster: ClusterName, number: int) -> str:
    return f"version/{cluster}/{number:08}"


def _trial(cluster: ClusterName) -> str:
    return f"trial/{cluster}"


def _not_ours(cluster: ClusterName, owner: str) -> StoreError:
    return StoreError(
        f"{cluster} is not guarded by this controller",
        detail=f"its lock is held by {owner}" if owner else "its lock is not held by it",
        hint="nothing was stored; see who guards it: pgvigil status",
    )
