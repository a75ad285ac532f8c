"""Policies other than the defaults, under the same faults: fresh seeds have the defaults."""

import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest

from pgvigil.model.spec import AfterCrash, ClusterSpec, Fencing, Protection, Rate, WhenUnreachable
from pgvigil.sim.cluster import a_cluster
from pgvigil.sim.run import simulate
from pgvigil.sim.world import World

WAIT: Final = Fencing(unreachable=WhenUnreachable.WAIT)
POLICIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "restart": {"after_crash": AfterCrash.RESTART},
    "restart, but not for ever": {
        "after_crash": AfterCrash.RESTART,
        "max_per": Rate(2, timedelta(minutes=15)),
    },
    "wait": {"fencing": WAIT},
    "restart and wait": {"after_crash": AfterCrash.RESTART, "fencing": WAIT},
}


def of(policy: str, seed: int, protection: Protection = Protection.ASYNC) -> ClusterSpec:
    """The cluster of that seed, with another policy."""
    wanted = dict(POLICIES[policy])
    spec = a_cluster(3, random.Random(seed), protection)
    spec = replace(spec, fencing=wanted.pop("fencing", spec.fencing))
    return replace(spec, failover=replace(spec.failover, **wanted))


@pytest.mark.parametrize("seed", range(8_400_000, 8_400_003))
@pytest.mark.parametrize("protection", Protection)
@pytest.mark.parametrize("policy", POLICIES)
def test_no_policy_breaks_a_promise(policy: str, protection: Protection, seed: int) -> None:
    assert simulate(seed, spec=of(policy, seed, protection)).violations == ()


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
