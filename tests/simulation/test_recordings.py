"""Whatever is recorded is decided again the same, byte for byte, after it was written and read."""

import asyncio

import pytest

from pgvigil.controller.replay import replayed
from pgvigil.model.recording import repacked, unpacked
from pgvigil.model.spec import Protection
from pgvigil.sim.nemesis import FAULTS, Nemesis
from pgvigil.sim.run import simulate
from pgvigil.sim.world import World


@pytest.mark.parametrize("protection", Protection)
@pytest.mark.parametrize("seed", range(7100, 7104))
def test_a_course_of_faults_is_decided_again_the_same(seed: int, protection: Protection) -> None:
    worlds: list[World] = []

    async def torment(world: World) -> None:
        worlds.append(world)
        await Nemesis(world, seed).torment(FAULTS)

    simulate(seed, 3, protection=protection, script=torment)
    bodies = asyncio.run(_bodies(worlds[0]))
    assert bodies
    for body in bodies:
        recording = unpacked(body)
        differing = [(each.frame.decided, each.now) for each in replayed(recording) if not each.same]
        assert not differing
        assert unpacked(repacked(recording)) == recording


async def _bodies(world: World) -> list[bytes]:
    kept = await world.store.recordings(world.spec.name)
    found = [await world.store.recording(world.spec.name, each.ended) for each in kept]
    return [body for body in found if body is not None]
