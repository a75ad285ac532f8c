"""What simulated servers of etcd agree on: keys with their revisions, and leases that keys hang on.

Requests and answers are those of etcd's JSON gateway, as far as the product uses it: numbers of 64 bits are
strings, keys and values are base64, zeros are left out.
"""

from base64 import b64decode
from bisect import bisect_left, insort
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

Json = Mapping[str, Any]

NOT_FOUND: Final = 5
"""gRPC's code."""


class Refused(Exception):
    """etcd refuses a request: nothing was changed. `code`: gRPC's."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


@lru_cache(maxsize=4096)
def decoded(coded: str) -> str:
    """A key as text."""
    return b64decode(coded).decode()


class Keys:
    """The state that all servers come to by the same requests in the same order.

    `changed(key, before, after)` is told of each key that was written or removed; None: it is not there.
    """

    def __init__(self, changed: Callable[[str, Json | None, Json | None], None]) -> None:
        self.revision = 1
        self.leases: dict[int, dict[str, None]] = {}
        """The keys that go with each lease."""
        self._changed = changed
        self._keys: dict[str, Json] = {}
        self._names: list[str] = []
        self._last_lease = 7_000

    def get(self, key: str) -> Json | None:
        """What is under a key."""
        return self._keys.get(key)

    def carry_out(self, path: str, body: Json) -> Json:
        """A request that needs no clock. Raises Refused."""
        match path:
            case "/v3/kv/range":
                return {**self._header(), **self._range(body)}
            case "/v3/kv/txn":
                return self._transaction(body)
            case "/v3/lease/grant":
                self._last_lease += 1
                self.leases[self._last_lease] = {}
                return {**self._header(), "ID": str(self._last_lease), "TTL": body["TTL"]}
            case "/v3/lease/revoke":
                return self._revoke(int(body["ID"]))
            case _:
                raise AssertionError(f"the simulated etcd does not know {path}")

    def _header(self) -> Json:
        return {"header": {"revision": str(self.revision)}}

    def _between(self, body: Json) -> Sequence[str]:
        first = decoded(body["key"])
        if "range_end" not in body:
            return (first,) if first in self._keys else ()
        names = self._names
        return names[bisect_left(names, first) : bisect_left(names, decoded(body["range_end"]))]

    def _range(self, body: Json) -> Json:
        found = [self._keys[name] for name in self._between(body)]
        if body.get("keys_only"):
            found = [{**each, "value": ""} for each in found]
        return {"kvs": found} if found else {}

    def _transaction(self, body: Json) -> Json:
        holds = all(self._holds(condition) for condition in body.get("compare", ()))
        requests = body.get("success", ()) if holds else body.get("failure", ())
        for request in requests:
            lease = int(request.get("request_put", {}).get("lease", 0))
            if lease and lease not in self.leases:
                raise Refused(NOT_FOUND, "etcdserver: requested lease not found")
        if any("request_range" not in request for request in requests):
            self.revision += 1
        responses = [self._carry_out(request) for request in requests]
        return {**self._header(), "responses": responses, **({"succeeded": True} if holds else {})}

    def _holds(self, condition: Json) -> bool:
        found = self._keys.get(decoded(condition["key"]), {})
        field = {"MOD": "mod_revision", "CREATE": "create_revision", "VERSION": "version"}
        name = field[condition["target"]]
        return int(found.get(name, 0)) == int(condition[name])

    def _carry_out(self, request: Json) -> Json:
        if (asked := request.get("request_range")) is not None:
            return {"response_range": self._range(asked)}
        if (put := request.get("request_put")) is not None:
            self._put(put)
            return {"response_put": {}}
        names = list(self._between(request["request_delete_range"]))
        for name in names:
            self._delete(name)
        return {"response_delete_range": {"deleted": str(len(names))}}

    def _put(self, body: Json) -> None:
        name, before = decoded(body["key"]), self._keys.get(decoded(body["key"]))
        if before is None:
            insort(self._names, name)
        else:
            self.leases.get(int(before.get("lease", 0)), {}).pop(name, None)
        created = before["create_revision"] if before else str(self.revision)
        version = int(before["version"]) + 1 if before else 1
        after = {
            "key": body["key"],
            "value": body["value"],
            "create_revision": created,
            "mod_revision": str(self.revision),
            "version": str(version),
            "lease": body.get("lease", "0"),
        }
        self._keys[name] = after
        if lease := int(after["lease"]):
            self.leases[lease][name] = None
        self._changed(name, before, after)

    def _delete(self, name: str) -> None:
        before = self._keys.pop(name)
        del self._names[bisect_left(self._names, name)]
        self.leases.get(int(before["lease"]), {}).pop(name, None)
        self._changed(name, before, None)

    def _revoke(self, lease: int) -> Json:
        if lease not in self.leases:
            raise Refused(NOT_FOUND, "etcdserver: requested lease not found")
        names = self.leases.pop(lease)
        if names:
            self.revision += 1
        for name in tuple(names):
            self._delete(name)
        return self._header()
