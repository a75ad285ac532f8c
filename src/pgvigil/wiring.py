"""The one place that knows which ports are real: ports, store and controllers put together."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

import structlog

from pgvigil.api.socket_server import serve
from pgvigil.config.load import Config
from pgvigil.controller.cluster import ClusterController
from pgvigil.controller.fleet import Fleet
from pgvigil.controller.journal import Journal
from pgvigil.model.spec import ClusterSpec, NodeSpec
from pgvigil.model.units import ClusterName
from pgvigil.ports.clock import SystemClock
from pgvigil.ports.contract import Clock, NodePorts, Notifier, Store
from pgvigil.ports.hooks import Hooks
from pgvigil.ports.ping import NetworkPinger
from pgvigil.ports.postgres import PostgresSession
from pgvigil.ports.shell import make_shell
from pgvigil.store.lock import StateLock
from pgvigil.store.sqlite import SqliteStore


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


def make_fleet(store: Store, *, notifiers: Sequence[Notifier] = (), automatic: bool = True) -> Fleet:
    """A fleet whose clusters have real ports."""
    clock = SystemClock()

    def make(spec: ClusterSpec) -> ClusterController:
        return cluster_controller(spec, store, clock, notifiers=notifiers, automatic=automatic)

    return Fleet(make, store, clock, structlog.get_logger())


@contextlib.asynccontextmanager
async def local_operations(config: Config, *, clusters: Sequence[ClusterName]) -> AsyncIterator[Fleet]:
    """A fleet for commands without a running controller: it does what was asked, and nothing else.

    Raises Unsafe if a controller holds the state's lock, StoreError if the state cannot be opened.
    """
    wanted = [spec for spec in config.clusters if not clusters or spec.name in clusters]
    with StateLock(config.state_dir):
        async with await SqliteStore.open(config.state_dir) as store:
            fleet = make_fleet(store, automatic=False)
            async with fleet.running(wanted):
                await fleet.looked()
                yield fleet


async def run_controller(config: Config, *, reread: Callable[[], Config]) -> None:
    """The service: guard every cluster and answer on the socket, until cancelled.

    `reread` gives the configuration anew when an operator asks to reload; a wrong one changes nothing.
    Raises Unsafe if another controller holds the state's lock, StoreError, ConfigError.
    """
    with StateLock(config.state_dir):
        async with await SqliteStore.open(config.state_dir) as store, asyncio.TaskGroup() as group:
            hooks = Hooks()
            group.create_task(hooks.run())
            hooks.serve(config.clusters)
            fleet = make_fleet(store, notifiers=(hooks,))

            async def reload() -> str:
                fresh = reread()
                hooks.serve(fresh.clusters)
                return await fleet.guard(fresh.clusters)

            async with fleet.running(config.clusters):
                await serve(fleet, config.socket, reload=reload)
