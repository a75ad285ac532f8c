"""What the other controllers' words count: `PeerWatch` over peers that answer what a test gives them."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pgvigil.errors import Unreachable
from pgvigil.model.units import ClusterName, NodeName
from pgvigil.model.vantage import Reach, Witness
from pgvigil.ports.clock import SystemClock
from pgvigil.sight import peers
from tests.builders import a_cluster

PG1, PG2 = NodeName("pg1"), NodeName("pg2")
SPEC = a_cluster("pg1* pg2").spec


@dataclass
class Told:
    """Implements `Peers`; ctl3 never says anything."""

    calm: Mapping[NodeName, Reach]
    silent: Mapping[NodeName, Reach]
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def others(self, cluster: ClusterName) -> Sequence[str]:
        return ["ctl2", "ctl3"]

    async def reach(
        self, peer: str, cluster: ClusterName, nodes: Sequence[NodeName], *, wait_s: float, speak: bool
    ) -> Mapping[NodeName, Reach]:
        if peer == "ctl3":
            self.asked.set()
            raise Unreachable("ctl3 does not say what it sees")
        return self.silent if speak else self.calm


def word(calm: Mapping[NodeName, Reach], silent: Mapping[NodeName, Reach]) -> Witness:
    """The first word about pg1, which falls silent after all have been asked in calm."""

    async def story() -> Witness:
        told, heard = Told(calm, silent), asyncio.get_running_loop().create_future()
        state: dict[str, NodeName | None] = {"silent": None}

        def note(name: NodeName, witness: Witness) -> None:
            assert name == PG1
            if not heard.done():
                heard.set_result(witness)

        watch = peers.PeerWatch(
            SPEC,
            told,
            SystemClock(),
            lambda: state["silent"],
            lambda: [n for n in SPEC.nodes if n.name != state["silent"]],
            note,
        )
        alarm = asyncio.Event()
        work = asyncio.create_task(watch.run(alarm))
        async with asyncio.timeout(30):
            await told.asked.wait()
            state["silent"] = PG1
            alarm.set()
            witness: Witness = await heard
        work.cancel()
        await asyncio.wait({work})
        return witness

    return asyncio.run(story())


BOTH = {PG1: Reach.ANSWERS, PG2: Reach.ANSWERS}
LOST = {PG1: Reach.NO_REPLY, PG2: Reach.ANSWERS}


def test_one_that_got_through_before_and_reaches_others_confirms_a_loss() -> None:
    found = word(BOTH, LOST)
    assert (found.vantage, found.reach, found.others) == ("controller ctl2", Reach.NO_REPLY, True)
    assert found.counts


def test_one_that_could_not_before_or_was_never_asked_or_reaches_nobody_proves_nothing() -> None:
    assert not word(LOST, LOST).counts
    assert not word({}, LOST).counts
    assert not word(BOTH, {PG1: Reach.NO_REPLY, PG2: Reach.NO_REPLY}).counts


def test_one_that_gets_through_says_so_whatever_it_saw_before() -> None:
    assert word({}, BOTH).reach.through
