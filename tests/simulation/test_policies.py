"""Policies other than the defaults, under the same faults: fresh seeds have the defaults."""

import pytest

from pgvigil.model.spec import Protection
from pgvigil.sim.run import simulate
from pgvigil.sim.world import World
from tests.simulation.policies import POLICIES, of


@pytest.mark.parametrize("seed", range(8_400_000, 8_400_003))
@pytest.mark.parametrize("protection", Protection)
@pytest.mark.parametrize("policy", POLICIES)
def test_no_policy_breaks_a_promise(policy: str, protection: Protection, seed: int) -> None:
    assert simulate(seed, spec=of(policy, seed, protection=protection)).violations == ()


async def _crash_on_a_slow_host(world: World) -> None:
    """Its standbys tell of it first."""
    primary = next(world.primaries())
    primary.host.shell_takes_s = 0.1
    primary.kill()


@pytest.mark.parametrize(("policy", "failovers"), [("restart", 0), ("wait", 1)])
@pytest.mark.parametrize("seed", range(10))
def test_a_primary_that_is_to_be_restarted_where_it_is_is_not_replaced(
    policy: str, failovers: int, seed: int
) -> None:
    report = simulate(seed, spec=of(policy, seed), script=_crash_on_a_slow_host)
    assert (report.violations, report.failovers) == ((), failovers)
