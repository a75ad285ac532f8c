"""The store's contract without a disk: for simulation and tests. Forgets everything at the end."""

from collections.abc import Sequence
from dataclasses import replace

from pgvigil.model.record import ClusterRecord, Event
from pgvigil.model.units import ClusterName
from pgvigil.store.limits import EVENTS_KEPT, record_changed


class MemoryStore:
    """`ports.contract.Store` in memory, kept by the event loop that uses it."""

    def __init__(self, *, events_kept: int = EVENTS_KEPT) -> None:
        self._records: dict[ClusterName, ClusterRecord] = {}
        self._events: list[Event] = []
        self._number = 0
        self._events_kept = events_kept

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
