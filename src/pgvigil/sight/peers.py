"""Asks the other controllers: each is a place from which nodes are looked at, as a witness host is.

What one gets through to counts at once. That it does not get through counts only if it did while the node
still answered us, and if it reaches another node now. One that says nothing proves nothing, and is no
place that might see more than we do: what keeps it from answering lies between it and etcd.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final
from zlib import crc32

from pgvigil.errors import PgvigilError
from pgvigil.model.spec import ClusterSpec, NodeSpec
from pgvigil.model.units import NodeName
from pgvigil.model.vantage import Reach, Witness
from pgvigil.ports.contract import Clock, Peers
from pgvigil.sight.witness import is_reachable

WAIT_S: Final = 1.0
"""How long another controller waits for a node, each time."""
FIRST_S: Final = 0.3
"""After the silence began: a crash is proved without them by then."""
EVERY_S: Final = 0.3
CALM_S: Final = 300.0
"""While all is well, each is asked this often what it reaches."""
NEW_S: Final = 10.0
"""Between two looks for controllers that have not been asked yet."""
SPREAD: Final = 20
"""Seconds over which clusters that are guarded from the same moment on ask for the first time."""
BESIDE: Final = 3
"""So many nodes that answer us are tried beside a silent one."""


class PeerWatch:
    """The other controllers' words on one cluster. `silent`: the primary, while it does not answer us."""

    def __init__(
        self,
        spec: ClusterSpec,
        peers: Peers,
        clock: Clock,
        silent: Callable[[], NodeName | None],
        answering: Callable[[], Sequence[NodeSpec]],
        note: Callable[[NodeName, Witness], None],
    ) -> None:
        self._spec, self._peers, self._clock = spec, peers, clock
        self._silent, self._answering, self._note = silent, answering, note
        self._before: dict[tuple[str, NodeName], Reach] = {}
        self._asking: set[str] = set()

    async def run(self, alarm: asyncio.Event) -> None:
        """Ask while the primary is silent, and seldom otherwise, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._while_calm())
            while True:
                await alarm.wait()
                await asyncio.sleep(FIRST_S)
                while (suspect := self._silent()) is not None:
                    for peer in self._peers.others(self._spec.name):
                        if peer not in self._asking:
                            self._asking.add(peer)
                            group.create_task(self._ask(peer, self._spec.node(suspect)))
                    await asyncio.sleep(EVERY_S)

    async def _ask(self, peer: str, suspect: NodeSpec) -> None:
        try:
            begun = self._clock.now()
            beside = [node for node in self._answering() if is_reachable(node)][:BESIDE]
            found = await self._reach(peer, [suspect, *beside], speak=True)
        finally:
            self._asking.discard(peer)
        if (reach := found.get(suspect.name)) is None or self._silent() != suspect.name:
            return
        told = [found[node.name].through for node in beside if node.name in found]
        if reach.through:
            self._before[peer, suspect.name] = reach
        before = self._before.get((peer, suspect.name), Reach.NO_REPLY)
        word = Witness(f"controller {peer}", begun, reach, any(told) if beside else None, before)
        self._note(suspect.name, word)

    async def _while_calm(self) -> None:
        """Learn what each reaches of the nodes that answer us."""
        asked: dict[str, float] = {}
        await asyncio.sleep(crc32(self._spec.name.encode()) % SPREAD / 10)
        while True:
            peers, now = self._peers.others(self._spec.name), self._clock.now()
            asked = {peer: at for peer, at in asked.items() if peer in peers}
            for peer in peers:
                if now - asked.get(peer, -CALM_S) >= CALM_S:
                    nodes = [node for node in self._answering() if is_reachable(node)]
                    found = await self._reach(peer, nodes, speak=False)
                    still = {node.name for node in self._answering()}
                    known = {(peer, name): reach for name, reach in found.items() if name in still}
                    self._before |= known
                    if known:
                        asked[peer] = now
            await asyncio.sleep(NEW_S)

    async def _reach(self, peer: str, nodes: Sequence[NodeSpec], *, speak: bool) -> dict[NodeName, Reach]:
        """What it found; nothing if it does not answer, or etcd does not."""
        names = [node.name for node in nodes]
        if not names:
            return {}
        try:
            return dict(await self._peers.reach(peer, self._spec.name, names, wait_s=WAIT_S, speak=speak))
        except PgvigilError:
            return {}
