"""Simulated servers of etcd: a leader by majority, writes that a majority has, leases by the leader's clock.

What a server is asked it hands to the leader, at once or as soon as it knows one; so a request may be carried
out long after whoever asked has given up. What a leader had begun when it lost its majority is carried out by
its successor, or not. A new leader gives every lease its full time again.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pgvigil.sim.etcd_keys import Keys, Refused, decoded

if TYPE_CHECKING:
    from pgvigil.sim.network import Place
    from pgvigil.sim.world import World

Json = Mapping[str, Any]
Reply = Callable[[int, Json], None]
"""HTTP status and body."""

TICK_S: Final = 0.1
ELECTION_S: Final = (1.0, 2.0)
"""Without a leader for so long, one is elected."""
REQUEST_S: Final = 5.0
"""So long a server tries to hand a request to a leader."""
SLOW_S: Final = 0.25
"""A link with such a delay carries no heartbeats in time."""
DISK_S: Final = (0.0005, 0.004)
CLOCK_RATES: Final = (0.99, 1.01)
UNAVAILABLE: Final = 14
NO_LEADER: Final = {"code": UNAVAILABLE, "message": "etcdserver: request timed out"}


@dataclass(slots=True, eq=False)
class EtcdServer:
    """One of them. `place`: where it runs."""

    name: str
    place: "Place"
    clock_rate: float
    alive: bool = True
    starts: int = 0
    """How often it was started: a connection ends with the process that has it."""
    frozen: bool = False
    queued: list[Callable[[], None]] = field(default_factory=list)
    """What reached it while it stood still."""

    @property
    def up(self) -> bool:
        """Whether it runs."""
        return self.alive and not self.frozen


@dataclass(frozen=True, slots=True)
class _Request:
    path: str
    body: Json
    reply: Reply
    given_up: float


@dataclass(slots=True)
class _Lease:
    ttl_s: float
    renewed: float
    until: float


class Etcd:
    """An etcd cluster with servers at these places. `kept`: told of each key that changes."""

    def __init__(
        self,
        world: "World",
        places: "tuple[Place, ...]",
        rng: random.Random,
        changed: Callable[[str, Json | None, Json | None], None],
    ) -> None:
        self._world, self._rng = world, rng
        self.keys = Keys(changed)
        self.servers = tuple(
            EtcdServer(f"etcd{number}", place, rng.uniform(*CLOCK_RATES))
            for number, place in enumerate(places, 1)
        )
        self.disk_s = 0.0
        """By so much writing is slowed down."""
        self.troubled_at = 0.0
        """When something was last wrong with it."""
        self._leader: EtcdServer | None = None
        self._term = 0
        self._silent_since: float | None = None
        self._elects_after_s = 0.0
        self._leases: dict[int, _Lease] = {}
        self._undecided: list[_Request] = []
        self._written = 0.0

    def begin(self) -> None:
        """Elect somebody, and go on."""
        self._elect(self._rng.choice(self.servers))
        self._world.loop.call_later(TICK_S, self._tick)

    def at(self, place: "Place") -> EtcdServer:
        """The server there."""
        return next(server for server in self.servers if server.place == place)

    def renewed(self, lease: int) -> float:
        """When a lease was renewed last; 0: there is none."""
        return self._leases[lease].renewed if lease in self._leases else 0.0

    # faults

    def stop(self, server: EtcdServer) -> None:
        """Its process is killed; what it has on its disk stays."""
        if server.alive:
            server.alive, server.frozen, server.queued = False, False, []
            self._world.say(server.name, "is down")

    def start(self, server: EtcdServer) -> None:
        """It is started again."""
        if not server.alive:
            server.alive = True
            server.starts += 1
            self._world.say(server.name, "is started")

    def freeze(self, server: EtcdServer) -> None:
        """SIGSTOP."""
        if server.alive and not server.frozen:
            server.frozen = True
            self._world.say(server.name, "stands still")

    def thaw(self, server: EtcdServer) -> None:
        """SIGCONT: what was asked meanwhile is handed in now."""
        if server.frozen:
            server.frozen = False
            self._world.say(server.name, "goes on")
            queued, server.queued = server.queued, []
            for work in queued:
                work()

    # leading

    def leads(self, server: EtcdServer) -> bool:
        """Whether it is the leader, and has a majority with it."""
        return server is self._leader and self._has_majority(server)

    @property
    def answers(self) -> bool:
        """Whether there is a leader with a majority."""
        return self._leader is not None and self._has_majority(self._leader)

    def _has_majority(self, server: EtcdServer) -> bool:
        return server.up and len(self._round_trips(server)) * 2 + 2 > len(self.servers)

    def _round_trips(self, server: EtcdServer) -> list[float]:
        """To each other server that it can talk to."""
        network, here = self._world.network, server.place
        found = []
        for other in self.servers:
            slow_s = network.slow_s(here, other.place)
            if other is not server and other.up and network.both(here, other.place) and slow_s < SLOW_S:
                found.append(2 * network.base_s + slow_s)
        return found

    def _tick(self) -> None:
        now, leader = self._world.loop.time(), self._leader
        if leader is not None and self._has_majority(leader):
            self._silent_since = None
            self._decide_the_undecided()
            self._end_leases()
        elif self._silent_since is None:
            self._silent_since, self._elects_after_s = now, self._rng.uniform(*ELECTION_S)
        elif now - self._silent_since >= self._elects_after_s:
            able = [server for server in self.servers if self._has_majority(server)]
            if able:
                self._elect(self._rng.choice(able))
            elif leader is not None:
                self._leader = None
                self._world.say("etcd", "has no leader")
        if self._silent_since is not None or self.disk_s or not all(server.up for server in self.servers):
            self.troubled_at = now
        self._world.loop.call_later(TICK_S, self._tick)

    def _elect(self, server: EtcdServer) -> None:
        self._leader, self._silent_since, now = server, None, self._world.loop.time()
        self._term += 1
        self._world.say("etcd", f"{server.name} leads (term {self._term})")
        for lease in self._leases.values():
            lease.until = now + lease.ttl_s / server.clock_rate
        kept, self._undecided = self._undecided, []
        for request in kept:
            if self._rng.random() < 0.5:
                self._apply(request)

    def _decide_the_undecided(self) -> None:
        """The leader has its majority back: what it had begun, it ends."""
        kept, self._undecided = self._undecided, []
        for request in kept:
            self._apply(request)

    def _end_leases(self) -> None:
        assert self._leader is not None
        now = self._world.loop.time()
        for lease in [name for name, each in self._leases.items() if now >= each.until]:
            self._leases[lease].until = now + 1.0  # it is tried again
            self._write(self._leader, _Request("/v3/lease/revoke", {"ID": str(lease)}, _to_nobody, now))

    # requests

    def receives(self, server: EtcdServer, path: str, body: Json, reply: Reply) -> None:
        """A request reaches a server that is alive. `reply` is called there, at some later moment."""
        if server.frozen:
            server.queued.append(lambda: self.receives(server, path, body, reply))
            return
        given_up = self._world.loop.time() + REQUEST_S
        self._hand_on(server, _Request(path, body, reply, given_up))

    def _hand_on(self, server: EtcdServer, request: _Request) -> None:
        """To the leader, as soon as there is one that this server hears."""
        world, leader = self._world, self._leader
        if not server.alive:
            return
        if server.frozen:
            server.queued.append(lambda: self._hand_on(server, request))
        elif world.loop.time() > request.given_up:
            request.reply(503, NO_LEADER)
        elif leader is server:
            self._carry_out(server, request)
        elif leader is not None and leader.up and world.network.both(server.place, leader.place):
            self._forward(server, leader, request)
        else:
            world.loop.call_later(TICK_S, self._hand_on, server, request)

    def _forward(self, server: EtcdServer, leader: EtcdServer, request: _Request) -> None:
        network = self._world.network

        def back(status: int, body: Json) -> None:
            network.send(leader.place, server.place, lambda: request.reply(status, body))

        there = _Request(request.path, request.body, back, request.given_up)
        network.send(server.place, leader.place, lambda: self._hand_on(leader, there))

    def _carry_out(self, leader: EtcdServer, request: _Request) -> None:
        if request.path == "/v3/lease/keepalive":
            self._renew(leader, int(request.body["ID"]), request.reply)
        else:
            self._write(leader, request)

    def _renew(self, leader: EtcdServer, lease: int, reply: Reply) -> None:
        """By the leader alone: one that has just lost its majority does not know that yet."""
        kept, now = self._leases.get(lease), self._world.loop.time()
        if kept is None or now >= kept.until:
            reply(200, {"result": {"ID": str(lease)}})
            return
        kept.renewed, kept.until = now, now + kept.ttl_s / leader.clock_rate
        reply(200, {"result": {"ID": str(lease), "TTL": str(round(kept.ttl_s))}})

    def _write(self, leader: EtcdServer, request: _Request) -> None:
        """On the leader's disk, and on those of a majority; in order."""
        trips = sorted(self._round_trips(leader))
        needed = len(self.servers) // 2
        trip_s = trips[needed - 1] if needed and len(trips) >= needed else 0.0
        takes_s = trip_s + self._rng.uniform(*DISK_S) + self.disk_s
        now = self._world.loop.time()
        self._written = max(now + takes_s, self._written)
        self._world.loop.call_at(self._written, self._agreed, leader, self._term, request)

    def _agreed(self, leader: EtcdServer, term: int, request: _Request) -> None:
        if term == self._term and self.leads(leader):
            self._apply(request)
        elif term == self._term:
            self._undecided.append(request)
        elif self._rng.random() < 0.5:  # it had reached whoever leads now
            self._apply(request)

    def _apply(self, request: _Request) -> None:
        try:
            answer = self.keys.carry_out(request.path, request.body)
        except Refused as refused:
            request.reply(400, {"code": refused.code, "message": str(refused)})
            return
        now = self._world.loop.time()
        if request.path == "/v3/lease/grant":
            ttl_s, rate = float(answer["TTL"]), self._leader.clock_rate if self._leader else 1.0
            self._leases[int(answer["ID"])] = _Lease(ttl_s, now, now + ttl_s / rate)
        elif request.path == "/v3/lease/revoke":
            self._leases.pop(int(request.body["ID"]), None)
        request.reply(200, answer)


def _to_nobody(_: int, __: Json) -> None:
    """Nobody waits for that."""


def text_of(kept: Json | None) -> str:
    """The value under a key; empty: there is none."""
    return decoded(kept["value"]) if kept else ""
