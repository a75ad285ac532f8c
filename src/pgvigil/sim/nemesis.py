"""What goes wrong, drawn from a seed: one table of faults, two at a time now and then."""

import asyncio
from typing import Final

from pgvigil.model.command import Failover, Pause, Resume, Switchover
from pgvigil.model.units import NodeName
from pgvigil.sim.server import STOPPED
from pgvigil.sim.torment import Fault, Torment, between

AUTHENTICATION: Final = "28P01"
TOO_MANY: Final = "53300"
LIFETIME_S: Final = 60.0
"""If nobody acknowledges anything for so long, there is no new primary."""


class Nemesis(Torment):
    """All the faults."""

    # servers

    async def kill_all_processes(self) -> None:
        """As by the kernel's out-of-memory killer."""
        self._victim().kill()

    async def kill_the_postmaster(self) -> None:
        """Its children outlive it by a moment."""
        self._victim().kill_postmaster()

    async def kill_two(self) -> None:
        """Two servers, shortly after one another."""
        self._victim().kill()
        await self._pause(3.0)
        self._victim().kill()

    async def kill_each_new_primary(self) -> None:
        """One primary after another, as soon as it has acknowledged something, or a moment later."""
        world, serving = self._world, self._primary()
        for _ in range(self._rng.randint(2, len(world.servers))):
            serving.kill()
            since = world.loop.time()
            while not (after := [ack for ack in world.clients.acknowledged[-3:] if ack.at > since]):
                await asyncio.sleep(0.001)
                if world.loop.time() - since > LIFETIME_S:
                    return
            serving = world.servers[NodeName(after[0].node)]
            await self._pause(self._rng.choice((0.0, 0.1, 3.0)))

    async def stop_cleanly(self) -> None:
        """An administrator stops a server, and starts it again later."""
        server = self._victim()
        server.reached(server.stop)
        await self._pause(30.0)
        if server.host.alive:
            server.start()

    async def restart_quickly(self) -> None:
        """Killed, and started again by whoever guards it."""
        server = self._victim()
        server.kill()
        await self._pause(4.0)
        if server.host.alive:
            server.start()

    async def freeze(self) -> None:
        """SIGSTOP for a while."""
        server = self._victim()
        server.freeze()
        await self._pause(40.0)
        if server.host.alive:
            server.thaw()

    async def lose_a_host(self) -> None:
        """Power off; perhaps it comes back."""
        host = self._victim().host
        if host.alive:
            host.power_off()
        await self._pause(90.0)
        if not host.alive:
            host.power_on()
            if self._rng.random() < 0.5:
                host.server.start()

    async def lose_all_standbys(self) -> None:
        """One after another, and the primary's host behind them."""
        first = self._primary()
        standbys = [server for server in self._world.servers.values() if server is not first]
        self._rng.shuffle(standbys)
        for server in standbys:
            self._rng.choice((server.kill, server.host.power_off))()
            await self._pause(8.0)
        if self._rng.random() < 0.6:
            first.host.power_off()
            await self._pause(10.0)
        for server in self._world.servers.values():
            if not server.host.alive:
                server.host.power_on()
            elif self._rng.random() < 0.7:
                server.start()
            await self._pause(5.0)

    async def start_an_old_one(self) -> None:
        """Somebody starts a server that lies still."""
        await self._pause(10.0)
        for server in self._world.servers.values():
            if server.host.alive and server.state == "down":
                server.start()

    async def promote_by_hand(self) -> None:
        """An administrator promotes a standby without telling anybody."""
        server = self._any()
        if server.in_recovery and server.up:
            self._world.rules.was_promoted_by_hand(server.name)
            server.reached(server.promote)

    async def turn_logins_away(self) -> None:
        """A broken password, or too many connections."""
        server = self._victim()
        server.rejects = self._rng.choice((AUTHENTICATION, TOO_MANY))
        for backend in tuple(server.backends):
            if self._rng.random() < 0.7:
                server.backends.pop(backend)
                backend.bye(STOPPED)
        await self._pause(40.0)
        server.rejects = ""

    async def break_a_shell(self) -> None:
        """The SSH server is gone, or our key."""
        host = self._victim().host
        host.shell_broken = self._rng.choice(("lost", "refused"))
        await self._pause(60.0)
        host.mend_shell()

    async def promote_slowly(self) -> None:
        """Promotions take long for a while."""
        self._world.slow_promotion = self._rng.uniform(0.5, 20.0)
        await self._pause(60.0)
        self._world.slow_promotion = 0.0

    # links

    async def cut_from_the_controller(self) -> None:
        """The controller alone cannot reach a host."""
        await self._cut(between([self._world.seat.place], [self._victim().host.name]), 40.0)

    async def cut_a_host_off(self) -> None:
        """A host is cut off from everybody, with the clients on it."""
        here = self._victim().host.name
        await self._cut(between([here], [p for p in self._places() if p != here]), 60.0)

    async def cut_the_controller_off(self) -> None:
        """The controller is alone."""
        here = self._world.seat.place
        await self._cut(between([here], [p for p in self._places() if p != here]), 40.0)

    async def cut_in_two(self) -> None:
        """Two groups of places cannot talk."""
        places = list(self._places())
        self._rng.shuffle(places)
        size = self._rng.randint(1, len(places) - 1)
        await self._cut(between(places[:size], places[size:]), 60.0)

    async def hold_a_standby_back(self) -> None:
        """One server hears nothing from the others, and one or two primaries are lost meanwhile."""
        first, held = self._primary(), self._any()
        others = [server.host.name for server in self._world.servers.values() if server is not held]
        ways = between([held.host.name], others)
        self._world.network.cut(ways)
        self._cuts.append(ways)
        await self._pause(6.0)
        self._rng.choice((first.kill, first.host.power_off, lambda: None))()
        await asyncio.sleep(self._rng.choice((0.5, 5.0, 10.0)) * self._rng.random())
        if self._rng.random() < 0.5:
            self._rng.choice((self._primary().kill, self._primary().host.power_off))()
        await self._pause(20.0)
        if not self.healing:
            self._cuts.remove(ways)
            self._world.network.heal(ways)

    async def cut_the_primary_off_with_some(self) -> None:
        """The primary, its clients and some of its standbys on one side; the controller and the rest here."""
        first = self._primary()
        rest = [server.host.name for server in self._world.servers.values() if server is not first]
        there = self._rng.sample(rest, self._rng.randint(0, len(rest) - 1))
        there.append(first.host.name)
        await self._cut(between(there, [p for p in self._places() if p not in there]), 60.0)

    async def lose_the_primary_as_the_set_changes(self) -> None:
        """A standby goes and comes back, and the primary is lost while that is being taken note of."""
        world, first = self._world, self._primary()
        others = [server for server in world.servers.values() if server is not first]
        gone = self._rng.choice(others)
        gone.kill()
        if self._rng.random() < 0.7:
            await asyncio.sleep(self._rng.uniform(0.5, 6.0))
            if gone.host.alive:
                gone.start()
        before, until = world.rules.record, world.loop.time() + 20.0
        while world.rules.record is before and world.loop.time() < until:  # noqa: ASYNC110  # stores do not tell
            await asyncio.sleep(0.005)
        await asyncio.sleep(self._rng.choice((0.02, 0.3, 2.0)) * self._rng.random())
        match self._rng.randrange(3):
            case 0:
                first.host.power_off()
                await self._pause(60.0)
                if not first.host.alive:
                    first.host.power_on()
            case 1:
                first.kill()
            case _:
                await self.cut_the_primary_off_with_some()

    async def cut_one_way(self) -> None:
        """Packets pass in one direction only."""
        one, other = self._rng.sample(self._places(), 2)
        await self._cut([(one, other)], 40.0)

    async def flap(self) -> None:
        """Hiccups, each too short for a verdict."""
        here = self._victim().host.name
        for _ in range(self._rng.randint(2, 8)):
            await self._cut(between([here], [p for p in self._places() if p != here]), 1.5)
            await self._pause(3.0)

    async def slow_links(self) -> None:
        """Every packet to and from a host takes long, or only those of one of its links."""
        here = self._victim().host.name
        others = [place for place in self._places() if place != here]
        if self._rng.random() < 0.3:
            others = [self._rng.choice(others)]
        ways = between([here], others)
        self._slow.append(ways)
        self._world.network.slow(ways, self._rng.choice((0.05, 0.2, 0.6, 1.5)))
        await self._pause(40.0)
        if not self.healing:
            self._slow.remove(ways)
            self._world.network.slow(ways, 0.0)

    # the controller

    async def kill_the_controller(self) -> None:
        """At once."""
        if self._world.life:
            self._world.life.kill()

    async def kill_the_controller_in_the_act(self) -> None:
        """While it deals with the loss of a primary: at some send or save from now."""
        self._victim().kill()
        if self._world.life:
            self._world.life.kill_after = self._rng.randint(1, 150)

    async def kill_the_controller_at_a_save(self) -> None:
        """While it deals with the loss of a primary: just before a save of the record, or just after."""
        if self._world.life:
            self._world.life.kill_at_save = self._rng.randint(1, 16)
        self._victim().kill()

    async def fail_a_save(self) -> None:
        """One save fails; what was to be saved may be durable all the same."""
        self._world.failing_saves = self._rng.randint(1, 16)
        if self._rng.random() < 0.7:
            self._victim().kill()

    async def set_the_clock(self) -> None:
        """The controller's calendar jumps; once in a while by hours."""
        by_s = self._rng.choice((0.5, 5.0, 60.0, 7200.0)) * self._rng.choice((-1.0, 1.0))
        self._world.clock.ahead_s += by_s

    async def break_the_store(self) -> None:
        """Its disk is full."""
        self._world.store_broken = True
        await self._pause(20.0)
        self._world.mend_the_store()

    # operators

    async def switch_over(self) -> None:
        """A planned change of primary."""
        self._order(Switchover())
        await self._pause(10.0)

    async def order_a_failover(self) -> None:
        """An operator loses patience; not forced."""
        self._order(Failover())
        await self._pause(10.0)

    async def pause_and_resume(self) -> None:
        """Automatic actions are off for a while."""
        self._order(Pause())
        await self._pause(60.0)
        self._order(Resume())


FAULTS: Final[tuple[tuple[int, Fault], ...]] = (
    (8, Nemesis.kill_all_processes),
    (4, Nemesis.kill_the_postmaster),
    (4, Nemesis.kill_two),
    (3, Nemesis.kill_each_new_primary),
    (3, Nemesis.lose_all_standbys),
    (4, Nemesis.stop_cleanly),
    (4, Nemesis.restart_quickly),
    (5, Nemesis.freeze),
    (6, Nemesis.lose_a_host),
    (3, Nemesis.start_an_old_one),
    (1, Nemesis.promote_by_hand),
    (3, Nemesis.turn_logins_away),
    (3, Nemesis.break_a_shell),
    (3, Nemesis.promote_slowly),
    (4, Nemesis.cut_from_the_controller),
    (5, Nemesis.cut_a_host_off),
    (3, Nemesis.cut_the_controller_off),
    (5, Nemesis.cut_in_two),
    (5, Nemesis.hold_a_standby_back),
    (5, Nemesis.cut_the_primary_off_with_some),
    (5, Nemesis.lose_the_primary_as_the_set_changes),
    (4, Nemesis.cut_one_way),
    (3, Nemesis.flap),
    (4, Nemesis.slow_links),
    (3, Nemesis.kill_the_controller),
    (8, Nemesis.kill_the_controller_in_the_act),
    (5, Nemesis.kill_the_controller_at_a_save),
    (3, Nemesis.fail_a_save),
    (2, Nemesis.set_the_clock),
    (2, Nemesis.break_the_store),
    (6, Nemesis.switch_over),
    (2, Nemesis.order_a_failover),
    (2, Nemesis.pause_and_resume),
)
"""How often, and what."""
