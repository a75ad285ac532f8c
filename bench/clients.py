"""What clients of HTTP cost the controller: its probes' latency with and without them, requests, memory.

A real controller (`pgvigil run`) watches `--clusters` clusters of three nodes; all are the same three real
servers under other names, so a probe is a real one. Loads run in a process of their own, one after another,
for `--seconds` each. Latencies of probes are the controller's own (`probe_s`: from its question to its answer
being read, so it contains whatever keeps its loop busy); those of health checks are a client's that asks 20
times a second beside the load.
"""

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import yaml

from bench.fleet.processes import Process
from bench.outage.circumstances import Circumstances
from pgvigil.api.gate import new_token, write_tokens
from pgvigil.api.socket_client import SocketOperations
from pgvigil.demo.binaries import find_postgres
from pgvigil.demo.ports import free_port
from pgvigil.demo.servers import Servers, config_text
from pgvigil.errors import PgvigilError
from pgvigil.model.face import Access

GET = "GET {} HTTP/1.1\r\nhost: x\r\n{}\r\n"
STREAM = "accept: text/event-stream\r\n"


@dataclass(slots=True)
class Counts:
    """What a load did: requests that were answered, by status; connections that were ended or refused."""

    answers: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    ended: int = 0

    def add(self, status: str) -> None:
        self.answers[status] = self.answers.get(status, 0) + 1


Client = Callable[[int, int, Counts], Awaitable[None]]


async def ask(port: int, sent: bytes, counts: Counts) -> None:
    """Ask the same on one connection again and again; a new one when it is ended."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while True:
            writer.write(sent)
            head = await reader.readuntil(b"\r\n\r\n")
            counts.add(head.split(b" ", 2)[1].decode())
            length = next(
                (
                    int(line[15:])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                ),
                0,
            )
            counts.bytes += len(await reader.readexactly(length))
            if b"connection: close" in head.lower():
                return
    finally:
        writer.close()


def asking(*paths: str) -> Client:
    """Closed loop over these paths."""

    async def client(number: int, port: int, counts: Counts) -> None:
        await ask(port, GET.format(paths[number % len(paths)], "").encode(), counts)

    return client


def sending(*requests: bytes) -> Client:
    async def client(number: int, port: int, counts: Counts) -> None:
        await ask(port, requests[number % len(requests)], counts)

    return client


async def listen(number: int, port: int, counts: Counts) -> None:
    """An SSE client that reads."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(GET.format("/events", STREAM).encode())
        counts.add((await reader.readline()).split(b" ")[1].decode())
        while got := await reader.read(2**18):
            counts.bytes += len(got)
    finally:
        writer.close()


async def deaf(number: int, port: int, counts: Counts) -> None:
    """An SSE client that never reads."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport that reads
    try:
        writer.write(GET.format("/events", STREAM).encode())
        await asyncio.sleep(3600)
    finally:
        writer.close()


async def drip(number: int, port: int, counts: Counts) -> None:
    """Slowloris: a byte of the headers, or of the body, now and then."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = b"POST /clusters/c0/pause HTTP/1.1\r\nhost: x\r\ncontent-length: 9999\r\n"
    try:
        writer.write(head + (b"\r\n" if number % 2 else b"x-slow: "))
        while not reader.at_eof():
            writer.write(b" ")
            await asyncio.sleep(1)
            if got := await asyncio.wait_for(reader.read(1), 0.01):
                counts.add(got.decode())
    except TimeoutError:
        await drip(number, port, counts)
    finally:
        writer.close()


def post(token: str, body: bytes) -> bytes:
    head = f"POST /clusters/c0/failover HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n"
    return head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body


TRICKS = [
    GET.format(path, "").encode(errors="surrogateescape")
    for path in (
        "/clusters/..%2f..%2fetc",
        "/clusters/%00",
        "/" + "x" * 8000,
        "/clusters/%ff",
        "/clusters//x",
    )
]


@dataclass(frozen=True, slots=True)
class Load:
    clients: int
    client: Client


def loads(secret: str) -> dict[str, Load]:
    """Name → who asks what. Clients of one load all ask at once."""
    checks = [
        f"/clusters/c{n}/nodes/pg{n % 3 + 1}/{what}" for n in range(20) for what in ("primary", "replica")
    ]
    bad = [post(secret, b"{" * 60_000), post(secret, b"x" * 200_000), b"nonsense\r\n\r\n", *TRICKS]
    return {
        "health checks": Load(16, asking(*checks)),
        "1,000 health checks at once": Load(1_000, asking(*checks)),
        "1,000 streams": Load(1_000, listen),
        "500 streams never read": Load(500, deaf),
        "wrong tokens": Load(16, sending(post("guess", b"{}"))),
        "malformed, too large, path tricks": Load(16, sending(*bad)),
        "1,000 slow headers and bodies": Load(1_000, drip),
        "all clusters, metrics, history": Load(
            8, asking("/clusters", "/metrics", "/events?limit=1000", "/clusters/c0/changes")
        ),
    }


async def run_load(load: Load, port: int, seconds: float) -> Counts:
    counts = Counts()

    async def again(number: int) -> None:
        while True:
            try:
                await load.client(number, port, counts)
            except (OSError, asyncio.IncompleteReadError, ValueError, IndexError):
                counts.ended += 1
                await asyncio.sleep(0.05)

    tasks = [asyncio.create_task(again(number)) for number in range(load.clients)]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return counts


@dataclass(slots=True)
class Seen:
    """What was measured during one load."""

    name: str
    probes: list[float] = field(default_factory=list)
    checks: list[float] = field(default_factory=list)
    failed: int = 0
    memory_mb: float = 0.0
    cpu: float = 0.0
    rate: float = 0.0
    told: str = ""

    def row(self) -> list[str]:
        return [self.name, *percentiles(self.probes), *percentiles(self.checks), str(self.failed),
                f"{self.rate:.0f}", f"{self.cpu:.0f}", f"{self.memory_mb:.0f}", self.told]  # fmt: skip


HEAD = ["load", "probe p50 ms", "p99", "max", "check p50 ms", "p99", "max", "failed", "requests/s", "CPU %",
        "RSS MiB", "answers"]  # fmt: skip


def percentiles(found: list[float]) -> list[str]:
    if len(found) < 2:
        return ["", "", ""]
    parts = statistics.quantiles(found, n=100, method="inclusive")
    return [f"{1000 * each:.1f}" for each in (parts[49], parts[98], max(found))]


class Controller:
    """A real one, with its process id."""

    def __init__(self, servers: Servers, clusters: int, python: str) -> None:
        self.port = free_port()
        one = yaml.safe_load(config_text(servers, "c0"))
        (section,) = one["clusters"].values()
        section["failover"] = {**section.get("failover", {}), "automatic": False}
        section["replication"] = {**section.get("replication", {}), "slots": False}
        one["clusters"] = {f"c{number}": section for number in range(clusters)}
        token, self.secret = new_token("bench", Access.VIEWER)
        write_tokens(servers.home / "tokens", [token])
        one["http"] = {"listen": f"127.0.0.1:{self.port}", "tokens": "tokens"}
        (servers.home / "pgvigil.yaml").write_text(yaml.safe_dump(one))
        self.ops = SocketOperations(servers.home / "state" / "pgvigil.sock")
        self._log = (servers.home / "controller.log").open("wb")
        argv = [python, "-m", "pgvigil", "run", "--config", str(servers.home / "pgvigil.yaml")]
        self.process = subprocess.Popen(argv, stderr=self._log)
        self.used = Process(self.process.pid)

    def status(self) -> list[dict[str, Any]]:
        try:
            return asyncio.run(self.ops.status())
        except PgvigilError:
            return []

    def await_all(self, clusters: int) -> None:
        until = time.monotonic() + 120
        while sum(each["health"] == "ok" for each in self.status()) < clusters:
            if time.monotonic() > until:
                raise SystemExit(f"not healthy: {[each['health'] for each in self.status()][:5]}")
            time.sleep(1)

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self._log.close()


def check_health(port: int, seen: Seen, over: threading.Event) -> None:
    """As a load balancer does it: a new connection each time."""
    while not over.wait(0.05):
        begun = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/clusters/c0/nodes/pg1/primary")
            seen.failed += connection.getresponse().status != 200
        except OSError:
            seen.failed += 1
        finally:
            connection.close()
        seen.checks.append(time.monotonic() - begun)


@contextlib.contextmanager
def measuring(controller: Controller, name: str) -> Iterator[Seen]:
    seen, over = Seen(name), threading.Event()
    checker = threading.Thread(target=check_health, args=(controller.port, seen, over))
    checker.start()

    def sample() -> None:
        while not over.wait(0.5):
            for cluster in controller.status():
                seen.probes += [node["probe_s"] for node in cluster["nodes"] if node["probe_s"] is not None]
            seen.memory_mb = max(seen.memory_mb, controller.used.memory_mb())

    sampler = threading.Thread(target=sample)
    sampler.start()
    begun, before = time.monotonic(), controller.used.cpu_s()
    try:
        yield seen
    finally:
        seen.cpu = 100 * (controller.used.cpu_s() - before) / (time.monotonic() - begun)
        over.set()
        checker.join()
        sampler.join()


def under_load(controller: Controller, name: str, seconds: float) -> Seen:
    """One load in its own process."""
    argv = [
        sys.executable,
        __file__,
        "--load",
        name,
        "--port",
        str(controller.port),
        "--seconds",
        str(seconds),
    ]
    with measuring(controller, name) as seen:
        done = subprocess.run(
            argv,
            env={**os.environ, "BENCH_TOKEN": controller.secret},
            capture_output=True,
            text=True,
            check=True,
        )
    told = json.loads(done.stdout)
    seen.rate = sum(told["answers"].values()) / seconds
    seen.told = ", ".join(f"{count} × {status}" for status, count in sorted(told["answers"].items()))
    seen.told += f", {told['ended']} ended" if told["ended"] else ""
    seen.told += f", {told['bytes'] / 2**20:.0f} MiB" if told["bytes"] > 2**20 else ""
    return seen


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--clusters", type=int, default=100)
    arguments.add_argument("--seconds", type=float, default=15)
    arguments.add_argument("--only", help="part of a load's name")
    arguments.add_argument("--python", default=sys.executable, help="whose pgvigil is measured")
    arguments.add_argument("--load", help=argparse.SUPPRESS)
    arguments.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.load:
        load = loads(os.environ["BENCH_TOKEN"])[given.load]
        counts = asyncio.run(run_load(load, given.port, given.seconds))
        print(json.dumps({"answers": counts.answers, "bytes": counts.bytes, "ended": counts.ended}))
        return
    measure(given)


def measure(given: argparse.Namespace) -> None:
    found = find_postgres()
    about = Circumstances.now(sys.argv[1:], found.bin_dir, command="python bench/clients.py")
    with Servers(found) as servers:
        primary = servers.make_primary("pg1", max_connections=3 * given.clusters + 50)
        for name in ("pg2", "pg3"):
            servers.add_standby(name, primary, max_connections=3 * given.clusters + 50).wait_streaming(
                primary
            )
        controller = Controller(servers, given.clusters, given.python)
        try:
            controller.await_all(given.clusters)
            rows = [HEAD, ["---"] * len(HEAD)]
            with measuring(controller, f"none ({given.clusters} clusters)") as seen:
                time.sleep(given.seconds)
            rows.append(seen.row())
            for name in loads(""):
                if not given.only or given.only in name:
                    rows.append(under_load(controller, name, given.seconds).row())
                    print(rows[-1], file=sys.stderr, flush=True)
                    time.sleep(2)
            about.load_after = os.getloadavg()[0]
            print("\n".join(f"- {line}" for line in about.lines()), end="\n\n")
            print("\n".join("| " + " | ".join(row) + " |" for row in rows))
        finally:
            controller.end()


if __name__ == "__main__":
    main()
