"""How long writes stand still: by hand (the floor) and with pgvigil, side by side in one run.

Needs root, openssh-server, nftables and a PostgreSQL. Hosts are network namespaces (`tests.lab`): one
primary, two standbys, a writer of 50 rows a second. Seconds from the fault to the first acknowledged write
on a live primary; for a switchover the longest gap between two acknowledged writes.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg

from bench.outage.floors import BY_HAND, FLOORS
from bench.outage.product import SETTINGS, Product, running
from bench.outage.table import Failed, Result, Run, as_json, as_markdown, as_text, rows
from tests.lab import Cluster, Lab, LabError, Writer, faults
from tests.lab.lab import DEBIAN_15

WITHIN_S = 90.0


def crash(product: Product, writer: Writer) -> float:
    """All server processes of the primary are killed; its host lives."""
    old = product.cluster.primary()
    fault = faults.kill_postgres(old)
    return writer.outage(fault.began, fault.done, within_s=WITHIN_S)


def host_lost(product: Product, writer: Writer) -> float:
    """The primary's host vanishes without a word; it comes back, without PostgreSQL, later."""
    old = product.cluster.primary()
    fault = faults.lose_host(old)
    outage_s = writer.outage(fault.began, fault.done, within_s=WITHIN_S)
    faults.revive_host(old)
    return outage_s


def hang(product: Product, writer: Writer) -> float:
    """All server processes of the primary are stopped by SIGSTOP; what is left of them goes on later."""
    old = product.cluster.primary()
    fault = faults.freeze(old)
    try:
        return writer.outage(fault.began, fault.done, within_s=WITHIN_S, not_on=[old.name])
    finally:
        faults.thaw(old)


def switchover(product: Product, writer: Writer) -> float:
    """An operator asks for another primary."""
    old = product.cluster.primary()
    new = product.cluster.standbys()[0]
    began = time.monotonic()
    product.switchover(to=new)
    ack = writer.first_after(began, within_s=WITHIN_S, not_on=[old.name])
    return writer.longest_gap(began, ack.acknowledged)


SCENARIOS: dict[str, Callable[[Product, Writer], float]] = {
    "crash": crash,
    "host_lost": host_lost,
    "hang": hang,
    "switchover": switchover,
}


def floors(cluster: Cluster, n: int) -> Iterator[Result]:
    """All floors, n times each."""
    with cluster.lab.writer(cluster.nodes) as writer:
        for name, floor in FLOORS.items():
            for _ in range(n):
                try:
                    yield floor(cluster, writer)
                except (LabError, psycopg.Error) as error:
                    yield Failed(f"floor: {name}", BY_HAND, str(error))
                    return


def scenario(cluster: Cluster, name: str, settings: str, n: int) -> Iterator[Result]:
    """One scenario n times on one cluster, which pgvigil itself makes whole in between."""
    try:
        with running(cluster, settings) as product, cluster.lab.writer(cluster.nodes) as writer:
            for _ in range(n):
                yield one_round(product, writer, name)
    except (LabError, psycopg.Error) as error:
        yield Failed(name, settings, str(error))


def one_round(product: Product, writer: Writer, name: str) -> Run:
    """One fault, its outage, and the way back to health. Raises LabError."""
    time.sleep(0.5)
    began = time.monotonic()
    outage_s = SCENARIOS[name](product, writer)
    product.await_healthy()
    healthy_s = time.monotonic() - began
    with product.cluster.lab.connect(product.cluster.primary()) as connection:
        lost = len(writer.newly_lost(connection))
    return Run(name, product.settings, outage_s, lost, {"first write": outage_s, "all stream": healthy_s})


def measure(wanted: argparse.Namespace) -> Iterator[Result]:
    """Everything asked for; each kind of run gets a fresh cluster, so that none inherits another's harm."""
    if "floors" in wanted.only:
        yield from on_fresh_cluster(wanted, partial(floors, n=wanted.n))
    for name in SCENARIOS:
        for settings in wanted.settings if name in wanted.only else ():
            runs = partial(scenario, name=name, settings=settings, n=wanted.n)
            yield from on_fresh_cluster(wanted, runs)


def on_fresh_cluster(
    wanted: argparse.Namespace, runs: Callable[[Cluster], Iterator[Result]]
) -> Iterator[Result]:
    with Lab(wanted.bin_dir) as lab:
        cluster = lab.cluster(3)
        with lab.connect(cluster.primary()) as connection:
            Writer.create_table(connection, "app")
        for result in runs(cluster):
            print(result, file=sys.stderr, flush=True)
            yield result


def main() -> int:
    """Measure, print the table; exit 1 when a run failed."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = ["floors", *SCENARIOS]
    words.add_argument("--only", nargs="+", choices=every, default=every)
    words.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    words.add_argument("-n", type=int, default=5, help="runs of each kind")
    words.add_argument("--bin-dir", type=Path, default=DEBIAN_15, help="PostgreSQL's programs")
    shape = words.add_mutually_exclusive_group()
    shape.add_argument("--json", dest="shape", action="store_const", const=as_json, default=as_text)
    shape.add_argument("--markdown", dest="shape", action="store_const", const=as_markdown)
    wanted = words.parse_args()
    before = os.getloadavg()[0]
    table = rows(measure(wanted))
    print(wanted.shape(table))
    # Floors double on a busy machine: a table is worth little without this line.
    print(
        f"{os.cpu_count()} cores, load {before:.1f} before, {os.getloadavg()[0]:.1f} after", file=sys.stderr
    )
    return 1 if any(row.failed for row in table) else 0


if __name__ == "__main__":
    sys.exit(main())
