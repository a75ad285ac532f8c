"""Whole simulations: torment, heal, wait until all is well again; and what came of many seeds."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Final

from pgvigil.model.record import ClusterRecord, Phase, SyncSet
from pgvigil.model.spec import ClusterSpec, Protection
from pgvigil.sim.clock import VirtualLoop
from pgvigil.sim.cluster import a_cluster
from pgvigil.sim.invariants import Violation
from pgvigil.sim.nemesis import FAULTS, Nemesis
from pgvigil.sim.rebuilding import simulated
from pgvigil.sim.server import Server
from pgvigil.sim.synchrony import NAMES, Told
from pgvigil.sim.upheaval import FAULTS_OF_SEVERAL, SharedNemesis
from pgvigil.sim.world import World

AFTERMATH_S: Final = (0.0, 25.0)
"""After the last fault, before everything is healed."""
CALM_S: Final = 8.0
"""Before the first fault: taken over, standbys streaming."""
ROUNDS: Final = (1, 1, 1, 1, 1, 1, 1, 2, 2, 3)
"""How many times one world is tormented and healed."""
IDLE_S: Final = (60.0, 3600.0)
"""Between them, and before the first, nothing happens for so long: see `World.pass_over`."""
WELL_WITHIN_S: Final = 600.0
"""After healing, everything must be well within this: the longest pause between repairs is 300 s."""


@dataclass(frozen=True, slots=True)
class Report:
    """What came of one seed."""

    seed: int
    violations: tuple[Violation, ...]
    trace: tuple[str, ...] = field(repr=False)
    lasted_s: float = 0.0
    """Virtual seconds, each of them lived through."""
    idle_s: float = 0.0
    """Virtual seconds in which nothing happened, passed over."""
    outages_s: tuple[float, ...] = ()
    """How long the application could not write, each time."""
    acknowledged: int = 0
    lost: int = 0
    failovers: int = 0
    unneeded: int = 0
    """Failovers away from a primary that served somewhere."""
    handed_on: int = 0
    """How often another controller came to guard the cluster."""
    holds: tuple[tuple[str, int], ...] = ()
    """How often the controller held, by rule."""


Script = Callable[[World], Coroutine[None, None, None]]
"""What goes wrong, written by hand."""


def simulate(
    seed: int,
    nodes: int = 3,
    spec: ClusterSpec | None = None,
    *,
    protection: Protection = Protection.ASYNC,
    script: Script | None = None,
    controllers: int = 1,
    shells_kept: int | None = None,
) -> Report:
    """One course of events; the same seed gives the same one. `script`: in place of faults from the seed.

    `spec`: a user's own cluster, in place of one with so many nodes and that protection. `controllers`: more
    than one share the cluster, and have their state in etcd. `shells_kept`: so many stay open; None: all.
    """
    loop = VirtualLoop()
    loop.set_exception_handler(lambda _, __: None)  # what a killed controller leaves behind
    try:
        with simulated():
            chosen = spec or a_cluster(nodes, random.Random(seed), protection)  # noqa: S311  # to be repeated
            world = World(loop, seed, chosen, controllers, shells_kept)
            return loop.run_until_complete(_run(world, seed, script))
    finally:
        loop.close()


async def _run(world: World, seed: int, script: Script | None) -> Report:
    nemesis, faults = Nemesis(world, seed), FAULTS
    if world.sharing:
        nemesis, faults = SharedNemesis(world, seed), FAULTS_OF_SEVERAL
    world.begin()
    control = [asyncio.ensure_future(seat.run()) for seat in world.seats]
    try:
        await asyncio.sleep(CALM_S)
        for _ in range(1 if script else world.rng.choice(ROUNDS)):
            await _idle(world)
            await (script(world) if script else nemesis.torment(faults))
            await asyncio.sleep(world.rng.uniform(*AFTERMATH_S))
            await nemesis.heal()
            if not await _until_well(world):
                break
    finally:
        for running in control:
            running.cancel()
        await asyncio.wait(control)
    return _report(world, seed)


async def _idle(world: World) -> None:
    """Nothing happens for a long time, and all is well; unless it is not well."""
    if not await _trouble(world):
        world.pass_over(world.rng.uniform(*IDLE_S))
        await asyncio.sleep(5.0)


async def _until_well(world: World) -> bool:
    """Liveness: one primary, that of the record; all others stream from it and have what it has."""
    until = world.loop.time() + WELL_WITHIN_S
    trouble = ""
    while world.loop.time() < until:
        await asyncio.sleep(1.0)
        if not (trouble := await _trouble(world)):
            return True
    world.rules.not_well(trouble)
    return False


async def _trouble(world: World) -> str:
    record = await world.stored()
    if record is None:
        return "there is no record"
    if record.phase is not Phase.STABLE:
        return f"the record is in phase {record.phase}"
    primary = world.servers[record.primary]
    if not primary.takes_writes:
        return f"{primary.name} takes no writes"
    if primary.data.timeline != record.timeline:
        return f"{primary.name} is on timeline {primary.data.timeline}, the record on {record.timeline}"
    for server in world.servers.values():
        if server is primary:
            continue
        if server.takes_writes:
            return f"{server.name} takes writes too"
        if not _fed(server, primary) or not server.data.within(primary.data):
            return f"{server.name} does not stream from {primary.name}"
    if record.deposed:
        return f"{', '.join(sorted(record.deposed))} is deposed"
    return (world.sharing.trouble() if world.sharing else "") or _unprotected(world, record)


def _unprotected(world: World, record: ClusterRecord) -> str:
    """What is missing from the protection that is wanted (`quorum`), now that every standby is there."""
    if world.spec.protection is not Protection.QUORUM:
        return ""
    able = frozenset(node.name for node in world.spec.others(record.primary) if node.may_acknowledge())
    wanted = SyncSet(min(world.spec.sync_required, len(able)), able)
    if record.sync != wanted or record.sync_next is not None:
        return f"commits wait for {record.sync}, perhaps for {record.sync_next}, and not for {wanted}"
    server = world.servers[record.primary]
    if server.settings.get(NAMES, "") != wanted.setting or server.sync.waits != bool(wanted.acks):
        return f"{server.name} does not wait for {wanted}"
    return ""


def _fed(server: Server, primary: Server) -> bool:
    """Whether it gets the primary's WAL, directly or through other standbys."""
    for _ in range(len(server.world.servers)):
        stream = server.receiving.stream
        if stream is None:
            return False
        server = stream.above
        if server is primary:
            return True
    return False


def _report(world: World, seed: int) -> Report:
    record = world.rules.record
    kept = world.servers[record.primary].data.rows() if record else set()
    lost = [ack for ack in world.clients.acknowledged if ack.row not in kept and ack.told is not Told.LOCAL]
    return Report(
        seed=seed,
        violations=tuple(world.rules.violations),
        trace=tuple(world.trace),
        lasted_s=world.loop.time(),
        idle_s=world.idle_s,
        outages_s=tuple(seconds for _, seconds in world.clients.outages),
        acknowledged=len(world.clients.acknowledged),
        lost=len(lost),
        failovers=world.rules.failovers,
        unneeded=world.rules.unneeded,
        handed_on=world.sharing.changes if world.sharing else 0,
        holds=tuple(sorted(world.holds.items())),
    )
