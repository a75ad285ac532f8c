"""The production controller in quorum mode: courses of events written by hand, kept seeds, and bugs made on
purpose in what keeps the promise."""

import asyncio
import random
from dataclasses import replace

import pytest

from pgvigil.model.record import ClusterRecord, Phase
from pgvigil.model.spec import ClusterSpec, Protection
from pgvigil.sim.cluster import a_cluster
from pgvigil.sim.run import simulate
from pgvigil.sim.server import Server
from pgvigil.sim.world import World


def quorum(nodes: int, acks: int = 1, *, degrade: bool = True) -> ClusterSpec:
    spec = a_cluster(nodes, random.Random(1), Protection.QUORUM)
    return replace(spec, sync_required=acks, degrade=degrade)


async def _record(world: World) -> ClusterRecord:
    record = await world.store.load(world.spec.name)
    assert record is not None
    return record


async def _phase(world: World, phase: Phase) -> None:
    while (await _record(world)).phase is not phase:  # noqa: ASYNC110  # a store tells nobody
        await asyncio.sleep(0.0005)


async def _acknowledging(world: World, acks: int) -> None:
    """Until so many standbys acknowledge, for certain."""
    while (sync := (await _record(world)).sync) is None or sync.acks != acks:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def _ways(one: Server, other: Server) -> list[tuple[str, str]]:
    return [(one.host.name, other.host.name), (other.host.name, one.host.name)]


async def _started_again_before_its_wal_was_fetched(world: World) -> None:
    """It acknowledged alone, so only with its WAL nothing is lost; and it runs again, as a standby."""
    first, second = world.servers.values()
    first.supervised = second.supervised = False
    second.kill()
    await _acknowledging(world, 0)
    world.network.cut(_ways(first, second))
    second.start()
    await asyncio.sleep(10.0)
    first.kill()
    await _phase(world, Phase.PROMOTING)
    assert not first.start()
    await asyncio.sleep(60.0)
    assert second.takes_writes
    world.network.heal(_ways(first, second))


def test_a_primary_that_acknowledged_alone_is_stopped_again_for_its_wal() -> None:
    for seed in (1, 2, 3):
        report = simulate(seed, spec=quorum(2), script=_started_again_before_its_wal_was_fetched)
        assert not report.violations, f"seed {seed}: {report.violations[0]}"
        assert report.lost == 0
        assert report.failovers == 1


async def _isolated_with_its_clients(world: World) -> None:
    first = next(world.primaries())
    here = first.host.name
    ways = [way for p in world.places() if p != here for way in ((here, p), (p, here))]
    world.network.cut(ways)
    while all(server is first for server in world.primaries()):  # noqa: ASYNC110  # servers do not tell
        await asyncio.sleep(0.01)
    await asyncio.sleep(20.0)
    assert first.takes_writes, "it should live on, and acknowledge nothing"
    world.network.heal(ways)


@pytest.mark.parametrize("nodes", [2, 3, 5])
def test_an_isolated_primary_acknowledges_nothing_beside_its_successor(nodes: int) -> None:
    report = simulate(1, spec=quorum(nodes, nodes // 2), script=_isolated_with_its_clients)
    assert not report.violations, str(report.violations[0])
    assert (report.lost, report.failovers) == (0, 1)
