"""Events in etcd: numbered from one counter for all controllers, the oldest make room.

`event/NUMBER` holds the event, `event-of/CLUSTER/NUMBER` only says that there is one. Numbers have leading
zeros, so that the order of keys is theirs.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from pgvigil.model.record import Event
from pgvigil.model.units import ClusterName
from pgvigil.store.codec import from_json, to_json
from pgvigil.store.gateway import Json
from pgvigil.store.transactions import Key, Transactions

COUNTER: Final = "last-event"
DIGITS: Final = 16
AT_ONCE: Final = 40
"""Events of one transaction: etcd takes 128 operations."""
BYTES_AT_MOST: Final = 30_000
"""Of one event; what explains it is left out of a larger one, and its text is cut."""
FIRST_WINDOW: Final = 200


class EtcdEvents:
    """The events below the prefix. `kept`: so many of all clusters together."""

    def __init__(self, keys: Transactions, kept: int) -> None:
        self._keys, self._kept = keys, kept
        self.last, self._modified = 0, 0
        """The newest number and etcd's revision of the counter, as far as is known."""

    async def refresh(self) -> None:
        """Read the counter anew. Raises StoreError."""
        counter = await self._keys.get(COUNTER)
        self.last, self._modified = (int(counter.value), counter.modified) if counter else (0, 0)

    async def restart(self, first: int) -> None:
        """The next number is that one. Raises StoreError."""
        await self._keys.change([], [self._keys.put(COUNTER, str(first - 1))])
        await self.refresh()

    def counted(self, last: int, revision: int) -> None:
        """The counter was set to that, in the transaction of that revision."""
        self.last, self._modified = last, revision

    def added(self, events: Sequence[Event]) -> tuple[list[Json], list[Json]]:
        """Conditions and changes that append at most AT_ONCE events, from the counter as it is known."""
        if not events:
            return [], []
        keys = self._keys
        last = self.last + len(events)
        oldest = max(last - self._kept + 1, 1)
        numbered = [(self.last + place, event) for place, event in enumerate(events, 1)]
        changes: list[Json] = [keys.put(COUNTER, str(last))]
        for number, event in numbered:
            if number >= oldest:
                changes.append(keys.put(_event(number), _text(event)))
                changes.append(keys.put(_of(event.cluster, number), ""))
        if oldest > 1:
            changes.append(keys.delete_between(_event(0), _event(oldest)))
            clusters = dict.fromkeys(event.cluster for event in events)
            changes += [keys.delete_between(_of(each, 0), _of(each, oldest)) for each in clusters]
        return [keys.modified(COUNTER, self._modified)], changes

    async def one(self, number: int) -> Event | None:
        """The event of that number. Raises StoreError."""
        found = await self._keys.get(_event(number)) if number > 0 else None
        return _read(found) if found else None

    async def newest(self, cluster: ClusterName | None, *, limit: int, after: int) -> tuple[Event, ...]:
        """The newest `limit` above `after`, oldest first. Raises StoreError."""
        await self.refresh()
        found: list[Key] = []
        end, size = self.last + 1, max(FIRST_WINDOW, limit if cluster is None else 0)
        while limit > 0 and end > after + 1 and len(found) < limit:
            first = max(end - size, after + 1)
            found = [*await self._window(cluster, first, end), *found]
            end, size = first, size * 4
        found = found[-limit:] if limit > 0 else []
        if cluster is not None:
            found = await self._keys.of_names([_event(_number(key)) for key in found])
        return tuple(_read(key) for key in found)

    async def _window(self, cluster: ClusterName | None, first: int, end: int) -> list[Key]:
        if cluster is None:
            return await self._keys.between(_event(first), _event(end))
        return await self._keys.between(_of(cluster, first), _of(cluster, end), keys_only=True)


def _event(number: int) -> str:
    return f"event/{number:0{DIGITS}}"


def _of(cluster: ClusterName, number: int) -> str:
    return f"event-of/{cluster}/{number:0{DIGITS}}"


def _number(key: Key) -> int:
    return int(key.name.rpartition("/")[2])


def _read(key: Key) -> Event:
    return replace(from_json(Event, key.value), number=_number(key))


def _text(event: Event) -> str:
    text = to_json(replace(event, number=0))
    if len(text) <= BYTES_AT_MOST:
        return text
    cut = f"{event.text[:2000]} … (cut: too large for etcd)"
    return to_json(replace(event, number=0, text=cut, hint=event.hint[:2000], evidence=(), data={}))
