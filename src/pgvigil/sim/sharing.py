"""Several controllers that share the simulated cluster, and what must hold between them.

What etcd says counts, not what a controller believes: who holds the lock, when its lease was renewed last,
what the record is. Asked whenever a controller sends what changes something, and at every write to etcd.
"""

import math
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pgvigil.model.record import ClusterRecord
from pgvigil.sim.clock import SimClock
from pgvigil.sim.etcd import Etcd, Json, text_of
from pgvigil.sim.seat import Seat
from pgvigil.store.codec import from_json

if TYPE_CHECKING:
    from pgvigil.sim.life import Life
    from pgvigil.sim.world import World

CLOCK_RATES: Final = (0.99, 1.01)
BESIDE: Final = 0.5
"""How often etcd's servers are on the controllers' machines."""
ETCD_SERVERS: Final = 3
LEASES_S: Final = (10.0, 10.0, 10.0, 3.0, 5.0, 20.0)
"""The product's default, and others."""
LATEST: Final = 0.95
"""So much of the lease's time after its renewal nothing may be sent: clocks differ a little."""
PREFIX: Final = "/pgvigil/"


def join(world: "World", controllers: int, rng: random.Random) -> "Sharing":
    """Give the world so many controllers, and etcd."""
    names = [f"ctl{number}" for number in range(1, controllers + 1)]
    world.seats = tuple(Seat(world, SimClock(world.loop, rng.uniform(*CLOCK_RATES)), name) for name in names)
    beside = rng.random() < BESIDE and controllers >= ETCD_SERVERS
    apart = [f"etcd{number}" for number in range(1, ETCD_SERVERS + 1)]
    world.lease_s = rng.choice(LEASES_S)
    sharing = Sharing(world)
    world.etcd = Etcd(world, tuple(names[:ETCD_SERVERS] if beside else apart), rng, sharing.changed)
    return sharing


def record_of(kept: Json | None) -> ClusterRecord | None:
    """What is under a record's key."""
    return replace(from_json(ClusterRecord, text_of(kept)), revision=int(kept["version"])) if kept else None


class Sharing:
    """Watches several controllers."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.in_charge = world.seats[0]
        """Who holds the cluster's lock, or did last."""
        self.owned = False
        """Whether somebody holds it."""
        self.changes = 0
        """How often somebody else came to guard the cluster."""
        self._since = 0.0
        self._writer = ""
        """Who wrote the newest record."""
        self._unsigned = False
        """Whether a record was written in a transaction that has not ended."""

    @property
    def guarded_since(self) -> float:
        """Since when the one in charge has been, with an etcd that works and that it reaches."""
        world, etcd, place = self._world, self._world.etcd, self.in_charge.place
        assert etcd is not None
        life, now = self.in_charge.life, world.loop.time()
        reached = all(
            world.network.both(place, each.place) and not world.network.slow_s(place, each.place)
            for each in etcd.servers
        )
        if not self.owned or not reached or (life is not None and life.frozen):
            return now
        steady = max(world.network.steady_since(place, each.place) for each in etcd.servers)
        return max(self._since, etcd.troubled_at, steady, self.in_charge.thawed_at)

    @property
    def record(self) -> ClusterRecord | None:
        """As etcd has it."""
        assert self._world.etcd is not None
        return record_of(self._world.etcd.keys.get(f"{PREFIX}record/{self._world.spec.name}"))

    def trouble(self) -> str:
        """What is not as it should be when all is healed; empty: one that lives guards the cluster."""
        if not self.owned:
            return "nobody guards the cluster"
        return "" if self.in_charge.lives else f"{self.in_charge.name} guards the cluster, and is dead"

    def changed(self, key: str, before: Json | None, after: Json | None) -> None:
        """A key of etcd has changed."""
        cluster = self._world.spec.name
        if key == f"{PREFIX}owner/{cluster}":
            self._owner_changed(after)
        elif key == f"{PREFIX}record/{cluster}":
            self._record_changed(record_of(before), record_of(after))
        elif key.startswith(f"{PREFIX}mark/"):
            self._signed(key.rpartition("/")[2])

    def _owner_changed(self, after: Json | None) -> None:
        world = self._world
        self.owned = after is not None
        if after is None:
            world.say("etcd", f"{world.spec.name} is free")
            return
        owner = next(seat for seat in world.seats if seat.name == text_of(after))
        world.say("etcd", f"{world.spec.name} is guarded by {owner.name}")
        self.changes += owner is not self.in_charge
        self.in_charge, self._since = owner, world.loop.time()

    def _record_changed(self, before: ClusterRecord | None, after: ClusterRecord | None) -> None:
        rules = self._world.rules
        if after is None:
            rules.broken("I1", "the record is gone")
            return
        if before and after.revision != before.revision + 1:
            rules.broken("I1", f"the record's revision {after.revision} follows {before.revision}")
        self._unsigned = True
        rules.saved(before, after)

    def _signed(self, name: str) -> None:
        """A transaction of this controller ends: each writes its mark last."""
        if self._unsigned:
            self._unsigned, self._writer = False, name
            if not self.owned or self.in_charge.name != name:
                self._world.rules.broken("one", f"{name} writes the record without holding the lock")

    def acts(self, life: "Life", what: str) -> None:
        """A controller sends what changes something."""
        world, etcd = self._world, self._world.etcd
        assert etcd is not None
        if self.owned and self.in_charge.name != life.name:
            text = f"{life.name} sends while {self.in_charge.name} guards the cluster: {what[:80]}"
            world.rules.broken("one", text)
        mine = etcd.keys.get(f"{PREFIX}controller/{life.name}")
        age_s = world.loop.time() - etcd.renewed(int(mine["lease"])) if mine else math.inf
        if age_s > LATEST * world.lease_s:
            text = f"{life.name} sends {age_s:.1f} s after its lease was renewed: {what[:80]}"
            world.rules.broken("one", text)
        known, record = life.controller and life.controller.record, world.rules.record
        if known and record and known.revision < record.revision and self._writer != life.name:
            text = f"{life.name} sends by revision {known.revision}, {self._writer} wrote {record.revision}"
            world.rules.broken("one", text)
