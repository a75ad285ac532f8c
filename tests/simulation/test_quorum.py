"""The production controller in quorum mode: courses of events written by hand, kept seeds, and bugs made on
purpose in what keeps the promise."""

import asyncio
import random
from dataclasses import replace

import pytest

from pgvigil.model.record import ClusterRecord, Phase
from pgvigil.model.spec import ClusterSpec, Protection
from pgvigil.sim import synchrony
from pgvigil.sim.cluster import a_cluster
from pgvigil.sim.life import CONTROLLER
from pgvigil.sim.run import Script, simulate
from pgvigil.sim.server import Server
from pgvigil.sim.synchrony import NAMES
from pgvigil.sim.world import GATEWAY, World
from tests.simulation import mutations
from tests.simulation.mutations import FOUND_WITH_QUORUM, Mutate


def quorum(nodes: int, acks: int = 1, *, degrade: bool = True) -> ClusterSpec:
    spec = a_cluster(nodes, random.Random(1), Protection.QUORUM)
    return replace(spec, sync_required=acks, degrade=degrade)


async def _record(world: World) -> ClusterRecord:
    record = await world.store.load(world.spec.name)
    assert record is not None
    return record


async def _phase(world: World, phase: Phase) -> None:
    while (await _record(world)).phase is not phase:  # noqa: ASYNC110  # a store tells nobody
        await asyncio.sleep(0.0005)


async def _acknowledging(world: World, acks: int) -> None:
    """Until so many standbys acknowledge, for certain."""
    while (sync := (await _record(world)).sync) is None or sync.acks != acks:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def _ways(one: Server, other: Server) -> list[tuple[str, str]]:
    return [(one.host.name, other.host.name), (other.host.name, one.host.name)]


async def _started_again_before_its_wal_was_fetched(world: World) -> None:
    """It acknowledged alone, so only with its WAL nothing is lost; and it runs again, as a standby."""
    first, second = world.servers.values()
    first.supervised = second.supervised = False
    second.kill()
    await _acknowledging(world, 0)
    world.network.cut(_ways(first, second))
    second.start()
    await asyncio.sleep(10.0)
    first.kill()
    await _phase(world, Phase.PROMOTING)
    assert not first.start()
    await asyncio.sleep(60.0)
    assert second.takes_writes
    world.network.heal(_ways(first, second))


def test_a_primary_that_acknowledged_alone_is_stopped_again_for_its_wal() -> None:
    for seed in (1, 2, 3):
        report = simulate(seed, spec=quorum(2), script=_started_again_before_its_wal_was_fetched)
        assert not report.violations, f"seed {seed}: {report.violations[0]}"
        assert report.lost == 0
        assert report.failovers == 1


async def _isolated_with_its_clients(world: World) -> None:
    first = next(world.primaries())
    here = first.host.name
    ways = [way for p in world.places() if p != here for way in ((here, p), (p, here))]
    world.network.cut(ways)
    while all(server is first for server in world.primaries()):  # noqa: ASYNC110  # servers do not tell
        await asyncio.sleep(0.01)
    await asyncio.sleep(20.0)
    assert first.takes_writes, "it should live on, and acknowledge nothing"
    world.network.heal(ways)


@pytest.mark.parametrize("nodes", [2, 3, 5])
def test_an_isolated_primary_acknowledges_nothing_beside_its_successor(nodes: int) -> None:
    report = simulate(1, spec=quorum(nodes, nodes // 2), script=_isolated_with_its_clients)
    assert not report.violations, str(report.violations[0])
    assert (report.lost, report.failovers) == (0, 1)


async def _crash_for_good(world: World) -> None:
    first = next(world.primaries())
    first.supervised = False
    first.kill()
    await asyncio.sleep(30.0)


@pytest.mark.parametrize("nodes", [2, 3])
def test_without_degrade_a_new_primary_is_protected_as_soon_as_its_standbys_are_back(nodes: int) -> None:
    for seed in (1, 2, 3):
        report = simulate(seed, spec=quorum(nodes, degrade=False), script=_crash_for_good)
        assert not report.violations, f"seed {seed}: {report.violations[0]}"


def _apart(world: World, *there: Server) -> list[tuple[str, str]]:
    """All ways between those servers and everybody else, the controller included."""
    names = [server.host.name for server in there]
    rest = [place for place in (*world.places(), GATEWAY) if place not in names]
    return [way for a in names for b in rest for way in ((a, b), (b, a))]


async def _cut_off_with_a_standby(world: World) -> None:
    first, second, _ = world.servers.values()
    ways = _apart(world, first, second)
    world.network.cut(ways)
    await asyncio.sleep(30.0)
    world.network.heal(ways)


async def _lost_while_it_acknowledged_alone(world: World) -> None:
    first, second = world.servers.values()
    second.supervised = False
    second.kill()
    await _acknowledging(world, 0)
    world.network.cut(_ways(first, second))
    second.start()
    await asyncio.sleep(10.0)
    first.host.power_off()
    await asyncio.sleep(20.0)
    world.network.heal(_ways(first, second))


async def _two_lost_beside_one_that_heard_nothing(world: World, *, after_s: float = 0.5) -> None:
    first, second, third = world.servers.values()
    ways = [*_ways(first, third), *_ways(second, third)]
    world.network.cut(ways)
    await asyncio.sleep(5.0)
    first.host.power_off()
    while not second.takes_writes:  # noqa: ASYNC110  # servers do not tell
        await asyncio.sleep(0.001)
    await asyncio.sleep(after_s)
    second.host.power_off()
    await asyncio.sleep(20.0)
    world.network.heal(ways)


async def _two_lost_at_once_beside_one_that_heard_nothing(world: World) -> None:
    await _two_lost_beside_one_that_heard_nothing(world, after_s=0.0)


async def _cut_off_after_fewer_were_waited_for(world: World) -> None:
    first, second, third = world.servers.values()
    ways = _ways(first, third)
    world.network.cut(ways)
    await asyncio.sleep(80.0)
    apart = _apart(world, first, second)
    world.network.cut(apart)
    await asyncio.sleep(30.0)
    world.network.heal(apart)
    world.network.heal(ways)


async def _cut_off_while_the_set_is_widened(world: World) -> None:
    first, second, _ = world.servers.values()
    second.supervised = False
    second.kill()
    while "pg2" in first.settings.get(NAMES, ""):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await asyncio.sleep(3.0)
    second.start()
    while "pg2" not in first.settings.get(NAMES, ""):  # noqa: ASYNC110
        await asyncio.sleep(0.0002)
    ways = _apart(world, first, second)
    world.network.cut(ways)
    await asyncio.sleep(30.0)
    world.network.heal(ways)


async def _lost_in_a_checkpoint(world: World) -> None:
    """The checkpointer takes note of the setting when its checkpoint ends."""
    first, second = world.servers.values()
    second.supervised = False
    second.kill()
    await _acknowledging(world, 0)
    often, synchrony.CHECKPOINTING = synchrony.CHECKPOINTING, 1.0  # type: ignore[misc]
    try:
        second.start()
        await _acknowledging(world, 1)
        world.network.cut(_ways(first, second))
        await asyncio.sleep(2.0)
        first.host.power_off()
        await asyncio.sleep(15.0)
    finally:
        synchrony.CHECKPOINTING = often  # type: ignore[misc]
        world.network.heal(_ways(first, second))


def test_a_standby_that_heard_nothing_is_not_promoted_after_two_primaries_were_lost() -> None:
    for seed in (1, 2, 3):
        report = simulate(seed, spec=quorum(3), script=_two_lost_beside_one_that_heard_nothing)
        assert not report.violations, f"seed {seed}: {report.violations[0]}"
        assert report.lost == 0


async def _thawed_while_it_is_replaced(world: World) -> None:
    """It stood still, nobody could stop it, and it goes on when its standbys have been compared."""
    first, _, third = world.servers.values()
    far = [(CONTROLLER, third.host.name), (third.host.name, CONTROLLER)]
    first.host.shell_broken = "lost"
    first.freeze()
    await _phase(world, Phase.PROMOTING)
    world.network.cut(far)
    first.thaw()
    await asyncio.sleep(20.0)
    first.host.mend_shell()
    world.network.heal(far)


HARD: tuple[tuple[Mutate, int, int, Script], ...] = (
    (mutations.cut_one_too_few, 3, 1, _cut_off_with_a_standby),
    (mutations.degrade_without_asking, 2, 1, _lost_while_it_acknowledged_alone),
    (mutations.do_without_the_rescue, 2, 1, _started_again_before_its_wal_was_fetched),
    (mutations.lower_before_it_is_on_record, 3, 2, _cut_off_after_fewer_were_waited_for),
    (mutations.forget_the_change_under_way, 3, 1, _cut_off_while_the_set_is_widened),
    (mutations.promise_on_after_a_promotion, 3, 1, _two_lost_at_once_beside_one_that_heard_nothing),
    (mutations.compare_before_the_cut, 3, 1, _thawed_while_it_is_replaced),
    (mutations.believe_the_setting, 2, 1, _lost_in_a_checkpoint),
)
"""Mutation → nodes, acknowledgements, and the course of events in which it does harm."""
SEEDS = range(1, 5)


@pytest.mark.parametrize(
    ("mutate", "nodes", "acks", "script"), HARD, ids=lambda each: getattr(each, "__name__", "")
)
def test_a_promise_that_is_kept_carelessly_is_broken(
    mutate: Mutate, nodes: int, acks: int, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in SEEDS:
        report = simulate(seed, spec=quorum(nodes, acks), script=script)
        assert not report.violations, f"seed {seed}: {report.violations[0]}"
    mutate(monkeypatch)
    broken = [simulate(seed, spec=quorum(nodes, acks), script=script).violations for seed in SEEDS]
    assert any(each.rule in ("I2", "I3") for violations in broken for each in violations)


KEPT = (
    (58, 3),
    (58, 5),
    (70, 5),
    (1215, 2),
    (301025, 2),
    (400001, 3),
    (1001029, 3),
    (2001587, 2),
    (2000884, 5),
    (3001035, 3),
    (4000956, 3),
    (73994100001, 2),
    (73994200083, 3),
    (73994100064, 2),
    (73994100001, 3),
    (73994100002, 3),
    (73994100101, 3),
)
"""Seeds that once broke something in quorum mode, and with how many nodes."""
FRESH = range(1, 13)
LOOKS_ON = 60


@pytest.mark.parametrize(("seed", "nodes"), KEPT)
def test_a_kept_seed_of_quorum_breaks_nothing(seed: int, nodes: int) -> None:
    report = simulate(seed, nodes, protection=Protection.QUORUM)
    assert not report.violations, f"{report.violations[0]}"


@pytest.mark.parametrize("nodes", [2, 3, 5])
def test_no_invariant_of_quorum_breaks(nodes: int) -> None:
    for seed in FRESH:
        report = simulate(seed, nodes, protection=Protection.QUORUM)
        assert not report.violations, f"seed {seed}: {report.violations[0]}"


@pytest.mark.parametrize("mutate", FOUND_WITH_QUORUM, ids=lambda mutate: mutate.__name__)
def test_a_mutation_of_quorum_is_found(mutate: Mutate, monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch)
    seeds = range(1, 1 + LOOKS_ON)
    assert any(simulate(seed, protection=Protection.QUORUM).violations for seed in seeds)
