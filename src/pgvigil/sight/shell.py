"""Asks a node's host about its server process: slowly while all is well, at once and often when not.

A host that does not answer is asked often too, and at once when its server is heard again: a stale primary
that comes back with its network can be fenced only through that shell, and what was asked into the void is
not waited for.

A host without a place among the kept shells (`sight.shells`) is looked at seldom while all is well, and its
connection closed after it. What its last look said stays, with its age.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace

from pgvigil.model.record import Paths
from pgvigil.model.shell import LINGER_S
from pgvigil.model.sighting import HostAnswer, HostLook, HostSilent, NoShell, Postmaster
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.units import Instant
from pgvigil.ports.contract import Clock, NodePorts, ShellLost, ShellRefused
from pgvigil.ports.host import look_script, read_look
from pgvigil.sight.bell import heard
from pgvigil.sight.shells import REST_S, SILENT_REST_S, Shells

CALM_S = 5.0
TROUBLE_S = 0.2
TROUBLE_LONG_S = 2.0
TROUBLE_LONG_AFTER_S = 30.0
SLOW_EVERY_S = 30.0
WANTED_S = 30.0
"""A host without a place is looked at as often as the others for so long after it was needed."""
FRESH_S = 3 * CALM_S
PATIENCE_S = 3.0
"""A command waits so long at most for a look that is not older than FRESH_S."""


class HostWatch:
    """One node's host over its shell. `paths` tells where the data lies; it may become known later."""

    def __init__(
        self,
        spec: ClusterSpec,
        ports: NodePorts,
        clock: Clock,
        paths: Callable[[], Paths],
        on_news: Callable[[], None],
        shells: Shells,
    ) -> None:
        self._shells, self._always = shells, spec.fencing.guard  # its lease is renewed through the shell
        self._has_place = True
        self._needed_since: Instant | None = None
        self._wanted_at = self._ended_at = Instant(float("-inf"))
        self._ports, self._timings, self._clock = ports, spec.timings, clock
        self._paths, self._on_news = paths, on_news
        self.look: HostLook = NoShell()
        self._troubled_since: Instant | None = None
        self._slow_at = Instant(-SLOW_EVERY_S)
        self._slow: HostAnswer | None = None
        self._wake = asyncio.Event()
        self._heard = asyncio.Event()
        self._begun = 0
        self._done = asyncio.Condition()

    async def run(self) -> None:
        """Watch until cancelled. Returns at once if the node has no shell."""
        if self._ports.shell is None:
            return
        try:
            if not self._kept() and not self._is_wanted():
                await heard(self._wake, self._shells.turn_s())
            while True:
                self._wake.clear()
                self._begun += 1
                if not await self._once_unless_heard():
                    continue
                async with self._done:
                    self._done.notify_all()
                await heard(self._wake, self._pause_s())
        finally:
            self._shells.leave(self)

    def trouble(self, troubled: bool) -> None:
        """SQL does not answer (any more), or does again: look at once and often, or slowly."""
        if troubled and self._troubled_since is None:
            self._troubled_since = self._clock.now()
            self._wake.set()
        elif not troubled and self._troubled_since is not None:
            self._troubled_since, self._wanted_at = None, self._clock.now()
            if isinstance(self.look, HostSilent):
                self._wake.set()
                self._heard.set()

    def need(self, needed: bool) -> None:
        """Something is wrong or under way in its cluster, or not any more."""
        since, now = self._needed_since, self._clock.now()
        if needed and since is None:
            self._needed_since = now
            if isinstance(self.look, NoShell) or not (self._has_place or self._is_recent()):
                self._wake.set()
        elif not needed and since is not None:
            self._needed_since, self._wanted_at = None, now

    @property
    def is_known(self) -> bool:
        """Whether its last look is as young as if its shell were kept, or was waited for long enough."""
        if self.troubled or self._ports.shell is None:
            return True
        if not isinstance(self.look, NoShell) and (self._has_place or self._is_recent()):
            return True
        return self._needed_since is not None and self._clock.now() - self._needed_since > PATIENCE_S

    def _is_recent(self) -> bool:
        return self._clock.now() - self._ended_at <= FRESH_S

    @property
    def troubled(self) -> bool:
        """Whether SQL does not answer."""
        return self._troubled_since is not None

    def _kept(self) -> bool:
        """Whether it has a place among the kept; its shell is told."""
        self._has_place = self._shells.keeps(self, always=self._always)
        if self._ports.shell is not None:
            self._ports.shell.keep(self._has_place)
        return self._has_place

    def _is_wanted(self) -> bool:
        """Whether it is to be looked at as often as if its shell were kept."""
        needed = self.troubled or self._needed_since is not None
        return needed or self._clock.now() - self._wanted_at < WANTED_S

    def _pause_s(self) -> float:
        """Until the next look, unless something happens."""
        if self._kept() or self._is_wanted():
            return self._period_s()
        match self.look:
            case NoShell():  # nobody knows yet where to look
                return self._shells.turn_s(least_s=CALM_S)
            case HostSilent():
                return self._shells.turn_s(least_s=SILENT_REST_S)
            case HostAnswer():
                return self._shells.turn_s(least_s=REST_S)

    def _period_s(self) -> float:
        since = self._troubled_since
        if since is None and isinstance(self.look, HostSilent):
            since = self.look.since
        if since is None:
            return CALM_S
        long = self._clock.now() - since > TROUBLE_LONG_AFTER_S
        return TROUBLE_LONG_S if long else TROUBLE_S

    def wake(self) -> None:
        """Look now."""
        self._wanted_at = self._clock.now()
        self._wake.set()

    async def again(self) -> None:
        """Look now, and return when a look that was begun after this call is complete."""
        if self._ports.shell is None:
            return
        target = self._begun + 1
        self._wake.set()
        async with self._done:
            await self._done.wait_for(lambda: self._begun >= target)

    async def _once_unless_heard(self) -> bool:
        """One look. False: given up for a new one, because the silent host's server was heard meanwhile."""
        self._heard.clear()
        look, heard = asyncio.ensure_future(self._once()), asyncio.ensure_future(self._heard.wait())
        try:
            await asyncio.wait({look, heard}, return_when=asyncio.FIRST_COMPLETED)
            if look.done():
                look.result()
            return look.done()
        finally:
            heard.cancel()
            look.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await look

    async def _once(self) -> None:
        if not self._is_open():
            silent = isinstance(self.look, HostSilent)
            if (wait_s := self._shells.opening_s(silent=silent)) > 0:
                await asyncio.sleep(wait_s)
        was_recent = self._is_recent()
        await self._ask()
        self._ended_at = self._clock.now()
        if not was_recent and self._needed_since is not None:
            self._on_news()

    @property
    def must_wait(self) -> bool:
        """Whether its shell is closed, and has to wait for its turn because very many are being opened."""
        return not self._is_open() and self._shells.crowded

    def _is_open(self) -> bool:
        look = self.look
        return isinstance(look, HostAnswer) and (self._has_place or self._clock.now() - look.at < LINGER_S)

    async def _ask(self) -> None:
        paths, shell, begun = self._paths(), self._ports.shell, self._clock.now()
        if not paths.data_dir or shell is None:
            return
        slow = not self.troubled and begun - self._slow_at >= SLOW_EVERY_S
        script = look_script(paths.data_dir, paths.bin_dir, slow=slow)
        limit = min(self._timings.shell_timeout, self._timings.unreachable_after / 2).total_seconds()
        try:
            output = await shell.ask(script, within_s=limit if not slow else 2 * limit)
            self._publish(self._read(output.text, begun, slow=slow))
        except ShellRefused as refused:
            self._silent(begun, str(refused), refused=True)
        except (ShellLost, ValueError) as lost:
            self._silent(begun, str(lost), refused=False)

    def _read(self, text: str, at: Instant, *, slow: bool) -> HostAnswer:
        answer, before = read_look(text, at), self._slow
        if slow:
            self._slow, self._slow_at = answer, at
        elif before is not None:
            clock_s = before.clock_s + (at - before.at) if before.clock_s is not None else None
            answer = replace(answer, wal_free_bytes=before.wal_free_bytes, clock_s=clock_s)
        return answer

    def _silent(self, begun: Instant, detail: str, *, refused: bool) -> None:
        since = self.look.since if isinstance(self.look, HostSilent) else begun
        self._publish(HostSilent(self._clock.now(), since, refused, detail))

    def _publish(self, look: HostLook) -> None:
        if isinstance(look, HostAnswer) and look.postmaster is Postmaster.FROZEN:
            before = self.look.frozen_since if isinstance(self.look, HostAnswer) else None
            look = replace(look, frozen_since=before if before is not None else look.at)
        changed = type(look) is not type(self.look) or getattr(look, "postmaster", None) != getattr(
            self.look, "postmaster", None
        )
        self.look = look
        if changed or self.troubled:
            self._on_news()

    @property
    def slow(self) -> HostAnswer | None:
        """The newest answer that also has disk space, clock and program directory."""
        return self._slow
