"""The simulated world: hosts, servers, links, clients and the production controller, from one seed.

Everything that happens is a line of the trace, with its virtual time.
"""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pgvigil.act.settings import upstream_settings
from pgvigil.controller.cluster import ClusterController
from pgvigil.controller.fleet import Fleet
from pgvigil.controller.journal import Journal
from pgvigil.model.spec import ClusterSpec, Systemd, slot_name
from pgvigil.ports.contract import NodePorts
from pgvigil.sim.clients import Clients
from pgvigil.sim.clock import SimClock
from pgvigil.sim.host import Host, SimShell
from pgvigil.sim.invariants import Rules
from pgvigil.sim.life import CONTROLLER, KeptStore, Life
from pgvigil.sim.network import Network
from pgvigil.sim.server import Server
from pgvigil.sim.session import SimSession
from pgvigil.sim.statements import keywords
from pgvigil.sim.wal import FIRST, DataDirectory, Record, first_wal
from pgvigil.store.memory import MemoryStore

if TYPE_CHECKING:
    from pgvigil.model.units import NodeName

GATEWAY: Final = "gateway"
"""The reference target: a place that is always there."""
OVERLOADED: Final = 0.2
STARVED: Final = 0.1
RECYCLES: Final = 0.4
CLOCK_RATES: Final = (0.99, 1.01)
"""How wrong the controller's clock may run."""


@dataclass(frozen=True, slots=True)
class TraceLog:
    """`controller.journal.Log` into the trace."""

    world: "World"

    def info(self, event: str, **fields: object) -> None:
        """One line."""
        text, node = fields.get("text", fields.get("error", "")), fields.get("node", "")
        if str(text).startswith("hold: "):
            self.world.holds[event] += 1
        evidence = f" [{fields['evidence']}]" if "evidence" in fields else ""
        self.world.say("»", f"{event} {node} {text}{evidence}".replace("  ", " "))

    def warning(self, event: str, **fields: object) -> None:
        """One line; an error in the controller's own code is a violation."""
        self.info(event, **fields)
        error = fields.get("exc_info")
        if isinstance(error, Exception):
            self.world.rules.crashed(error)


class World:
    """One cluster and everything around it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seed: int, spec: ClusterSpec) -> None:
        self.loop, self.spec, self.rng = loop, spec, random.Random(seed)  # noqa: S311  # to be repeated
        wrong = self.rng.random() < 0.5
        self.clock = SimClock(loop, self.rng.uniform(*CLOCK_RATES) if wrong else 1.0)
        self.network = Network(loop, random.Random(seed + 1))  # noqa: S311
        self.store = MemoryStore(events_kept=1000)
        self.store_broken = False
        self.failing_saves = 0
        """That many turns of saving from now one fails: before the record is durable, or after; 0: none."""
        self.store_mended = 0.0
        self.trace: list[str] = []
        self.tickets: dict[int, list[Record]] = {}
        self._pids, self._terms = itertools.count(1000), itertools.count(2)
        self.slow_promotion = 0.0
        self.overloaded = self.rng.random() < OVERLOADED
        """Whether processes may be kept waiting for a processor."""
        self.recycles = self.rng.random() < RECYCLES
        """Whether so much is written that each checkpoint recycles WAL."""
        self.idle_s = 0.0
        """Hours in which nothing happens, passed over at once: see `pass_over`."""
        self.holds: Counter[str] = Counter()
        """How often the controller said that it holds, by rule."""
        self.rules = Rules(self)
        self.servers: dict[NodeName, Server] = {}
        self.by_address: dict[tuple[str, int], Server] = {}
        wal = first_wal()
        for node in spec.nodes:
            host = Host(self, node.host)
            server = Server(self, node, host, DataDirectory(list(wal)))
            host.server = server
            self.servers[node.name] = self.by_address[node.host, node.port] = server
        self.clients = Clients(self)
        self.life: Life | None = None
        self.controller_since = 0.0
        self.fleet: Fleet | None = None

    def say(self, who: str, what: str) -> None:
        """A line of the trace."""
        self.trace.append(f"{self.loop.time():10.3f}  {who:<10} {what}")

    def new_pid(self) -> int:
        """Never used before."""
        return next(self._pids)

    def new_term(self) -> int:
        """Of one more promotion."""
        return next(self._terms)

    def scheduled_s(self) -> float:
        """Until a process that was signalled runs. On an overloaded machine it may be kept waiting."""
        if self.overloaded and self.rng.random() < STARVED:
            return self.rng.uniform(0.01, 0.3)
        return self.rng.uniform(0.0001, 0.005)

    def turn_s(self) -> float:
        """How long a standby takes from the end of a timeline to the start of the next one."""
        return self.rng.uniform(0.003, 0.06)

    def promotion_s(self) -> float:
        """How long a promotion takes now."""
        return self.rng.uniform(0.03, 0.3) + self.slow_promotion

    def ticket(self, wal: list[Record]) -> int:
        """A number that stands for the bytes of this WAL."""
        number = len(self.tickets) + 1
        self.tickets[number] = list(wal)
        return number

    def upstream_of(self, server: Server) -> Server | None:
        """Where a server's settings in effect point it."""
        words = keywords(server.receiving.pointers.get("primary_conninfo", ""))
        return self.by_address.get((words.get("host", ""), int(words.get("port", "5432"))))

    @property
    def guarded_since(self) -> float:
        """Since when a controller runs that can write its record; without one, now."""
        if self.store_broken or self.life is None or not self.life.alive:
            return self.loop.time()
        return max(self.controller_since, self.store_mended)

    def pass_over(self, seconds: float) -> None:
        """Let a stretch pass in which nothing happens.

        Only calendars move: whoever looked all the time would have seen the same again and again. What goes
        by the calendar is done: pauses end, checkpoints recycle WAL.
        """
        self.say("", f"… {seconds:.0f} s in which nothing happens …")
        self.idle_s += seconds
        self.clock.ahead_s += seconds
        for server in self.primaries():
            server.checkpoint_now()
            server.checkpoint_now()

    def mend_the_store(self) -> None:
        """Its disk has room again."""
        if self.store_broken:
            self.store_broken, self.store_mended = False, self.loop.time()

    def places(self) -> tuple[str, ...]:
        """The controller's and every host's."""
        return (CONTROLLER, *(server.host.name for server in self.servers.values()))

    def primaries(self) -> Iterator[Server]:
        """The servers that take writes now."""
        return (server for server in self.servers.values() if server.takes_writes)

    def begin(self) -> None:
        """Start all servers and clients."""
        self.start_servers()
        self.clients.begin()

    def start_servers(self) -> None:
        """The first node is the primary, the others stream from it."""
        first, *others = self.servers.values()
        first.data.slots = {slot_name(server.name): int(FIRST) for server in others}
        for server in self.servers.values():
            server.supervised = isinstance(server.spec.control, Systemd)
            if server is not first:
                server.data.standby_signal = True
                server.data.settings = upstream_settings(self.spec, server.name, first.name)
            server.data.state = "shut down"
            server.start()

    def controller(self, life: Life) -> ClusterController:
        """The production controller on simulated ports."""
        log, store = TraceLog(self), KeptStore(life, self.store)
        nodes = {}
        for name, server in self.servers.items():
            new_session = _sessions(life, server)
            shell = SimShell(life, server.host) if server.spec.shell else None
            nodes[name] = NodePorts(server.spec, new_session, new_session(), shell)
        journal = Journal(self.spec.name, store, self.clock, log)
        pinger, own = _Pinger(life), SimShell(life, None)
        return ClusterController(self.spec, nodes, pinger, self.clock, store, journal, log, own_shell=own)

    async def control(self) -> None:
        """Run the controller until it is killed; nothing it still does then has an effect."""
        life = self.life = Life(self)
        self.controller_since = self.loop.time()
        self.say("controller", "starts")
        store = KeptStore(life, self.store)
        fleet = Fleet(lambda _: self.controller(life), store, self.clock, TraceLog(self))
        self.fleet = fleet

        async def run() -> None:
            async with fleet.running([self.spec]):
                await asyncio.Event().wait()

        work = asyncio.ensure_future(run())
        killed = asyncio.ensure_future(life.killed.wait())
        try:
            await asyncio.wait({work, killed}, return_when=asyncio.FIRST_COMPLETED)
            life.alive = False
        finally:
            work.cancel()
            killed.cancel()
            await asyncio.wait({work})
        if not work.cancelled() and (error := work.exception()):
            self.rules.crashed(error)


def _sessions(life: Life, server: Server) -> Callable[[], SimSession]:
    return lambda: SimSession(life, server)


class _Pinger:
    """`contract.Pinger`: the reference target is always there; TCP connects to whatever host is alive."""

    def __init__(self, life: Life) -> None:
        self._life = life

    async def reaches(self, target: str, *, within_s: float) -> bool:
        """See `Pinger`."""
        world = self._life.world
        host, _, port = target.rpartition(":")
        server = world.by_address.get((host, int(port))) if host else None
        place = server.host.name if server else target
        takes_s = 2 * world.network.base_s + world.network.slow_s(CONTROLLER, place)
        await asyncio.sleep(min(takes_s, within_s))
        up = world.network.both(CONTROLLER, place) and (server is None or server.host.alive)
        if up and takes_s < within_s:
            return True
        await asyncio.sleep(max(within_s - takes_s, 0.0))
        return False
