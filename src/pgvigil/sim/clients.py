"""Clients on every side of every cut.

Each writes numbered rows to whatever primary it reaches, and remembers each acknowledgement. The one beside
the controller measures how long nobody could write. A commit may have to wait for standbys: a client that
loses patience cancels it, or goes elsewhere if it hears nothing at all; either way nobody has told it that
the row is safe.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pgvigil.sim.synchrony import Told
from pgvigil.sim.wal import Record

if TYPE_CHECKING:
    from pgvigil.sim.server import Server
    from pgvigil.sim.world import World

RETRY_S: Final = 0.05
WRITES_EVERY_S: Final = (0.4, 1.5)
NOTICED_S: Final = 0.1
"""A commit that waits longer is a time in which the application could not write."""
PATIENCE_S: Final = (1.0, 8.0)
CANCELS: Final = 0.3
CARELESS: Final = 0.02
"""So many commits are made with `synchronous_commit` lowered by their session."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A row of which a client was told that it is safe, and on what grounds."""

    row: int
    at: float
    node: str
    record: Record
    told: Told


@dataclass(slots=True, eq=False)
class _Client:
    place: str
    prefers: "Server"
    failed: float | None = None
    """Since when it could not write."""
    row: int = 0
    """The row that it waits for; 0: none."""
    measures: bool = False
    """Whether it is the one beside the controller."""


class Clients:
    """All clients of a world."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.acknowledged: list[Acknowledged] = []
        self.outages: list[tuple[float, float]] = []
        """When the application could not write, and for how long."""
        self._rows = 0

    def begin(self) -> None:
        """Write from now on."""
        world = self._world
        first = next(iter(world.servers.values()))
        for place in world.client_places():
            client = _Client(place, first, measures=place == world.client_places()[0])
            world.loop.call_later(world.rng.uniform(1.0, 2.0), self._write, client)

    def _write(self, client: _Client) -> None:
        world, now = self._world, self._world.loop.time()
        server = self._reached(client)
        if server is None:
            client.failed = now if client.failed is None else client.failed
            wait = RETRY_S if client.measures else 0.5
            if now - client.failed > 20.0:
                wait = 0.5
            world.loop.call_later(wait, self._write, client)
            return
        client.prefers = server
        self._rows += 1
        row = client.row = self._rows
        local = world.rng.random() < CARELESS

        def told(record: Record, how: Told | None) -> None:
            self._told(client, server, record, now, how)

        record = server.commit(row, told, local=local)
        if client.row == row:
            world.loop.call_later(world.rng.uniform(*PATIENCE_S), self._impatient, client, record, now)

    def _told(
        self, client: _Client, server: "Server", record: Record, since: float, how: Told | None
    ) -> None:
        """The server answers, or (None) its session has ended."""
        world, now = self._world, self._world.loop.time()
        if how is not None:
            self.acknowledged.append(Acknowledged(record.row, now, server.name, record, how))
            world.rules.acknowledged(server, record, how)
        if client.row != record.row or not world.network.both(client.place, server.host.name):
            return
        client.row = 0
        if how is None:
            client.failed = since if client.failed is None else client.failed
            world.loop.call_later(RETRY_S, self._write, client)
            return
        since = since if client.failed is None else client.failed
        if client.measures and (client.failed is not None or now - since > NOTICED_S):
            self.outages.append((since, now - since))
        client.failed = None
        world.loop.call_later(world.rng.uniform(*WRITES_EVERY_S), self._write, client)

    def _impatient(self, client: _Client, record: Record, since: float) -> None:
        world, server = self._world, client.prefers
        if client.row != record.row:
            return
        reaches = self._may(client, server)
        if reaches and world.rng.random() >= CANCELS:
            world.loop.call_later(world.rng.uniform(*PATIENCE_S), self._impatient, client, record, since)
            return
        if reaches:
            server.sync.cancel(record)
        client.row = 0
        client.failed = since if client.failed is None else client.failed
        self._write(client)

    def _reached(self, client: _Client) -> "Server | None":
        if self._may(client, client.prefers):
            return client.prefers
        return next((s for s in self._world.servers.values() if self._may(client, s)), None)

    def _may(self, client: _Client, server: "Server") -> bool:
        network = self._world.network
        return server.takes_writes and not server.rejects and network.both(client.place, server.host.name)
