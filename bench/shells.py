"""What SSH connections cost the controller, kept or opened when needed, and how that delays a failover.

The hosts are one sshd on this machine. The first two tables are of a process that has nothing but the
product's watches of hosts; what sshd takes is not in them. Where there are more hosts than `shells.kept`, the
others are looked at one after the other: `in turn` is what that takes while it lasts, which is always where
they are many.

    python bench/shells.py --hosts 100 300 --seconds 40 --failovers 5
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.fleet.processes import Process
from bench.outage.columns import as_text
from pgvigil.config.schema import ClusterSection
from pgvigil.demo.binaries import find_postgres
from pgvigil.demo.servers import Server, Servers, wait_until
from pgvigil.demo.writer import Writer
from pgvigil.model.record import Paths
from pgvigil.model.sighting import HostAnswer
from pgvigil.model.units import Instant
from pgvigil.ports.clock import SystemClock
from pgvigil.ports.host import look_script
from pgvigil.ports.shell import make_shell
from pgvigil.sight.shell import HostWatch
from pgvigil.sight.shells import LOOKS_PER_S, Shells
from pgvigil.wiring import node_ports
from tests.contract.sshd import Sshd, running_sshd
from tests.postgres.guard import Guard, cluster_spec, guarding

WITHIN_S = 120.0
LOOKS = 100
LET_GO_S = 15.0
"""By then the last connection of a look has been closed."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """What a stretch of time took of this process."""

    what: str
    hosts: int
    connections: int
    cores: float
    memory_mb: float
    """More than before anything was watched."""
    all_looked_at_s: float | None = None
    """When every host had been looked at, where that was waited for."""


@contextmanager
def data_directory() -> Iterator[Path]:
    """What looks like a running server's to `look_script`."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "PG_VERSION").write_text("18\n")
        (place / "pg_wal").mkdir()
        with subprocess.Popen(["sleep", "infinity"], cwd=place) as server:
            (place / "postmaster.pid").write_text(f"{server.pid}\n")
            try:
                yield place
            finally:
                server.kill()


def memory_mb() -> float:
    """Resident, of this process."""
    return Process(os.getpid()).memory_mb()


async def _look(sshd: Sshd, data: Path) -> None:
    shell = make_shell(sshd.spec(), host="127.0.0.1")
    await shell.ask(look_script(str(data), "", slow=True), within_s=WITHIN_S)
    shell.close()


async def one_look(sshd: Sshd, data: Path) -> tuple[float, float]:
    """Processor and wall milliseconds of connecting, a look and closing."""
    await _look(sshd, data)  # what is imported and read once
    cpu, wall = time.process_time(), time.monotonic()
    for _ in range(LOOKS):
        await _look(sshd, data)
    return (time.process_time() - cpu) / LOOKS * 1000, (time.monotonic() - wall) / LOOKS * 1000


class Hosts:
    """So many watched hosts, of which so many keep their shell."""

    def __init__(self, sshd: Sshd, data: Path, hosts: int, kept: int) -> None:
        self._before_mb, self.begun = memory_mb(), SystemClock().now()
        clock, names = SystemClock(), [f"n{number}" for number in range(hosts)]
        section = ClusterSection.model_validate({"nodes": dict.fromkeys(names, "127.0.0.1")})
        spec = section.spec("bench", Path("/"))
        self.sshd, self.shells, self._clock = sshd, Shells(clock, kept), clock
        self._ports = [node_ports(replace(node, shell=sshd.spec())) for node in spec.nodes]
        paths = Paths(str(data))
        self.watches = [
            HostWatch(spec, ports, clock, lambda: paths, lambda: None, self.shells) for ports in self._ports
        ]
        self._tasks = [asyncio.ensure_future(watch.run()) for watch in self.watches]

    async def need_all(self) -> float:
        """Have all hosts needed at once; seconds until every one has been looked at."""
        since = self._clock.now()
        for watch in self.watches:
            watch.need(True)
        return await self.looked_at(since)

    async def looked_at(self, since: Instant) -> float:
        """Seconds from `since` until every host has been looked at."""
        while not all(isinstance(w.look, HostAnswer) and w.look.at >= since for w in self.watches):  # noqa: ASYNC110  # looks are no events
            await asyncio.sleep(0.02)
        return self._clock.now() - since

    async def stretch(self, what: str, body: Awaitable[float | None]) -> Stretch:
        """Do that, and see what it took; connections are those at its end."""
        cpu, wall = time.process_time(), time.monotonic()
        looked_at = await body
        cores = (time.process_time() - cpu) / (time.monotonic() - wall)
        connections, memory = self.sshd.connections(), memory_mb() - self._before_mb
        found = Stretch(what, len(self.watches), connections, cores, memory, looked_at)
        print(found, file=sys.stderr)
        return found

    async def end(self) -> None:
        """Watch no more, and have all connections closed."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        for ports in self._ports:
            ports.close()
        while self.sshd.connections():  # noqa: ASYNC110  # of another process
            await asyncio.sleep(0.1)


def stretches(sshd: Sshd, data: Path, hosts: int, seconds: float, *, kept: bool) -> list[Stretch]:
    """What so many hosts take; in a process of its own."""

    async def run() -> list[Stretch]:
        await _look(sshd, data)  # what is imported and read once
        watched = Hosts(sshd, data, hosts, hosts if kept else 0)
        found: list[Stretch] = []
        if kept:
            found.append(await watched.stretch("all opened at once", watched.looked_at(watched.begun)))
            found.append(await watched.stretch("all kept", asyncio.sleep(seconds)))
        else:
            turn_s = hosts / LOOKS_PER_S
            found.append(await watched.stretch("on demand, in turn", asyncio.sleep(min(turn_s, seconds))))
            await watched.looked_at(watched.begun)
            await asyncio.sleep(LET_GO_S)
            found.append(await watched.stretch("on demand, between turns", asyncio.sleep(seconds)))
            found.append(await watched.stretch("on demand, all needed at once", watched.need_all()))
        await watched.end()
        return found

    return asyncio.run(run())


def outage(guard: Guard, sshd: Sshd, servers: Servers, writer: Writer, *, kept: bool) -> float:
    """One failover, in seconds without writes; everything is well again, and at rest, before it."""
    guard.await_health(within_s=WITHIN_S)
    wait_until(
        lambda: sshd.connections() == 3 if kept else guard.is_calm() and not sshd.connections(),
        within_s=WITHIN_S,
        what="connections as they are while all is calm",
    )
    time.sleep(1.0)
    primary: Server = servers.nodes[guard.primary()]
    primary.kill_all()
    mark, found = time.monotonic(), list[float]()

    def over() -> bool:
        gap = writer.outage_after(mark, not_on=(primary.name,))
        found.extend([] if gap is None else [gap])
        return bool(found)

    wait_until(over, within_s=WITHIN_S, what="a write on another node", every_s=0.005)
    return found[0]


def failovers(n: int) -> dict[str, list[float]]:
    """So many of each kind, in turn, on three real servers."""
    taken: dict[str, list[float]] = {"kept": [], "on demand": []}
    with Servers(find_postgres(), settings={"wal_retrieve_retry_interval": "100ms"}) as servers:
        primary = servers.make_primary("pg1")
        with ThreadPoolExecutor() as pool:
            trio = [primary, *pool.map(lambda name: servers.add_standby(name, primary), ("pg2", "pg3"))]
        folder = Path(servers.home) / "sshd"
        folder.mkdir(mode=0o755)
        conninfos = {server.name: server.conninfo(dbname="postgres") for server in trio}
        with running_sshd(folder) as sshd, Writer(conninfos) as writer:
            local, way = cluster_spec(servers, trio), sshd.spec(servers.account.name)
            spec = replace(local, nodes=tuple(replace(node, shell=way) for node in local.nodes))
            for _ in range(n):
                for kind, times in taken.items():
                    kept = kind == "kept"
                    with guarding(spec, shells_kept=None if kept else 0) as guard:
                        times.append(outage(guard, sshd, servers, writer, kept=kept))
                        guard.await_health(within_s=WITHIN_S)
                    print(f"{kind}: {times[-1] * 1000:.0f} ms", file=sys.stderr)
    return taken


def print_hosts(sizes: Sequence[int], seconds: float) -> None:
    """The first two tables."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_sshd(Path(folder)) as sshd,
        data_directory() as data,
    ):
        cpu_ms, wall_ms = asyncio.run(one_look(sshd, data))
        head = ("connect, look and close", "runs", "processor ms", "ms in all")
        print(as_text(head, [("", str(LOOKS), f"{cpu_ms:.1f}", f"{wall_ms:.0f}")], markdown=True))
        lines = []
        for hosts in sizes:
            for kept in (True, False):
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                    found = pool.submit(stretches, sshd, data, hosts, seconds, kept=kept).result()
                lines += [line(each) for each in found]
        head_of_hosts = ("hosts", "shells", "connections", "cores", "MB more", "all looked at, s")
        print(as_text(head_of_hosts, lines, markdown=True))


def line(each: Stretch) -> tuple[str, ...]:
    """Of the second table."""
    looked_at = "" if each.all_looked_at_s is None else f"{each.all_looked_at_s:.1f}"
    figures = f"{each.connections}", f"{each.cores:.3f}", f"{each.memory_mb:.0f}"
    return f"{each.hosts}", each.what, *figures, looked_at


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--hosts", type=int, nargs="*", default=[100, 300])
    words.add_argument("--seconds", type=float, default=40.0, help="how long each stretch is measured")
    words.add_argument("--failovers", type=int, default=5, help="runs of each kind")
    wanted = words.parse_args()
    print_hosts(wanted.hosts, wanted.seconds)
    lines = [
        (kind, str(len(values)), *(f"{f(values) * 1000:.0f}" for f in (statistics.median, min, max)))
        for kind, values in (failovers(wanted.failovers) if wanted.failovers else {}).items()
    ]
    print(as_text(("failover, shells", "runs", "median ms", "min", "max"), lines, markdown=True))


if __name__ == "__main__":
    main()
