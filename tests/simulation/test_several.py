"""Three controllers that share a cluster, with a simulated etcd: courses of events written by hand."""

import asyncio

from pgvigil.model.record import Phase
from pgvigil.sim.run import Script, simulate
from pgvigil.sim.world import World


async def until_phase(world: World, phase: Phase) -> None:
    """Until a record in that phase is stored."""
    while (record := world.rules.record) is None or record.phase is not phase:  # noqa: ASYNC110
        await asyncio.sleep(0.001)


def fine(script: Script, seed: int = 1) -> tuple[str, ...]:
    """The course of events, in which nothing was broken."""
    report = simulate(seed, script=script, controllers=3)
    assert not report.violations, "\n".join(report.trace)
    return report.trace


async def _the_owner_dies_in_a_failover(world: World) -> None:
    before = world.seat
    next(world.primaries()).kill()
    await until_phase(world, Phase.FENCING)
    assert before.life is not None
    before.life.kill()
    await until_phase(world, Phase.STABLE)
    assert world.seat is not before, "nobody else has finished it"


def test_another_controller_finishes_the_failover_of_one_that_died() -> None:
    trace = fine(_the_owner_dies_in_a_failover)
    assert sum("takes writes on timeline 2" in line for line in trace) > 0
    assert not any("timeline 3" in line for line in trace)
