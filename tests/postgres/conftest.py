"""Real servers for the tests here: small, fast to make, gone afterwards.

PGVIGIL_MAJORS="14 15 16 17 18" runs every test on each of these versions; one that is not there fails loudly.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pgvigil.demo.binaries import Binaries, find_postgres
from pgvigil.demo.servers import Server, Servers, Setting, wait_until
from pgvigil.demo.writer import Writer
from tests.postgres.guard import Guard, cluster_spec, guarding

FAST: dict[str, Setting] = {"fsync": False, "wal_retrieve_retry_interval": "100ms"}
MAJORS: list[int | None] = [int(major) for major in os.environ.get("PGVIGIL_MAJORS", "").split()]


@pytest.fixture(scope="session", params=MAJORS or [None], ids=lambda major: f"pg{major or ''}")
def binaries(request: pytest.FixtureRequest) -> Binaries:
    return find_postgres(request.param)


@pytest.fixture
def servers(binaries: Binaries) -> Iterator[Servers]:
    with Servers(binaries, settings=FAST, wal_segment_mb=1) as servers:
        yield servers


@pytest.fixture
def trio_of_servers(servers: Servers) -> tuple[Server, Server, Server]:
    """pg1, the primary, and its streaming standbys pg2 and pg3."""
    primary = servers.make_primary("pg1")
    with ThreadPoolExecutor() as pool:
        pg2, pg3 = pool.map(lambda name: servers.add_standby(name, primary), ("pg2", "pg3"))
    for standby in (pg2, pg3):
        standby.wait_streaming(primary)
    return primary, pg2, pg3


@pytest.fixture
def guard(servers: Servers, trio_of_servers: tuple[Server, Server, Server]) -> Iterator[Guard]:
    """A controller that guards the three with default settings, and has found them well."""
    with guarding(cluster_spec(servers, trio_of_servers)) as guard:
        guard.await_health()
        yield guard


@pytest.fixture
def writer(trio_of_servers: tuple[Server, Server, Server]) -> Iterator[Writer]:
    """A client of the three that never stops."""
    with Writer({s.name: s.conninfo(dbname="postgres") for s in trio_of_servers}) as writer:
        yield writer


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], None]:
    """Return when the condition is true; after 10 s the test fails."""
    return lambda condition: wait_until(condition, within_s=10, what="what the test expects")
