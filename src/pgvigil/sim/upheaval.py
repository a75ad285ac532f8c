"""What goes wrong where several controllers share a cluster: with them, with etcd, and between the two."""

import asyncio
from typing import TYPE_CHECKING, Final

from pgvigil.sim.nemesis import FAULTS, Nemesis
from pgvigil.sim.torment import Fault, between

if TYPE_CHECKING:
    from pgvigil.sim.etcd import Etcd, EtcdServer
    from pgvigil.sim.life import Life
    from pgvigil.sim.seat import Seat

ABOUT_A_LEASE_S: Final = (2.0, 6.0, 9.0, 12.0, 20.0, 60.0)
"""How long things last at most: less than a lease counts, about so long, and longer than it lasts."""


class SharedNemesis(Nemesis):
    """All the faults of one controller, and those of several."""

    async def heal(self) -> None:
        """Everything is repaired, etcd and the controllers first."""
        self.healing = True
        world, etcd = self._world, self._etcd
        etcd.disk_s = 0.0
        for server in etcd.servers:
            etcd.start(server)
            etcd.thaw(server)
        for seat in world.seats:
            seat.powered = True
            if seat.life:
                seat.life.freeze_at_save = seat.life.freeze_at_act = seat.life.kill_after = (
                    seat.life.kill_at_save
                ) = 0
                seat.thaw()
        await super().heal()

    @property
    def _etcd(self) -> "Etcd":
        assert self._world.etcd is not None
        return self._world.etcd

    def _seat(self) -> "Seat":
        """Mostly the one in charge."""
        return self._world.seat if self._rng.random() < 0.7 else self._rng.choice(self._world.seats)

    def _server(self) -> "EtcdServer":
        """Often the leader."""
        servers = self._etcd.servers
        leading = [server for server in servers if self._etcd.leads(server)]
        return leading[0] if leading and self._rng.random() < 0.5 else self._rng.choice(servers)

    async def _for_a_lease(self) -> None:
        await asyncio.sleep(self._rng.choice(ABOUT_A_LEASE_S) * self._rng.random())

    def _detach(self) -> None:
        """Somebody takes a standby's upstream away: whoever guards the cluster gives it back."""
        server = self._any()
        if server.up and server.in_recovery:
            server.data.settings["primary_conninfo"] = ""
            server.reload()

    # controllers

    async def detach_a_standby(self) -> None:
        """An administrator's mistake."""
        self._detach()

    async def kill_a_controller(self) -> None:
        """At once, whoever it is."""
        if life := self._seat().life:
            life.kill()

    async def kill_two_controllers(self) -> None:
        """The one in charge, and whoever comes after it."""
        for _ in range(2):
            if life := self._world.life:
                life.kill()
            await self._pause(20.0)

    async def stop_a_controller(self) -> None:
        """In an orderly way; its service starts it again."""
        if life := self._seat().life:
            self._world.say(life.name, "is told to stop")
            life.stopped.set()

    async def lose_the_machine_of_a_controller(self) -> None:
        """With the server of etcd that is on it, if there is one."""
        seat = self._seat()
        here = [server for server in self._etcd.servers if server.place == seat.place]
        self._world.say(seat.name, "machine is gone")
        seat.power_off()
        for server in here:
            self._etcd.stop(server)
        await self._pause(60.0)
        if not self.healing:
            seat.powered = True
            for server in here:
                self._etcd.start(server)

    async def freeze_a_controller(self) -> None:
        """Its process, or its machine, stands still for a while; now and then a primary fails meanwhile."""
        seat = self._seat()
        if seat.life:
            seat.life.freeze()
        await self._pause(3.0)
        if self._rng.random() < 0.5:
            self._victim().kill()
        await self._for_a_lease()
        seat.thaw()

    async def freeze_the_controller_in_the_act(self) -> None:
        """While it deals with the loss of a primary: at some effect, before its packet has left or after."""
        await self._freeze_in_the_act(self._world.life)

    async def _freeze_in_the_act(self, life: "Life | None") -> None:
        world, seat = self._world, self._world.seat
        if life and self._rng.random() < 0.2:
            life.freeze_at_save = self._rng.randint(1, 16)
        elif life:
            life.freeze_at_act = self._rng.randint(1, 20)
            life.freeze_speechless = self._rng.random() < 0.3
        self._victim().kill()
        until = world.loop.time() + 15.0
        while life and not life.frozen and world.loop.time() < until:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.05)
        await self._for_a_lease()
        if self._rng.random() < 0.3:
            self._victim().kill()
            await self._for_a_lease()
        elif self._rng.random() < 0.3:
            self._detach()
            await asyncio.sleep(self._rng.random())
        seat.thaw()

    # etcd

    async def stop_a_server_of_etcd(self) -> None:
        """Its process dies."""
        server = self._server()
        self._etcd.stop(server)
        await self._pause(40.0)
        self._etcd.start(server)

    async def hang_a_server_of_etcd(self) -> None:
        """It keeps its connections open, says nothing, and later hands in what it was asked."""
        server = self._server()
        self._etcd.freeze(server)
        await self._pause(40.0)
        self._etcd.thaw(server)

    async def lose_etcd(self) -> None:
        """Its majority or all of it, with a primary that fails meanwhile."""
        servers = self._rng.sample(self._etcd.servers, self._rng.choice((2, 3)))
        for server in servers:
            self._etcd.stop(server)
            await self._pause(2.0)
        await self._for_a_lease()
        if self._rng.random() < 0.5:
            self._victim().kill()
        await self._for_a_lease()
        self._rng.shuffle(servers)
        for server in servers:
            self._etcd.start(server)
            await self._pause(2.0)

    async def slow_etcd_down(self) -> None:
        """Its disks are slow: each write takes that much longer."""
        self._etcd.disk_s = self._rng.choice((0.05, 0.3, 0.6, 0.9, 1.5))
        if self._rng.random() < 0.4:
            self._victim().kill()
        await self._for_a_lease()
        self._etcd.disk_s = 0.0

    async def cut_etcd_in_two(self) -> None:
        """One of its servers is alone."""
        places = [server.place for server in self._etcd.servers]
        self._rng.shuffle(places)
        await self._cut(between(places[:1], places[1:]), 40.0)

    async def cut_a_controller_from_etcd(self) -> None:
        """From all of it, or most; both ways or one; and perhaps a primary fails meanwhile."""
        here = self._seat().place
        places = [server.place for server in self._etcd.servers if server.place != here]
        if self._rng.random() < 0.3:
            places.pop()
        ways = between([here], places)
        if self._rng.random() < 0.4:
            wrong = self._rng.random() < 0.5
            ways = [way for way in ways if (way[0] == here) is wrong]
        if self._rng.random() < 0.5:
            self._victim().kill()
        await asyncio.sleep(self._rng.choice((0.0, 0.1, 2.0)) * self._rng.random())
        repair = self._world.loop.call_later(self._rng.choice(ABOUT_A_LEASE_S), self._detach)
        await self._cut(ways, self._rng.choice(ABOUT_A_LEASE_S))
        repair.cancel()

    async def cut_a_controller_from_etcd_again_and_again(self) -> None:
        """Each time for about a lease."""
        here = self._seat().place
        places = [server.place for server in self._etcd.servers if server.place != here]
        for _ in range(self._rng.randint(2, 4)):
            await self._cut(between([here], places), 14.0)
            await self._pause(6.0)


ALONE: Final = frozenset({Nemesis.break_the_store, Nemesis.fail_a_save})
"""What only a store of one's own does."""
FAULTS_OF_SEVERAL: Final[tuple[tuple[int, Fault], ...]] = (
    *((weight, fault) for weight, fault in FAULTS if fault not in ALONE),
    (3, SharedNemesis.detach_a_standby),
    (6, SharedNemesis.kill_a_controller),
    (5, SharedNemesis.kill_two_controllers),
    (5, SharedNemesis.stop_a_controller),
    (5, SharedNemesis.lose_the_machine_of_a_controller),
    (10, SharedNemesis.freeze_a_controller),
    (14, SharedNemesis.freeze_the_controller_in_the_act),
    (5, SharedNemesis.stop_a_server_of_etcd),
    (6, SharedNemesis.hang_a_server_of_etcd),
    (8, SharedNemesis.lose_etcd),
    (6, SharedNemesis.slow_etcd_down),
    (5, SharedNemesis.cut_etcd_in_two),
    (12, SharedNemesis.cut_a_controller_from_etcd),
    (5, SharedNemesis.cut_a_controller_from_etcd_again_and_again),
)
"""How often, and what."""
