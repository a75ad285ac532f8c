"""The one place that knows which ports are real: ports, store and controllers put together."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

import structlog

from pgvigil.controller.cluster import ClusterController
from pgvigil.controller.fleet import Fleet
from pgvigil.controller.journal import Journal
from pgvigil.model.spec import ClusterSpec, NodeSpec
from pgvigil.ports.clock import SystemClock
from pgvigil.ports.contract import Clock, NodePorts, Notifier, Store
from pgvigil.ports.ping import NetworkPinger
from pgvigil.ports.postgres import PostgresSession
from pgvigil.ports.shell import make_shell
from pgvigil.store.lock import StateLock
from pgvigil.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from pgvigil.config.load import Config


def node_ports(spec: NodeSpec) -> NodePorts:
    """The real ways to a node; nothing is opened yet."""

    def new_session() -> PostgresSession:
        return PostgresSession(spec)

    shell = make_shell(spec.shell, host=spec.host) if spec.shell else None
    return NodePorts(spec, new_session, new_session(), shell)


def cluster_controller(
    spec: ClusterSpec,
    store: Store,
    clock: Clock,
    *,
    notifiers: Sequence[Notifier] = (),
    automatic: bool = True,
) -> ClusterController:
    """A controller of one cluster on real ports."""
    log = structlog.get_logger()
    nodes = {node.name: node_ports(node) for node in spec.nodes}
    journal = Journal(spec.name, store, clock, log, notifiers)
    return ClusterController(spec, nodes, NetworkPinger(), clock, store, journal, log, automatic=automatic)


@contextlib.asynccontextmanager
async def operations(config: "Config", *, automatic: bool) -> AsyncIterator[Fleet]:
    """A fleet on real ports under the state directory's lock.

    `automatic` False: in-process commands without a running controller; they do the same work, but nothing
    that was not asked for. Raises Unsafe if another controller holds the lock, StoreError.
    """
    clock = SystemClock()
    with StateLock(config.state_dir):
        store = SqliteStore(config.state_dir / "pgvigil.db")
        try:
            clusters = [
                cluster_controller(spec, store, clock, automatic=automatic) for spec in config.clusters
            ]
            async with Fleet(clusters, store, clock, structlog.get_logger()).running() as fleet:
                yield fleet
        finally:
            await store.close()
