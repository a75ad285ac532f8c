"""A controller that stands still itself: it says so, and accuses nobody of its own silence."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import structlog

from bench.fleet.stand_in import PER_CLUSTER, Node, address
from pgvigil.controller.cluster import ClusterController
from pgvigil.controller.fleet import Fleet
from pgvigil.demo.ports import free_port
from pgvigil.model.record import Level, Phase
from pgvigil.model.spec import ClusterSpec, NodeSpec
from pgvigil.model.units import ClusterName, NodeName
from pgvigil.ports.clock import SystemClock
from pgvigil.sight.own_loop import TELL_SLOWDOWN, OwnLoop
from pgvigil.store.memory import MemoryStore
from pgvigil.wiring import cluster_controller
from tests.builders import a_cluster

CLUSTER = 11
"""Its addresses are nobody else's."""
TURN_S = 0.06
"""How long every turn of a loop takes that has too much to do."""
BLOCKED_S = 4.0
"""Longer than `unreachable_after`."""


@contextmanager
def servers(port: int) -> Iterator[Callable[[], None]]:
    """Three stand-ins in a thread of their own: they answer also while the controller stands still.

    What is given crashes the primary.
    """
    nodes = [Node(CLUSTER, number, port=port) for number in range(PER_CLUSTER)]
    loop, listening = asyncio.new_event_loop(), threading.Event()

    async def listen() -> None:
        for node in nodes:
            await node.listen()
        listening.set()

    thread = threading.Thread(target=lambda: (loop.run_until_complete(listen()), loop.run_forever()))
    thread.start()
    assert listening.wait(30)

    async def crash() -> None:
        primary, *standbys = nodes
        for standby in standbys:
            standby.lose_receiver()
        primary.crash()

    try:
        yield lambda: asyncio.run_coroutine_threadsafe(crash(), loop).result(30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        for node in nodes:
            node.crash()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def a_spec(port: int) -> ClusterSpec:
    """The cluster of the stand-ins, without shells."""
    login = (("user", "bench"), ("dbname", "postgres"), ("sslmode", "disable"))
    nodes = tuple(
        NodeSpec(NodeName(f"n{number}"), address(CLUSTER, number), port, conninfo=login)
        for number in range(PER_CLUSTER)
    )
    return replace(a_cluster().spec, nodes=nodes)


async def stand_still(spec: ClusterSpec, told: list[float]) -> tuple[MemoryStore, float]:
    """Guard the cluster, hold the loop up, and look at every node again."""
    clock, store = SystemClock(), MemoryStore()
    own_loop = OwnLoop(clock, told.append)

    def make(spec: ClusterSpec) -> ClusterController:
        return cluster_controller(spec, store, clock, own_loop=own_loop)

    fleet = Fleet(make, store, clock, structlog.get_logger(), own_loop=own_loop)
    async with fleet.running([spec]), asyncio.timeout(60):
        await fleet.looked()
        time.sleep(BLOCKED_S)  # noqa: ASYNC251  # that is the fault
        while fleet.late_s() < BLOCKED_S / 2:  # noqa: ASYNC110  # it is being measured
            await asyncio.sleep(0.05)
        for _ in range(3):
            await fleet._cluster(spec.name).watch.look(within_s=10)
            await asyncio.sleep(0.2)
    return store, fleet.late_s()


@pytest.mark.timeout(120)
def test_a_controller_that_stood_still_tells_it_and_accuses_nobody() -> None:
    port, told = free_port(), list[float]()
    spec = a_spec(port)
    with servers(port):
        store, late_s = asyncio.run(stand_still(spec, told))
    record = asyncio.run(store.load(spec.name))
    events = asyncio.run(store.events(spec.name, limit=100))
    assert record
    assert (record.generation, record.phase, record.primary) == (1, Phase.STABLE, "n0")
    assert not [event.text for event in events if event.level is Level.ALERT]
    assert not [event.text for event in events if event.kind == "found_primary_lost"]
    assert max(told) >= BLOCKED_S / 2
    assert late_s >= BLOCKED_S / 2


async def toil(turn_s: float) -> None:
    """Keep the loop busy for ever: others have their turn, but each comes late."""
    while True:
        time.sleep(turn_s)  # noqa: ASYNC251  # that is the fault
        await asyncio.sleep(0)


async def crash_under_toil(spec: ClusterSpec, crash: Callable[[], None], told: list[float]) -> MemoryStore:
    """Guard the cluster in a loop that cannot keep up, and crash its primary when that loop has noticed."""
    clock, store = SystemClock(), MemoryStore()
    own_loop = OwnLoop(clock, tell_slowdown=told.append)

    def make(spec: ClusterSpec) -> ClusterController:
        return cluster_controller(spec, store, clock, own_loop=own_loop)

    fleet = Fleet(make, store, clock, structlog.get_logger(), own_loop=own_loop)
    async with fleet.running([spec]), asyncio.timeout(60):
        await fleet.looked()
        toiling = asyncio.create_task(toil(TURN_S))
        while not told:  # noqa: ASYNC110  # it is being measured
            await asyncio.sleep(0.05)
        before = await store.events(spec.name, limit=100)
        assert not [event.text for event in before if event.level is Level.ALERT]
        assert "found_primary_lost" not in [event.kind for event in before]
        assert fleet.slowdown() >= TELL_SLOWDOWN
        crash()
        while not await crashed(store, spec.name):  # noqa: ASYNC110  # as a person would
            await asyncio.sleep(0.05)
        toiling.cancel()
    return store


async def crashed(store: MemoryStore, cluster: ClusterName) -> bool:
    """Whether that was found."""
    return "found_primary_crashed" in [event.kind for event in await store.events(cluster, limit=100)]


@pytest.mark.timeout(120)
def test_a_controller_with_too_much_to_do_looks_less_often_accuses_nobody_and_still_finds_a_crash() -> None:
    port, told = free_port(), list[float]()
    spec = a_spec(port)
    with servers(port) as crash:
        store = asyncio.run(crash_under_toil(spec, crash, told))
    record = asyncio.run(store.load(spec.name))
    assert record
    assert record.generation >= 1
