"""Tormenting one world: faults drawn from a seed, one after another or overlapping, and how all is healed.

A fault is a coroutine: it does its harm, lets time pass and takes it back. `heal` takes back what is left.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any

from pgvigil.controller.operations import Result
from pgvigil.errors import Unsafe, UsageError
from pgvigil.model.command import Failover, Pause, Resume, Switchover
from pgvigil.sim.world import GATEWAY

if TYPE_CHECKING:
    from pgvigil.sim.network import Place
    from pgvigil.sim.server import Server
    from pgvigil.sim.world import World

Way = tuple["Place", "Place"]
Fault = Callable[[Any], Coroutine[None, None, None]]


class Torment:
    """One world, and what all faults are made of."""

    def __init__(self, world: "World", seed: int) -> None:
        self._world = world
        self._rng = random.Random(seed * 7919 + 13)  # noqa: S311  # to be repeated
        self._cuts: list[list[Way]] = []
        self._slow: list[list[Way]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.healing = False

    async def torment(self, faults: tuple[tuple[int, Fault], ...]) -> None:
        """Some faults, one after another or overlapping. `faults`: how often, and what."""
        for _ in range(self._rng.randint(1, 4)):
            await asyncio.sleep(self._rng.choice((0.02, 0.2, 1.0, 5.0, 15.0, 40.0)) * self._rng.random())
            weights = [weight for weight, _ in faults]
            fault = self._rng.choices([each for _, each in faults], weights)[0]
            self._world.say("nemesis", fault.__name__.replace("_", " ").strip())
            task = asyncio.ensure_future(fault(self))
            self._tasks.add(task)
            await asyncio.wait({task}, timeout=self._rng.choice((0.1, 1.0, 10.0, 60.0)))

    async def heal(self) -> None:
        """Everything is repaired, as a careful human would; what was down by hand is started."""
        self.healing = True
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        world = self._world
        world.say("nemesis", "heals everything")
        world.mend_the_store()
        world.slow_promotion, world.failing_saves = 0.0, 0
        for ways in self._cuts:
            world.network.heal(ways)
        for ways in self._slow:
            world.network.slow(ways, 0.0)
        self._cuts, self._slow = [], []
        for server in world.servers.values():
            server.rejects = ""
            server.host.mend_shell()
            server.thaw()
            if not server.host.alive:
                server.host.power_on()
        resumed = asyncio.ensure_future(self._resumed())
        await asyncio.sleep(10.0)
        while any(server.state == "stopping" for server in world.servers.values()):  # noqa: ASYNC110
            await asyncio.sleep(1.0)
        for server in world.servers.values():
            if server.state == "down" and server.host.alive:
                server.start()
        await resumed

    async def _resumed(self) -> None:
        """A human asks again until nothing is paused: a controller may die while it is asked."""
        while not (self._controlled() and await _ordered(self._world, Resume(), within_s=10.0)):  # noqa: ASYNC110
            await asyncio.sleep(1.0)

    def _controlled(self) -> bool:
        return self._world.operations is not None and bool(self._world.life and self._world.life.alive)

    def _primary(self) -> "Server":
        servers = tuple(self._world.primaries())
        return self._rng.choice(servers) if servers else self._any()

    def _any(self) -> "Server":
        return self._rng.choice(tuple(self._world.servers.values()))

    def _victim(self) -> "Server":
        return self._primary() if self._rng.random() < 0.7 else self._any()

    async def _pause(self, most_s: float) -> None:
        await asyncio.sleep(self._rng.random() ** 2 * most_s)

    def _places(self) -> tuple["Place", ...]:
        return (*self._world.places(), GATEWAY)

    async def _cut(self, ways: list[Way], most_s: float) -> None:
        self._cuts.append(ways)
        self._world.network.cut(ways)
        await self._pause(most_s)
        if not self.healing:
            self._cuts.remove(ways)
            self._world.network.heal(ways)

    def _order(self, command: Switchover | Failover | Pause | Resume) -> None:
        if self._controlled():
            asyncio.ensure_future(_ordered(self._world, command))  # noqa: RUF006  # bounded by itself


async def _ordered(
    world: "World", command: Switchover | Failover | Pause | Resume, *, within_s: float = 60.0
) -> bool:
    """Whether the command was carried out."""
    assert world.operations is not None
    try:
        outcome = await world.operations.order(
            world.spec.name, command, dry_run=False, within_s=within_s, progress=lambda _: None
        )
    except (UsageError, Unsafe):
        return False
    world.say("operator", f"{type(command).__name__.lower()}: {outcome.result} {outcome.text}")
    return outcome.result is Result.DONE


def between(one: Iterable["Place"], other: Iterable["Place"]) -> list[Way]:
    """All ways between two groups, both directions."""
    return [way for a in one for b in tuple(other) for way in ((a, b), (b, a))]
