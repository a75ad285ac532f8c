"""This controller among those that share a fleet: its lease in etcd, and its locks on clusters.

All it has there hangs on one lease and goes with it. By its own clock, which counts a suspended machine's
time too, the lease counts for two thirds of its time only, from when its renewal was sent: whoever takes a
cluster over waits for all of it.
"""

import asyncio
import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import structlog

from pgvigil.errors import StoreError, Unsafe
from pgvigil.model.etcd import EtcdSpec
from pgvigil.model.roster import Census, Peer
from pgvigil.model.units import ClusterName
from pgvigil.store.etcd import owner_key
from pgvigil.store.gateway import number
from pgvigil.store.transactions import Key, Transactions

COUNTS: Final = 2 / 3
"""So much of the lease's time this controller acts on it."""
ENDS: Final = 0.9
"""So much of it nobody else acts, however its clock differs from etcd's a little."""
RENEWED: Final = 1 / 3
AGAIN_S: Final = 0.1
"""After a renewal that failed."""


class Log(Protocol):
    """What is told to people."""

    def info(self, event: str, **fields: object) -> None:
        """Something happened."""
        ...

    def warning(self, event: str, **fields: object) -> None:
        """Somebody should look at it."""
        ...


def uptime() -> float:
    """Seconds, suspended ones too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def place() -> str:
    """What this host's network is called: the same for all that look at nodes from here."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat('/proc/self/ns/net').st_ino}"
    except OSError:
        return socket.gethostname()


class EtcdRoster:
    """`ports.contract.Roster` in etcd. `identity` stays the same when this controller is started again."""

    def __init__(
        self,
        keys: Transactions,
        spec: EtcdSpec,
        identity: str,
        *,
        now: Callable[[], float] = uptime,
        log: Log | None = None,
    ) -> None:
        self.name = spec.name
        self.keys, self.spec, self._identity, self._now = keys, spec, identity, now
        self._lease, self._ttl_s = 0, spec.lease_s
        self._until = self._began = now()
        self._locks: dict[ClusterName, int] = {}
        self._clusters: tuple[ClusterName, ...] = ()
        self._seen: dict[str, tuple[int, float]] = {}
        self._peers: tuple[Peer, ...] = ()
        self.place = place()
        self._told: dict[str, Key] = {}
        self._trouble = ""
        self._log: Log = log or structlog.get_logger()

    @property
    def lease(self) -> int:
        """The number that etcd gave our lease; 0: there is none at the moment."""
        return self._lease

    def lock(self, cluster: ClusterName) -> int | None:
        """The revision of etcd at which the cluster's lock was taken; None: it is not held."""
        return self._locks.get(cluster)

    def held(self) -> frozenset[ClusterName]:
        """The clusters whose locks this controller holds."""
        return frozenset(self._locks)

    def lost(self, cluster: ClusterName) -> str:
        """Why this controller may not act on the cluster now; empty: it may."""
        if self._now() >= self._until:
            return f"the lease of this controller ({self.name}) is not confirmed by etcd"
        if cluster not in self._locks:
            return f"this controller ({self.name}) does not hold the lock of {cluster}"
        return ""

    def elsewhere(self, cluster: ClusterName) -> list[str]:
        """The other live controllers that have this cluster, and run on another host."""
        there = (peer for peer in self._peers if cluster in peer.clusters and peer.name != self.name)
        return [peer.name for peer in there if peer.place != self.place]

    def ended(self, cluster: ClusterName) -> str:
        """Why another controller may act on the cluster by now; empty: nobody does yet."""
        if self._now() >= self._began + self._ttl_s * ENDS:
            return f"the lease of this controller ({self.name}) may have ended"
        return "" if cluster in self._locks else self.lost(cluster)

    async def enter(self, clusters: Sequence[ClusterName]) -> None:
        """Take a lease and say that we are here. Raises StoreError, Unsafe if the name is taken."""
        self._clusters = tuple(clusters)
        await self._renew()

    async def announce(self, clusters: Sequence[ClusterName]) -> None:
        """Say that these are configured here from now on. Raises StoreError."""
        if tuple(clusters) != self._clusters:
            self._clusters = tuple(clusters)
            if self._lease:
                await self._register()

    async def run(self) -> None:
        """Keep the lease until cancelled; when it has ended, take another."""
        while True:
            await asyncio.sleep(max(self._began + self._ttl_s * RENEWED - self._now(), AGAIN_S))
            try:
                await self._renew()
            except (StoreError, Unsafe) as failure:
                if not self._trouble:
                    self._log.warning("lease_not_renewed", error=str(failure), hint=failure.hint)
                self._trouble = str(failure)

    async def leave(self) -> None:
        """Give up lease and locks at once, so that others need not wait."""
        lease, self._lease, self._until = self._lease, 0, self._now()
        self._locks.clear()
        if lease:
            with contextlib.suppress(StoreError):  # it ends by itself
                await self.keys.gateway.ask("/v3/lease/revoke", {"ID": str(lease)})

    async def look(self) -> Census:
        """Who is there and guards what. Raises StoreError.

        A lock that is not ours any more is given up; one whose taking was not answered is ours.
        """
        owners = {key.name.partition("/")[2]: key for key in await self.keys.below("owner/")}
        there = await self.keys.below("controller/")
        for cluster, created in tuple(self._locks.items()):
            if (key := owners.get(cluster)) is None or key.created != created:
                del self._locks[cluster]
        ours = {name: key.created for name, key in owners.items() if self._lease == key.lease != 0}
        self._locks.update((ClusterName(name), created) for name, created in ours.items())
        now = self._now()
        self._seen = {key.name: self._seen.get(key.name, (key.created, now)) for key in there}
        for key in there:
            if self._seen[key.name][0] != key.created:
                self._seen[key.name] = key.created, now
        peers = {peer.name: peer for peer in (self._peer(key, now) for key in there)}
        self._peers = tuple(peers.values())
        return Census(peers, {ClusterName(cluster): key.value for cluster, key in owners.items()})

    def _peer(self, key: Key, now: float) -> Peer:
        fields = json.loads(key.value)
        return Peer(
            key.name.partition("/")[2],
            fields["address"],
            frozenset(map(ClusterName, fields["clusters"])),
            now - self._seen[key.name][1],
            fields.get("place", ""),
        )

    async def claim(self, cluster: ClusterName) -> bool:
        """Take the cluster's lock if nobody holds it; whether it is ours now. Raises StoreError."""
        if cluster in self._locks:
            return True
        lease, key = self._lease, owner_key(cluster)
        if not lease:
            return False
        revision = await self.keys.change(
            [self.keys.created(key, 0)], [self.keys.put(key, self.name, lease=lease)]
        )
        if revision and lease == self._lease:
            self._locks[cluster] = revision
        return cluster in self._locks

    async def release(self, cluster: ClusterName) -> None:
        """Give the cluster's lock up. Raises StoreError; then it is not held either."""
        created = self._locks.pop(cluster, None)
        if created is not None:
            keys, key = self.keys, owner_key(cluster)
            await keys.change([keys.created(key, created)], [keys.delete(key), keys.delete(_status(cluster))])

    async def publish(self, cluster: ClusterName, status: str) -> None:
        """Let all controllers know how the cluster is, as long as we guard it. Raises StoreError."""
        created = self._locks.get(cluster)
        if created is not None:
            keys, key = self.keys, owner_key(cluster)
            await keys.change(
                [keys.created(key, created)], [keys.put(_status(cluster), status, lease=self._lease)]
            )

    async def published(self) -> Mapping[ClusterName, str]:
        """How the clusters are, as those who guard them told; only news is read. Raises StoreError."""
        there = {key.name: key.modified for key in await self.keys.below("status/", keys_only=True)}
        known = {name: key for name, key in self._told.items() if there.get(name) == key.modified}
        news = await self.keys.of_names([name for name in there if name not in known])
        self._told = {**known, **{key.name: key for key in news}}
        return {ClusterName(name.partition("/")[2]): key.value for name, key in self._told.items()}

    async def _renew(self) -> None:
        """Confirm the lease, or take a new one: then all locks are gone. Raises StoreError, Unsafe."""
        began = self._now()
        if self._lease:
            answer = await self.keys.gateway.ask("/v3/lease/keepalive", {"ID": str(self._lease)})
            if number(answer.get("result", {}), "TTL") > 0:
                self._confirmed(began)
                return
            self._lease = 0
        self._locks.clear()
        answer = await self.keys.gateway.ask(
            "/v3/lease/grant", {"TTL": str(round(self.spec.lease_s)), "ID": "0"}
        )
        self._lease, self._ttl_s = int(answer["ID"]), float(number(answer, "TTL"))
        try:
            await self._register()
        except (StoreError, Unsafe):
            self._lease = 0
            raise
        self._confirmed(began)

    def _confirmed(self, began: float) -> None:
        if self._trouble:
            self._log.info("lease_renewed_again")
        self._began, self._until, self._trouble = began, began + self._ttl_s * COUNTS, ""

    async def _register(self) -> None:
        """Say who we are. What is left of our own earlier life goes; another's name is not taken."""
        keys, key = self.keys, f"controller/{self.name}"
        there = await keys.get(key)
        if there is not None and there.lease != self._lease:
            if json.loads(there.value)["id"] != self._identity:
                raise Unsafe(
                    f"another controller is called {self.name}",
                    detail=f"it has announced itself below {keys.prefix}",
                    hint="give each its own store.name; one that ended is forgotten with its lease",
                )
            await keys.gateway.ask("/v3/lease/revoke", {"ID": str(there.lease)})
            there = None
        known = {"id": self._identity, "address": self.spec.address, "place": self.place}
        fields = {**known, "clusters": list(self._clusters)}
        condition = keys.modified(key, there.modified if there else 0)
        if not await keys.change([condition], [keys.put(key, json.dumps(fields), lease=self._lease)]):
            raise StoreError(f"the controller {self.name} was announced by somebody else just now")


def _status(cluster: ClusterName) -> str:
    return f"status/{cluster}"
