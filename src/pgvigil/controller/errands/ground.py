"""What every errand works with: the ways to the nodes, and what the loop knows at this moment."""

import asyncio
from dataclasses import dataclass
from typing import Final, Protocol

from pgvigil.act.bench import Bench
from pgvigil.controller.journal import Journal
from pgvigil.controller.orders import Order
from pgvigil.controller.recorder import Recorder
from pgvigil.controller.repairs import Repairs
from pgvigil.controller.underway import Notes
from pgvigil.decide.situation import is_down
from pgvigil.errors import Unsafe
from pgvigil.model.diagnosis import Diagnosis, Problem
from pgvigil.model.parameter import NodeParameters
from pgvigil.model.record import ClusterRecord, Phase
from pgvigil.model.sighting import ClusterView, Unseen
from pgvigil.model.step import Plan
from pgvigil.model.units import NodeName
from pgvigil.ports.contract import Store
from pgvigil.sight.parameters import read_all
from pgvigil.sight.watch import ClusterWatch

LOOK_EVERY_S: Final = 0.02


class Loop(Protocol):
    """The cluster's loop, as errands know it."""

    record: ClusterRecord | None
    view: ClusterView
    diagnosis: Diagnosis
    plan: Plan

    recorder: Recorder
    notes: Notes
    first_look: asyncio.Event

    def ask(self, order: Order) -> None:
        """Hand in a command of one step."""
        ...


@dataclass(frozen=True, slots=True)
class Ground:
    """One cluster, as errands reach it."""

    bench: Bench
    journal: Journal
    store: Store
    watch: ClusterWatch
    repairs: Repairs
    loop: Loop

    def settled(self) -> ClusterRecord:
        """The record, while no change of primary is under way. Raises Unsafe."""
        record = self.loop.record
        if record is None:
            raise Unsafe(f"{self.bench.spec.name} has not been taken over yet", hint="see: pgvigil status")
        self.check_ours()
        if record.phase is not Phase.STABLE:
            hint = "wait until it is finished: pgvigil status --watch"
            raise Unsafe(f"a change is under way ({record.phase})", hint=hint)
        return record

    async def known(self) -> None:
        """Wait for the first look at every node and host, and for a fresh one where no shell is kept."""
        await self.loop.first_look.wait()
        self.watch.need_hosts(True)
        while not self.watch.knows_hosts:  # noqa: ASYNC110  # no event
            await asyncio.sleep(LOOK_EVERY_S)

    def check_ours(self) -> None:
        """Whether every server that answers is one of this cluster. Raises Unsafe."""
        for name, node in self.loop.view.nodes.items():
            if isinstance(node.sql, Unseen):
                raise Unsafe(f"{name} has not been looked at yet", hint="try again in a moment")
        for finding in self.loop.diagnosis.findings:
            if finding.problem is Problem.SYSTEM_FOREIGN:
                detail, hint = "; ".join(finding.evidence), "nothing was changed; correct the configuration"
                raise Unsafe(f"{finding.node} belongs to another cluster", detail=detail, hint=hint)

    async def parameters(self) -> tuple[dict[NodeName, NodeParameters], dict[NodeName, str]]:
        """Every node's parameters as they are now, and why the other nodes gave none."""
        return await read_all(self.bench.nodes)

    async def all_parameters(
        self, *, but: frozenset[NodeName] = frozenset()
    ) -> dict[NodeName, NodeParameters]:
        """The parameters of all nodes. Raises Unsafe if one that is not among `but` gave none."""
        nodes, silent = await self.parameters()
        if left := {name: why for name, why in silent.items() if name not in but}:
            name, why = next(iter(left.items()))
            hint = "bring it back first, or take it out of the configuration"
            raise Unsafe(f"{name} does not tell its parameters", detail=why, hint=hint)
        return nodes

    def stopped(self) -> frozenset[NodeName]:
        """The standbys whose hosts prove that their servers do not run."""
        primary = self.loop.record.primary if self.loop.record else None
        nodes = self.loop.view.nodes.items()
        return frozenset(name for name, node in nodes if name != primary and is_down(node))
