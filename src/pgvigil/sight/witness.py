"""Asks witness hosts: now and then while all is well, again and again while the primary is silent.

Each is asked on its own, so that one whose shell is slow delays nobody else's word.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pgvigil.model.spec import NodeSpec
from pgvigil.model.units import Instant, NodeName
from pgvigil.model.vantage import Reach, Witness, WitnessLook
from pgvigil.ports.contract import Clock, Shell, ShellLost, ShellRefused
from pgvigil.ports.reach import NO_WAY, Attempt, reach_script, read_reach
from pgvigil.sight.shells import REST_S, SILENT_REST_S, Shells

CALM_S = 30.0
TROUBLE_S = 5.0
"""One that is of no use now is asked this often whether it is again."""
SLACK_S = 1.5
"""What an ssh login, and a host without fractions of a second, may add to the wait itself."""


class WitnessHost:
    """One host without PostgreSQL. `wait_s`: for one attempt to reach a node."""

    def __init__(self, name: str, shell: Shell, clock: Clock, wait_s: float) -> None:
        self.name = name
        self._shell, self._clock, self._wait_s = shell, clock, wait_s
        self.look = WitnessLook()
        self._before: dict[NodeName, Reach] = {}

    async def run(
        self, well: Callable[[], Sequence[NodeSpec]], on_news: Callable[[], None], shells: Shells
    ) -> None:
        """See now and then which of the nodes that answer us it reaches, until cancelled."""
        try:
            if not self._kept(shells):
                await asyncio.sleep(shells.turn_s())
            while True:
                nodes = [node for node in well() if is_reachable(node)]
                found = await self.reach(nodes, speak=False)
                still = {node.name for node in well()}
                self._before |= {name: reach for name, reach in found.items() if name in still}
                on_news()
                useless = bool(self.look.detail)
                if self._kept(shells):
                    await asyncio.sleep(TROUBLE_S if useless else CALM_S)
                else:
                    await asyncio.sleep(shells.turn_s(least_s=SILENT_REST_S if useless else REST_S))
        finally:
            shells.leave(self)

    def _kept(self, shells: Shells) -> bool:
        """Whether it has a place among the shells that are kept open; its shell is told."""
        kept = shells.keeps(self)
        self._shell.keep(kept)
        return kept

    async def testify(self, suspect: NodeSpec, others: Sequence[NodeSpec]) -> Witness | None:
        """Whether it reaches the silent node, beside others that answer us. None: it cannot tell."""
        if not is_reachable(suspect):
            return None
        begun = self._clock.now()
        beside = [node for node in others if is_reachable(node)]
        found = await self.reach([suspect, *beside], speak=True)
        if (reach := found.get(suspect.name)) is None:
            return None
        told = [found[node.name].through for node in beside if node.name in found]
        return Witness(self.name, begun, reach, any(told) if beside else None, self._before.get(suspect.name))

    async def reach(self, nodes: Sequence[NodeSpec], *, speak: bool) -> Mapping[NodeName, Reach]:
        """Attempts to all of them, side by side; those that could not be made are left out."""
        script = reach_script([(node.host, node.port) for node in nodes], self._wait_s, speak=speak)
        begun = self._clock.now()
        try:
            output = await self._shell.run(script, within_s=max(self._wait_s, 1.0) + SLACK_S)
            attempts = read_reach(output.text, len(nodes))
        except ShellLost as lost:
            self.look = replace(self.look, detail=str(lost), heard=False)
            return {}
        except (ShellRefused, ValueError) as odd:
            self.look = replace(self.look, detail=str(odd), heard=True)
            return {}
        found = {
            node.name: attempt.reach
            for node, attempt in zip(nodes, attempts, strict=True)
            if attempt.reach is not None
        }
        self.look = self._looked(begun, attempts, found)
        return found

    def _looked(
        self, begun: Instant, attempts: Sequence[Attempt], found: Mapping[NodeName, Reach]
    ) -> WitnessLook:
        if not attempts:
            return replace(self.look, at=begun, detail="", heard=True)
        ways = [attempt.way for attempt in attempts if attempt.way != NO_WAY]
        detail = "" if found else "it cannot resolve the names of the nodes"
        if not ways:
            detail = "it has nothing to reach a node with"
        return WitnessLook(begun, detail, True, ways[0] if ways else "", {**self.look.reaches, **found})


def is_reachable(node: NodeSpec) -> bool:
    """Whether a node can be reached from another host at all: not one on a Unix socket."""
    return not node.host.startswith(("/", "@"))
