"""Three real servers that stand for the nodes of many clusters: every node is another address of one of them.

What the controller asks them is real, and each of its sessions is one. Their clusters fail all at once.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from bench.fleet.processes import Process
from bench.fleet.stand_in import PER_CLUSTER, address
from pgvigil.demo.processes import processes_in
from pgvigil.demo.servers import LOGIN, Servers, Setting

COUNT = (
    "select coalesce(sum(calls), 0)::bigint from pg_stat_statements"
    " where query like '%pg_walfile_name(pg_current_wal_lsn())%'"
)
SPARE = 20


class RealServers:
    """As `__main__.Fleet`; needs the contrib modules of the server for counting."""

    def __init__(self, servers: Servers, clusters: int) -> None:
        self._servers, self._clusters = servers, clusters
        self._nodes = tuple(servers.nodes.values())

    def defaults(self) -> Mapping[str, object]:
        """Of `postgres:` in the configuration."""
        passfile = str(self._servers.passfile())
        return {"user": LOGIN, "dbname": "postgres", "passfile": passfile, "sslmode": "disable"}

    def node(self, cluster: int, number: int) -> Mapping[str, object]:
        """Of a node in the configuration."""
        return {"host": address(cluster, number), "postgres": {"port": self._nodes[number].port}}

    def probed(self) -> int:
        """Probes answered so far."""
        return sum(int(server.sql(COUNT)[0][0]) for server in self._nodes)

    def cpu_s(self) -> float:
        """Processor time of all that still run."""
        return sum(Process(pid).cpu_s() for pid in processes_in(self._servers.home))

    def crash(self, many: int) -> tuple[int, float]:
        """All primaries at once, however many were asked for: how many, and when."""
        began = time.time()
        self._nodes[0].kill_all()
        return self._clusters, began


@contextmanager
def real_servers(clusters: int) -> Iterator[RealServers]:
    """They run as long as the context lasts."""
    settings: dict[str, Setting] = {
        "listen_addresses": "*",
        "max_connections": 2 * clusters + SPARE,
        "shared_preload_libraries": "pg_stat_statements",
        "pg_stat_statements.track_planning": "off",
    }
    with Servers(settings=settings) as servers:
        primary = servers.make_primary("n0")
        primary.sql("create extension pg_stat_statements")
        for number in range(1, PER_CLUSTER):
            servers.add_standby(f"n{number}", primary)
        for number in range(1, PER_CLUSTER):
            servers.nodes[f"n{number}"].wait_streaming(primary)
        yield RealServers(servers, clusters)
