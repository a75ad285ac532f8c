"""How soon clients of HAProxy write on the new primary, and how long clients of PgBouncer wait for it.

Needs haproxy, pgbouncer and a PostgreSQL; everything is on this host. One primary, two standbys, pgvigil with
default settings, one cluster for all runs of a kind.

`HAProxy, told` and `HAProxy, asked`: all server processes of the primary are killed; seconds from the
verified promotion (the event `promote`) to the first acknowledged write of a client that connects through
HAProxy again and again. `asked`: without the endpoint, by agent checks every 0.2 s alone.

`PgBouncer, switchover`: 20 clients write all the time through PgBouncer with transaction pooling; seconds are
the longest statement of all of them. `failed` counts statements, `lost` acknowledged rows that are not there.
`PgBouncer, crash`: as with HAProxy, seconds from the verified promotion to the first acknowledged write.
"""

import argparse
import asyncio
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any, Self

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg
import yaml

from bench.outage.circumstances import Circumstances
from pgvigil.api.socket_client import SocketOperations
from pgvigil.config.haproxy import haproxy
from pgvigil.config.load import load
from pgvigil.demo.binaries import find_postgres
from pgvigil.demo.ports import HOST, free_port
from pgvigil.demo.servers import Server, Servers, config_text
from tests.postgres.fronts import Bouncer, Busy, running_haproxy
from tests.postgres.service import Service

HEAD = ("scenario", "min s", "median s", "max s", "n", "statements", "failed", "lost")


@dataclass(frozen=True, slots=True)
class Run:
    """One run: what was measured, in seconds, and what became of statements."""

    what: str
    took_s: float
    statements: int = 0
    failed: int = 0
    lost: int = 0


class Scene:
    """Context manager: three servers, a controller, and endpoints before them."""

    def __init__(self, *, told: bool) -> None:
        self._stack, self._told = ExitStack(), told
        self.servers = Servers(find_postgres(), settings={"fsync": False}, wal_segment_mb=1)
        self.write = free_port()

    def __enter__(self) -> Self:
        servers = self._stack.enter_context(self.servers)
        first = servers.make_primary("pg1")
        for name in ("pg2", "pg3"):
            servers.add_standby(name, first).wait_streaming(first)
        self.bouncer = Bouncer(servers.account, servers.home, servers.passfile())
        self._stack.enter_context(self.bouncer)
        checks, place = free_port(), servers.home / "haproxy.sock"
        endpoints = [{"haproxy": {"address": str(place)}}, self.bouncer.section()] if self._told else []
        written = yaml.safe_load(
            config_text(servers, "orders", endpoints=endpoints, failover={"max_per": "none"})
        )
        written["http"] = {"listen": f"{HOST}:{free_port()}", "haproxy": f"{HOST}:{checks}"}
        file = servers.home / "pgvigil.yaml"
        file.write_text(yaml.safe_dump(written))
        (spec,) = load(file).clusters
        text = haproxy(spec, (HOST, checks), write=self.write, read=free_port())
        (servers.home / "haproxy.cfg").write_text(text)
        self.service = self._stack.enter_context(Service(servers))
        self._stack.enter_context(running_haproxy(servers.home / "haproxy.cfg"))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def settled(self) -> str:
        """The primary's name, once the cluster is well and every endpoint leads there."""
        found = self.service.await_that(_is_settled, "all well", within_s=120)
        return str(found["primary"])

    def primary(self) -> Server:
        """Once settled."""
        return self.servers.nodes[self.settled()]

    def promoted_at(self, after: float) -> float:
        """When the promotion was verified, as the event says; UNIX time."""
        socket = SocketOperations(self.service.state / "pgvigil.sock")
        events = asyncio.run(socket.events(None, limit=200))
        at = [datetime.fromisoformat(e["at"]).timestamp() for e in events if e["kind"] == "promote"
              and "timeline" in e["data"]]  # fmt: skip
        return min(each for each in at if each > after)


def _is_settled(status: dict[str, Any]) -> bool:
    led = all(e["state"] == "ok" and e["primary"] == status["primary"] for e in status["endpoints"])
    return bool(status["health"] == "ok" and led)


class Prober:
    """Context manager: one client that connects and writes again and again, and remembers when it could."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo, self._stop = conninfo, threading.Event()
        self.acknowledged: list[float] = []
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stop.wait(0.005):
            try:
                with psycopg.connect(self._conninfo, autocommit=True) as session:
                    session.execute("insert into busy (client) values (-1)")
                self.acknowledged.append(time.time())
            except psycopg.Error:
                continue

    def first_after(self, at: float) -> float:
        """Waits for it."""
        while not (later := [each for each in self.acknowledged if each > at]):
            time.sleep(0.01)
        return later[0]


def crash(scene: Scene, what: str, conninfo: str) -> Run:
    """Kill the primary; seconds from the verified promotion to the first write."""
    old = scene.primary()
    old.sql("create table if not exists busy (id bigserial primary key, client int)")
    with Prober(conninfo) as prober:
        prober.first_after(time.time())
        began = time.time()
        old.kill_all()
        dead = time.time()
        scene.service.await_that(lambda s: s["primary"] != old.name and s["phase"] == "stable", "failover")
        promoted = scene.promoted_at(began)
        first = prober.first_after(max(dead, promoted))
    return Run(what, first - promoted)


def switchover(scene: Scene) -> Run:
    """The longest statement of 20 clients of PgBouncer."""
    old = scene.settled()
    to = "pg2" if old == "pg1" else "pg1"
    with Busy(scene.bouncer.conninfo, first=secrets.randbelow(2**30)) as busy:
        time.sleep(0.5)
        done = scene.service.command("switchover", "--to", to, "--yes")
        assert done.returncode == 0, done.stderr
        time.sleep(0.5)
    text = "select count(*) from busy where client between %s and %s"
    ((kept,),) = scene.primary().sql(text, busy.first, busy.first + busy.clients - 1)
    lost = max(0, busy.done - kept)
    return Run("PgBouncer, switchover", busy.longest_s, busy.done, len(busy.failed), lost)


def measure(n: int) -> Iterator[Run]:
    """All kinds, n times each."""
    with Scene(told=True) as scene:
        through = scene.servers.nodes["pg1"].conninfo(dbname="postgres", port=scene.write)
        for _ in range(n):
            yield crash(scene, "HAProxy, told", through)
        for _ in range(n):
            yield switchover(scene)
        for _ in range(n):
            yield crash(scene, "PgBouncer, crash", scene.bouncer.conninfo)
    with Scene(told=False) as scene:
        through = scene.servers.nodes["pg1"].conninfo(dbname="postgres", port=scene.write)
        for _ in range(n):
            yield crash(scene, "HAProxy, asked", through)


def table(runs: list[Run]) -> list[tuple[str, ...]]:
    """One line a kind."""
    lines: list[tuple[str, ...]] = []
    for what in dict.fromkeys(run.what for run in runs):
        kept = [run for run in runs if run.what == what]
        times = [run.took_s for run in kept]
        figures = [f"{each:.3f}" for each in (min(times), median(times), max(times))]
        sums: list[Callable[[Run], int]] = [lambda r: r.statements, lambda r: r.failed, lambda r: r.lost]
        counts = [str(sum(each(run) for run in kept)) for each in sums]
        lines.append((what, *figures, str(len(kept)), *counts))
    return lines


def main() -> int:
    """Measure, print the table; exit 1 when a statement failed in a switchover, or a row was lost."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("-n", type=int, default=10, help="runs of each kind")
    words.add_argument("--markdown", action="store_true", help="for docs/measured.md")
    wanted = words.parse_args()
    around = Circumstances.now(sys.argv[1:], find_postgres().bin_dir, command="python bench/endpoints.py")
    runs: list[Run] = []
    for run in measure(wanted.n):
        print(run, file=sys.stderr, flush=True)
        runs.append(run)
    around.load_after = os.getloadavg()[0]
    lines = [HEAD, *table(runs)]
    if wanted.markdown:
        lines.insert(1, ("---",) * len(HEAD))
        print(
            "\n".join(
                [
                    *(f"- {line}" for line in around.lines()),
                    "",
                    *(f"| {' | '.join(line)} |" for line in lines),
                ]
            )
        )
    else:
        widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
        print("\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in lines))
        print("\n".join(around.lines()))
    return 1 if any(run.failed or run.lost for run in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
