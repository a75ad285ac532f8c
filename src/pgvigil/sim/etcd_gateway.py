"""The seam between the product's store and the simulated etcd: one attempt at one of its servers."""

import asyncio
from typing import TYPE_CHECKING

from pgvigil.model.etcd import EtcdSpec
from pgvigil.sim.etcd import Etcd, Json
from pgvigil.store.gateway import AttemptFailed, Gateway, judged

if TYPE_CHECKING:
    from pgvigil.sim.life import Life


class SimGateway(Gateway):
    """All of `store.gateway.Gateway` but HTTP."""

    def __init__(self, spec: EtcdSpec, life: "Life", etcd: Etcd) -> None:
        super().__init__(spec)
        self._life, self._etcd = life, etcd

    async def post(self, url: str, path: str, body: Json, within_s: float, token: str) -> Json:
        """As `Gateway.post`: what was sent stays sent when we give up."""
        life, server = self._life, self._etcd.at(url.removeprefix("http://"))
        network = life.world.network
        process = server.starts if server.alive else None
        life.lives()
        answer: asyncio.Future[tuple[int, Json] | None] = asyncio.get_running_loop().create_future()

        def arrives(said: tuple[int, Json] | None) -> None:
            if not answer.done():
                answer.set_result(said)

        def reached() -> None:
            if server.alive and server.starts == process:
                self._etcd.receives(server, path, body, lambda *said: back(said))
            elif life.world.host_is_up(server.place):
                back(None)

        def back(said: tuple[int, Json] | None) -> None:
            network.send(server.place, life.place, lambda: arrives(said))

        life.sends(life.place, server.place, reached)
        try:
            async with asyncio.timeout(within_s):
                said = await answer
        except TimeoutError:
            raise AttemptFailed(f"no answer within {within_s:.1f} s", maybe=True) from None
        if said is None:
            raise AttemptFailed("connection refused", maybe=False)
        return judged(*said)
