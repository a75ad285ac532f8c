"""Reading keys of etcd, and changing several of them all or nothing, each transaction once.

Every transaction of a controller also replaces its *mark*, a key of its own, and holds only on the mark
that was there before. So when no answer came, reading the mark tells whether it was carried out; and
one that a hung server hands in late finds another mark, and changes nothing.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self
from uuid import uuid4

from pgvigil.errors import StoreError
from pgvigil.store.gateway import Gateway, Json, Unanswered, after, b64, number, plain

TRIES: Final = 4
"""How often a transaction is handed in whose answer did not come."""


@dataclass(frozen=True, slots=True)
class Key:
    """What etcd holds under one key."""

    name: str
    value: str
    created: int
    """etcd's revision when it was made."""
    modified: int
    """etcd's revision when it was changed last."""
    version: int
    """How often it was written since it was made."""
    lease: int

    @classmethod
    def read(cls, fields: Json) -> Self:
        """From etcd's JSON."""
        return cls(
            plain(fields["key"]),
            plain(fields.get("value", "")),
            number(fields, "create_revision"),
            number(fields, "mod_revision"),
            number(fields, "version"),
            number(fields, "lease"),
        )


class Transactions:
    """The keys below a prefix, as one controller reads and writes them. `name`: the controller's."""

    def __init__(self, gateway: Gateway, name: str) -> None:
        self.gateway, self.prefix = gateway, f"{gateway.spec.prefix}/"
        self._mark = f"mark/{name}"
        self._modified: int | None = None
        self._one_at_a_time = asyncio.Lock()

    async def get(self, key: str) -> Key | None:
        """What is under that key. Raises StoreError."""
        found = await self._range({"key": self._coded(key)})
        return found[0] if found else None

    async def below(self, folder: str, *, keys_only: bool = False) -> list[Key]:
        """All keys that begin so, in their order. Raises StoreError."""
        asked = {"key": self._coded(folder), "range_end": self._coded(after(folder)), "keys_only": keys_only}
        return await self._range(asked)

    async def between(self, first: str, end: str, *, keys_only: bool = False) -> list[Key]:
        """All keys from `first` on, without `end`, in their order. Raises StoreError."""
        asked = {"key": self._coded(first), "range_end": self._coded(end), "keys_only": keys_only}
        return await self._range(asked)

    async def of_names(self, keys: Sequence[str]) -> list[Key]:
        """What is under those keys, at one moment. Raises StoreError."""
        found: list[Key] = []
        for begin in range(0, len(keys), 100):  # etcd takes 128 operations at once
            ranges = [{"request_range": {"key": self._coded(key)}} for key in keys[begin : begin + 100]]
            answer = await self.gateway.ask("/v3/kv/txn", {"success": ranges})
            for part in answer.get("responses", []):
                found += [self._key(kv) for kv in part["response_range"].get("kvs", [])]
        return found

    async def change(self, conditions: Sequence[Json], changes: Sequence[Json]) -> int:
        """Make all changes if all conditions hold: etcd's revision of that; 0: they do not hold.

        Raises StoreError. After Unanswered nobody knows whether it was done: read before anything else.
        """
        async with self._one_at_a_time:
            return await self._change(conditions, changes)

    async def _change(self, conditions: Sequence[Json], changes: Sequence[Json]) -> int:
        mark = uuid4().hex
        failure: Unanswered | None = None
        for _ in range(TRIES):
            if self._modified is None or failure:
                found = await self.get(self._mark)
                self._modified = found.modified if found else 0
                if found and found.value == mark:
                    return found.modified
            known = self._modified
            body = {
                "compare": [self.modified(self._mark, known), *conditions],
                "success": [*changes, self.put(self._mark, mark)],
                "failure": [{"request_range": {"key": self._coded(self._mark)}}],
            }
            try:
                answer = await self.gateway.tell("/v3/kv/txn", body)
            except Unanswered as unknown:
                failure = unknown
                continue
            except asyncio.CancelledError:
                self._modified = None
                raise
            if answer.get("succeeded"):
                self._modified = number(answer["header"], "revision")
                return self._modified
            held = [self._key(kv) for kv in answer["responses"][0]["response_range"].get("kvs", [])]
            self._modified = held[0].modified if held else 0
            if held and held[0].value == mark:
                return self._modified
            if self._modified == known:
                return 0
        raise failure or StoreError(
            "two controllers write under one name",
            detail=f"{self.prefix}{self._mark} is changed by somebody else",
            hint="give each controller its own store.name",
        )

    async def _range(self, asked: Json) -> list[Key]:
        answer = await self.gateway.ask("/v3/kv/range", asked)
        return [self._key(kv) for kv in answer.get("kvs", [])]

    def _key(self, fields: Json) -> Key:
        found = Key.read(fields)
        return Key(
            found.name.removeprefix(self.prefix),
            found.value,
            found.created,
            found.modified,
            found.version,
            found.lease,
        )

    def _coded(self, key: str) -> str:
        return b64(self.prefix + key)

    def modified(self, key: str, revision: int) -> Json:
        """The condition that it was changed last at that revision of etcd; 0: it is not there."""
        return self._condition(key, "MOD", "mod_revision", revision)

    def created(self, key: str, revision: int) -> Json:
        """The condition that it was made at that revision of etcd; 0: it is not there."""
        return self._condition(key, "CREATE", "create_revision", revision)

    def written(self, key: str, times: int) -> Json:
        """The condition that it was written so often; 0: it is not there."""
        return self._condition(key, "VERSION", "version", times)

    def _condition(self, key: str, target: str, field: str, value: int) -> Json:
        return {"key": self._coded(key), "target": target, "result": "EQUAL", field: str(value)}

    def put(self, key: str, value: str, *, lease: int = 0) -> Json:
        """The change that writes it; with a lease it is gone when that ends."""
        fields = {"key": self._coded(key), "value": b64(value), "lease": str(lease)}
        return {"request_put": fields}

    def delete(self, key: str) -> Json:
        """The change that removes it."""
        return {"request_delete_range": {"key": self._coded(key)}}

    def delete_below(self, folder: str) -> Json:
        """The change that removes all keys that begin so."""
        return self.delete_between(folder, after(folder))

    def delete_between(self, first: str, end: str) -> Json:
        """The change that removes all keys from `first` on, without `end`."""
        return {"request_delete_range": {"key": self._coded(first), "range_end": self._coded(end)}}
