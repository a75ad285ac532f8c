"""The store as a command sees it that only looks: reads what is there, writes nothing."""

from collections.abc import Sequence
from dataclasses import replace

from pgvigil.model.record import ClusterRecord, Event
from pgvigil.model.units import ClusterName
from pgvigil.ports.contract import Store


class ReadOnlyStore:
    """Another store's records and events. Saving pretends: only this process sees what it saved."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def load(self, cluster: ClusterName) -> ClusterRecord | None:
        """The record as the other store has it."""
        return await self._store.load(cluster)

    async def save(self, record: ClusterRecord, events: Sequence[Event] = ()) -> ClusterRecord:
        """Nothing is kept."""
        return replace(record, revision=record.revision + 1)

    async def add(self, events: Sequence[Event]) -> None:
        """Nothing is kept."""

    async def events(self, cluster: ClusterName | None, *, limit: int, after: int = 0) -> tuple[Event, ...]:
        """The other store's events."""
        return await self._store.events(cluster, limit=limit, after=after)
