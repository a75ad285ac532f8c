"""Commands handed from controller to controller over a real etcd: once, or not at all, and that is said."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import structlog

from pgvigil.api.letters import Letters
from pgvigil.controller.forwarding import Forwarding
from pgvigil.controller.operations import Giver, Outcome, Result
from pgvigil.errors import StoreError, Unsafe, UsageError
from pgvigil.model.command import Command, FetchRecording, Pause, SetParameters, Switchover
from pgvigil.model.etcd import EtcdSpec
from pgvigil.model.letter import LETTER_MAX, Letter, Way
from pgvigil.model.units import ClusterName, NodeName
from pgvigil.store.gateway import Gateway
from pgvigil.store.mailbox import EtcdMailbox
from tests.contract.test_etcd import Controller, LosesAnswers, controller
from tests.contract.test_store import ORDERS
from tests.etcd import Etcd, etcd_servers, needs_etcd

pytestmark = needs_etcd
ALICE = Giver("user alice", "socket")


@pytest.fixture(scope="module")
def etcd() -> Iterator[Etcd]:
    with etcd_servers(1) as etcd:
        yield etcd


@dataclass
class Carried:
    """Stands for the fleet of who guards the cluster."""

    outcome: Outcome | Exception = field(default_factory=lambda: Outcome(Result.DONE, "done"))
    asked: list[tuple[ClusterName, Command, bool, Giver | None]] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    may_end: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(
        self,
        cluster: ClusterName,
        command: Command,
        *,
        dry_run: bool,
        within_s: float,
        progress: Callable[[str], None],
        by: Giver | None,
    ) -> Outcome:
        assert within_s > 0
        self.asked.append((cluster, command, dry_run, by))
        progress("begun")
        self.begun.set()
        await self.may_end.wait()
        progress("as good as done")
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@dataclass
class Two:
    """A controller that guards the cluster and one that is asked."""

    owner: Controller
    other: Controller
    carried: Carried
    lines: list[str] = field(default_factory=list)

    async def order(self, command: Command, *, within_s: float = 20, dry_run: bool = False) -> Outcome:
        roster = self.other.roster
        forwarding = Forwarding(EtcdMailbox(roster), roster.name, structlog.get_logger())
        return await forwarding.order(
            ORDERS, command, dry_run=dry_run, within_s=within_s, progress=self.lines.append, by=ALICE
        )

    @asynccontextmanager
    async def attended(self) -> AsyncIterator[None]:
        """The owner takes letters."""
        roster = self.owner.roster
        letters = Letters(EtcdMailbox(roster), roster.name, self.carried)
        work = asyncio.create_task(letters.attend())
        try:
            yield
        finally:
            work.cancel()
            await asyncio.wait({work})


@asynccontextmanager
async def two(spec: EtcdSpec, gateway: Gateway | None = None) -> AsyncIterator[Two]:
    async with controller(spec, gateway) as owner, controller(renamed(spec, "ctl2")) as other:
        assert await owner.roster.claim(ORDERS)
        yield Two(owner, other, Carried())


def renamed(spec: EtcdSpec, name: str) -> EtcdSpec:
    return EtcdSpec(spec.endpoints, name, prefix=spec.prefix, lease_s=spec.lease_s)


def test_a_command_is_carried_out_where_the_cluster_is_guarded_and_told_where_it_was_given(
    etcd: Etcd,
) -> None:
    async def story() -> None:
        async with two(etcd.spec()) as both, both.attended():
            order = asyncio.create_task(both.order(Switchover(NodeName("pg2")), dry_run=True))
            await both.carried.begun.wait()
            async with asyncio.timeout(20):
                while "begun" not in both.lines:  # noqa: ASYNC110  # filled by another task
                    await asyncio.sleep(0.02)
            both.carried.outcome = Outcome(Result.PLANNED, "as planned", plan=("stop pg1",), data={"n": 1})
            both.carried.may_end.set()
            assert await order == both.carried.outcome
            through = Giver("user alice", "socket, through ctl2")
            assert both.carried.asked == [(ORDERS, Switchover(NodeName("pg2")), True, through)]
            handed = "ctl1 guards orders: the command was handed to it"
            assert both.lines == [handed, "begun", "as good as done"]

            both.carried.outcome = UsageError("there is no node pg9", detail="d", hint="h")
            with pytest.raises(UsageError, match="there is no node pg9"):
                await both.order(Switchover(NodeName("pg9")))
            both.carried.outcome = RuntimeError("not foreseen")
            with pytest.raises(Exception, match="failed to answer"):
                await both.order(Pause(None))

            both.carried.outcome = Outcome(Result.DONE, "it", data={"recording": "x" * 1_500_000})
            assert await both.order(FetchRecording(7)) == both.carried.outcome
            keys = both.owner.keys
            assert [*await keys.below("letter"), *await keys.below("answer")] == []
            with pytest.raises(UsageError, match="too long"):
                await both.order(SetParameters({"a": "x" * LETTER_MAX}, "alice"))

    asyncio.run(story())


def test_what_nobody_takes_is_withdrawn_and_what_strays_goes_to_who_guards_the_cluster_then(
    etcd: Etcd,
) -> None:
    async def story() -> None:
        async with two(etcd.spec()) as both:
            with pytest.raises(Unsafe, match="ctl1, which guards orders, did not take the command") as told:
                await both.order(Pause(None), within_s=0.4)
            assert told.value.detail == "nothing was done"
            assert await both.owner.keys.below("letter/") == []

            order = asyncio.create_task(both.order(Pause(None)))
            while not await both.owner.keys.below("letter/ctl1/"):  # noqa: ASYNC110  # of another task
                await asyncio.sleep(0.02)
            await both.owner.roster.release(ORDERS)
            async with controller(renamed(both.other.roster.spec, "ctl3")) as third:
                assert await third.roster.claim(ORDERS)
                both.owner, both.carried = third, Carried()
                both.carried.may_end.set()
                async with both.attended():
                    assert (await order).result is Result.DONE
                await third.roster.leave()
            assert len(both.carried.asked) == 1
            with pytest.raises(Unsafe, match="from one controller to another"):
                await both.order(Pause(None), within_s=0.4)

    asyncio.run(story())


def test_of_a_command_whose_taker_goes_away_nobody_knows_and_nobody_does_it_again(etcd: Etcd) -> None:
    async def story() -> None:
        async with two(etcd.spec()) as both:
            async with both.attended():
                order = asyncio.create_task(both.order(Pause(None)))
                await both.carried.begun.wait()
            await both.owner.roster.leave()
            async with controller(renamed(both.other.roster.spec, "ctl3")) as third:
                assert await third.roster.claim(ORDERS)
                both.owner = third
                async with both.attended():
                    outcome = await order
            assert outcome.result is Result.FAILED
            assert "not known whether" in outcome.text
            assert "ctl1 lost its lease" in outcome.detail
            assert "pgvigil status" in outcome.hint
            assert len(both.carried.asked) == 1

    asyncio.run(story())


def test_a_letter_that_was_taken_in_doubt_is_not_carried_out_and_none_is_taken_twice(etcd: Etcd) -> None:
    class Deaf(LosesAnswers):
        """Does not hear of what it did, nor of its mark."""

        deaf = False

        async def _attempt(self, *words: object) -> dict[str, object]:
            answer = await super()._attempt(*words)  # type: ignore[arg-type]
            if self.deaf:
                raise StoreError("etcd does not answer")
            return dict(answer)

    async def story() -> None:
        spec = etcd.spec()
        gateway = Deaf(spec)
        async with two(spec, gateway) as both:
            box = EtcdMailbox(both.owner.roster)
            order = asyncio.create_task(both.order(Pause(None)))
            letters: list[Letter] = []
            while not letters:
                letters = await box.waiting()
            gateway.deaf = True
            with pytest.raises(StoreError):
                await box.take(letters[0])
            gateway.deaf = False
            sender = EtcdMailbox(both.other.roster)
            assert (await sender.answer(letters[0])).way is Way.TAKEN
            assert not await sender.withdraw(letters[0])
            assert not await box.take(letters[0])
            await box.reject(letters[0], '{"error": {"kind": "Unsafe", "what": "nothing was done"}}')
            with pytest.raises(Unsafe, match="nothing was done"):
                await order
            assert both.carried.asked == []

    asyncio.run(story())
