"""Hosts without a place among the kept shells: seldom looked at while all is well, at once when needed."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from pgvigil.model.record import Paths
from pgvigil.model.sighting import HostAnswer, HostLook, HostSilent, NoShell
from pgvigil.model.spec import ClusterSpec
from pgvigil.ports.clock import SystemClock
from pgvigil.ports.contract import NodePorts, Output, ShellLost
from pgvigil.sight.shell import CALM_S, PATIENCE_S, WANTED_S, HostWatch
from pgvigil.sight.shells import AT_ONCE, LOOKS_PER_S, OPENED_PER_S, REST_S, SILENT_REST_S, Shells
from pgvigil.sim.clock import SimClock, VirtualLoop
from tests.builders import a_cluster
from tests.fake_shell import FakeShell


@dataclass
class Host(FakeShell):
    """A shell that notes when it was asked, and whether it is to stay open."""

    asked: list[float] = field(default_factory=list)
    kept: list[bool] = field(default_factory=list)
    silent: bool = False

    async def ask(self, script: str, *, within_s: float) -> Output:
        self.asked.append(asyncio.get_running_loop().time())
        if self.silent:
            raise ShellLost("no answer")
        return Output(0, b"ok=1\npid=4711\nstate=S\n")

    def keep(self, kept: bool) -> None:
        self.kept.append(kept)


Course = Callable[[Sequence[HostWatch], Sequence[Host], Callable[[], object]], Awaitable[None]]


def course(body: Course, *, hosts: int = 1, kept: int | None = 0, spec: ClusterSpec | None = None) -> None:
    """Watch so many hosts in virtual time; `body` gets the watches, the hosts, and a way to end the watch."""
    loop = VirtualLoop()
    clock = SimClock(loop)
    cluster = spec or a_cluster().spec

    async def main() -> None:
        shells, there = Shells(clock, kept), [Host() for _ in range(hosts)]
        watches = [
            HostWatch(
                cluster,
                NodePorts(cluster.nodes[0], lambda: None, None, host),  # type: ignore[arg-type, return-value]  # no SQL here
                clock,
                lambda: Paths("/data", "/bin"),
                lambda: None,
                shells,
            )
            for host in there
        ]
        tasks = [loop.create_task(watch.run()) for watch in watches]
        try:
            await body(watches, there, tasks[0].cancel)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def looked_at(watch: HostWatch) -> float:
    assert isinstance(watch.look, HostAnswer)
    return watch.look.at


def known(watch: HostWatch) -> bool:
    return watch.is_known


def says(watch: HostWatch, kind: type[HostLook]) -> bool:
    return isinstance(watch.look, kind)


def test_with_places_for_all_nothing_changes() -> None:
    async def body(_: Sequence[HostWatch], hosts: Sequence[Host], __: Callable[[], object]) -> None:
        await asyncio.sleep(10 * CALM_S + 1)
        for host in hosts:
            assert len(host.asked) == 11
            assert set(host.kept) == {True}

    course(body, hosts=3, kept=3)
    course(body, hosts=3, kept=None)


def test_a_command_right_after_the_start_waits_for_the_first_look() -> None:
    """Else it were refused for want of a shell that nobody has tried yet."""

    async def body(watches: Sequence[HostWatch], hosts: Sequence[Host], _: Callable[[], object]) -> None:
        (watch,), (host,) = watches, hosts
        assert not known(watch)
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        assert known(watch)
        watch.look = NoShell()  # as if SQL told only now where the data lies
        watch.need(True)
        assert not known(watch)
        await asyncio.sleep(0.01)
        assert len(host.asked) == 2
        assert known(watch)
        watch.need(False)
        watch.look = NoShell()
        watch.need(True)
        host.silent = True
        await asyncio.sleep(PATIENCE_S + 0.01)
        assert known(watch)

    course(body, kept=None)


def test_hosts_without_a_place_are_looked_at_one_by_one_and_then_seldom() -> None:
    async def body(watches: Sequence[HostWatch], hosts: Sequence[Host], _: Callable[[], object]) -> None:
        await asyncio.sleep(0.1)
        assert sum(len(host.asked) for host in hosts) == 10, "those with a place at once"
        await asyncio.sleep(30 / LOOKS_PER_S + 1)
        rest = [host for host in hosts if False in host.kept]
        assert len(rest) == 30
        assert all(len(host.asked) == 1 for host in rest)
        times = sorted(host.asked[0] for host in rest)
        assert min(b - a for a, b in pairwise(times)) > 0.9 / LOOKS_PER_S
        assert all(watch.slow for watch in watches), "disk, clock and directory are learnt at the first look"
        await asyncio.sleep(3 * REST_S)
        assert all(len(host.asked) == 4 for host in rest)

    course(body, hosts=40, kept=10)


def test_very_many_are_looked_at_as_seldom_as_it_takes() -> None:
    hosts = 2 * int(REST_S) * LOOKS_PER_S

    async def body(_: Sequence[HostWatch], there: Sequence[Host], __: Callable[[], object]) -> None:
        await asyncio.sleep(6 * REST_S)
        assert sum(len(host.asked) for host in there) <= 6 * REST_S * LOOKS_PER_S + 1
        assert {len(host.asked) for host in there} <= {2, 3}

    course(body, hosts=hosts)


def test_a_host_is_looked_at_at_once_and_often_as_soon_as_its_server_is_silent() -> None:
    async def body(watches: Sequence[HostWatch], hosts: Sequence[Host], _: Callable[[], object]) -> None:
        (watch,), (host,) = watches, hosts
        await asyncio.sleep(100)
        assert len(host.asked) == 1
        watch.trouble(True)
        await asyncio.sleep(0.1)
        assert len(host.asked) == 2
        await asyncio.sleep(20)
        often = len(host.asked)
        assert often > 50
        watch.trouble(False)
        await asyncio.sleep(WANTED_S)
        assert WANTED_S / CALM_S - 1 <= len(host.asked) - often <= WANTED_S / CALM_S + 1
        before = len(host.asked)
        await asyncio.sleep(REST_S - CALM_S)
        assert len(host.asked) <= before + 1
        assert set(host.kept) == {False}

    course(body)


def test_a_host_that_is_needed_is_looked_at_at_once_and_its_old_word_is_told_from_a_young_one() -> None:
    async def body(watches: Sequence[HostWatch], hosts: Sequence[Host], _: Callable[[], object]) -> None:
        (watch,), (host,) = watches, hosts
        await asyncio.sleep(200)
        assert looked_at(watch) < 1, "its last look stays, with its age"
        assert not known(watch)
        watch.need(True)
        await asyncio.sleep(0.01)
        assert known(watch)
        assert looked_at(watch) >= 200
        await asyncio.sleep(60)
        assert len(host.asked) == 2 + 60 / CALM_S
        host.silent = True
        await asyncio.sleep(CALM_S)
        assert says(watch, HostSilent)
        watch.need(False)
        await asyncio.sleep(WANTED_S + 3)
        silent = len(host.asked)
        await asyncio.sleep(10 * SILENT_REST_S)
        assert 9 <= len(host.asked) - silent <= 10
        watch.need(True)
        await asyncio.sleep(PATIENCE_S + 1)
        assert known(watch), "nobody waits for a host for ever"

    course(body)


def test_a_guarded_host_keeps_its_shell_whatever_the_limit() -> None:
    spec = a_cluster().spec

    async def body(_: Sequence[HostWatch], hosts: Sequence[Host], __: Callable[[], object]) -> None:
        await asyncio.sleep(10 * CALM_S + 1)
        assert all(len(host.asked) == 11 and set(host.kept) == {True} for host in hosts)

    course(body, hosts=2, spec=replace(spec, fencing=replace(spec.fencing, guard=True)))


def test_a_place_that_becomes_free_is_taken_by_another() -> None:
    async def body(watches: Sequence[HostWatch], hosts: Sequence[Host], end: Callable[[], object]) -> None:
        await asyncio.sleep(10)
        assert [set(host.kept) for host in hosts] == [{True}, {False}]
        end()
        await asyncio.sleep(REST_S)
        assert hosts[1].kept[-1]
        await asyncio.sleep(3 * CALM_S)
        assert looked_at(watches[1]) > 10 + REST_S

    course(body, hosts=2, kept=1)


def test_a_smaller_limit_takes_places_away() -> None:
    clock = SystemClock()
    shells = Shells(clock, 2)
    assert [shells.keeps(name) for name in "abc"] == [True, True, False]
    shells.kept = 1
    assert [shells.keeps(name) for name in "abc"] == [False, True, False]
    shells.kept = None
    assert all(shells.keeps(name) for name in "abc")
    assert not [name for name in "d" if Shells(clock, 0).keeps(name)]


def test_a_crowd_of_shells_that_are_needed_at_once_is_opened_at_a_bearable_rate() -> None:
    async def body(watches: Sequence[HostWatch], hosts: Sequence[Host], _: Callable[[], object]) -> None:
        await asyncio.sleep(REST_S - 1)
        before = sum(len(host.asked) for host in hosts)
        for watch in watches:
            watch.need(True)
        await asyncio.sleep(0.01)
        assert sum(len(host.asked) for host in hosts) - before <= AT_ONCE + 2
        await asyncio.sleep((len(hosts) - AT_ONCE) / OPENED_PER_S + 1)
        assert all(host.asked[-1] > REST_S - 2 for host in hosts)

    course(body, hosts=400)


def test_kept_shells_are_opened_at_once_up_to_a_hundred_and_the_others_soon_after() -> None:
    async def body(_: Sequence[HostWatch], hosts: Sequence[Host], __: Callable[[], object]) -> None:
        await asyncio.sleep(0.01)
        assert AT_ONCE <= sum(len(host.asked) for host in hosts) <= AT_ONCE + 1
        await asyncio.sleep((len(hosts) - AT_ONCE) / OPENED_PER_S)
        assert all(host.asked for host in hosts)
        before = sum(len(host.asked) for host in hosts)
        await asyncio.sleep(10 * CALM_S)
        assert sum(len(host.asked) for host in hosts) - before >= 9 * len(hosts)

    course(body, hosts=300, kept=300)


def test_a_site_that_is_silent_for_long_does_not_hold_up_a_host_that_is_needed_now() -> None:
    async def body(watches: Sequence[HostWatch], hosts: Sequence[Host], _: Callable[[], object]) -> None:
        await asyncio.sleep(REST_S - 1)
        *site, other = hosts
        for host in site:
            host.silent = True
        for watch in watches[:-1]:
            watch.trouble(True)
        await asyncio.sleep(120)
        before = len(other.asked)
        watches[-1].trouble(True)
        await asyncio.sleep(0.01)
        assert len(other.asked) == before + 1
        assert not watches[-1].must_wait

    course(body, hosts=400)
