"""Controllers that share clusters over a real etcd: who takes what, who gives what up. No PostgreSQL runs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import structlog

from pgvigil.api.letters import Letters
from pgvigil.controller.forwarding import Forwarding
from pgvigil.controller.operations import Result
from pgvigil.controller.shared_fleet import SharedFleet
from pgvigil.model.command import Pause
from pgvigil.model.etcd import EtcdSpec
from pgvigil.model.roster import Census, Peer, chosen, moves
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.units import ClusterName, NodeName
from pgvigil.ports.clock import SystemClock
from pgvigil.store.mailbox import EtcdMailbox
from pgvigil.store.sharing import shared_store
from pgvigil.wiring import make_fleet
from tests.builders import a_cluster
from tests.etcd import Etcd, etcd_servers, needs_etcd

NAMES = [ClusterName(f"c{n}") for n in range(12)]


def peer(name: str, *, since_s: float = 100.0, clusters: list[ClusterName] | None = None) -> Peer:
    return Peer(name, "", frozenset(NAMES if clusters is None else clusters), since_s)


def test_only_the_share_of_one_that_goes_or_comes_moves() -> None:
    three = [peer("a"), peer("b"), peer("c")]
    before = {name: chosen(name, three) for name in NAMES}
    after = {name: chosen(name, three[:2]) for name in NAMES}
    assert set(before.values()) == {"a", "b", "c"}
    assert all(after[name] == owner for name, owner in before.items() if owner != "c")
    assert chosen(NAMES[0], [peer("a", clusters=[])]) is None


def test_a_newcomer_is_given_nothing_before_it_has_settled_and_takes_what_is_free_at_once() -> None:
    owners = dict.fromkeys(NAMES, "a")
    young = Census({"a": peer("a"), "b": peer("b", since_s=1.0)}, owners)
    assert not moves("a", NAMES, young, settled_s=6.0).release
    settled = Census({"a": peer("a"), "b": peer("b")}, owners)
    given = moves("a", NAMES, settled, settled_s=6.0).release
    assert set(given) == {name for name in NAMES if chosen(name, [peer("a"), peer("b")]) == "b"}
    free = Census(young.peers, {})
    assert set(moves("b", NAMES, free, settled_s=6.0).claim) == set(given)


def test_what_its_own_one_does_not_take_anybody_may_take() -> None:
    free = Census({"a": peer("a"), "b": peer("b")}, {})
    theirs = next(name for name in NAMES if chosen(name, list(free.peers.values())) == "b")
    assert theirs not in moves("a", NAMES, free, settled_s=6.0).claim
    assert theirs in moves("a", NAMES, free, settled_s=6.0, overdue=[theirs]).claim


@pytest.fixture(scope="module")
def etcd() -> Iterator[Etcd]:
    with etcd_servers(1) as etcd:
        yield etcd


def nowhere(name: ClusterName) -> ClusterSpec:
    """A cluster of which nothing answers."""
    spec = a_cluster(name=name).spec
    nodes = tuple(replace(node, host="127.0.0.1", port=1, shell=None) for node in spec.nodes[:1])
    return replace(spec, nodes=nodes)


@asynccontextmanager
async def controller(spec: EtcdSpec, specs: list[ClusterSpec]) -> AsyncIterator[SharedFleet]:
    clock, log = SystemClock(), structlog.get_logger()
    async with shared_store(spec, spec.name, [each.name for each in specs]) as (store, roster):
        fleet = make_fleet(store, lease=roster)
        mailbox = EtcdMailbox(roster)
        others = Forwarding(mailbox, roster.name, log)
        shared = SharedFleet(fleet, roster, store, clock, log, others, poll_s=0.1, settle_s=0.5)
        attending = asyncio.create_task(Letters(mailbox, roster.name, shared.order_here).attend())
        try:
            async with shared.running(specs):
                yield shared
        finally:
            attending.cancel()


async def until(fact: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await fact():  # noqa: ASYNC110  # of two controllers
            await asyncio.sleep(0.05)


async def owners(shared: SharedFleet) -> dict[str, str | None]:
    return {each["cluster"]: each["controller"] for each in await shared.status()}


# S2-01
@needs_etcd
def test_clusters_are_shared_shown_by_all_and_taken_over_when_one_leaves(etcd: Etcd) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    specs = [nowhere(name) for name in NAMES]
    wanted = {name: chosen(name, [peer("ctl1"), peer("ctl2")]) for name in NAMES}
    theirs = next(name for name in NAMES if wanted[name] == "ctl2")
    first = etcd.spec("ctl1", lease_s=6.0)

    async def story() -> None:
        async with controller(first, specs) as ctl1:
            await until(lambda: same(ctl1, dict.fromkeys(NAMES, "ctl1")))
            async with controller(replace(first, name="ctl2"), specs) as ctl2:
                await until(lambda: same(ctl1, wanted))
                await until(lambda: same(ctl2, wanted))

                async def told() -> bool:
                    (status,) = await ctl1.status(theirs)
                    return bool(status["decision"]["rule"] != "not_guarded")

                await until(told)
                lines: list[str] = []
                refused = await ctl1.order(
                    theirs, Pause(None), dry_run=False, within_s=20, progress=lines.append
                )
                assert refused.result is Result.REFUSED, "there is no primary: so says ctl2"
                assert lines[0] == f"ctl2 guards {theirs}: the command was handed to it"
                assert "removed: c0" in await ctl2.serve(specs[1:])
                assert "added: c0" in await ctl2.serve(specs)
            await until(lambda: same(ctl1, dict.fromkeys(NAMES, "ctl1")))
            assert (await ctl1.status(NAMES[0]))[0]["nodes"][0]["name"] == NodeName("pg1")

    async def same(
        shared: SharedFleet, expected: dict[ClusterName, str | None] | dict[ClusterName, str]
    ) -> bool:
        return await owners(shared) == expected

    asyncio.run(story())
