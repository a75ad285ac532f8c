"""How long commits wait when a synchronous standby is lost (`protection: quorum`), run by run.

Needs root, openssh-server, nftables and a PostgreSQL; hosts are network namespaces (`tests.lab`). A client
writes 50 rows a second. Each run loses one standby, waits until writes go on and a while longer, brings it
back and waits until commits wait for it again. Seconds are the longest gap between two acknowledged rows from
the loss on; `gap before the loss` is the same without one.

`n=2, k=1`: two standbys, any one acknowledges: the other does, no gap belongs to it. `n=1`: the only one is
lost, and commits wait until the controller has the primary wait for nobody (`degrade: true`).
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg

from bench.outage.circumstances import Circumstances
from bench.outage.table import Failed, Result, Run, as_markdown, as_text, rows
from tests.faults.product import Product, Sections, running
from tests.lab import Cluster, Lab, LabError, LabHost, Writer, faults
from tests.lab.lab import DEBIAN_15

QUORUM: Sections = {"protection": "quorum", "sync_required": 1}
AFTERWARDS_S = 1.0
WITHIN_S = 60.0
GOES_WRONG = (LabError, psycopg.Error, OSError)


@dataclass(frozen=True, slots=True)
class Loss:
    """One way to lose a standby, and the way back."""

    name: str
    strike: Callable[[LabHost], faults.Fault]
    repair: Callable[[LabHost], faults.Fault]


LOSSES = (
    Loss("PostgreSQL killed", faults.kill_postgres, faults.start),
    Loss("host lost", faults.lose_host, lambda host: faults.revive_host(host, start_postgres=True)),
    Loss("cut off", faults.link_down, faults.link_up),
)


def await_promise(product: Product, cluster: Cluster) -> None:
    """Until commits are proved to wait for any one of all standbys. Raises LabError."""
    names = sorted(node.name for node in cluster.standbys())

    def promised() -> bool:
        sync = product.status().get("sync") or {}
        return bool(sync) and sync["standbys"] == names and not sync["changing"]

    product.await_healthy(WITHIN_S)
    product.wait_for(promised, f"commits wait for any of {names}", WITHIN_S)


def one_run(cluster: Cluster, product: Product, writer: Writer, loss: Loss) -> Run:
    """Lose a standby and have it back. Raises LabError."""
    await_promise(product, cluster)
    time.sleep(0.5 + time.monotonic() % 0.5)
    before = time.monotonic()
    standby = cluster.standbys()[0]
    calm_s = writer.longest_gap(before - 0.5, before)
    fault = loss.strike(standby)
    writer.first_after(fault.done + 0.2, within_s=WITHIN_S)
    time.sleep(AFTERWARDS_S)
    writer.first_after(time.monotonic(), within_s=WITHIN_S)
    gap_s = writer.longest_gap(fault.began, time.monotonic())
    loss.repair(standby)
    await_promise(product, cluster)
    with cluster.lab.connect(cluster.primary()) as connection:
        lost = len(writer.newly_lost(connection))
    return Run(loss.name, _settings(cluster), gap_s, lost, {"gap before the loss": calm_s})


def _settings(cluster: Cluster) -> str:
    return f"n={len(cluster.nodes) - 1}, k=1"


def measure(bin_dir: Path, n: int) -> Iterator[Result]:
    """Each loss n times with two standbys, then with one; on a new cluster after a failure."""
    for nodes in (3, 2):
        for loss in LOSSES:
            with Lab(bin_dir) as lab:
                cluster = lab.cluster(nodes)
                with lab.connect(cluster.primary()) as connection:
                    Writer.create_table(connection, "app")
                product = Product(cluster, QUORUM)
                try:
                    with running(product), lab.writer(cluster.nodes) as writer:
                        for _ in range(n):
                            yield one_run(cluster, product, writer, loss)
                except GOES_WRONG as error:
                    yield Failed(loss.name, _settings(cluster), product.explain(error))


def main() -> int:
    """Measure, print the table; exit 1 when a run failed or a row was lost."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("-n", type=int, default=5, help="runs of each kind")
    words.add_argument("--bin-dir", type=Path, default=DEBIAN_15, help="PostgreSQL's programs")
    words.add_argument("--markdown", action="store_true", help="for docs/measured.md")
    wanted = words.parse_args()
    around = Circumstances.now(sys.argv[1:], wanted.bin_dir, command="python bench/standby.py")
    results: list[Result] = []
    for result in measure(wanted.bin_dir, wanted.n):
        print(result, file=sys.stderr, flush=True)
        results.append(result)
    around.load_after = os.getloadavg()[0]
    table = rows(results)
    print((as_markdown if wanted.markdown else as_text)(table, around))
    return 1 if any(row.failed or any(run.lost for run in row.runs) for row in table) else 0


if __name__ == "__main__":
    sys.exit(main())
