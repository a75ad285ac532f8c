"""The simulated world: hosts, servers, links, clients and the production controller, from one seed.

Everything that happens is a line of the trace, with its virtual time.
"""

import itertools
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pgvigil.act.settings import upstream_settings
from pgvigil.model.spec import ClusterSpec, Systemd, slot_name
from pgvigil.sim.clients import Clients
from pgvigil.sim.clock import SimClock, VirtualLoop
from pgvigil.sim.host import Host
from pgvigil.sim.invariants import Rules
from pgvigil.sim.life import Life
from pgvigil.sim.network import Network
from pgvigil.sim.seat import Seat
from pgvigil.sim.server import Server
from pgvigil.sim.sharing import Sharing, join
from pgvigil.sim.statements import keywords
from pgvigil.sim.wal import FIRST, DataDirectory, Record, first_wal
from pgvigil.store.memory import MemoryStore

if TYPE_CHECKING:
    from pgvigil.controller.operations import Operations
    from pgvigil.model.record import ClusterRecord
    from pgvigil.model.units import NodeName
    from pgvigil.sim.etcd import Etcd

GATEWAY: Final = "gateway"
"""The reference target: a place that is always there."""
OVERLOADED: Final = 0.2
STARVED: Final = 0.1
RECYCLES: Final = 0.4
CLOCK_RATES: Final = (0.99, 1.01)
"""How wrong the controller's clock may run."""


@dataclass(frozen=True, slots=True)
class TraceLog:
    """`controller.journal.Log` into the trace. `who`: what its lines begin with."""

    world: "World"
    who: str = "»"

    def info(self, event: str, **fields: object) -> None:
        """One line."""
        text, node = fields.get("text", fields.get("error", "")), fields.get("node", "")
        if str(text).startswith("hold: "):
            self.world.holds[event] += 1
        evidence = f" [{fields['evidence']}]" if "evidence" in fields else ""
        self.world.say(self.who, f"{event} {node} {text}{evidence}".replace("  ", " "))

    def warning(self, event: str, **fields: object) -> None:
        """One line; an error in the controller's own code is a violation."""
        self.info(event, **fields)
        error = fields.get("exc_info")
        if isinstance(error, Exception):
            self.world.rules.crashed(error)


class World:
    """One cluster and everything around it."""

    def __init__(
        self,
        loop: VirtualLoop,
        seed: int,
        spec: ClusterSpec,
        controllers: int = 1,
        shells_kept: int | None = None,
    ) -> None:
        self.shells_kept = shells_kept
        """See `sight.shells`; None: all."""
        self.loop, self.spec, self.rng = loop, spec, random.Random(seed)  # noqa: S311  # to be repeated
        wrong = self.rng.random() < 0.5
        clock = SimClock(loop, self.rng.uniform(*CLOCK_RATES) if wrong else 1.0)
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
        self.seats: tuple[Seat, ...] = (Seat(self, clock),)
        self.etcd: Etcd | None = None
        self.sharing: Sharing | None = None
        self.lease_s = 0.0
        """Of the controllers that share the cluster."""
        self.servers: dict[NodeName, Server] = {}
        self.by_address: dict[tuple[str, int], Server] = {}
        wal = first_wal()
        for node in spec.nodes:
            host = Host(self, node.host)
            server = Server(self, node, host, DataDirectory(list(wal)))
            host.server = server
            self.servers[node.name] = self.by_address[node.host, node.port] = server
        self.clients = Clients(self)
        if controllers > 1:
            self.sharing = join(self, controllers, random.Random(seed + 2))  # noqa: S311

    def say(self, who: str, what: str) -> None:
        """A line of the trace."""
        self.trace.append(f"{self.loop.time():10.3f}  {who:<10} {what}")

    def in_charge(self, life: Life) -> bool:
        """Whether it lives and may act on the cluster."""
        return life.alive and (self.sharing is None or (self.sharing.owned and self.life is life))

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

    def log(self, seat: Seat) -> TraceLog:
        """What a controller tells people."""
        return TraceLog(self) if self.etcd is None else TraceLog(self, f"{seat.name} »")

    @property
    def seat(self) -> Seat:
        """Whose controller guards the cluster, or did last."""
        return self.seats[0] if self.sharing is None else self.sharing.in_charge

    @property
    def life(self) -> Life | None:
        """The newest life there."""
        return self.seat.life

    @property
    def clock(self) -> SimClock:
        """The clock there."""
        return self.seat.clock

    @property
    def operations(self) -> "Operations | None":
        """What commands are given to there."""
        return self.seat.operations

    @property
    def guarded_since(self) -> float:
        """Since when a controller runs that can write its record; without one, now."""
        if self.store_broken or not self.seat.lives:
            return self.loop.time()
        shared = self.sharing.guarded_since if self.sharing else 0.0
        return max(self.seat.since, self.store_mended, shared)

    def pass_over(self, seconds: float) -> None:
        """Let a stretch pass in which nothing happens.

        Only calendars move: whoever looked all the time would have seen the same again and again. What goes
        by the calendar is done: pauses end, checkpoints recycle WAL.
        """
        self.say("", f"… {seconds:.0f} s in which nothing happens …")
        self.idle_s += seconds
        for seat in self.seats:
            seat.clock.ahead_s += seconds
        for server in self.primaries():
            server.checkpoint_now()
            server.checkpoint_now()

    async def stored(self) -> "ClusterRecord | None":
        """The record as it is stored."""
        return self.sharing.record if self.sharing else await self.store.load(self.spec.name)

    def mend_the_store(self) -> None:
        """Its disk has room again."""
        if self.store_broken:
            self.store_broken, self.store_mended = False, self.loop.time()

    def places(self) -> tuple[str, ...]:
        """All there are: of controllers, of the nodes' hosts, of etcd's servers."""
        hosts = [server.host.name for server in self.servers.values()]
        of_etcd = [server.place for server in self.etcd.servers] if self.etcd else []
        return tuple(dict.fromkeys([*(seat.place for seat in self.seats), *hosts, *of_etcd]))

    def vantage_places(self) -> tuple[str, ...]:
        """From where the controller in charge can look, or have somebody look."""
        return (self.seat.place, *(server.host.name for server in self.servers.values()))

    def client_places(self) -> tuple[str, ...]:
        """Where clients are; the first is beside a controller."""
        return (self.seats[0].place, *(server.host.name for server in self.servers.values()))

    def host_is_up(self, place: str) -> bool:
        """Whether the machine there is: of a controller, else it is no host that can be lost."""
        return all(seat.powered for seat in self.seats if seat.place == place)

    def primaries(self) -> Iterator[Server]:
        """The servers that take writes now."""
        return (server for server in self.servers.values() if server.takes_writes)

    def begin(self) -> None:
        """Start all servers and clients."""
        self.start_servers()
        if self.etcd:
            self.etcd.begin()
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
