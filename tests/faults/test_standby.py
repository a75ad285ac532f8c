"""A standby dies, vanishes or is cut off: the primary serves on, people are told, and it returns."""

import pytest

from tests.faults.trial import QUICK, trial
from tests.lab import Cluster, faults

pytestmark = pytest.mark.faults


def test_a_standby_whose_host_is_lost_and_comes_back(trio: Cluster) -> None:
    with trial(trio, QUICK) as run:
        standby = run.standbys[0]
        faults.lose_host(standby)
        assert run.product.await_finding("standby_down")["node"] == standby.name
        run.await_writes()
        run.stays(for_s=2)
        faults.revive_host(standby, start_postgres=True)
        run.nothing_happened()


# S2-08
def test_a_standby_that_was_killed_and_is_started_again(trio: Cluster) -> None:
    with trial(trio, QUICK) as run:
        standby = run.standbys[0]
        faults.kill_postgres(standby)
        assert run.product.await_finding("standby_down")["node"] == standby.name
        run.stays(for_s=2)
        faults.start(standby)
        run.nothing_happened()


def test_a_standby_cut_off_from_its_primary_alone(trio: Cluster) -> None:
    with trial(trio, QUICK) as run:
        faults.isolate(run.standbys[0], [run.first.address])
        run.stays(for_s=4)
        faults.heal(run.standbys[0])
        run.nothing_happened()


# S3-01, S3-02
def test_a_standby_lost_with_the_primary(trio: Cluster) -> None:
    with trial(trio, QUICK) as run:
        gone, left = run.standbys
        faults.kill_postgres(gone)
        faults.kill_postgres(run.first)
        assert run.await_failover() is left
        run.product.wait_for(lambda: bool(run.cluster.streaming(left)), "the old primary is back")
        faults.start(gone)
        run.product.wait_for(run.cluster.all_stream, "all stream from the new primary", within_s=15)
        run.ends(left, generation=2)
