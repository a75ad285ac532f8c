"""Failure after failure, unattended under a writer: nothing lost, everybody back each time (S1, issue 2)."""

import pytest

from tests.faults.trial import trial
from tests.lab import Cluster, faults

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
CRASHES = 10
ROUND_TRIPS = 15


# S0-07
def test_crashes_in_a_row_then_switchovers_there_and_back(trio: Cluster) -> None:
    with trial(trio) as run:
        generation = 1
        for _ in range(CRASHES):
            old = run.cluster.primary()
            faults.kill_postgres(old)
            run.await_failover(of=old)
            run.product.await_healthy()
            generation += 1
        here = run.cluster.primary()
        there = run.cluster.standbys()[0]
        for _ in range(ROUND_TRIPS):
            for to in (there, here):
                run.product.switchover(to)
                run.product.await_healthy()
                assert run.cluster.primary() is to
                generation += 1
        run.ends(here, generation=generation)
