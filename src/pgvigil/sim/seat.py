"""Where a controller runs, one life after another: alone, or beside others with etcd."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, Final

from pgvigil.controller.cluster import ClusterController
from pgvigil.controller.fleet import Fleet
from pgvigil.controller.journal import Journal
from pgvigil.controller.shared_fleet import share
from pgvigil.errors import StoreError, Unsafe
from pgvigil.model.etcd import EtcdSpec
from pgvigil.model.recording import Draft
from pgvigil.ports.contract import Lease, NodePorts, Store
from pgvigil.sight.shells import Shells
from pgvigil.sim.clock import PROCESS, SimClock
from pgvigil.sim.etcd import Etcd
from pgvigil.sim.etcd_gateway import SimGateway
from pgvigil.sim.host import SimShell
from pgvigil.sim.life import CONTROLLER, KeptStore, Life, SharedStore
from pgvigil.sim.session import SimSession
from pgvigil.store.mailbox import EtcdMailbox
from pgvigil.store.sharing import shared_store

if TYPE_CHECKING:
    from pgvigil.controller.operations import Operations
    from pgvigil.sim.server import Server
    from pgvigil.sim.world import TraceLog, World

RESTART_S: Final = (0.2, 15.0)
"""How long a killed controller stays away."""
RETRY_S: Final = 2.0
RECORDING: Final = b"what a recording is in the simulation"


class Seat:
    """One controller's place, clock and name, which all its lives have in common."""

    def __init__(self, world: "World", clock: SimClock, name: str = CONTROLLER) -> None:
        self.world, self.clock, self.name, self.place = world, clock, name, name
        self.powered = True
        """Whether the machine is there."""
        self.life: Life | None = None
        self.operations: Operations | None = None
        self.since = 0.0
        """When the newest life began."""
        self.thawed_at = 0.0
        """When it last went on after it had stood still."""

    @property
    def lives(self) -> bool:
        """Whether a controller runs here."""
        return self.life is not None and self.life.alive

    async def run(self) -> None:
        """One controller after another, each until it is killed."""
        while True:
            if self.powered:
                await self.live()
            await asyncio.sleep(self.world.rng.uniform(*RESTART_S))

    def power_off(self) -> None:
        """The machine is gone, and the controller on it."""
        self.powered = False
        if self.life:
            self.life.kill()

    def thaw(self) -> None:
        """Its controller goes on, if it stands still."""
        if self.life and self.life.frozen:
            self.thawed_at = self.world.loop.time()
            self.life.thaw()

    async def live(self) -> None:
        """Run the controller until it is killed; nothing it still does then has an effect."""
        world = self.world
        life = self.life = Life(world, self.name, self.place)
        self.since = world.loop.time()
        world.say(self.name, "starts")
        log = world.log(self)
        work = self._alone(life, log) if world.etcd is None else self._beside(life, log, world.etcd)
        context = copy_context()
        context.run(PROCESS.set, life)
        task = world.loop.create_task(work, context=context)
        killed = asyncio.ensure_future(life.killed.wait())
        try:
            await asyncio.wait({task, killed}, return_when=asyncio.FIRST_COMPLETED)
            life.alive = False
        finally:
            task.cancel()
            killed.cancel()
            await asyncio.wait({task})
        if not task.cancelled() and (error := task.exception()):
            world.rules.crashed(error)

    async def _alone(self, life: Life, log: "TraceLog") -> None:
        """With a store that all lives share."""
        store = KeptStore(life, self.world.store)
        fleet = Fleet(lambda _: self._controller(life, log, store), store, self.clock, log)
        self.operations = fleet
        async with fleet.running([self.world.spec]):
            await asyncio.Event().wait()

    async def _beside(self, life: Life, log: "TraceLog", etcd: Etcd) -> None:
        """With etcd, and others beside. One that cannot begin ends; its service starts it again."""
        world, clock = self.world, self.clock
        endpoints = tuple(f"http://{server.place}" for server in etcd.servers)
        spec = EtcdSpec(
            endpoints[self.turn :] + endpoints[: self.turn],
            self.name,
            lease_s=world.lease_s,
            retry_s=min(RETRY_S, world.lease_s / 3),
        )
        gateway = SimGateway(spec, life, etcd)
        try:
            async with shared_store(
                spec, self.name, [world.spec.name], gateway=gateway, now=clock.now, log=log, pack=_pack
            ) as (there, roster):
                store = SharedStore(life, there)
                make = self._maker(life, log, store, roster)
                fleet = Fleet(make, store, clock, log)
                shared = self.operations = share(
                    fleet, roster, store, clock, log, EtcdMailbox(roster), lease_s=world.lease_s
                )
                async with shared.running([world.spec]):
                    await life.stopped.wait()
        except* (StoreError, Unsafe) as failed:
            world.say(self.name, f"ends: {failed.exceptions[0]}")

    @property
    def turn(self) -> int:
        """Which server of etcd it asks first."""
        return self.world.seats.index(self)

    def _maker(
        self, life: Life, log: "TraceLog", store: Store, lease: Lease
    ) -> Callable[[object], ClusterController]:
        return lambda _: self._controller(life, log, store, lease)

    def _controller(
        self, life: Life, log: "TraceLog", store: Store, lease: Lease | None = None
    ) -> ClusterController:
        """The production controller on simulated ports."""
        world, clock, nodes = self.world, self.clock, {}
        for name, server in world.servers.items():
            new_session = _sessions(life, server)
            shell = SimShell(life, server.host) if server.spec.shell else None
            nodes[name] = NodePorts(server.spec, new_session, new_session(), shell)
        journal = Journal(world.spec.name, store, clock, log)
        life.controller = ClusterController(
            world.spec,
            nodes,
            _Pinger(life),
            clock,
            store,
            journal,
            log,
            own_shell=SimShell(life, None),
            lease=lease,
            shells=Shells(clock, world.shells_kept),
        )
        return life.controller


def _sessions(life: Life, server: "Server") -> Callable[[], SimSession]:
    return lambda: SimSession(life, server)


def _pack(_: Draft) -> Awaitable[bytes]:
    """What is recorded changes no course of events."""
    packed: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    packed.set_result(RECORDING)
    return packed


class _Pinger:
    """`contract.Pinger`: the reference target is always there; TCP connects to whatever host is alive."""

    def __init__(self, life: Life) -> None:
        self._life = life

    async def reaches(self, target: str, *, within_s: float) -> bool:
        """See `Pinger`."""
        world, here = self._life.world, self._life.place
        host, _, port = target.rpartition(":")
        server = world.by_address.get((host, int(port))) if host else None
        place = server.host.name if server else target
        takes_s = 2 * world.network.base_s + world.network.slow_s(here, place)
        await asyncio.sleep(min(takes_s, within_s))
        up = world.network.both(here, place) and (server is None or server.host.alive)
        if up and takes_s < within_s:
            return True
        await asyncio.sleep(max(within_s - takes_s, 0.0))
        return False
