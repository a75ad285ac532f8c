"""The store as a command sees it that only looks: reads what is there, writes nothing."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from pgvigil.model.parameter import ParameterVersion, Trial
from pgvigil.model.record import ClusterRecord, Event
from pgvigil.model.recording import Draft, Kept
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

    async def event(self, number: int) -> Event | None:
        """The other store's event."""
        return await self._store.event(number)

    async def keep(self, draft: Draft) -> None:
        """Nothing is kept."""

    async def recordings(self, cluster: ClusterName) -> tuple[Kept, ...]:
        """The other store's recordings."""
        return await self._store.recordings(cluster)

    async def recording(self, cluster: ClusterName, at: datetime) -> bytes | None:
        """The other store's recording."""
        return await self._store.recording(cluster, at)

    async def add_version(self, version: ParameterVersion) -> None:
        """Nothing is kept."""

    async def versions(self, cluster: ClusterName, *, limit: int) -> tuple[ParameterVersion, ...]:
        """The other store's versions."""
        return await self._store.versions(cluster, limit=limit)

    async def note_trial(self, cluster: ClusterName, trial: Trial | None) -> None:
        """Nothing is kept."""

    async def trial(self, cluster: ClusterName) -> Trial | None:
        """The other store's trial."""
        return await self._store.trial(cluster)
