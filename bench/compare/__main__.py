"""pgvigil beside Debian's Patroni, repmgr and pg_auto_failover: the same faults, hosts, servers and clients.

Needs root, openssh-server, nftables, PostgreSQL 15, and Debian's packages of the others; what is missing is
told and left out. Hosts are network namespaces (`tests.lab`): three nodes with PostgreSQL, a fourth for what
decides, and clients elsewhere that insert about 50 numbered rows a second. Each system runs with its
defaults, and with the fastest settings that its documentation allows.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from bench.compare import auto_failover, ours, patroni, repmgr
from bench.compare.picture import picture
from bench.compare.rounds import measure
from bench.compare.system import Kind
from bench.compare.table import EXPOSED_HEAD, FAULTS, HEAD, Run, exposed_rows, rows
from bench.outage.circumstances import ROOT, Circumstances
from bench.outage.columns import as_text
from tests.lab.lab import DEBIAN_15

KINDS: tuple[Kind, ...] = (*ours.KINDS, *patroni.KINDS, *repmgr.KINDS, *auto_failover.KINDS)
"""Every row of the table, in its order."""


def in_order(runs: Iterable[Run]) -> list[Run]:
    """System by system, as in the table."""
    order = [(kind.system, kind.settings) for kind in KINDS]
    return sorted(runs, key=lambda run: order.index((run.system, run.settings)))


class Children:
    """One process a kind and fault; whoever interrupts us interrupts them, and each removes its own hosts."""

    def __init__(self, wanted: argparse.Namespace) -> None:
        self._wanted = wanted
        self._running: list[subprocess.Popen[str]] = []
        self._lock, self._over = threading.Lock(), False

    def all(self, kinds: Sequence[Kind]) -> list[Run]:
        """Every run, fault by fault; of the kinds the last ones take longest, and begin first."""
        pairs = [(kind, fault) for fault in self._wanted.faults for kind in reversed(kinds)]
        with ThreadPoolExecutor(self._wanted.jobs) as pool:
            try:
                return in_order(run for runs in pool.map(self._one, pairs) for run in runs)
            except BaseException:
                self._end()
                raise

    def _one(self, pair: tuple[Kind, str]) -> list[Run]:
        kind, fault = pair
        words = ["--one", kind.name, "--faults", fault, "-n", str(self._wanted.n)]
        argv = ["setpriv", "--pdeathsig", "TERM", "--", sys.executable, "-m", "bench.compare", *words]
        with self._lock:
            if self._over:
                return []
            child = subprocess.Popen(
                argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
            self._running.append(child)
        told, _ = child.communicate()
        return [Run.read(json.loads(line)) for line in told.splitlines()]

    def _end(self) -> None:
        with self._lock:
            self._over = True
            for child in self._running:
                with suppress(ProcessLookupError):
                    child.terminate()


def _interrupted(_signal: int, _frame: FrameType | None) -> None:
    """SIGTERM is like Ctrl-C, once: hosts are removed on the way out, and nothing interrupts that."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def one(name: str, faults: Sequence[str], n: int) -> int:
    """All runs of one kind, each a line of JSON."""
    kind = next(kind for kind in KINDS if kind.name == name)
    for fault in faults:
        for run in measure(kind, fault, n):
            print(run, file=sys.stderr, flush=True)
            print(json.dumps(run.written()), flush=True)
    return 0


def report(runs: Sequence[Run], around: Sequence[str], kinds: Iterable[Kind], *, markdown: bool) -> str:
    """Everything that is printed."""
    bullet = "- " if markdown else ""
    settings = [(kind.system, kind.settings, kind.shown) for kind in kinds]
    parts = [
        "\n".join(f"{bullet}{line}" for line in around),
        as_text(HEAD, rows(runs), markdown=markdown),
        as_text(EXPOSED_HEAD, exposed_rows(runs), markdown=markdown),
        as_text(("system", "settings", "set"), settings, markdown=markdown),
        *(f"FAILED {run.system} {run.settings}, {run.fault}: {run.failed}" for run in runs if run.failed),
    ]
    return "\n\n".join(parts)


def _words() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(
        prog="python -m bench.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    systems = list(dict.fromkeys(kind.system for kind in KINDS))
    words.add_argument("--only", type=_list(systems), default=systems, help=f"of {', '.join(systems)}")
    words.add_argument("--settings", type=_list(["default", "fast", "quorum"]), help="only these")
    words.add_argument(
        "--faults", type=_list(list(FAULTS)), default=list(FAULTS), help=f"of {', '.join(FAULTS)}"
    )
    words.add_argument("-n", type=int, default=3, help="runs of each fault")
    words.add_argument("--jobs", type=int, default=1, help="so many systems at the same time")
    words.add_argument("--markdown", action="store_true", help="for docs/comparison.md")
    words.add_argument("--plot", type=Path, help="write an SVG there")
    words.add_argument("--save", type=Path, help="write all runs there, as JSON")
    words.add_argument("--load", type=Path, nargs="+", help="measure nothing; show what was saved")
    words.add_argument("--one", help=argparse.SUPPRESS)
    return words


def _list(known: Sequence[str]) -> Any:
    """A parser of words with commas between them, any case. Raises ArgumentTypeError."""

    def parse(text: str) -> list[str]:
        asked = [word.strip().lower() for word in text.split(",")]
        if unknown := [word for word in asked if word not in [each.lower() for each in known]]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
        return [each for each in known if each.lower() in asked]

    return parse


def _loaded(files: Sequence[Path]) -> tuple[list[Run], list[str]]:
    runs: list[Run] = []
    around: list[str] = []
    for file in files:
        kept = json.loads(file.read_text())
        runs += [Run.read(each) for each in kept["runs"]]
        around += [line for line in kept["around"] if line not in around]
    return in_order(runs), around


def _measured(wanted: argparse.Namespace) -> tuple[list[Run], list[str]]:
    around = Circumstances.now(sys.argv[1:], DEBIAN_15, command="python -m bench.compare")
    runs = Children(wanted).all(list(_kinds(wanted)))
    around.load_after = os.getloadavg()[0]
    return runs, [*around.lines(), *versions()]


def versions() -> list[str]:
    """Debian's packages of the others, as installed."""
    packages = ["patroni", "etcd-server", "postgresql-15-repmgr", "pg-auto-failover-cli"]
    asked = ["dpkg-query", "-W", "-f", "${Package} ${Version}\\n", *packages]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return [f"Debian's packages: {', '.join(done.stdout.split(chr(10))[:-1])}"]


def _kinds(wanted: argparse.Namespace) -> Iterable[Kind]:
    for kind in KINDS:
        if kind.system in wanted.only and kind.settings in (wanted.settings or [kind.settings]):
            if missing := kind.missing():
                print(f"left out: {kind.name}: not installed: {', '.join(missing)}", file=sys.stderr)
            else:
                yield kind


def main() -> int:
    """Measure, print the table; exit 1 when a run failed."""
    signal.signal(signal.SIGTERM, _interrupted)
    wanted = _words().parse_args()
    if wanted.one:
        return one(wanted.one, wanted.faults, wanted.n)
    runs, around = _loaded(wanted.load) if wanted.load else _measured(wanted)
    if wanted.save:
        wanted.save.write_text(
            json.dumps({"around": around, "runs": [run.written() for run in runs]}, indent=1)
        )
    if wanted.plot:
        wanted.plot.write_text(picture(runs))
    told = {(run.system, run.settings) for run in runs}
    shown = [kind for kind in KINDS if (kind.system, kind.settings) in told]
    print(report(runs, around, shown, markdown=wanted.markdown))
    return 1 if any(run.failed for run in runs) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
