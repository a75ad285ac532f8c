"""Recordings in etcd: so many of each kind, the oldest make room.

`recording/CLUSTER/NUMBER` says of when it is, `recording-body/NUMBER` holds it.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from pgvigil.errors import StoreError
from pgvigil.model.recording import LAST_TICK, Draft, Kept, around
from pgvigil.model.units import ClusterName
from pgvigil.store.gateway import Json
from pgvigil.store.limits import CHANGES_KEPT, RECORDING_AT_MOST, RECORDINGS_KEPT
from pgvigil.store.transactions import Key, Transactions

COUNTER: Final = "last-recording"
TRIES: Final = 10
DROPPED_AT_ONCE: Final = 20


@dataclass(frozen=True, slots=True)
class EtcdShelf:
    """The recordings below the prefix."""

    keys: Transactions

    async def keep(self, draft: Draft, body: bytes) -> None:
        """Add one, and drop the oldest of its kind beyond what is kept. Raises StoreError: too large."""
        if len(body) > RECORDING_AT_MOST:
            detail = f"{len(body)} bytes, {RECORDING_AT_MOST} at most"
            raise StoreError("the recording is too large to be kept", detail=detail)
        for _ in range(TRIES):
            counter = await self.keys.get(COUNTER)
            number = int(counter.value) + 1 if counter else 1
            conditions = [self.keys.modified(COUNTER, counter.modified if counter else 0)]
            changes = [self.keys.put(COUNTER, str(number)), *self.added(number, draft, body)]
            if await self.keys.change(conditions, [*changes, *await self._dropped(draft.changed_primary)]):
                return
        raise StoreError(
            "the recording could not be kept", detail="other controllers keep theirs all the time"
        )

    async def take_in(self, recordings: Sequence[tuple[Kept, bytes]]) -> None:
        """Keep another store's under the numbers that they have. Raises StoreError."""
        for kept, body in recordings:
            await self.keys.change([], self.put(kept, body))
        last = max((kept.number for kept, _ in recordings), default=0)
        await self.keys.change([], [self.keys.put(COUNTER, str(last))])

    def added(self, number: int, draft: Draft, body: bytes) -> list[Json]:
        """The changes that add one."""
        kept = Kept(
            number,
            draft.spec.name,
            draft.began,
            draft.ended,
            len(draft.ticks),
            len(body),
            draft.changed_primary,
        )
        return self.put(kept, body)

    def put(self, kept: Kept, body: bytes) -> list[Json]:
        """The changes that put it there, under its number."""
        fields = {
            "began": kept.began.astimezone(UTC).isoformat(),
            "ended": kept.ended.astimezone(UTC).isoformat(),
            "ticks": kept.ticks,
            "size": kept.size,
            "changed": kept.changed_primary,
        }
        text = base64.b64encode(body).decode()
        return [
            self.keys.put(_meta(kept.cluster, kept.number), json.dumps(fields)),
            self.keys.put(_body(kept.number), text),
        ]

    async def kept(self, cluster: ClusterName) -> tuple[Kept, ...]:
        """All of a cluster, oldest first. Raises StoreError."""
        return tuple(_kept(key) for key in await self.keys.below(f"recording/{cluster}/"))

    async def of_moment(self, cluster: ClusterName, at: datetime) -> bytes | None:
        """The one that has most around this moment. Raises StoreError."""
        fitting = [k for k in await self.kept(cluster) if k.began <= at <= k.ended + LAST_TICK]
        best = max(fitting, key=lambda k: around(k.began, k.ended, at), default=None)
        return await self.body(best.number) if best else None

    async def body(self, number: int) -> bytes | None:
        """One as a file. Raises StoreError."""
        found = await self.keys.get(_body(number))
        return base64.b64decode(found.value) if found else None

    async def _dropped(self, changed: bool) -> list[Json]:
        """The changes that make room for one more of its kind."""
        there = [_kept(key) for key in await self.keys.below("recording/")]
        kind = sorted((k for k in there if k.changed_primary is changed), key=lambda k: k.number)
        surplus = len(kind) + 1 - (CHANGES_KEPT if changed else RECORDINGS_KEPT)
        oldest = kind[: max(0, min(surplus, DROPPED_AT_ONCE))]
        return [
            self.keys.delete(key) for k in oldest for key in (_meta(k.cluster, k.number), _body(k.number))
        ]


def _meta(cluster: ClusterName, number: int) -> str:
    return f"recording/{cluster}/{number:016}"


def _body(number: int) -> str:
    return f"recording-body/{number:016}"


def _kept(key: Key) -> Kept:
    _, cluster, number = key.name.split("/")
    fields = json.loads(key.value)
    return Kept(
        int(number),
        ClusterName(cluster),
        datetime.fromisoformat(fields["began"]),
        datetime.fromisoformat(fields["ended"]),
        fields["ticks"],
        fields["size"],
        fields["changed"],
    )
