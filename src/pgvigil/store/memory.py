"""The store's contract without a disk: for simulation and tests. Forgets everything at the end."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from pgvigil.model.parameter import ParameterVersion, Trial
from pgvigil.model.record import ClusterRecord, Event
from pgvigil.model.recording import LAST_TICK, Draft, Kept, around, packed
from pgvigil.model.units import ClusterName
from pgvigil.store.limits import EVENTS_KEPT, record_changed, version_taken

DRAFTS_KEPT: Final = 16


class MemoryStore:
    """`ports.contract.Store` in memory, kept by the event loop that uses it."""

    def __init__(self, *, events_kept: int = EVENTS_KEPT) -> None:
        self._records: dict[ClusterName, ClusterRecord] = {}
        self._events: list[Event] = []
        self._number = 0
        self._versions: list[ParameterVersion] = []
        self._trials: dict[ClusterName, Trial] = {}
        self._events_kept = events_kept
        self._drafts: list[Draft] = []

    async def load(self, cluster: ClusterName) -> ClusterRecord | None:
        """The record, None if the cluster was never managed."""
        return self._records.get(cluster)

    async def save(self, record: ClusterRecord, events: Sequence[Event] = ()) -> ClusterRecord:
        """Keep both; return the record with its new revision. Raises StoreError if it was changed."""
        stored = self._records.get(record.cluster)
        if record.revision != (stored.revision if stored else 0):
            raise record_changed(record, stored.revision if stored else 0)
        saved = replace(record, revision=record.revision + 1)
        self._records[record.cluster] = saved
        await self.add(events)
        return saved

    async def add(self, events: Sequence[Event]) -> None:
        """Append events."""
        for event in events:
            self._number += 1
            self._events.append(replace(event, number=self._number))
        del self._events[: -self._events_kept]

    async def events(self, cluster: ClusterName | None, *, limit: int, after: int = 0) -> tuple[Event, ...]:
        """The newest `limit` events with a number above `after`, oldest first."""
        fitting = [e for e in self._events if e.number > after and cluster in (None, e.cluster)]
        return tuple(fitting[-limit:]) if limit > 0 else ()

    async def event(self, number: int) -> Event | None:
        """The event of that number."""
        return next((event for event in self._events if event.number == number), None)

    async def keep(self, draft: Draft) -> None:
        """Keep the newest few."""
        self._drafts.append(draft)
        del self._drafts[:-DRAFTS_KEPT]

    async def recordings(self, cluster: ClusterName) -> tuple[Kept, ...]:
        """What is kept, oldest first; its size is not known."""
        return tuple(
            Kept(number, cluster, draft.began, draft.ended, len(draft.ticks), 0, draft.changed_primary)
            for number, draft in enumerate(self._drafts, 1)
            if draft.spec.name == cluster
        )

    async def recording(self, cluster: ClusterName, at: datetime) -> bytes | None:
        """The one that has most around that moment, packed."""
        fitting = [d for d in self._drafts if d.spec.name == cluster and d.began <= at <= d.ended + LAST_TICK]
        best = max(fitting, key=lambda d: around(d.began, d.ended, at), default=None)
        return packed(best) if best else None

    async def add_version(self, version: ParameterVersion) -> None:
        """Keep a version. Raises StoreError if its number is taken."""
        if any(v.cluster == version.cluster and v.number == version.number for v in self._versions):
            raise version_taken(version)
        self._versions.append(version)
        self._trials.pop(version.cluster, None)

    async def versions(self, cluster: ClusterName, *, limit: int) -> tuple[ParameterVersion, ...]:
        """The newest `limit` versions, oldest first."""
        fitting = sorted((v for v in self._versions if v.cluster == cluster), key=lambda v: v.number)
        return tuple(fitting[-limit:]) if limit > 0 else ()

    async def note_trial(self, cluster: ClusterName, trial: Trial | None) -> None:
        """Keep it, or forget it."""
        if trial is None:
            self._trials.pop(cluster, None)
        else:
            self._trials[cluster] = trial

    async def trial(self, cluster: ClusterName) -> Trial | None:
        """The one that was noted last."""
        return self._trials.get(cluster)
