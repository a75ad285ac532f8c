"""The stage with simulated servers, in virtual time."""

import asyncio
import random
from dataclasses import replace

from pgvigil.model.spec import PgCtl
from pgvigil.model.units import NodeName
from pgvigil.ports.contract import Session, Shell
from pgvigil.sim.clock import VirtualLoop
from pgvigil.sim.cluster import a_cluster
from pgvigil.sim.host import SimShell
from pgvigil.sim.life import Life
from pgvigil.sim.server import Server
from pgvigil.sim.session import SENDS_S, SimSession
from pgvigil.sim.synchrony import Told
from pgvigil.sim.world import World
from tests.conformance.stage import NODES, Commit, Stage


class SimCommit(Commit):
    """A record, and what its client was told."""

    def __init__(self, server: Server, row: int) -> None:
        self.row, self._server, self._state = row, server, "waiting"
        self._record = server.commit(row, lambda _, told: self._told(told))

    def _told(self, told: Told | None) -> None:
        self._state = "acknowledged" if told else "ended"

    def state(self) -> str:
        return self._state

    async def cancel(self) -> None:
        if self._server.sync.cancel(self._record):
            self._state = "cancelled"


class SimStage(Stage):
    """A world without clients and controller."""

    patience_s = 90.0

    def __init__(self, loop: VirtualLoop, seed: int) -> None:
        super().__init__()
        spec = a_cluster(len(NODES), random.Random(seed))
        nodes = tuple(replace(node, control=PgCtl()) for node in spec.nodes)
        self.spec = replace(spec, nodes=nodes, references=())
        self.world = World(loop, seed, self.spec)
        self._begun = 1000
        self._life = Life(self.world)
        self.world.start_servers()

    def server(self, node: str) -> Server:
        return self.world.servers[NodeName(node)]

    def new_session(self, node: str) -> Session:
        return SimSession(self._life, self.server(node))

    def shell(self, node: str) -> Shell:
        return SimShell(self._life, self.server(node).host)

    async def kill_all(self, node: str) -> None:
        self.server(node).kill()

    async def kill_postmaster(self, node: str) -> None:
        self.server(node).kill_postmaster()

    async def freeze(self, node: str) -> None:
        self.server(node).freeze()

    async def thaw(self, node: str) -> None:
        self.server(node).thaw()

    async def insert(self, node: str, row: int) -> None:
        self.server(node).commit(row, lambda *_: None)

    async def commit(self, node: str) -> Commit:
        self._begun += 1
        commit = SimCommit(self.server(node), self._begun)
        await asyncio.sleep(3.0)
        return commit

    async def has_row(self, node: str, commit: Commit) -> bool:
        return commit.row in self.server(node).data.rows()

    async def reload_is_over(self, node: str) -> None:
        await asyncio.sleep(5.0)  # an immediate checkpoint takes up to 3 s

    async def at_rest(self, node: str) -> None:
        await asyncio.sleep(SENDS_S)

    async def fill(self, node: str) -> None:
        self.server(node).rejects = "53300"

    async def shut_out(self, node: str) -> None:
        self.server(node).rejects = "28000"

    def drift(self) -> list[str]:
        """What the product said and the simulation does not know."""
        return [str(each) for each in self.world.rules.violations if each.rule == "drift"]


def virtual_loop() -> VirtualLoop:
    """A loop of its own for one script."""
    return VirtualLoop()
