"""What a controller that shares a fleet has in etcd: its lease, kept as long as it runs, and the store."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

from pgvigil.model.etcd import EtcdSpec
from pgvigil.model.units import ClusterName
from pgvigil.store.etcd import EtcdStore, Pack
from pgvigil.store.gateway import Gateway
from pgvigil.store.roster import EtcdRoster, Log, uptime
from pgvigil.store.transactions import Transactions


@contextlib.asynccontextmanager
async def shared_store(
    spec: EtcdSpec,
    identity: str,
    clusters: Sequence[ClusterName],
    *,
    gateway: Gateway | None = None,
    now: Callable[[], float] = uptime,
    log: Log | None = None,
    pack: Pack | None = None,
) -> AsyncIterator[tuple[EtcdStore, EtcdRoster]]:
    """The state in etcd, and this controller's place there, with a lease that is kept.

    Raises StoreError, Unsafe.
    """
    gateway = gateway or Gateway(spec)
    try:
        keys = Transactions(gateway, spec.name)
        roster = EtcdRoster(keys, spec, identity, now=now, log=log)
        async with EtcdStore(keys, roster.lock, pack=pack) as store, asyncio.TaskGroup() as group:
            await roster.enter(clusters)
            renewing = group.create_task(roster.run(), name="lease")
            try:
                yield store, roster
            finally:
                renewing.cancel()
                await roster.leave()
    finally:
        await gateway.close()
