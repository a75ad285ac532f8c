"""Courses of events that once went wrong, written by hand: they hold when seeds have become others."""

import asyncio

import pytest

from pgvigil.model.command import Switchover
from pgvigil.model.record import Phase
from pgvigil.model.units import NodeName
from pgvigil.sim.run import Script, simulate
from pgvigil.sim.server import STOPPED, Server
from pgvigil.sim.world import GATEWAY, World
from tests.simulation.mutations import (
    Mutate,
    believe_silence_without_a_witness,
    elect_another_timeline,
    forget_who_was_asked_to_promote,
)


async def _another(world: World, old: Server) -> Server:
    """Whoever takes writes in its place."""
    while True:
        for server in world.primaries():
            if server is not old:
                return server
        await asyncio.sleep(0.001)


def _kill_controller(world: World) -> None:
    assert world.life is not None
    world.life.kill()


async def _the_only_one_with_the_newest_rows(world: World) -> None:
    """Promoted, not yet verified, and everything fails: nobody else may become primary meanwhile."""
    old, _, third = world.servers.values()
    third.kill()
    await asyncio.sleep(2.0)
    old.kill()
    new = await _another(world, old)
    _kill_controller(world)
    await asyncio.sleep(3.0)
    new.kill()
    await asyncio.sleep(40.0)
    third.start()
    await asyncio.sleep(10.0)


async def _the_new_primary_dies_at_once(world: World) -> None:
    old = next(world.primaries())
    old.kill()
    new = await _another(world, old)
    new.kill()
    await asyncio.sleep(20.0)


async def _each_new_primary_dies_at_its_first_acknowledgement(world: World) -> None:
    serving = next(world.primaries())
    for _ in range(len(world.servers) - 1):
        serving.kill()
        since = world.loop.time()
        while not (after := [ack for ack in world.clients.acknowledged if ack.at > since]):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        serving = world.servers[NodeName(after[0].node)]
    await asyncio.sleep(30.0)


async def _what_the_new_primary_could_not_send(world: World) -> None:
    """Promoted, not yet verified, its link to the standby slow, and dead: its host has the last rows."""
    old = next(world.primaries())
    old.kill()
    new = await _another(world, old)
    _kill_controller(world)
    await asyncio.sleep(3.0)
    third = next(server for server in world.servers.values() if server not in (old, new))
    world.network.cut([(new.host.name, third.host.name)])
    await asyncio.sleep(3.0)
    new.kill()
    await asyncio.sleep(30.0)
    world.network.heal([(new.host.name, third.host.name)])


async def _only_a_strayed_one_is_left(world: World) -> None:
    """An old primary with rows of its own comes back as a standby while everybody else is gone."""
    old = next(world.primaries())
    here, others = old.host.name, [place for place in world.places() if place != old.host.name]
    ways = [way for place in others for way in ((here, place), (place, here))]
    world.network.cut(ways)
    await _another(world, old)
    await asyncio.sleep(5.0)
    old.kill()
    old.data.standby_signal = True
    for server in world.servers.values():
        if server is not old:
            server.host.power_off()
    world.network.heal(ways)
    old.start()
    await asyncio.sleep(30.0)
    assert old.in_recovery, "it was promoted, with rows that the cluster had given up"


async def _the_application_goes_on_while_controllers_die(world: World) -> None:
    for _ in range(5):
        await asyncio.sleep(5.0)
        _kill_controller(world)
    await asyncio.sleep(20.0)


async def _only_the_controller_cannot_see_it(world: World) -> None:
    primary = next(world.primaries())
    ways = [("controller", primary.host.name), (primary.host.name, "controller")]
    world.network.cut(ways)
    await asyncio.sleep(60.0)
    world.network.heal(ways)
    await asyncio.sleep(10.0)


async def _an_old_primary_beside_a_restart(world: World) -> None:
    """The only other node is a primary of the past, whose shell is back when ours has crashed."""
    old, new = world.servers.values()
    old.host.power_off()
    await _another(world, old)
    await asyncio.sleep(5.0)
    old.supervised, old.host.shell_broken = False, "lost"
    old.host.power_on()
    old.start()
    await asyncio.sleep(5.0)
    new.supervised = False
    new.kill()
    await asyncio.sleep(2.0)
    old.host.shell_broken = ""
    await asyncio.sleep(20.0)
    assert new.takes_writes, "it was not started"
    assert not old.takes_writes, "the old primary was not fenced"


def test_an_old_primary_does_not_hinder_the_restart_of_the_present_one() -> None:
    report = simulate(4, nodes=2, script=_an_old_primary_beside_a_restart)
    assert not report.violations, str(report.violations[0])


async def _an_old_primary_that_lets_nobody_in(world: World, ails: str) -> None:
    """Its host is back in reach, but over SQL it says nothing, or turns us away; it would take writes."""
    old = next(world.primaries())
    old.supervised = False
    ways = [
        way
        for place in world.places()
        if place != old.host.name
        for way in ((old.host.name, place), (place, old.host.name))
    ]
    world.network.cut(ways)
    await _another(world, old)
    if ails == "hung":
        old.freeze()
    else:
        old.rejects = ails
        for backend in tuple(old.backends):
            old.backends.pop(backend)
            backend.bye(STOPPED)
    await asyncio.sleep(8.0)
    world.network.heal(ways)
    await asyncio.sleep(20.0)
    old.thaw()
    assert not old.takes_writes, "the old primary was not fenced"


@pytest.mark.parametrize("ails", ["hung", "53300", "28P01"])
def test_an_old_primary_that_lets_nobody_in_is_fenced_through_its_host(ails: str) -> None:
    report = simulate(5, script=lambda world: _an_old_primary_that_lets_nobody_in(world, ails))
    assert not report.violations, str(report.violations[0])


async def _phase(world: World) -> Phase:
    record = await world.store.load(world.spec.name)
    assert record is not None
    return record.phase


async def _an_old_primary_beside_a_failover_begun_by_another_controller(world: World) -> None:
    first, second, third = world.servers.values()
    for server in (first, second, third):
        server.supervised = False
    first.host.power_off()
    second = await _another(world, first)
    third = next(server for server in world.servers.values() if server not in (first, second))
    await asyncio.sleep(5.0)
    second.kill()
    while await _phase(world) is not Phase.FENCING:  # noqa: ASYNC110  # a store tells nobody
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)
    _kill_controller(world)
    first.host.power_on()
    first.start()
    while not third.takes_writes:  # noqa: ASYNC110  # nor does a simulated server
        await asyncio.sleep(0.01)
    assert not first.takes_writes, "the old primary was not fenced before there was a new one"


def test_whoever_goes_on_with_a_failover_fences_old_primaries_too() -> None:
    for seed in (1, 2, 3, 4):
        report = simulate(seed, script=_an_old_primary_beside_a_failover_begun_by_another_controller)
        assert not report.violations, f"seed {seed}: {report.violations[0]}"


async def _started_while_its_successor_is_promoted(world: World) -> None:
    """Somebody starts the stopped primary while the candidate takes long."""
    old = next(world.primaries())
    world.slow_promotion = 10.0
    assert world.operations is not None
    order = asyncio.ensure_future(
        world.operations.order(
            world.spec.name, Switchover(), dry_run=False, within_s=60.0, progress=lambda _: None
        )
    )
    while old.state != "down":  # noqa: ASYNC110  # nobody tells
        await asyncio.sleep(0.01)
    await asyncio.sleep(3.0)
    old.start()
    await order


def test_a_primary_stopped_for_a_switchover_cannot_come_back_as_one() -> None:
    report = simulate(6, script=_started_while_its_successor_is_promoted)
    assert not report.violations, str(report.violations[0])
    assert report.lost == 0


async def _hiccups(world: World) -> None:
    """Every place is cut off now and then, always a little too short for a verdict."""
    until, longest = world.loop.time() + 300.0, world.spec.timings.unreachable_after.total_seconds() - 0.3
    while world.loop.time() < until:
        await asyncio.sleep(world.rng.uniform(1.0, 10.0))
        here = world.rng.choice(world.places())
        others = [place for place in (*world.places(), GATEWAY) if place != here]
        ways = [way for place in others for way in ((here, place), (place, here))]
        world.network.cut(ways)
        await asyncio.sleep(world.rng.uniform(0.05, longest))
        world.network.heal(ways)


def test_hiccups_are_no_loss() -> None:
    for seed in (1, 2, 3):
        report = simulate(seed, script=_hiccups)
        assert not report.violations, f"seed {seed}: {report.violations[0]}"
        assert (report.failovers, report.lost) == (0, 0), f"seed {seed}"


def _fails(seed: int, script: Script) -> bool:
    """Whether the simulation or the script itself finds something wrong."""
    try:
        return bool(simulate(seed, script=script).violations)
    except AssertionError:
        return True


def test_what_only_the_controller_cannot_see_is_not_lost() -> None:
    report = simulate(2, script=_only_the_controller_cannot_see_it)
    assert not report.violations
    assert report.failovers == 0


def test_what_was_promoted_before_the_controller_died_is_not_replaced_by_something_older() -> None:
    for seed in range(4):
        report = simulate(seed, script=_the_only_one_with_the_newest_rows)
        assert not report.violations, f"seed {seed}: {report.violations[0]}"
        assert report.lost == 0, f"seed {seed}"


def test_rows_of_an_unverified_primary_are_rescued_too() -> None:
    for seed in range(4):
        report = simulate(seed, script=_what_the_new_primary_could_not_send)
        assert not report.violations, f"seed {seed}: {report.violations[0]}"
        assert report.lost == 0, f"seed {seed}"


def test_two_crashes_in_quick_succession_leave_a_writable_node() -> None:
    for seed in range(4):
        report = simulate(seed, script=_the_new_primary_dies_at_once)
        assert not report.violations, f"seed {seed}: {report.violations[0]}"
        assert report.failovers >= 2
        assert report.lost == 0


@pytest.mark.parametrize(("nodes", "seed"), [(3, 4), (4, 2), (4, 4), (4, 22), (5, 8), (5, 10)])
def test_what_a_primary_acknowledged_in_its_first_instant_outlives_it(nodes: int, seed: int) -> None:
    report = simulate(seed, nodes, script=_each_new_primary_dies_at_its_first_acknowledgement)
    assert not report.violations, str(report.violations[0])
    assert report.lost == 0


def test_a_strayed_node_is_not_promoted_because_nobody_else_is_there() -> None:
    for seed in range(4):
        report = simulate(seed, script=_only_a_strayed_one_is_left)
        assert not report.violations, f"seed {seed}: {report.violations[0]}"


@pytest.mark.parametrize(
    ("mutate", "script"),
    [
        (forget_who_was_asked_to_promote, _the_only_one_with_the_newest_rows),
        (elect_another_timeline, _only_a_strayed_one_is_left),
        (believe_silence_without_a_witness, _only_the_controller_cannot_see_it),
    ],
)
def test_a_rare_mutation_is_found(mutate: Mutate, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch)
    assert any(_fails(seed, script) for seed in range(4))


def test_databases_do_not_notice_that_controllers_die() -> None:
    report = simulate(1, script=_the_application_goes_on_while_controllers_die)
    assert not report.violations
    assert (report.failovers, report.lost, report.outages_s) == (0, 0, ())
