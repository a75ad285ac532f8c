"""A simulated host and the shell on it.

A host is alive or not; when it comes back it has booted anew, and its service manager, if it has one,
starts the server. What scripts do there is in `scripts`.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pgvigil.model.shell import LINGER_S
from pgvigil.ports.contract import Output, ShellLost, ShellRefused
from pgvigil.sim.scripts import Job, carry_out, changes

if TYPE_CHECKING:
    from pgvigil.sim.life import Life
    from pgvigil.sim.server import Server
    from pgvigil.sim.world import World


LOGIN_S: Final = (0.02, 0.6)
"""How long it takes to open a shell that is not kept; a busy host takes longer than a probe may."""
SILENT_S: Final = 10.0
"""After so long without a sign of life the connection of a long job is given up."""


class Host:
    """The machine that one node runs on."""

    server: "Server"

    def __init__(self, world: "World", name: str) -> None:
        self.world, self.name = world, name
        self.alive = True
        self.boots = 1
        self.shell_broken = ""
        """`lost`: nobody answers there; `refused`: our key is turned away."""
        self.shell_takes_s = 0.0
        """How long a script takes to begin; real ones take some milliseconds."""
        self.changed_at = 0.0
        """When it, or its shell, last came back."""

    def power_off(self) -> None:
        """It is gone, and everything on it."""
        self.alive = False
        self.server.power_off()
        self.world.say(self.name, "host is gone")

    def mend_shell(self) -> None:
        """Its SSH server is there again, and takes our key."""
        if self.shell_broken:
            self.shell_broken, self.changed_at = "", self.world.loop.time()

    def power_on(self) -> None:
        """It boots; a supervised server is started."""
        self.alive = True
        self.boots += 1
        self.changed_at = self.world.loop.time()
        self.world.say(self.name, "host is back")
        if self.server.supervised:
            self.world.loop.call_later(self.world.rng.uniform(0.5, 5.0), self._start)

    def _start(self) -> None:
        if self.alive and self.server.state == "down":
            self.server.start()


class SimShell:
    """`contract.Shell` of one controller's life on one simulated host; None: the controller's own."""

    def __init__(self, life: "Life", host: Host | None) -> None:
        self._life, self._host = life, host
        self._kept, self._users, self._open_until = True, 0, 0.0

    async def ask(self, script: str, *, within_s: float) -> Output:
        """A short script; one that is given up goes on. Raises ShellLost or ShellRefused."""
        return await self._do(script, b"", within_s, ends_with_us=False)

    async def run(
        self,
        script: str,
        *,
        stdin: bytes = b"",
        within_s: float,
        on_line: Callable[[str], None] | None = None,
    ) -> Output:
        """A long job, ended when it is given up. Raises ShellLost or ShellRefused."""
        return await self._do(script, stdin, within_s, ends_with_us=True)

    def keep(self, kept: bool) -> None:
        """See `Shell`."""
        self._kept = kept

    def close(self) -> None:
        """Nothing is kept."""
        self._open_until = 0.0

    def _login_s(self) -> float:
        """What opening it takes first, if it is not kept and was not used just now."""
        world = self._life.world
        if self._kept or self._users or world.loop.time() < self._open_until:
            return 0.0
        return world.rng.uniform(*LOGIN_S)

    async def _do(self, script: str, stdin: bytes, within_s: float, *, ends_with_us: bool) -> Output:
        self._life.lives()
        host = self._host
        assert host is not None, "the controller's own shell is not simulated"
        network, home = self._life.world.network, self._life.place
        login_s = self._login_s()
        if login_s > within_s:
            await asyncio.sleep(within_s)
            raise ShellLost(f"the shell on {host.name} could not be opened in time")
        if login_s:
            await asyncio.sleep(login_s)
            self._life.lives()
            within_s -= login_s
        if changes(host.server, script):
            self._life.acts(f"{script} on {host.name}")
        answer: asyncio.Future[Output] = asyncio.get_running_loop().create_future()
        job = Job(host, script, stdin, self._life)

        def reply(output: Output) -> None:
            network.send(host.name, home, lambda: None if answer.done() else answer.set_result(output))

        def arrived() -> None:
            if not host.alive or host.shell_broken == "lost":
                return
            if host.shell_broken:
                reply(Output(255, err=b"refused"))
                return
            if host.shell_takes_s:
                host.world.loop.call_later(host.shell_takes_s, carry_out, job, reply)
            else:
                carry_out(job, reply)

        self._life.sends(home, host.name, arrived)
        lost = ShellLost(f"the shell on {host.name} does not answer")
        watch = asyncio.ensure_future(self._keep_alive(host, answer, lost)) if within_s > SILENT_S else None
        self._users += 1
        try:
            async with asyncio.timeout(within_s):
                output = await answer
            self._open_until = asyncio.get_running_loop().time() + LINGER_S
        except TimeoutError:
            self._open_until = 0.0
            raise lost from None
        finally:
            self._users -= 1
            if watch is not None:
                watch.cancel()
            if ends_with_us and not answer.done():
                self._life.sends(home, host.name, job.end)
        if output.status == 255:
            raise ShellRefused(f"the shell on {host.name} does not let us in")
        return output

    async def _keep_alive(self, host: Host, answer: "asyncio.Future[Output]", lost: ShellLost) -> None:
        """A connection that breaks under a long job, or is silent for long, ends it."""
        boots, silent_s, network = host.boots, 0.0, self._life.world.network
        while host.boots == boots and silent_s < SILENT_S:
            await asyncio.sleep(1.0)
            fine = host.alive and network.both(self._life.place, host.name)
            silent_s = 0.0 if fine else silent_s + 1.0
        if not answer.done():
            answer.set_exception(lost)
