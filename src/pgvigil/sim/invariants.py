"""What must hold in every simulated moment (SAFETY §1), as far as asynchronous replication promises it.

Asked at every event that could break it: a promotion, an acknowledgement, a saved record, a data directory
about to be overwritten. What the world knows and the controller cannot is used here freely.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pgvigil.model.record import ClusterRecord, Fenced, Origin, Phase
from pgvigil.sim.promises import Promises
from pgvigil.sim.synchrony import Told
from pgvigil.sim.wal import Record

if TYPE_CHECKING:
    from pgvigil.model.units import NodeName
    from pgvigil.sim.life import Life
    from pgvigil.sim.server import Server
    from pgvigil.sim.world import World

STEADY_S: Final = 6.0
"""What has been so for this long could be known to the controller."""
SLOW_S: Final = 0.45
"""A link whose round trip takes longer lets no session open in time: as good as none."""


SLOW_FENCE_S: Final = 45.0
"""A fast stop that waits for somebody gets 30 s, and one node is fenced after another."""


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that was broken, when, and how."""

    rule: str
    at: float
    text: str

    def __str__(self) -> str:
        return f"{self.rule} at {self.at:.3f}: {self.text}"


class Rules:
    """Watches one world."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.violations: list[Violation] = []
        self.failovers = 0
        self.unneeded = 0
        self.by_hand: set[NodeName] = set()
        """Nodes on which a human did what no rule can answer for: see `was_promoted_by_hand`."""
        self._promoted: dict[int, NodeName] = {}
        self.promises = Promises(world, self.broken)
        self._asked_at = self._phase_at = 0.0
        self._generation = 0
        self._asked_from = ""
        self.record: ClusterRecord | None = None

    def broken(self, rule: str, text: str) -> None:
        """That must never be."""
        self._world.say("VIOLATION", f"{rule}: {text}")
        self.violations.append(Violation(rule, self._world.loop.time(), text))

    def was_promoted_by_hand(self, name: "NodeName") -> None:
        """A human promoted a standby without telling anybody."""
        self.by_hand.add(name)
        self.promises.void = True

    def drifted(self, text: str) -> None:
        """The product says something that the simulation does not know."""
        self.broken("drift", text)

    def crashed(self, error: BaseException) -> None:
        """The controller's own code raised something that it ought not to."""
        if type(error).__name__ != "StoreError":
            self.broken("bug", f"{type(error).__name__}: {error}")

    def not_well(self, trouble: str) -> None:
        """All was healed, and the cluster did not come back in order (I8)."""
        self.broken("liveness", trouble)

    def saved(self, before: ClusterRecord | None, record: ClusterRecord) -> None:
        """A record became durable (I1, I6)."""
        if record.generation < self._generation:
            self.broken("I1", f"generation {record.generation} after {self._generation}")
        if self.record is None or (self.record.phase, self.record.generation) != (
            record.phase,
            record.generation,
        ):
            self._phase_at = self._world.loop.time()
        self._generation, self.record = record.generation, record
        if before is None or record.phase is not Phase.FENCING or record.generation == before.generation:
            return
        self.failovers += 1
        if before.phase is Phase.STABLE:
            self._needed(before, record)

    def _needed(self, before: ClusterRecord, record: ClusterRecord) -> None:
        """I6: never away from a primary that is healthy for most vantage points, never while paused.

        Only those count whom the controller can ask: of what lies behind a cut it hears nothing.
        """
        world = self._world
        if before.paused and before.paused_until is None and not record.forced:
            self.broken("I6", "an automatic failover while paused")
        primary, now = world.servers[before.primary], world.loop.time()
        if primary.state != "running" or not primary.takes_writes or now - primary.serving_since < STEADY_S:
            return
        self.unneeded += 1
        network, here = world.network, primary.host.name
        places = [
            place
            for place in world.vantage_places()
            if place != here and self._place_lives(place) and network.both(world.seat.place, place)
        ]
        reaching = [
            place
            for place in places
            if network.both(place, here)
            and now - network.steady_since(place, here) > STEADY_S
            and network.slow_s(place, here) < SLOW_S
        ]
        if len(reaching) * 2 > len(places):
            text = f"{before.primary} is replaced, although it serves and {', '.join(reaching)} reach it"
            self.broken("I6", text)

    def _place_lives(self, place: str) -> bool:
        hosts = {server.host.name: server.host for server in self._world.servers.values()}
        return place not in hosts or hosts[place].alive

    def asked_to_promote(self, server: "Server", life: "Life") -> None:
        """I1: only the primary of a durable record in phase PROMOTING, and one a generation."""
        record = self.record
        if not server.in_recovery:
            return
        if record is None or record.phase is not Phase.PROMOTING or record.primary != server.name:
            if self._world.in_charge(life):
                self.broken("I1", f"{server.name} is promoted, the record says {_words(record)}")
            return
        self._asked_at, self._asked_from = self._world.loop.time(), life.place
        other = self._promoted.setdefault(record.generation, server.name)
        if other != server.name:
            self.broken("I1", f"generation {record.generation} promotes {other} and {server.name}")
        revoked = record.deposed if record.fenced is Fenced.QUORUM else frozenset()
        best = self._furthest_standby(server, revoked)
        if best is not None:
            text = f"{server.name} ({server.data.end}) is promoted, {best.name} has {best.data.end}"
            self.broken("I4", text)

    def _furthest_standby(self, server: "Server", revoked: "frozenset[NodeName]") -> "Server | None":
        """A standby of the same history that the controller could ask, and that has more.

        `revoked`: nodes that could acknowledge nothing; what only they have, nobody was told of.
        """
        mine = server.data.reach
        for other in self._world.servers.values():
            if other.name in revoked:
                continue
            better = other.in_recovery and other.state == "running" and other.data.end > mine
            kin = server.data.within(other.data)
            if other is server or not better or not kin or other.frozen or other.rejects:
                continue
            if self._known_well(other, self._asked_from) and other.receiving.stream is None:
                return other
        return None

    def _known_well(self, server: "Server", here: str) -> bool:
        """Whether a controller here has been able to reach that host, and its shell, for some time."""
        network, host = self._world.network, server.host
        link = here, host.name
        usable = host.alive and not host.shell_broken and network.both(*link)
        since = max(network.steady_since(*link), host.changed_at)
        return usable and network.slow_s(*link) < SLOW_S and self._world.loop.time() - since > STEADY_S

    def _known_before(self, server: "Server") -> bool:
        """Whether it could be reached when the promotion was asked for: from then on there is no way back."""
        here = self._asked_from
        since = max(self._world.network.steady_since(here, server.host.name), server.host.changed_at)
        return self._known_well(server, here) and since < self._asked_at - STEADY_S

    def serves(self, server: "Server") -> None:
        """I2: a second node takes writes only if the first could not be fenced, and that was accepted.

        One that can acknowledge nothing (`Fenced.QUORUM`) may live: what it acknowledges is watched.
        """
        record = self.record
        if record is None or server.name != record.primary:
            return
        self._left_behind(server, record)
        self.promises.serves(server, record)
        if record.fenced is Fenced.QUORUM:
            return
        for other in self._world.servers.values():
            could = other.host.alive and other.state == "running" and not other.in_recovery
            if other is server or not could or other.name in self.by_hand:
                continue
            if record.fenced is not Fenced.RISK_ACCEPTED and other.name == record.previous:
                self.broken("I2", f"{server.name} takes writes ({record.fenced}), {other.name} still lives")
            elif self._known_before(other) and self._world.loop.time() - other.serving_since > STEADY_S:
                self.broken("I2", f"{server.name} takes writes, {other.name} lives and can be fenced")

    def _left_behind(self, server: "Server", record: ClusterRecord) -> None:
        """I4: what an old primary has, and its host could have handed over, is not lost.

        What only a standby has that crashed at the same time may be (`failover.max_lag`).
        I5: nor is anything at all, if the change was planned.
        """
        if record.fenced is Fenced.QUORUM:
            return  # nobody was told that those are safe
        mine = len(server.data.wal) - 1
        for other in self._world.servers.values():
            behind = other.data.wal[mine:]
            kin = other is not server and other.data.common(server.data) == mine
            planned = record.origin is Origin.SWITCHOVER and other.name == record.previous
            ours = other.name in record.deposed and self._known_before(other)
            if not kin or other.name in self.by_hand or not (planned or ours):
                continue
            if rows := [record.row for record in behind if record.row]:
                rule = "I5" if planned else "I4"
                self.broken(rule, f"{server.name} takes writes without {len(rows)} rows of {other.name}")

    def acknowledged(self, server: "Server", record: Record, told: Told) -> None:
        """A server tells a client that its commit is safe."""
        self.promises.acknowledged(server, record, told)
        self._fenced_soon(server)

    def _fenced_soon(self, server: "Server") -> None:
        """I2 while it lasts: a stale primary that can be reached is fenced soon."""
        record, now = self.record, self._world.loop.time()
        if record is None or record.primary == server.name or record.phase is not Phase.STABLE:
            return
        age = now - self._phase_at
        primary = self._world.servers[record.primary]
        long = SLOW_FENCE_S
        if record.paused or age < long or self._world.guarded_since > now - long:
            return
        here = self._world.seat.place
        if any(
            now - each.serving_since < long or not self._known_well(each, here) for each in (primary, server)
        ):
            return
        if primary.takes_writes:
            self.broken("I2", f"{server.name} acknowledges beside {primary.name} and is not fenced")

    def overwrites(self, server: "Server", above: "Server") -> None:
        """I7: a data directory is rewound or cloned over only while another primary of the record serves."""
        record = self.record
        if record is None or record.primary == server.name:
            self.broken("I7", f"{server.name} is the primary of record and is overwritten")
        elif record.primary != above.name or not above.takes_writes:
            self.broken("I7", f"{server.name} is overwritten from {above.name}, which is not the primary")


def _words(record: ClusterRecord | None) -> str:
    return f"{record.phase} {record.primary} (generation {record.generation})" if record else "nothing"
