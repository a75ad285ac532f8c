"""What one controller costs and how soon it judges, guarding many clusters of three nodes each.

The servers are stand-ins (`bench.fleet.stand_in`) in a process of their own, or, with `--real`, three real
ones under the addresses of hundreds; the controller is the product,
`pgvigil run`, with a configuration, a store and a socket. Its processor time is read from /proc, so what else
the machine does disturbs that figure little; the others it does disturb.

    python -m bench.fleet 10 100 1000 --crash 5 --seconds 30
"""

import argparse
import json
import math
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from bench.fleet.picture import picture
from bench.fleet.processes import Process
from bench.fleet.real import real_servers
from bench.fleet.stand_in import PER_CLUSTER, PORT, address

HTTP_PORT = 24_433
LATE = "pgvigil_controller_late_seconds_total"
READY_S = 600.0
VERDICTS_S = 60.0


@dataclass(frozen=True, slots=True)
class Row:
    """One size. Times in seconds, `cpu_us` a probe, of the controller alone."""

    clusters: int
    nodes: int
    ready_s: float
    """From the start of the process until every cluster is guarded."""
    start_cpu_s: float
    cores: float
    probes: float
    """A second; fewer than nodes / interval: the machine did not let it."""
    cpu_us: float
    memory_mb: float
    memory_kb_node: float
    probe_p50_ms: float
    probe_p99_ms: float
    crashed: int
    verdict_median_s: float
    verdict_last_s: float
    late_s: float
    """By how much the controller's own loop ran late while it was measured, all told."""
    server_cores: float
    load: float
    """Processes that wanted a processor, on average over the last minute: what else the machine did."""


class Fleet(Protocol):
    """The servers of all clusters."""

    def defaults(self) -> Mapping[str, object]:
        """Of `postgres:` in the configuration."""
        ...

    def node(self, cluster: int, number: int) -> Mapping[str, object]:
        """Of a node in the configuration."""
        ...

    def probed(self) -> int:
        """Probes answered so far."""
        ...

    def cpu_s(self) -> float:
        """Processor time so far."""
        ...

    def crash(self, many: int) -> tuple[int, float]:
        """So many primaries at once, if that can be chosen: how many it were, and when (Unix time)."""
        ...


class StandIns:
    """`Fleet` of `bench.fleet.stand_in`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process, self._own = process, Process(process.pid)

    def defaults(self) -> Mapping[str, object]:
        return {"user": "bench", "port": PORT, "dbname": "postgres", "sslmode": "disable"}

    def node(self, cluster: int, number: int) -> Mapping[str, object]:
        return {"host": address(cluster, number)}

    def probed(self) -> int:
        return int(self._ordered("count")["probed"])

    def cpu_s(self) -> float:
        return self._own.cpu_s()

    def crash(self, many: int) -> tuple[int, float]:
        return many, self._ordered(f"crash {many}")["began"]

    def _ordered(self, order: str) -> dict[str, float]:
        assert self._process.stdin
        assert self._process.stdout
        print(order, file=self._process.stdin, flush=True)
        found: dict[str, float] = json.loads(self._process.stdout.readline())
        return found


@contextmanager
def stand_ins(clusters: int) -> Iterator[StandIns]:
    """They answer as long as the context lasts."""
    argv = [sys.executable, "-m", "bench.fleet.stand_in", str(clusters)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        json.loads(process.stdout.readline())
        try:
            yield StandIns(process)
        finally:
            process.stdin.close()
            process.wait(30)


def configuration(fleet: Fleet, home: Path, clusters: int, interval: str) -> str:
    """As a user would write it."""
    nodes = range(PER_CLUSTER)
    settings = {
        "state_dir": str(home / "state"),
        "http": {"listen": f"127.0.0.1:{HTTP_PORT}"},
        "defaults": {"postgres": fleet.defaults(), "probe": {"interval": interval}},
        "clusters": {
            f"c{cluster}": {"nodes": {f"n{number}": fleet.node(cluster, number) for number in nodes}}
            for cluster in range(clusters)
        },
    }
    return json.dumps(settings)  # which is YAML


@contextmanager
def controller(home: Path, settings: str) -> Iterator["subprocess.Popen[bytes]"]:
    """`pgvigil run`, stopped at the end."""
    config = home / "pgvigil.yaml"
    config.write_text(settings)
    argv = [sys.executable, "-m", "pgvigil", "run", "--config", str(config)]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def events(home: Path, kind: str) -> list[datetime]:
    """When events of that kind were written, by the store itself: no question disturbs the controller."""
    file = home / "state/pgvigil.db"
    if not file.exists():
        return []
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        try:
            rows = connection.execute("select body from event where body like ?", (f"%{kind}%",)).fetchall()
        except sqlite3.OperationalError:  # it is just being made
            return []
    found = (json.loads(body) for (body,) in rows)
    return [datetime.fromisoformat(event["at"]) for event in found if event["kind"] == kind]


def wait_for(home: Path, kind: str, many: int, process: "subprocess.Popen[bytes]", within_s: float) -> None:
    """Until so many events of that kind are stored. Raises TimeoutError, with the end of the log."""
    until = time.monotonic() + within_s
    while len(events(home, kind)) < many:
        if time.monotonic() > until or process.poll() is not None:
            end = (home / "log").read_text()[-2000:]
            raise TimeoutError(f"{len(events(home, kind))} of {many} events {kind}\n{end}")
        time.sleep(0.5)


def metrics() -> list[str]:
    """What Prometheus would read, line by line."""
    with urllib.request.urlopen(f"http://127.0.0.1:{HTTP_PORT}/metrics", timeout=60) as answer:
        return str(answer.read().decode()).splitlines()


def values(lines: list[str], name: str) -> list[float]:
    """Of that metric, sorted."""
    return sorted(float(line.rpartition(" ")[2]) for line in lines if re.match(rf"{name}[ {{]", line))


def share(values: list[float], part: float) -> float:
    """Of the sorted values, this part is not greater."""
    return values[min(math.ceil(part * len(values)), len(values)) - 1] if values else math.nan


def measure(clusters: int, *, crash: int, seconds: float, interval: str, real: bool) -> Row:
    """One size, from the start to the last verdict."""
    with tempfile.TemporaryDirectory(prefix="pgv-fleet-") as directory:
        home = Path(directory)
        with (
            (real_servers if real else stand_ins)(clusters) as servers,
            controller(home, configuration(servers, home, clusters, interval)) as process,
        ):
            began = time.monotonic()
            wait_for(home, "taken_over", clusters, process, READY_S)
            ready_s, proc = time.monotonic() - began, Process(process.pid)
            start_cpu_s = proc.cpu_s()
            time.sleep(5)
            late = values(metrics(), LATE)[0]
            before = servers.probed()
            begun = time.monotonic(), proc.cpu_s(), servers.cpu_s()
            time.sleep(seconds)
            passed = time.monotonic() - begun[0]
            cores, theirs = (
                (proc.cpu_s() - begun[1]) / passed,
                (servers.cpu_s() - begun[2]) / passed,
            )
            probes = (servers.probed() - before) / passed
            memory_mb, load, told = proc.memory_mb(), os.getloadavg()[0], metrics()
            took = [1000 * each for each in values(told, "pgvigil_node_probe_seconds")]
            late = values(told, LATE)[0] - late
            crash, began = servers.crash(min(crash, clusters))
            wait_for(home, "found_primary_crashed", crash, process, VERDICTS_S)
            verdicts = sorted(at.timestamp() - began for at in events(home, "found_primary_crashed"))
    nodes = clusters * PER_CLUSTER
    return Row(
        clusters=clusters,
        nodes=nodes,
        ready_s=round(ready_s, 1),
        start_cpu_s=round(start_cpu_s, 1),
        cores=round(cores, 3),
        probes=round(probes, 0),
        cpu_us=round(1e6 * cores / probes, 0),
        memory_mb=round(memory_mb, 0),
        memory_kb_node=round(1024 * memory_mb / nodes, 0),
        probe_p50_ms=round(share(took, 0.5), 1),
        probe_p99_ms=round(share(took, 0.99), 1),
        crashed=crash,
        verdict_median_s=round(share(verdicts, 0.5), 2),
        verdict_last_s=round(verdicts[-1], 2),
        late_s=round(late, 1),
        server_cores=round(theirs, 2),
        load=round(load, 1),
    )


def as_markdown(rows: list[Row]) -> str:
    """A table, one row a size."""
    heads = list(asdict(rows[0]))
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(str(value) for value in asdict(row).values()) + " |" for row in rows]
    return "\n".join(lines)


def main() -> None:
    """Measure every size that was asked for, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("clusters", type=int, nargs="+")
    parser.add_argument("--crash", type=int, default=5, help="primaries that crash at once")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long processor time is measured")
    parser.add_argument("--svg", type=Path, help="draw the cost of a probe over the number of nodes there")
    parser.add_argument("--interval", default="1s", help="probe.interval")
    parser.add_argument("--real", action="store_true", help="three real servers under many addresses")
    asked = parser.parse_args()
    rows = []
    for clusters in asked.clusters:
        row = measure(
            clusters, crash=asked.crash, seconds=asked.seconds, interval=asked.interval, real=asked.real
        )
        print(json.dumps(asdict(row)), flush=True)
        rows.append(row)
        if asked.svg:
            asked.svg.write_text(picture([(row.nodes, row.cpu_us) for row in rows]))
    print(as_markdown(rows))


if __name__ == "__main__":
    main()
