"""`pgvigil demo`: real servers, a controller, a writer; a killed primary, told by the millisecond."""

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import structlog
from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from pgvigil.api.socket_server import serve
from pgvigil.cli.theme import BAD, DIM, GOOD, NOTE, STRONG, WARN, make_console, symbols
from pgvigil.cli.topology import topology_view
from pgvigil.config.load import load
from pgvigil.controller.fleet import Fleet
from pgvigil.controller.operations import Json, Result
from pgvigil.demo.binaries import find_postgres
from pgvigil.demo.servers import Server, Servers, config_text
from pgvigil.demo.writer import Writer
from pgvigil.errors import StepFailed, TimedOut
from pgvigil.model.command import Switchover
from pgvigil.model.units import ClusterName, NodeName
from pgvigil.store.lock import StateLock
from pgvigil.store.sqlite import SqliteStore
from pgvigil.wiring import make_fleet

CLUSTER = ClusterName("demo")
HEALTHY_S = 60.0
HEADING_WIDTH = 100
WORDS = {
    "seen": ("evidence", DIM),
    "primary_crashed": ("verdict", BAD),
    "fence": ("fence", STRONG),
    "cut": ("cut", STRONG),
    "rescue": ("rescue", STRONG),
    "follow": ("follow", STRONG),
    "promote": ("promote", STRONG),
    "promoted": ("promoted", GOOD),
    "rebuild": ("rejoin", STRONG),
    "rejoined": ("rejoined", GOOD),
    "switchover": ("order", NOTE),
    "checkpoint": ("checkpoint", STRONG),
    "stop": ("stop", STRONG),
    "switch": ("decision", NOTE),
}
"""Kinds of events the timeline tells, with a word and a style each. A failed step is told too."""


def heading(console: Console, text: str) -> None:
    """Print it with a line behind it, no longer than a page: a pipe has no width of its own."""
    line = Rule(Text(text, style=STRONG), align="left", style=DIM)
    console.print(line, width=min(console.width, HEADING_WIDTH))


@dataclass(frozen=True, slots=True)
class Act:
    """What one act of the story measured, from the writer's side."""

    gap_s: float
    lost: int


@dataclass(slots=True)
class Stage:
    """Everything the story is played with."""

    console: Console
    servers: Servers
    fleet: Fleet
    writer: Writer

    async def status(self) -> Json:
        """The cluster as everybody may see it."""
        (status,) = await self.fleet.status(CLUSTER)
        return status

    async def server(self) -> Server:
        """The primary's server."""
        return self.servers.nodes[(await self.status())["primary"]]

    async def healthy(self) -> None:
        """Until every node streams. Raises TimedOut."""
        until = time.monotonic() + HEALTHY_S
        while (await self.status())["health"] != "ok":
            if time.monotonic() > until:
                raise TimedOut("the demo's cluster did not become healthy", detail=f"in {HEALTHY_S:g} s")
            await asyncio.sleep(0.02)

    async def lost(self) -> int:
        """How many acknowledged rows the present primary does not have."""
        primary = await self.server()
        return len(await asyncio.to_thread(self.writer.lost, primary.conninfo(dbname="postgres")))

    def title(self, text: str) -> None:
        """A heading between acts."""
        heading(self.console, text)

    async def draw(self) -> None:
        """The topology as it is."""
        self.console.print(topology_view(self.console, await self.status()), "")


def run_demo(*, keep: bool, as_json: bool) -> int:
    """Play the story; exit code 0 when it ends healthy with nothing lost. Raises ConfigError, TimedOut."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    signal.signal(signal.SIGTERM, lambda *_: _interrupt())
    console = make_console(stderr=as_json)
    with Servers(find_postgres()) as servers:
        return asyncio.run(_play(console, servers, keep=keep, as_json=as_json))


def _interrupt() -> None:
    raise KeyboardInterrupt


async def _play(console: Console, servers: Servers, *, keep: bool, as_json: bool) -> int:
    await asyncio.to_thread(_make_servers, console, servers)
    async with _on_stage(console, servers) as stage:
        await stage.healthy()
        stage.title("three servers, one writer, one controller")
        await stage.draw()
        await asyncio.sleep(1.0)
        failover = await _crash(stage)
        switchover = await _switch_back(stage)
        await stage.draw()
        status = await stage.status()
        report = {
            "failover_outage_s": round(failover.gap_s, 4),
            "failover_lost": failover.lost,
            "switchover_gap_s": round(switchover.gap_s, 4),
            "switchover_lost": switchover.lost,
            "writes_acknowledged": len(stage.writer.acknowledged()),
            "postgres_version": (await stage.server()).sql("show server_version")[0][0],
            "healthy": status["health"] == "ok",
        }
        good = bool(report["healthy"]) and not failover.lost and not switchover.lost
        if as_json:
            print(json.dumps(report))  # noqa: T201  # the one thing on standard output
        _sum_up(console, report, good=good)
        if keep:
            await _stay(console, servers)
    return 0 if good else 1


def _make_servers(console: Console, servers: Servers) -> None:
    with console.status("making a primary and two standbys …"):
        primary = servers.make_primary("pg1")
        for name in ("pg2", "pg3"):
            servers.add_standby(name, primary).wait_streaming(primary)
        config = servers.home / "pgvigil.yaml"
        config.write_text(config_text(servers, CLUSTER))


@contextlib.asynccontextmanager
async def _on_stage(console: Console, servers: Servers) -> AsyncIterator[Stage]:
    """The production controller with its own configuration, store and socket, and the writer."""
    config = load(servers.home / "pgvigil.yaml")
    conninfos = {name: server.conninfo(dbname="postgres") for name, server in servers.nodes.items()}
    with StateLock(config.state_dir), Writer(conninfos) as writer:
        async with await SqliteStore.open(config.state_dir) as store:
            fleet = make_fleet(store)
            async with fleet.running(config.clusters):
                await fleet.looked()
                answering = asyncio.create_task(serve(fleet, config.socket))
                try:
                    yield Stage(console, servers, fleet, writer)
                finally:
                    answering.cancel()
                    await asyncio.wait({answering})


async def _crash(stage: Stage) -> Act:
    """Kill every process of the primary and tell what follows."""
    victim = await stage.server()
    stage.title(f"kill -9: every process of {victim.name}")
    with _Timeline(stage, f"all server processes of {victim.name} are killed") as timeline:
        await asyncio.to_thread(victim.kill_all)
        mark = time.monotonic()
        while (outage := stage.writer.outage_after(mark, not_on=(victim.name,))) is None:
            await asyncio.sleep(0.005)
            if time.monotonic() - mark > HEALTHY_S:
                raise StepFailed("nobody took the primary's place", hint="see the events above")
        first = next(a for a in stage.writer.acks if a.begun > mark and a.node != victim.name)
        timeline.tell(
            timeline.since(mark + outage), "writing", GOOD, f"first write acknowledged by {first.node}"
        )
        await asyncio.sleep(0.1)
        await stage.healthy()
    return Act(outage, await stage.lost())


async def _switch_back(stage: Stage) -> Act:
    """A planned change back to the first primary."""
    stage.title("switchover: back to pg1, planned")
    begun = time.monotonic()
    with _Timeline(stage, "an operator asks: pgvigil switchover demo --to pg1"):
        outcome = await stage.fleet.order(
            CLUSTER, Switchover(NodeName("pg1")), dry_run=False, within_s=HEALTHY_S, progress=lambda _: None
        )
        await stage.healthy()
    if outcome.result is not Result.DONE:
        raise StepFailed(outcome.text, detail=outcome.detail, hint=outcome.hint)
    return Act(stage.writer.longest_gap(begun), await stage.lost())


class _Timeline:
    """Prints the controller's events as they come, in milliseconds since the beginning."""

    def __init__(self, stage: Stage, first: str) -> None:
        self._stage, self._first = stage, first
        self._wall, self._mono = datetime.now(UTC), time.monotonic()

    def __enter__(self) -> Self:
        self._wall, self._mono = datetime.now(UTC), time.monotonic()
        self.tell(0.0, "now", WARN, self._first)
        self._stop = self._stage.fleet.listen(CLUSTER, self._told)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._stage.console.print()

    def since(self, moment: float) -> float:
        """Seconds from the beginning to a moment of the monotonic clock."""
        return moment - self._mono

    def tell(self, at_s: float, word: str, style: str, text: str, evidence: str = "") -> None:
        """One line."""
        line = Text.assemble((f"{at_s * 1000:8.0f} ms  ", DIM), (f"{word:<11}", style), text)
        if evidence:
            line.append(f"  ({evidence})", style=DIM)
        self._stage.console.print(line)

    def _told(self, event: Any) -> None:
        failed = event.kind.endswith("_failed")
        if event.kind not in WORDS and not failed:
            return
        word, style = WORDS.get(event.kind, ("failed", BAD))
        took = event.data.get("took_s")
        said = "; ".join(event.evidence) or (f"took {float(took) * 1000:.0f} ms" if took is not None else "")
        if event.kind == "rescue":
            said = f"{event.data.get('bytes', 0)} bytes, {event.data.get('commits', 0)} commits; {said}"
        self.tell((event.at - self._wall).total_seconds(), word, style, event.text, said)


def _sum_up(console: Console, report: Json, *, good: bool) -> None:
    sign = symbols(console).done if good else symbols(console).bad
    console.print(Text(f"{sign} the demo ends {'healthy' if good else 'badly'}", style=GOOD if good else BAD))
    console.print(
        f"  failover:   writes stood still for {report['failover_outage_s'] * 1000:.0f} ms, "
        f"{report['failover_lost']} acknowledged rows lost\n"
        f"  switchover: longest gap between writes {report['switchover_gap_s'] * 1000:.0f} ms, "
        f"{report['switchover_lost']} rows lost\n"
        f"  PostgreSQL {report['postgres_version']}, {report['writes_acknowledged']} rows acknowledged"
    )


async def _stay(console: Console, servers: Servers) -> None:
    """Leave everything running until Ctrl-C, and say what to try."""
    config = servers.home / "pgvigil.yaml"
    pid = servers.nodes["pg1"].pid()
    console.print(
        Text("\nEverything runs on until Ctrl-C. In another terminal:", style=STRONG),
        f"  export PGVIGIL_CONFIG={config}",
        "  pgvigil status --watch",
        f"  kill -9 {pid}                        # the primary's postmaster",
        "  pgvigil events",
        "  pgvigil switchover --to pg1 --yes",
        "  pgvigil check",
        sep="\n",
    )
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
