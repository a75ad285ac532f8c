"""A controller under test: the production one on real ports, in a thread of its own, with a plain face."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import structlog

from pgvigil.controller.fleet import Fleet
from pgvigil.controller.mode import Mode
from pgvigil.controller.operations import Outcome
from pgvigil.demo.servers import Server, Servers, wait_until
from pgvigil.errors import TimedOut
from pgvigil.model.command import Command
from pgvigil.model.shell import LocalShell
from pgvigil.model.spec import (
    AfterCrash,
    ClusterSpec,
    FailoverPolicy,
    Fencing,
    NodeSpec,
    Protection,
    Replication,
    Timings,
    WhenUnreachable,
)
from pgvigil.model.units import ClusterName, NodeName
from pgvigil.ports.clock import SystemClock
from pgvigil.ports.contract import Store
from pgvigil.ports.hooks import Hooks
from pgvigil.sight.shells import Shells
from pgvigil.store.memory import MemoryStore
from pgvigil.wiring import make_fleet

T = TypeVar("T")


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


TIMINGS = Timings(
    probe_interval=seconds(0.5),
    suspect_after=seconds(0.25),
    probe_timeout=seconds(5),
    connect_timeout=seconds(2),
    shell_timeout=seconds(1),
    unreachable_after=seconds(3),
    hung_after=seconds(5),
    restart_grace=seconds(5),
)
POLICY = FailoverPolicy(
    automatic=True,
    after_crash=AfterCrash.FAILOVER,
    max_lag_bytes=16 * 2**20,
    max_per=None,
    rescue_max_bytes=256 * 2**20,
    rescue_timeout=seconds(10),
    auto_rejoin=True,
)


def node_spec(servers: Servers, server: Server, *, shell: bool = True) -> NodeSpec:
    """The server as pgvigil would be told of it."""
    login = (("user", "pgvigil"), ("dbname", "postgres"), ("passfile", str(servers.passfile())))
    return NodeSpec(
        NodeName(server.name),
        "127.0.0.1",
        server.port,
        login,
        data_dir=str(server.data_dir) if shell else "",
        bin_dir=str(server.bin_dir) if shell else "",
        shell=LocalShell(server.account.name) if shell else None,
    )


def cluster_spec(
    servers: Servers, nodes: Sequence[Server], *, name: str = "test", shell: bool = True
) -> ClusterSpec:
    """A cluster of these servers with default settings and no cool-down."""
    replication = (("user", "replicator"), ("passfile", str(servers.passfile("replicator"))))
    return ClusterSpec(
        name=ClusterName(name),
        nodes=tuple(node_spec(servers, server, shell=shell) for server in nodes),
        protection=Protection.ASYNC,
        replication=Replication(replication),
        timings=TIMINGS,
        failover=POLICY,
        fencing=Fencing(WhenUnreachable.PROMOTE),
    )


def with_timings(spec: ClusterSpec, **changes: float) -> ClusterSpec:
    """The same cluster with other timings, in seconds."""
    return replace(spec, timings=replace(spec.timings, **{k: seconds(v) for k, v in changes.items()}))


def _taken_over(guard: "Guard", spec: ClusterSpec) -> bool:
    return bool(guard.status(spec.name)["generation"] > 0)


class Guard:
    """A running controller. Every call is thread-safe and blocking."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, fleet: Fleet, specs: Sequence[ClusterSpec], store: Store
    ) -> None:
        self._loop, self._fleet, self._specs, self.store = loop, fleet, specs, store

    def status(self, cluster: str = "") -> dict[str, Any]:
        name = ClusterName(cluster or self._specs[0].name)
        return self._call(self._fleet.status(name))[0]

    def primary(self, cluster: str = "") -> str:
        return str(self.status(cluster)["primary"])

    def knows_hosts(self) -> bool:
        """Whether every host's last look says that its server runs."""
        return all(node["postmaster"] == "running" for node in self.status()["nodes"])

    def is_calm(self) -> bool:
        """All is well, and every host was looked at."""
        return self.status()["health"] == "ok" and self.knows_hosts()

    def order(
        self, command: Command, *, dry_run: bool = False, within_s: float = 60.0, cluster: str = ""
    ) -> Outcome:
        name = ClusterName(cluster or self._specs[0].name)
        told = self._fleet.order(name, command, dry_run=dry_run, within_s=within_s, progress=lambda _: None)
        return self._call(told, within_s + 10)

    def reload(self, *specs: ClusterSpec) -> str:
        """Guard these clusters from now on, as `pgvigil reload` does; returns what changed."""
        self._specs = specs
        return self._call(self._fleet.guard(specs))

    def loops(self) -> int:
        """How many loops run, for all clusters together."""
        return sum(task.get_name().startswith("cluster ") for task in asyncio.all_tasks(self._loop))

    def events(self, cluster: str = "") -> list[dict[str, Any]]:
        name = ClusterName(cluster or self._specs[0].name)
        return self._call(self._fleet.events(name, limit=1000))

    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.events()]

    def await_health(self, wanted: str = "ok", *, within_s: float = 30.0, cluster: str = "") -> None:
        try:
            wait_until(
                lambda: self.status(cluster)["health"] == wanted, within_s=within_s, what=f"health {wanted}"
            )
        except TimedOut:
            status = self.status(cluster)
            findings = [(f["problem"], f["node"], f["evidence"]) for f in status["findings"]]
            raise AssertionError(f"{status['health']}: {status['decision']} {findings}") from None

    def await_primary(self, other_than: str, *, within_s: float = 30.0) -> str:
        def changed() -> bool:
            status = self.status()
            return bool(status["primary"] != other_than and status["phase"] == "stable")

        wait_until(changed, within_s=within_s, what=f"another primary than {other_than}")
        return self.primary()

    def story(self) -> str:
        """The last events of each cluster, and what it decides now: what a failed test has to show."""
        lines = []
        for spec in self._specs:
            lines += [f"{e['at']} {e['kind']} {e['text']}" for e in self.events(spec.name)[-120:]]
            lines.append(f"now: {self.status(spec.name)['decision']}")
        return "\n".join(lines)

    def _call(self, coroutine: Coroutine[Any, Any, T], within_s: float = 30.0) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(within_s)


@contextmanager
def guarding(
    *specs: ClusterSpec,
    store: Store | None = None,
    mode: Mode = Mode.GUARD,
    wait: bool = True,
    shells_kept: int | None = None,
) -> Iterator[Guard]:
    """Guard the clusters in a thread; on leaving the controller is stopped, the servers are not.

    `wait`: until every cluster has been taken over. `shells_kept`: so many shells stay open; None: all.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    kept = store or MemoryStore()
    ready: list[Guard] = []
    stop: list[Callable[[], object]] = []
    begun = threading.Event()

    async def work() -> None:
        loop, end = asyncio.get_running_loop(), asyncio.Event()
        hooks = Hooks()
        hooks.serve(specs)
        running = asyncio.create_task(hooks.run())
        shells = Shells(SystemClock(), shells_kept)
        fleet = make_fleet(kept, notifiers=(hooks,), mode=mode, advisor=hooks, shells=shells)
        async with fleet.running(specs):
            ready.append(Guard(loop, fleet, specs, kept))
            stop.append(lambda: loop.call_soon_threadsafe(end.set))
            begun.set()
            await end.wait()
        running.cancel()

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    try:
        assert begun.wait(10)
        for spec in specs if wait else ():
            wait_until(partial(_taken_over, ready[0], spec), within_s=20, what="taking over")
        yield ready[0]
    except BaseException as error:
        if ready:
            error.add_note(ready[0].story())
        raise
    finally:
        for end in stop:
            end()
        thread.join(20)
