"""Renews the guards' leases, and has the other hosts try whether they are cut off from a silent primary."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from pgvigil.model.guard import CutOff, GuardLook, GuardState
from pgvigil.model.record import Paths
from pgvigil.model.shell import SshShell
from pgvigil.model.sighting import Answer, NoAnswer, SqlLook
from pgvigil.model.spec import ClusterSpec, NodeSpec
from pgvigil.model.units import Instant, NodeName
from pgvigil.model.vantage import Reach
from pgvigil.ports.contract import Clock, NodePorts, ShellLost, ShellRefused
from pgvigil.ports.guard import config_id, grant_script, guard_config, pulse_script, read_pulse
from pgvigil.ports.reach import reach_script, read_reach
from pgvigil.sight.witness import is_reachable

RENEWALS: Final = 3
"""A lease is renewed so often in its time: two renewals may be lost."""
CUT_OFF_EVERY_S: Final = 0.5
CUT_OFF_S: Final = 2
"""How long a host's attempt to reach the silent one lasts; the guard gives the others half of that."""
UNBROKEN_S: Final = 3.0
"""A series of tests with a longer gap in it is none: what was between is not known."""
SSH_PORT: Final = 22


class GuardWatch:
    """One node's guard. `grants`: whether to give leases now, as the controller in charge; else only look."""

    def __init__(
        self,
        spec: ClusterSpec,
        ports: NodePorts,
        clock: Clock,
        paths: Callable[[], Paths],
        on_news: Callable[[], None],
        *,
        grants: Callable[[], bool],
    ) -> None:
        self._spec, self._ports, self._clock = spec, ports, clock
        self._paths, self._on_news, self._grants = paths, on_news, grants
        self._lease_s = spec.fencing.guard_lease.total_seconds()
        self.look: GuardLook | None = None
        if spec.fencing.guard and ports.shell is not None:
            # A controller before this one may have renewed until a moment ago.
            self.look = GuardLook(GuardState.UNKNOWN, Instant(clock.now() + self._lease_s))

    async def run(self) -> None:
        """Renew until cancelled. Returns at once where there is nothing to renew."""
        while self.look is not None:
            begun = self._clock.now()
            with contextlib.suppress(ShellLost, ShellRefused, ValueError):  # the last look stands
                await self._renew()
            await asyncio.sleep(max(self._lease_s / RENEWALS - (self._clock.now() - begun), 0.05))

    async def _renew(self) -> None:
        """Read the node's clock, then give a lease from that reading on. Raises ShellLost and others."""
        shell, paths, look = self._ports.shell, self._paths(), self.look
        if shell is None or look is None or not paths.data_dir:
            return
        within_s = self._spec.timings.shell_timeout.total_seconds()
        config = guard_config(self._spec, self._ports.spec, paths)
        output = await shell.ask(pulse_script(paths.data_dir), within_s=within_s)
        heard = self._clock.now()
        pulse = read_pulse(output.text, config_id(config) if paths.bin_dir else None)
        found, until = pulse.look(heard, look.leased_until), look.leased_until
        if self._grants() and pulse.state is not GuardState.MISSING:
            until = Instant(max(until, heard + self._lease_s))
            # Bad news counts at once, good news only when the guard has taken the lease.
            self.look = replace(look if found.state is GuardState.ALIVE else found, leased_until=until)
            grant = grant_script(paths.data_dir, pulse, self._lease_s, config if paths.bin_dir else "")
            if (await shell.ask(grant, within_s=within_s)).status:
                found = replace(found, state=GuardState.STALLED)  # its disk is full, or not to be written
        if found.state is GuardState.ALIVE and not paths.bin_dir:
            found = replace(found, state=GuardState.UNKNOWN)  # which nodes it counts is not compared yet
        self.look = replace(found, leased_until=until)
        if look.state is not found.state:
            self._on_news()


class CutOffWatch:
    """While the suspect is silent and its guard counts, the other hosts try to reach its host."""

    def __init__(
        self,
        spec: ClusterSpec,
        nodes: Mapping[NodeName, NodePorts],
        clock: Clock,
        looks: Callable[[NodeName], SqlLook],
        on_news: Callable[[], None],
    ) -> None:
        self._spec, self._nodes, self._clock = spec, nodes, clock
        self._looks, self._on_news = looks, on_news
        self._found: dict[NodeName, dict[NodeName, CutOff]] = {}

    def of(self, name: NodeName) -> tuple[CutOff, ...]:
        """Who is cut off from that node now, as far as tests have ended."""
        return tuple(self._found.get(name, {}).values())

    async def watch(self, suspect: Callable[[], NodeName | None]) -> None:
        """Test whenever the suspect is silent, until cancelled. Returns at once without guards."""
        while self._spec.fencing.guard:
            name = suspect()
            if name is None or not isinstance(self._looks(name), NoAnswer):
                self._found.clear()
                await asyncio.sleep(CUT_OFF_EVERY_S)
                continue
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(CUT_OFF_EVERY_S))
                for other in self._nodes:
                    if other != name and isinstance(self._looks(other), Answer):
                        group.create_task(self._test(other, name))

    async def _test(self, vantage: NodeName, name: NodeName) -> None:
        shell, target = self._nodes[vantage].shell, self._spec.node(name)
        if shell is None or not is_reachable(target):
            return
        begun, found, ports = self._clock.now(), self._found.setdefault(name, {}), _ports(target)
        try:
            script = reach_script(ports, CUT_OFF_S, speak=False)
            output = await shell.run(script, within_s=CUT_OFF_S + 1.5)
            cut_off = is_cut_off(output.text, len(ports))
        except (ShellLost, ShellRefused, ValueError):
            return
        if not isinstance(self._looks(name), NoAnswer):
            return
        before = found.get(vantage)
        if cut_off:
            unbroken = before is not None and begun - before.until <= UNBROKEN_S
            since = before.since if before and unbroken else begun
            found[vantage] = CutOff(vantage, since, self._clock.now())
        else:
            found.pop(vantage, None)
        self._on_news()


def _ports(target: NodeSpec) -> list[tuple[str, int]]:
    """Where a host may answer: PostgreSQL's port and SSH's."""
    found = {target.port}
    if isinstance(target.shell, SshShell):
        found.add(target.shell.port or SSH_PORT)
    return [(target.host, port) for port in sorted(found)]


def is_cut_off(text: str, count: int) -> bool:
    """Whether the answer to `reach_script` says that the host gave no sign, not even by refusing.

    A hung server's host still opens TCP connections, and a stopped one's refuses them: this is about the
    network and the host, as the guard's own looks are. pg_isready cannot tell, so its word does not count.
    Raises ValueError.
    """
    return all(
        attempt.reach is Reach.NO_REPLY and attempt.way != "pg_isready" for attempt in read_reach(text, count)
    )
