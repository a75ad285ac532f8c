"""Many clusters in one process; five fail at once, and each recovers as if it were alone."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from pgvigil.demo.servers import Server, Servers, wait_until
from tests.postgres.guard import Guard, cluster_spec, guarding

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(400)]
CLUSTERS = 20
TINY: dict[str, Any] = {
    "shared_buffers": "1MB",
    "max_connections": 10,
    "max_wal_senders": 4,
    "max_worker_processes": 0,
    "autovacuum": False,
    "superuser_reserved_connections": 1,
}
Pair = tuple[Server, Server]


@pytest.fixture
def pairs(servers: Servers) -> Iterator[list[Pair]]:
    def pair(number: int) -> Pair:
        primary = servers.make_primary(f"a{number}", **TINY)
        standby = servers.add_standby(f"b{number}", primary, **TINY)
        standby.wait_streaming(primary)
        return primary, standby

    with ThreadPoolExecutor(4) as pool:
        yield list(pool.map(pair, range(CLUSTERS)))


def is_healed(guard: Guard, number: int) -> bool:
    status = guard.status(f"c{number}")
    return bool(status["health"] == "ok" and status["primary"] == f"b{number}")


# S0-05
def test_twenty_clusters_of_which_five_fail_at_once(servers: Servers, pairs: list[Pair]) -> None:
    specs = [cluster_spec(servers, pair, name=f"c{number}") for number, pair in enumerate(pairs)]
    failing = range(0, CLUSTERS, 4)
    with guarding(*specs) as guard:
        for spec in specs:
            guard.await_health(cluster=spec.name, within_s=60)
        with ThreadPoolExecutor(5) as pool:
            list(pool.map(lambda number: pairs[number][0].kill_all(), failing))
        for number in failing:
            wait_until(partial(is_healed, guard, number), within_s=120, what=f"c{number} healed")
        for number in set(range(CLUSTERS)) - set(failing):
            status = guard.status(f"c{number}")
            assert (status["primary"], status["generation"], status["health"]) == (f"a{number}", 1, "ok")


# S0-05
def test_a_dead_cluster_delays_no_other(servers: Servers, pairs: list[Pair]) -> None:
    specs = [cluster_spec(servers, pair, name=f"c{number}") for number, pair in enumerate(pairs[:4])]
    for server in pairs[0]:
        server.freeze()
    with guarding(*specs[1:], *specs[:1], wait=False) as guard:
        for spec in specs[1:]:
            guard.await_health(cluster=spec.name)
        pairs[1][0].kill_all()
        wait_until(partial(is_healed, guard, 1), within_s=60, what="c1 healed")
        assert guard.status("c0")["generation"] == 0
