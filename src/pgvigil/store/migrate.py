"""Taking the state from one store to the other: SQLite to etcd, or back. Records come last.

The target has no record before, and the source none afterwards: there is one truth at a time. One that was
interrupted is begun anew.
"""

import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from pgvigil.errors import StoreError, Unsafe
from pgvigil.model.parameter import ParameterVersion, Trial
from pgvigil.model.record import ClusterRecord, Event
from pgvigil.model.recording import Kept
from pgvigil.model.units import ClusterName
from pgvigil.ports.contract import Store
from pgvigil.store.etcd import EtcdStore
from pgvigil.store.limits import EVENTS_KEPT
from pgvigil.store.roster import EtcdRoster
from pgvigil.store.sqlite import FILE_NAME, SqliteStore

EVERYTHING: Final = 10**9
HALF_DONE: Final = f"{FILE_NAME}.new"
MIGRATED: Final = ".migrated"
SUFFIXES: Final = ("", "-wal", "-shm")


class Target(Store, Protocol):
    """A store that can take over another's history, with its numbers."""

    async def take_in(self, events: Sequence[Event], recordings: Sequence[tuple[Kept, bytes]]) -> None:
        """Keep them under the numbers that they have. Nothing else has been kept before."""
        ...


@dataclass(frozen=True, slots=True)
class Holdings:
    """All that a store has of some clusters."""

    records: tuple[ClusterRecord, ...]
    events: tuple[Event, ...]
    recordings: tuple[tuple[Kept, bytes], ...]
    versions: tuple[ParameterVersion, ...]
    trials: tuple[Trial, ...]

    def counts(self) -> dict[str, int]:
        """How much there is of what."""
        return {
            "records": len(self.records),
            "events": len(self.events),
            "recordings": len(self.recordings),
            "versions": len(self.versions),
        }


async def holdings(store: Store, clusters: Sequence[ClusterName]) -> Holdings:
    """Read it all. Raises StoreError."""
    records = [await store.load(cluster) for cluster in clusters]
    recordings: list[tuple[Kept, bytes]] = []
    versions: list[ParameterVersion] = []
    trials = [await store.trial(cluster) for cluster in clusters]
    for cluster in clusters:
        versions += await store.versions(cluster, limit=EVERYTHING)
        for kept in await store.recordings(cluster):
            body = await store.recording(cluster, kept.began + (kept.ended - kept.began) / 2)
            if body is not None:
                recordings.append((kept, body))
    return Holdings(
        tuple(record for record in records if record),
        await store.events(None, limit=EVENTS_KEPT),
        tuple(recordings),
        tuple(versions),
        tuple(trial for trial in trials if trial),
    )


async def bring(what: Holdings, target: Target) -> None:
    """Write it all, records last. Raises StoreError."""
    await target.take_in(what.events, what.recordings)
    for version in what.versions:
        await target.add_version(version)
    for trial in what.trials:
        await target.note_trial(trial.cluster, trial)
    for record in what.records:
        await target.save(replace(record, revision=0))


async def alone(roster: EtcdRoster, clusters: Sequence[ClusterName]) -> None:
    """Take the locks of all clusters. Raises Unsafe if another controller is there, StoreError."""
    census = await roster.look()
    if others := sorted(census.peers.keys() - {roster.name}):
        raise Unsafe(
            f"other controllers run: {', '.join(others)}",
            detail="nothing was changed",
            hint="stop them all first; one that has died is forgotten with its lease",
        )
    for cluster in clusters:
        if not await roster.claim(cluster):
            raise Unsafe(f"the lock of {cluster} is held", hint="it ends with its lease: try again then")


@contextlib.asynccontextmanager
async def new_file(state_dir: Path) -> AsyncIterator[SqliteStore]:
    """An empty store that takes its place in the directory when it is complete. Raises Unsafe, StoreError."""
    if (state_dir / FILE_NAME).exists():
        raise Unsafe(
            f"there is a store already: {state_dir / FILE_NAME}",
            detail="nothing was changed",
            hint="if it is not needed any more, move it aside",
        )
    _remove(state_dir)
    store = SqliteStore(state_dir / HALF_DONE)
    try:
        yield store
    finally:
        await store.close()
    try:
        os.replace(state_dir / HALF_DONE, state_dir / FILE_NAME)
    except OSError as why:
        raise StoreError(f"cannot rename {state_dir / HALF_DONE}", detail=str(why)) from why


def set_aside(state_dir: Path) -> Path:
    """Rename the file, which is closed: it may not be used by mistake. Raises StoreError."""
    aside = state_dir / f"{FILE_NAME}{MIGRATED}"
    try:
        os.replace(state_dir / FILE_NAME, aside)
    except OSError as why:
        raise StoreError(f"cannot rename {state_dir / FILE_NAME}", detail=str(why)) from why
    return aside


async def must_be_empty(target: EtcdStore) -> None:
    """Raise Unsafe if etcd holds records; what an interrupted migration left there is removed."""
    if found := await target.recorded():
        raise Unsafe(
            f"etcd holds records already: {', '.join(sorted(found))}",
            detail="nothing was changed",
            hint="if they are not needed any more, remove them with etcdctl, or set another store.prefix",
        )


def _remove(state_dir: Path) -> None:
    for suffix in SUFFIXES:
        (state_dir / f"{HALF_DONE}{suffix}").unlink(missing_ok=True)
