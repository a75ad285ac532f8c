"""Controllers as places from which others look, over a real etcd: what is answered, and what silence is."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from pgvigil.demo.ports import free_port
from pgvigil.errors import Unreachable, UsageError
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.units import ClusterName, NodeName
from pgvigil.model.vantage import Reach
from pgvigil.store.peers import EtcdPeers
from tests.builders import a_cluster
from tests.contract.test_etcd import Controller, controller
from tests.contract.test_store import ORDERS
from tests.etcd import Etcd, etcd_servers, needs_etcd

pytestmark = needs_etcd
PG1, PG2, PG3 = NodeName("pg1"), NodeName("pg2"), NodeName("pg3")


@pytest.fixture(scope="module")
def etcd() -> Iterator[Etcd]:
    with etcd_servers(1) as etcd:
        yield etcd


@pytest.fixture
def listening() -> Iterator[int]:
    """A port that takes connections and says nothing, as a server that hangs."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def seen_from_there(listening: int) -> ClusterSpec:
    spec = a_cluster("pg1* pg2 pg3", name=ORDERS).spec
    ports = {PG1: listening, PG2: free_port()}
    nodes = (replace(n, host="127.0.0.1", port=ports[n.name]) for n in spec.nodes if n.name in ports)
    return replace(spec, nodes=tuple(nodes))


@asynccontextmanager
async def answering(there: Controller, spec: ClusterSpec) -> AsyncIterator[None]:
    def known(cluster: ClusterName) -> ClusterSpec:
        if cluster != spec.name:
            raise UsageError("there is no such cluster")
        return spec

    work = asyncio.create_task(EtcdPeers(there.roster).attend(known))
    try:
        yield
    finally:
        work.cancel()
        await asyncio.wait({work})


def test_another_looks_at_what_its_own_configuration_has_and_its_silence_is_no_answer(
    etcd: Etcd, listening: int
) -> None:
    async def story() -> None:
        spec = etcd.spec()
        async with controller(spec) as here, controller(replace(spec, name="ctl2")) as there:
            peers = EtcdPeers(here.roster)
            async with answering(there, seen_from_there(listening)):
                nodes = [PG1, PG2, PG3]
                quiet = await peers.reach("ctl2", ORDERS, nodes, wait_s=1.0, speak=False)
                assert quiet == {PG1: Reach.ANSWERS, PG2: Reach.REFUSED}, "it has no pg3"
                loud = await peers.reach("ctl2", ORDERS, [PG1], wait_s=0.3, speak=True)
                assert loud == {PG1: Reach.NO_REPLY}, "TCP connects, and no server answers"
                with pytest.raises(Unreachable):
                    await peers.reach("ctl2", ClusterName("other"), [PG1], wait_s=0.1, speak=False)
            with pytest.raises(Unreachable, match="does not say what it sees"):
                await peers.reach("ctl2", ORDERS, [PG1], wait_s=0.1, speak=True)
            assert await here.keys.below("look/") == []

    asyncio.run(story())


def test_one_on_the_same_host_sees_no_more_than_we_do(etcd: Etcd) -> None:
    async def story() -> None:
        spec = etcd.spec()
        async with controller(spec) as here, controller(replace(spec, name="ctl2")) as there:
            await here.roster.look()
            assert EtcdPeers(here.roster).others(ORDERS) == []
            there.roster.place = "another host"
            await there.roster.announce([ORDERS])
            await here.roster.look()
            assert EtcdPeers(here.roster).others(ORDERS) == ["ctl2"]
            assert EtcdPeers(here.roster).others(ClusterName("web")) == []

    asyncio.run(story())
