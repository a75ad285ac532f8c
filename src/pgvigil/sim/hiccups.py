"""Hours of hiccups, each shorter than a verdict takes: nobody may be failed over for any of them.

`python -m pgvigil.sim.hiccups HOURS [SEED]` prints what came of it; exit code 1 if anything was done that
was not needed.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from random import Random
from typing import Final

from pgvigil.sim.life import CONTROLLER
from pgvigil.sim.network import Place
from pgvigil.sim.run import Report, Script, simulate
from pgvigil.sim.server import Server
from pgvigil.sim.world import GATEWAY, World

Hiccup = Callable[["Hiccups"], Coroutine[None, None, None]]
SHARE: Final = 0.95
"""The longest hiccup, as a share of what would be a verdict."""
CALM_S: Final = (4.0, 16.0)
"""Between two of them all is well for so long: each silence is one of its own."""


class Hiccups:
    """One cluster's troubles. What silences the primary comes one at a time, with other trouble beside it."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.rng = world, Random(seed)  # noqa: S311  # to be repeated
        timings = world.spec.timings
        self.lost_s = timings.unreachable_after.total_seconds() * SHARE
        self.hung_s = min(timings.hung_after, timings.unreachable_after).total_seconds() * SHARE
        self.count: Counter[str] = Counter()

    async def run(self, seconds: float) -> None:
        """One after another, for so long."""
        until = self.world.loop.time() + seconds
        while self.world.loop.time() < until:
            side = self.rng.choice(BESIDE) if self.rng.random() < 0.3 else None
            async with asyncio.TaskGroup() as group:
                for hiccup in filter(None, (self.rng.choice(ALONE), side)):
                    self.count[hiccup.__name__] += 1
                    group.create_task(hiccup(self))
            await asyncio.sleep(self.rng.uniform(*CALM_S))

    @property
    def primary(self) -> Server:
        """The first node: it is to stay it."""
        return next(iter(self.world.servers.values()))

    @property
    def standby(self) -> Server:
        """Any other."""
        return self.rng.choice(list(self.world.servers.values())[1:])

    def short(self, most_s: float) -> float:
        """How long, up to the longest."""
        return self.rng.uniform(0.05, most_s)

    def others(self, place: Place) -> list[Place]:
        """All places but that one."""
        return [other for other in (*self.world.places(), GATEWAY) if other != place]

    async def cut(self, ways: list[tuple[Place, Place]], seconds: float) -> None:
        """No packet passes there for so long."""
        self.world.network.cut(ways)
        await asyncio.sleep(seconds)
        self.world.network.heal(ways)


def both_ways(here: Place, others: list[Place]) -> list[tuple[Place, Place]]:
    """A link in both directions to each of them."""
    return [way for other in others for way in ((here, other), (other, here))]


async def primary_cut_off(it: Hiccups) -> None:
    """From everybody."""
    here = it.primary.host.name
    await it.cut(both_ways(here, it.others(here)), it.short(it.lost_s))


async def primary_cut_from_us(it: Hiccups) -> None:
    """From the controller alone."""
    await it.cut(both_ways(it.primary.host.name, [CONTROLLER]), it.short(it.lost_s))


async def primary_cut_one_way(it: Hiccups) -> None:
    """It hears and is not heard, or the other way round."""
    here, turn = it.primary.host.name, it.rng.random() < 0.5
    await it.cut([(here, o) if turn else (o, here) for o in it.others(here)], it.short(it.lost_s))


async def controller_cut_off(it: Hiccups) -> None:
    """From everybody, its reference target too."""
    await it.cut(both_ways(CONTROLLER, it.others(CONTROLLER)), it.short(it.lost_s))


async def split_in_two(it: Hiccups) -> None:
    """Two groups of places cannot talk."""
    places = [*it.world.places(), GATEWAY]
    it.rng.shuffle(places)
    size = it.rng.randint(1, len(places) - 1)
    ways = [way for here in places[:size] for way in both_ways(here, places[size:])]
    await it.cut(ways, it.short(it.lost_s))


async def flapping(it: Hiccups) -> None:
    """Cut off again and again, with a few seconds between."""
    here = it.primary.host.name
    for _ in range(it.rng.randint(2, 6)):
        await it.cut(both_ways(here, it.others(here)), it.short(it.lost_s))
        await asyncio.sleep(it.rng.uniform(2.0, 4.0))


async def slow_links(it: Hiccups) -> None:
    """Every packet to and from the primary takes long, for longer than any hiccup."""
    here = it.primary.host.name
    ways = both_ways(here, it.others(here))
    it.world.network.slow(ways, it.rng.choice((0.02, 0.1, 0.3, 0.5)))
    await asyncio.sleep(it.rng.uniform(2.0, 30.0))
    it.world.network.slow(ways, 0.0)


async def primary_stands_still(it: Hiccups) -> None:
    """All its processes, for less than a hang."""
    it.primary.freeze()
    await asyncio.sleep(it.short(it.hung_s))
    it.primary.thaw()


async def primary_turns_us_away(it: Hiccups) -> None:
    """Too many connections, or a broken password: however long it lasts."""
    it.primary.rejects = it.rng.choice(("53300", "28P01"))
    await asyncio.sleep(it.rng.uniform(0.5, 30.0))
    it.primary.rejects = ""


async def nothing(it: Hiccups) -> None:
    """Only what goes wrong beside it."""
    await asyncio.sleep(it.short(it.lost_s))


async def standby_stands_still(it: Hiccups) -> None:
    """A standby says nothing for a while."""
    server = it.standby
    server.freeze()
    await asyncio.sleep(it.rng.uniform(0.5, 20.0))
    server.thaw()


async def standby_cut_off(it: Hiccups) -> None:
    """A standby's host is out of reach for everybody."""
    here = it.standby.host.name
    await it.cut(both_ways(here, it.others(here)), it.rng.uniform(0.5, 20.0))


async def standby_restarts(it: Hiccups) -> None:
    """Killed, and started again."""
    server = it.standby
    server.kill()
    await asyncio.sleep(it.rng.uniform(0.2, 5.0))
    server.start()


async def controller_restarts(it: Hiccups) -> None:
    """Killed at any moment; the next one begins without memory of what it saw."""
    await asyncio.sleep(it.short(it.lost_s))
    if it.world.life:
        it.world.life.kill()


async def shell_lost(it: Hiccups) -> None:
    """The primary's ssh server does not answer."""
    host = it.primary.host
    host.shell_broken = it.rng.choice(("lost", "refused"))
    await asyncio.sleep(it.rng.uniform(1.0, 20.0))
    host.mend_shell()


ALONE: Final[tuple[Hiccup, ...]] = (
    primary_cut_off,
    primary_cut_from_us,
    primary_cut_one_way,
    controller_cut_off,
    split_in_two,
    flapping,
    slow_links,
    primary_stands_still,
    primary_turns_us_away,
    nothing,
)
"""One at a time: two of them together may be a silence that is long enough."""
BESIDE: Final[tuple[Hiccup, ...]] = (
    standby_stands_still,
    standby_cut_off,
    standby_restarts,
    controller_restarts,
    shell_lost,
)


def hiccups(hours: float, seed: int, count: Counter[str] | None = None) -> Script:
    """A course of events of so many hours. `count` gets how often each thing happened."""

    async def script(world: World) -> None:
        course = Hiccups(world, seed)
        await course.run(hours * 3600.0)
        if count is not None:
            count.update(course.count)

    return script


def after(hours: float, seed: int, nodes: int = 3) -> tuple[Report, Counter[str]]:
    """What came of so many hours."""
    count: Counter[str] = Counter()
    return simulate(seed, nodes, script=hiccups(hours, seed, count)), count


def main(hours: float, seed: int = 1) -> int:
    """Print the figures as JSON."""
    begun = time.monotonic()
    report, count = after(hours, seed)
    figures = {
        "simulated_h": round(report.lasted_s / 3600, 1),
        "hiccups": sum(count.values()),
        "kinds": dict(count),
        "failovers": report.failovers,
        "acknowledged": report.acknowledged,
        "lost": report.lost,
        "violations": [str(violation) for violation in report.violations],
        "took_s": round(time.monotonic() - begun, 1),
    }
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    return 1 if report.failovers or report.violations else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), *map(int, sys.argv[2:])))
