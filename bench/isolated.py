"""What an isolated primary acknowledges, and when the new one takes over: run by run.

A client sits on the old primary's side of the cut and goes on writing there; another is on the controller's
side. Needs root, openssh-server, nftables and a PostgreSQL; hosts are network namespaces (`tests.lab`), one
primary and two standbys. Each run cuts the primary's cable, waits for the failover, plugs it in again and
waits until all is well.

Seconds are counted from the cut. `isolated`: rows that the old primary acknowledged after the cut; `lost`:
those of them (and of the last moment before) that the new primary does not have; `overlap`: how long the old
one went on after the new one had acknowledged its first row, which must be 0.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg

from bench.outage.circumstances import Circumstances
from tests.faults.product import Product, Sections, running
from tests.lab import Ack, Cluster, Lab, LabError, LabHost, Writer, faults
from tests.lab.lab import DEBIAN_15

WITHIN_S = 90.0
QUICK: Sections = {"failover": {"unreachable_after": "1s", "hung_after": "1s"}}
PROTECTIONS: Mapping[str, Sections] = {
    "async": {},
    "async-guard": {"fencing": {"guard": True, "unreachable": "wait"}},
    "async-guard-3s": {**QUICK, "fencing": {"guard": True, "guard_lease": "3s", "unreachable": "wait"}},
    "quorum": {"protection": "quorum", "sync_required": 1},
}
"""What each kind of run sets; `async` is without any fence, for comparison."""
GOES_WRONG = (LabError, psycopg.Error, OSError)


@dataclass(frozen=True, slots=True)
class Run:
    """One cut. Times are seconds from it."""

    fenced: str
    last_old_s: float
    """The old primary's last acknowledgement; negative: none after the cut."""
    first_new_s: float
    isolated: int
    lost: int
    overlap_s: float
    acknowledged: int
    """Rows acknowledged by anybody during the run."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A run that did not end well."""

    why: str


@contextmanager
def guarded(product: Product) -> Iterator[None]:
    """With guards on the nodes, where the configuration wants them."""
    wanted = "guard" in product.sections.get("fencing", {})  # type: ignore[operator]  # a mapping, as above
    with running(product, healthy=not wanted):
        if wanted:
            product.await_finding("guard_missing")
            product.command("guard", "install", "--yes")
            product.await_healthy()
        yield


def of(node: LabHost, *writers: Writer) -> list[Ack]:
    """What that node acknowledged, in the order of time."""
    acks = (ack for writer in writers for ack in writer.acks if ack.node == node.name)
    return sorted(acks, key=lambda ack: ack.acknowledged)


def one_run(cluster: Cluster, product: Product) -> Run:
    """Cut the primary off, until another serves and all are together again. Raises LabError."""
    old, generation = cluster.primary(), int(product.status()["generation"])
    lab = cluster.lab
    with lab.writer(cluster.nodes, netns=old.netns) as inside, lab.writer(cluster.nodes) as outside:
        inside.first_after(time.monotonic(), within_s=WITHIN_S)
        outside.first_after(time.monotonic(), within_s=WITHIN_S)
        time.sleep(1 + time.monotonic() % 1)
        cut = faults.link_down(old)
        new = product.await_primary(other_than=old, within_s=WITHIN_S)
        first = outside.first_after(cut.done, within_s=WITHIN_S, not_on=[old.name])
        time.sleep(2)  # a client inside that is still served would show now
        faults.link_up(old)
        product.await_healthy(within_s=WITHIN_S)
        promoted = product.await_event("promote", generation=generation + 1)
        inside.stop()
        outside.stop()
        with lab.connect(new) as connection:
            lost = {*inside.newly_lost(connection), *outside.newly_lost(connection)}
        on_old = of(old, inside, outside)
        late = [ack for ack in on_old if ack.acknowledged > cut.done]
        return Run(
            fenced=next(text for text in promoted["evidence"] if text.startswith("fenced: ")).split(": ")[1],
            last_old_s=on_old[-1].acknowledged - cut.done,
            first_new_s=first.acknowledged - cut.done,
            isolated=len(late),
            lost=len(lost),
            overlap_s=max(0.0, on_old[-1].acknowledged - first.acknowledged),
            acknowledged=len(inside.acks) + len(outside.acks),
        )


def measure(bin_dir: Path, sections: Sections, n: int) -> Iterator[Run | Failed]:
    """So many runs, on one cluster as long as none goes wrong."""
    left = n
    while left > 0:
        with Lab(bin_dir) as lab:
            cluster = lab.cluster(3)
            with lab.connect(cluster.primary()) as connection:
                Writer.create_table(connection, "app")
            product = Product(cluster, sections)
            try:
                with guarded(product):
                    while left > 0:
                        left -= 1
                        yield one_run(cluster, product)
            except GOES_WRONG as error:
                yield Failed(product.explain(error))


HEAD = ("run", "fenced", "last ack of old", "first ack of new", "isolated", "lost", "overlap", "acknowledged")


def cells(runs: list[Run | Failed]) -> list[tuple[str, ...]]:
    """The table, a row a run."""
    rows: list[tuple[str, ...]] = []
    for number, run in enumerate(runs, 1):
        match run:
            case Failed(why):
                rows.append((str(number), f"failed: {why.splitlines()[0]}", *["–"] * 6))
            case Run():
                rows.append(
                    (
                        str(number),
                        run.fenced,
                        f"{run.last_old_s:.2f} s",
                        f"{run.first_new_s:.2f} s",
                        str(run.isolated),
                        str(run.lost),
                        f"{run.overlap_s:.2f} s",
                        str(run.acknowledged),
                    )
                )
    return rows


def summary(runs: list[Run | Failed]) -> str:
    """All runs in a sentence."""
    good = [run for run in runs if isinstance(run, Run)]
    if not good:
        return "no run ended well"
    outages, exposed = [run.first_new_s for run in good], [run.last_old_s for run in good]
    both = [run.overlap_s for run in good if run.overlap_s > 0]
    return " ".join(
        (
            f"{len(good)} of {len(runs)} runs ended well.",
            f"Outage for clients outside: median {median(outages):.2f} s,",
            f"{min(outages):.2f} to {max(outages):.2f} s.",
            f"The old primary acknowledged until {max(exposed):.2f} s after the cut at the latest",
            f"(median {median(exposed):.2f} s).",
            f"Overlap: in {len(both)} runs, {max(both, default=0.0):.2f} s at most.",
            f"Rows acknowledged while isolated: {sum(run.isolated for run in good)},",
            f"lost: {sum(run.lost for run in good)}, of {sum(run.acknowledged for run in good)} in all.",
        )
    )


def main() -> int:
    """Measure, print the table; exit 1 when a run failed or two primaries acknowledged at once."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--protection", choices=list(PROTECTIONS), default="async-guard")
    words.add_argument("-n", type=int, default=20, help="runs")
    words.add_argument("--bin-dir", type=Path, default=DEBIAN_15, help="PostgreSQL's programs")
    words.add_argument("--markdown", action="store_true", help="for docs/measured.md")
    wanted = words.parse_args()
    around = Circumstances.now(sys.argv[1:], wanted.bin_dir, command="python bench/isolated.py")
    runs: list[Run | Failed] = []
    for run in measure(wanted.bin_dir, PROTECTIONS[wanted.protection], wanted.n):
        print(run, file=sys.stderr, flush=True)
        runs.append(run)
    around.load_after = os.getloadavg()[0]
    rows = [HEAD, *cells(runs)]
    if wanted.markdown:
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        lines.insert(1, "|" + "---|" * len(HEAD))
        lines = [*(f"- {line}" for line in around.lines()), "", *lines]
    else:
        widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
        lines = [
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
        ]
    print("\n".join([*lines, "", summary(runs)]))
    unsafe = wanted.protection != "async" and any(isinstance(run, Run) and run.overlap_s for run in runs)
    return 1 if unsafe or any(isinstance(run, Failed) for run in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
