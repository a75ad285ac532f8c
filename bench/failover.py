"""How long writes stand still: by hand (the floor) and with pgvigil, side by side in one run.

Needs root, openssh-server, nftables and a PostgreSQL. Hosts are network namespaces (`tests.lab`): one
primary, two standbys, a writer of 50 rows a second. Seconds from the fault to the first acknowledged write
on a live primary; for a switchover the longest gap between two acknowledged writes.

A run that fails ends its cluster, is told with the end of pgvigil's log, and the next begins on a new one.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg

from bench.outage.circumstances import Circumstances
from bench.outage.floors import BY_HAND, FLOORS
from bench.outage.table import Failed, Result, Run, as_json, as_markdown, as_text, rows
from tests.faults.product import Product, Sections, running
from tests.lab import Cluster, Lab, LabError, Writer, faults
from tests.lab.lab import DEBIAN_15

WITHIN_S = 90.0
SETTINGS: Mapping[str, Sections] = {
    "default": {},
    "fast": {"failover": {"unreachable_after": "1s", "hung_after": "1s"}},
    "quorum": {"protection": "quorum"},
}
"""What each column sets."""
GOES_WRONG = (LabError, psycopg.Error, OSError)


def crash(product: Product, writer: Writer) -> float:
    """All server processes of the primary are killed; its host lives."""
    old = product.cluster.primary()
    fault = faults.kill_postgres(old)
    return writer.outage(fault.began, fault.done, within_s=WITHIN_S)


def host_lost(product: Product, writer: Writer) -> float:
    """The primary's host vanishes without a word; it comes back, without PostgreSQL, later."""
    old = product.cluster.primary()
    fault = faults.lose_host(old)
    try:
        return writer.outage(fault.began, fault.done, within_s=WITHIN_S)
    finally:
        faults.revive_host(old)


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


def floor(cluster: Cluster, n: int, *, name: str) -> Iterator[Result]:
    """One floor, up to n times on one cluster."""
    try:
        with cluster.lab.writer(cluster.nodes) as writer:
            for _ in range(n):
                yield FLOORS[name](cluster, writer)
    except GOES_WRONG as error:
        yield Failed(f"floor: {name}", BY_HAND, str(error))


def scenario(cluster: Cluster, n: int, *, name: str, settings: str) -> Iterator[Result]:
    """One scenario up to n times on one cluster, which pgvigil itself makes whole in between."""
    product = Product(cluster, SETTINGS[settings])
    try:
        with running(product), cluster.lab.writer(cluster.nodes) as writer:
            for _ in range(n):
                yield one_round(product, writer, name, settings)
    except GOES_WRONG as error:
        yield Failed(name, settings, product.explain(error))


def one_round(product: Product, writer: Writer, name: str, settings: str) -> Run:
    """One fault, its outage, and the way back to health. Raises LabError."""
    time.sleep(0.5)
    began = time.monotonic()
    outage_s = SCENARIOS[name](product, writer)
    product.await_healthy()
    healthy_s = time.monotonic() - began
    with product.cluster.lab.connect(product.cluster.primary()) as connection:
        lost = len(writer.newly_lost(connection))
    return Run(name, settings, outage_s, lost, {"first write": outage_s, "all stream": healthy_s})


Kind = Callable[[Cluster, int], Iterator[Result]]


def kinds(wanted: argparse.Namespace) -> Iterator[Kind]:
    """Everything asked for."""
    if "floors" in wanted.only:
        for name in FLOORS:
            yield partial(floor, name=name)
    for name in SCENARIOS:
        for settings in wanted.settings if name in wanted.only else ():
            yield partial(scenario, name=name, settings=settings)


def measure(wanted: argparse.Namespace) -> Iterator[Result]:
    """Each kind n times, on a cluster of its own that no other has harmed; on a new one after a failure."""
    for kind in kinds(wanted):
        left = wanted.n
        while left > 0:
            for result in on_fresh_cluster(wanted.bin_dir, kind, left):
                left -= 1
                print(result, file=sys.stderr, flush=True)
                yield result


def on_fresh_cluster(bin_dir: Path, kind: Kind, n: int) -> Iterator[Result]:
    """Raises LabError when not even a cluster can be made."""
    with Lab(bin_dir) as lab:
        cluster = lab.cluster(3)
        with lab.connect(cluster.primary()) as connection:
            Writer.create_table(connection, "app")
        yield from kind(cluster, n)


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
    shape.add_argument(
        "--markdown",
        dest="shape",
        action="store_const",
        const=as_markdown,
        help="for docs/measured.md, with command, machine, versions and date",
    )
    wanted = words.parse_args()
    around = Circumstances.now(sys.argv[1:], wanted.bin_dir)
    table = rows(measure(wanted))
    around.load_after = os.getloadavg()[0]
    print(wanted.shape(table, around))
    return 1 if any(row.failed for row in table) else 0


if __name__ == "__main__":
    sys.exit(main())
