"""How much longer a failover takes with the record in etcd than in SQLite: both in turn, on the same servers.

A primary and two standbys on this host, a writer without pause; all processes of the primary are killed, and
the time until the first write acknowledged by another node is taken. etcd: three servers on this host.
"""

import argparse
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pgvigil.demo.binaries import find_postgres
from pgvigil.demo.servers import Servers, config_text, wait_until
from pgvigil.demo.writer import Writer
from tests.etcd import etcd_servers
from tests.postgres.service import Service
from tests.postgres.test_several_controllers import configured

WITHIN_S = 60.0


def outage(servers: Servers, service: Service, writer: Writer) -> float:
    """One failover under that controller, in seconds; everything is well again afterwards."""
    with service:
        before = service.await_health()
        primary = servers.nodes[before["primary"]]
        time.sleep(1.0)
        primary.kill_all()
        mark = time.monotonic()
        found: list[float] = []

        def over() -> bool:
            gap = writer.outage_after(mark, not_on=(primary.name,))
            found.extend([] if gap is None else [gap])
            return bool(found)

        wait_until(over, within_s=WITHIN_S, what="a write on another node", every_s=0.005)
        service.await_that(
            lambda s: s["health"] == "ok" and s["generation"] > before["generation"], "all is well"
        )
        return found[0]


def measure(n: int) -> dict[str, list[float]]:
    """So many of each kind, in turn."""
    with (
        Servers(find_postgres(), settings={"wal_retrieve_retry_interval": "100ms"}) as servers,
        etcd_servers(3) as etcd,
    ):
        primary = servers.make_primary("pg1")
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda name: servers.add_standby(name, primary), ("pg2", "pg3")))
        (servers.home / "pgvigil.yaml").write_text(config_text(servers, failover={"max_per": "none"}))
        nodes = {"demo": ["pg1", "pg2", "pg3"]}
        kinds = {"SQLite": Service(servers), "etcd": configured(servers, etcd, "ctl1", nodes)}
        conninfos = {s.name: s.conninfo(dbname="postgres") for s in servers.nodes.values()}
        taken: dict[str, list[float]] = {kind: [] for kind in kinds}
        with Writer(conninfos) as writer:
            for _ in range(n):
                for kind, service in kinds.items():
                    taken[kind].append(outage(servers, service, writer))
                    print(f"{kind}: {taken[kind][-1] * 1000:.0f} ms", file=sys.stderr)
        return taken


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("-n", type=int, default=10, help="runs of each kind")
    taken = measure(words.parse_args().n)
    print("| store | runs | median ms | min | max |")
    print("|---|---|---|---|---|")
    for kind, values in taken.items():
        times = [f"{f(values) * 1000:.0f}" for f in (statistics.median, min, max)]
        print(f"| {kind} | {len(values)} | {' | '.join(times)} |")


if __name__ == "__main__":
    main()
