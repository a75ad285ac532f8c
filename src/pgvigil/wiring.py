"""The one place that knows which ports are real: ports, store and controllers put together."""

import asyncio
import contextlib
import gc
import os
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

import structlog

from pgvigil.act.bench import Bench
from pgvigil.api.backing import Backing
from pgvigil.api.http_face import HttpFace
from pgvigil.api.letters import Letters
from pgvigil.api.peer import user_name
from pgvigil.api.socket_server import serve
from pgvigil.config.load import Config
from pgvigil.controller import guards, survey
from pgvigil.controller.cluster import ClusterController
from pgvigil.controller.fleet import Fleet, tell_late, tell_slowdown
from pgvigil.controller.journal import Journal
from pgvigil.controller.mode import Mode
from pgvigil.controller.operations import Giver
from pgvigil.controller.shared_fleet import SharedFleet, share
from pgvigil.errors import Unsafe, UsageError
from pgvigil.model.check import CheckItem
from pgvigil.model.etcd import EtcdSpec
from pgvigil.model.guard import GuardReport
from pgvigil.model.record import Paths
from pgvigil.model.shell import LocalShell
from pgvigil.model.spec import ClusterSpec, NodeSpec
from pgvigil.model.units import ClusterName, Generation, NodeName
from pgvigil.ports.clock import SystemClock
from pgvigil.ports.contract import Advisor, Clock, Lease, NodePorts, Notifier, Peers, Shell, Store
from pgvigil.ports.dsn import libpq_keywords
from pgvigil.ports.endpoints import make_endpoints
from pgvigil.ports.ping import NetworkPinger
from pgvigil.ports.postgres import PostgresSession
from pgvigil.ports.shell import make_shell
from pgvigil.ports.telling import Telling
from pgvigil.sight.own_loop import OwnLoop
from pgvigil.sight.shells import Shells
from pgvigil.store import migrate
from pgvigil.store.etcd import EtcdStore
from pgvigil.store.etcd_check import check_etcd
from pgvigil.store.gateway import Gateway
from pgvigil.store.lock import StateLock, identity
from pgvigil.store.mailbox import EtcdMailbox
from pgvigil.store.memory import MemoryStore
from pgvigil.store.peers import EtcdPeers
from pgvigil.store.readonly import ReadOnlyStore
from pgvigil.store.roster import EtcdRoster
from pgvigil.store.sharing import shared_store
from pgvigil.store.sqlite import FILE_NAME, SqliteStore
from pgvigil.store.transactions import Transactions

FIRST_ANSWER_S = 5.0
"""So long a health check waits for the first look: a "no" before it would take nodes out of service."""
FLEET_CHANGES_S = 60.0
"""So often it is looked whether clusters came."""
COMMAND_ENDS_S = 30.0
"""How long a starting controller waits for a command that holds the state."""

ENDPOINTS_S = 10.0
"""How long a command without a running controller waits at its end for endpoints that are being moved."""


def node_ports(spec: NodeSpec) -> NodePorts:
    """The real ways to a node; nothing is opened yet."""

    def new_session() -> PostgresSession:
        return PostgresSession(spec)

    shell = make_shell(spec.shell, host=spec.host) if spec.shell else None
    return NodePorts(spec, new_session, new_session(), shell)


def witness_shells(spec: ClusterSpec) -> dict[str, Shell]:
    """The real shells of a cluster's witness hosts; nothing is opened yet."""
    return {each.name: make_shell(each.shell, host=each.host) for each in spec.witnesses}


def cluster_controller(
    spec: ClusterSpec,
    store: Store,
    clock: Clock,
    *,
    notifiers: Sequence[Notifier] = (),
    mode: Mode = Mode.GUARD,
    advisor: Advisor | None = None,
    lease: Lease | None = None,
    own_loop: OwnLoop | None = None,
    shells: Shells | None = None,
    peers: Peers | None = None,
) -> ClusterController:
    """A controller of one cluster on real ports."""
    log = structlog.get_logger()
    nodes = {node.name: node_ports(node) for node in spec.nodes}
    journal = Journal(spec.name, store, clock, log, notifiers)
    pinger, own_shell = NetworkPinger(), make_shell(LocalShell(), host="localhost")
    return ClusterController(
        spec,
        nodes,
        pinger,
        clock,
        store,
        journal,
        log,
        mode=mode,
        own_shell=own_shell,
        advisor=advisor,
        witnesses=witness_shells(spec),
        far={node.name: node_ports(node) for node in spec.standby_of.nodes} if spec.standby_of else None,
        endpoints=make_endpoints(spec),
        lease=lease,
        own_loop=own_loop,
        shells=shells,
        peers=peers,
    )


def make_fleet(
    store: Store,
    *,
    notifiers: Sequence[Notifier] = (),
    mode: Mode = Mode.GUARD,
    advisor: Advisor | None = None,
    lease: Lease | None = None,
    peers: Peers | None = None,
    shells: Shells | None = None,
) -> Fleet:
    """A fleet whose clusters have real ports."""
    clock = SystemClock()
    log = structlog.get_logger()
    own_loop = OwnLoop(clock, partial(tell_late, log), partial(tell_slowdown, log))

    def make(spec: ClusterSpec) -> ClusterController:
        return cluster_controller(
            spec, store, clock,
            notifiers=notifiers, mode=mode, advisor=advisor, lease=lease, own_loop=own_loop, shells=shells,
            peers=peers,
        )  # fmt: skip

    here = Giver(user_name(os.getuid()), "command line")
    return Fleet(make, store, clock, log, here, own_loop=own_loop)


def _shells(config: Config) -> Shells:
    """What all clusters of a process have in common of their hosts' shells."""
    return Shells(SystemClock(), config.shells_kept)


@contextlib.asynccontextmanager
async def local_operations(config: Config, *, clusters: Sequence[ClusterName]) -> AsyncIterator[Fleet]:
    """A fleet for commands without a running controller: it does what was asked, and nothing else.

    Raises Unsafe if a controller holds the state's lock, StoreError if the state cannot be opened.
    """
    wanted = [spec for spec in config.clusters if not clusters or spec.name in clusters]
    with StateLock(config.state_dir):
        async with _store(config, ()) as (store, roster):
            fleet = make_fleet(store, mode=Mode.ORDERS, lease=roster, shells=_shells(config))
            if roster:
                for spec in wanted:
                    await _take(roster, spec.name)
            async with fleet.running(wanted):
                await fleet.looked()
                yield fleet
                await fleet.endpoints_settled(within_s=ENDPOINTS_S)


@contextlib.asynccontextmanager
async def _store(
    config: Config, clusters: Sequence[ClusterName]
) -> AsyncIterator[tuple[Store, EtcdRoster | None]]:
    """The configured store; with etcd, this controller's lease and locks there. Raises StoreError, Unsafe."""
    if config.store is None:
        async with await SqliteStore.open(config.state_dir) as store:
            yield store, None
        return
    async with shared_store(config.store, identity(config.state_dir), clusters) as shared:
        yield shared


def _shared(
    fleet: Fleet, roster: EtcdRoster | None, store: Store, spec: EtcdSpec | None
) -> SharedFleet | None:
    if roster is None or spec is None:
        return None
    clock, log, mailbox = SystemClock(), structlog.get_logger(), EtcdMailbox(roster)
    return share(fleet, roster, store, clock, log, mailbox, lease_s=spec.lease_s)


async def _take(roster: EtcdRoster, cluster: ClusterName) -> None:
    """The lock of a cluster, for a command without a controller. Raises Unsafe: another one guards it."""
    if not await roster.claim(cluster):
        owner = (await roster.look()).owners.get(cluster, "somebody else")
        raise Unsafe(
            f"{cluster} is guarded by another controller: {owner}",
            detail="nothing was done",
            hint=f"give it where a controller runs: on the host of {owner}, or any other of them",
        )


@contextlib.asynccontextmanager
async def local_look(config: Config, *, clusters: Sequence[ClusterName]) -> AsyncIterator[Fleet]:
    """A fleet that only looks: no lock, no writing, beside a controller if one runs. Raises StoreError."""
    wanted = [spec for spec in config.clusters if not clusters or spec.name in clusters]
    async with contextlib.AsyncExitStack() as stack:
        store: Store = MemoryStore()
        if config.store is not None:
            gateway = Gateway(config.store)
            stack.push_async_callback(gateway.close)
            there = EtcdStore(Transactions(gateway, config.store.name), lambda _: None, writes=False)
            store = ReadOnlyStore(await stack.enter_async_context(there))
        elif (config.state_dir / FILE_NAME).exists():
            kept = await stack.enter_async_context(await SqliteStore.open(config.state_dir))
            store = ReadOnlyStore(kept)
        fleet = make_fleet(store, mode=Mode.LOOK, shells=_shells(config))
        await stack.enter_async_context(fleet.running(wanted))
        await fleet.looked()
        yield fleet


async def run_controller(config: Config, *, reread: Callable[[], Config]) -> None:
    """The service: guard every cluster and answer on the socket, until cancelled.

    `reread` gives the configuration anew when an operator asks to reload; a wrong one changes nothing.
    Raises Unsafe if another controller holds the state's lock, StoreError, ConfigError.
    """
    with StateLock(config.state_dir, wait_s=COMMAND_ENDS_S):
        names = [spec.name for spec in config.clusters]
        async with _store(config, names) as (store, roster), asyncio.TaskGroup() as group:
            telling = Telling(SystemClock())
            telling.serve(config.clusters, config.notify)
            peers = EtcdPeers(roster) if roster else None
            shells = _shells(config)
            fleet = make_fleet(
                store,
                notifiers=telling.notifiers,
                advisor=telling.hooks,
                lease=roster,
                peers=peers,
                shells=shells,
            )
            telling.report_to(fleet.noted, fleet.primary_of)
            group.create_task(telling.run())
            shared = _shared(fleet, roster, store, config.store)
            ops = shared or fleet
            if shared and roster and peers:
                letters = Letters(EtcdMailbox(roster), roster.name, shared.order_here)
                group.create_task(letters.attend())
                group.create_task(peers.attend(shared.spec))

            async def reload() -> str:
                fresh = reread()
                await face.serve(fresh.http)
                telling.serve(fresh.clusters, fresh.notify)
                shells.kept = fresh.shells_kept
                return await (shared.serve if shared else fleet.guard)(fresh.clusters)

            async def look(name: ClusterName) -> list[CheckItem]:
                return await _check([ops.spec(name)])

            async def looked_at(name: ClusterName) -> None:
                await fleet.looked_at(name, within_s=FIRST_ANSWER_S)

            own = fleet.late_s, fleet.slowdown
            face = HttpFace(ops, Backing(ops.denied, ops.spec, look, looked_at, reload, *own))
            async with face:
                await face.serve(config.http)  # its imports take half a second: before anybody is watched
                async with ops.running(config.clusters):
                    group.create_task(_leave_to_itself(fleet))
                    await serve(ops, config.socket, reload=reload)


async def _leave_to_itself(fleet: Fleet) -> None:
    """What a fleet is made of stays: the collector of cycles need not go through it, which takes seconds."""
    known: frozenset[ClusterName] = frozenset()
    while True:  # clusters come on reload, and from other controllers
        await fleet.looked()
        if fleet.names - known:
            gc.freeze()
        known = fleet.names
        await asyncio.sleep(FLEET_CHANGES_S)


async def migrate_store(config: Config, to: str, *, dry_run: bool) -> dict[str, int]:
    """Take the state of all configured clusters `to` sqlite or etcd: how much of what there is.

    Raises UsageError, Unsafe: a controller runs, or the target is not empty; StoreError.
    """
    if config.store is None:
        raise UsageError(
            "the configuration names no etcd",
            hint="write store: {kind: etcd, endpoints: …} first; see docs/operate/several-controllers.md",
        )
    names = [spec.name for spec in config.clusters]
    with StateLock(config.state_dir):
        async with shared_store(config.store, identity(config.state_dir), ()) as (there, roster):
            await migrate.alone(roster, names)
            return await (_to_etcd if to == "etcd" else _to_sqlite)(config, names, there, dry_run)


async def _to_etcd(
    config: Config, names: Sequence[ClusterName], there: EtcdStore, dry_run: bool
) -> dict[str, int]:
    if not (config.state_dir / FILE_NAME).exists():
        raise UsageError(f"there is no store: {config.state_dir / FILE_NAME}", hint="see state_dir:")
    await migrate.must_be_empty(there)
    async with await SqliteStore.open(config.state_dir) as here:
        what = await migrate.holdings(here, names)
    if not dry_run:
        await migrate.bring(what, there)
        migrate.set_aside(config.state_dir)
    return what.counts()


async def _to_sqlite(
    config: Config, names: Sequence[ClusterName], there: EtcdStore, dry_run: bool
) -> dict[str, int]:
    what = await migrate.holdings(there, names)
    if not dry_run:
        async with migrate.new_file(config.state_dir) as here:
            await migrate.bring(what, here)
        await there.forget_records()
    return what.counts()


async def check(config: Config, clusters: Sequence[ClusterName]) -> list[CheckItem]:
    """Look once at these clusters and etcd, and say what is not as it should be; changes nothing."""
    wanted = [spec for spec in config.clusters if spec.name in clusters]
    if config.store is None:
        return await _check(wanted)
    store, items = await asyncio.gather(check_etcd(config.store), _check(wanted))
    return [*store, *items]


async def _check(wanted: Sequence[ClusterSpec]) -> list[CheckItem]:
    async def one(spec: ClusterSpec) -> list[CheckItem]:
        nodes, witnesses = {node.name: node_ports(node) for node in spec.nodes}, witness_shells(spec)
        endpoints = make_endpoints(spec)
        try:
            here = survey.check_cluster(spec, nodes, NetworkPinger(), SystemClock(), witnesses)
            there = survey.check_endpoints(spec, endpoints)
            return [item for items in await asyncio.gather(here, there) for item in items]
        finally:
            for shell in witnesses.values():
                shell.close()
            for endpoint in endpoints:
                endpoint.close()
            for ports in nodes.values():
                ports.close()

    return [item for items in await asyncio.gather(*map(one, wanted)) for item in items]


async def guard(
    spec: ClusterSpec, action: str, names: Sequence[NodeName], *, dry_run: bool
) -> list[GuardReport]:
    """Install, remove or look at the guards of these nodes (none named: of all); a report a node."""
    nodes = {node.name: node_ports(node) for node in spec.nodes}
    wanted = list(names) or list(nodes)
    try:
        match action:
            case "install":
                return await guards.install(spec, nodes, wanted, dry_run=dry_run)
            case "remove":
                return await guards.remove(spec, nodes, wanted, dry_run=dry_run)
            case _:
                return await guards.look(spec, nodes, wanted)
    finally:
        for ports in nodes.values():
            ports.close()


async def discover(dsn: str, name: str, ssh_key: str) -> survey.Discovered:
    """A configuration written from the running cluster that the libpq connection string leads to."""
    shell = partial(survey.likely_shell, ssh_key=ssh_key)
    return await survey.discover(libpq_keywords(dsn), node_ports, SystemClock(), name=name, shell=shell)


@contextlib.asynccontextmanager
async def workbench(spec: ClusterSpec, report: Callable[[NodeName, str], None]) -> AsyncIterator[Bench]:
    """The ways to a cluster's nodes for work beside the controller; it decides nothing."""
    nodes = {node.name: node_ports(node) for node in spec.nodes}
    own_shell = make_shell(LocalShell(), host="localhost")

    def paths(name: NodeName) -> Paths:
        node = spec.node(name)
        return Paths(node.data_dir, node.bin_dir, node.config_file)

    bench = Bench(spec, nodes, paths, SystemClock(), lambda: Generation(0), own_shell, report)
    try:
        yield bench
    finally:
        own_shell.close()
        for ports in nodes.values():
            ports.close()
