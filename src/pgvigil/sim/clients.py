"""Clients on every side of every cut.

Each writes numbered rows to whatever primary it reaches, and remembers each acknowledgement. The one beside
the controller measures how long nobody could write.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pgvigil.sim.life import CONTROLLER

if TYPE_CHECKING:
    from pgvigil.sim.server import Server
    from pgvigil.sim.world import World

RETRY_S: Final = 0.05
WRITES_EVERY_S: Final = (0.4, 1.5)


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A row of which a client was told that it is safe."""

    row: int
    at: float
    node: str
    timeline: int


@dataclass(slots=True)
class _Client:
    place: str
    prefers: "Server"
    since: float = 0.0
    failed: float | None = None


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
        for place in world.places():
            world.loop.call_later(world.rng.uniform(1.0, 2.0), self._write, _Client(place, first))

    def _write(self, client: _Client) -> None:
        world, now = self._world, self._world.loop.time()
        server = self._reached(client)
        if server is None:
            client.failed = now if client.failed is None else client.failed
            wait = RETRY_S if client.place == CONTROLLER else 0.5
            if now - client.failed > 20.0:
                wait = 0.5
            world.loop.call_later(wait, self._write, client)
            return
        if client.failed is not None:
            if client.place == CONTROLLER:
                self.outages.append((client.failed, now - client.failed))
            client.failed = None
        client.prefers = server
        self._rows += 1
        server.commit(self._rows)
        self.acknowledged.append(Acknowledged(self._rows, now, server.name, server.data.timeline))
        world.rules.acknowledged(server)
        world.loop.call_later(world.rng.uniform(*WRITES_EVERY_S), self._write, client)

    def _reached(self, client: _Client) -> "Server | None":
        if self._may(client, client.prefers):
            return client.prefers
        return next((s for s in self._world.servers.values() if self._may(client, s)), None)

    def _may(self, client: _Client, server: "Server") -> bool:
        network = self._world.network
        return server.takes_writes and not server.rejects and network.both(client.place, server.host.name)
