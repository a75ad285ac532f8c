"""An `sh` as a child of the controller: on its own host, or at the end of a program such as kubectl."""

import asyncio
import os
import pwd
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from pgvigil.ports.contract import ShellLost, ShellRefused
from pgvigil.ports.shell.wire import Link, Wire

_INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
"""All a local `sh` sees of the controller's environment: no secrets, no PG…, no sockets of systemd."""


@dataclass(frozen=True, slots=True)
class _Account:
    """What changing to another OS user takes."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    environment: tuple[tuple[str, str], ...]


class LocalTransport:
    """`sh` on the controller's own host, as `user` (empty: as the controller) in a session of its own."""

    def __init__(self, user: str) -> None:
        self._user = user
        self._account: _Account | None = None
        self.label = f"the local shell of {user}" if user else "the local shell"

    async def start(self, wire: Wire) -> Link:
        """A new `sh`. Raises ShellRefused if we may not be that user, ShellLost if nothing can be started."""
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        if not self._user:
            return await _start(self.label, ("sh",), wire, environment)
        if self._account is None:
            self._account = await asyncio.to_thread(self._look_up)
        environment |= dict(self._account.environment)
        if self._account.uid == os.geteuid():
            return await _start(self.label, ("sh",), wire, environment)
        return await _start(self.label, ("sh",), wire, environment, self._account)

    def abort(self) -> None:
        """Nothing is shared."""

    def _look_up(self) -> _Account:
        try:
            entry = pwd.getpwnam(self._user)
        except KeyError:
            raise ShellRefused(
                f"{self.label} cannot be opened",
                detail=f"there is no OS user {self._user}",
                hint="correct `user` of the node's shell; on most systems it is postgres",
            ) from None
        if os.geteuid() not in (0, entry.pw_uid):
            raise ShellRefused(
                f"{self.label} cannot be opened",
                detail=f"only root may become {self._user}, and the controller runs as uid {os.geteuid()}",
                hint=f"run the controller as {self._user} or root, or reach the node over ssh",
            )
        groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
        names = {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name}
        return _Account(entry.pw_uid, entry.pw_gid, tuple(groups), tuple(names.items()))


class CommandTransport:
    """`sh` from a program that gives one on its standard input. It gets the controller's environment."""

    def __init__(self, command: Sequence[str]) -> None:
        assert command, "a command shell needs a command"
        self._command = tuple(command)
        self.label = f"the shell from {os.path.basename(command[0])}"  # its arguments may hold secrets

    async def start(self, wire: Wire) -> Link:
        """A new run of the program. Raises ShellLost if it cannot be started."""
        return await _start(self.label, self._command, wire, None)

    def abort(self) -> None:
        """Nothing is shared."""


async def _start(
    label: str,
    argv: Sequence[str],
    wire: Wire,
    environment: Mapping[str, str] | None,
    account: _Account | None = None,
) -> Link:
    """Start `argv` in a session of its own: neither Ctrl-C nor the controller's end reaches it."""
    change: dict[str, Any] = {}
    if account:
        change = {"user": account.uid, "group": account.gid, "extra_groups": account.groups}
    loop = asyncio.get_running_loop()
    child = _Child(wire)
    try:
        await loop.subprocess_exec(
            lambda: child,
            *argv,
            env=environment,
            cwd=None if environment is None else "/",
            start_new_session=True,
            **change,
        )
    except OSError as error:
        raise ShellLost(
            f"{label} cannot be started",
            detail=str(error),
            hint=f"is {argv[0]} installed, in PATH and allowed for the controller's user?",
        ) from error
    except asyncio.CancelledError:
        child.drop()
        raise
    return child


class _Child(asyncio.SubprocessProtocol):
    """The link to a child process."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._transport: asyncio.SubprocessTransport | None = None
        self._outputs = {1, 2}
        self._exited = self._left = self._dropped = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)
        if self._dropped:
            self.drop()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._wire.feed(fd, data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._outputs.discard(fd)
        if not self._outputs:
            self._wire.close()
        self._release()

    def process_exited(self) -> None:
        self._exited = True
        self._wire.exited()
        self._release()

    def write(self, data: bytes) -> None:
        if pipe := self._input():
            pipe.write(data)

    def finish(self) -> None:
        if pipe := self._input():
            pipe.close()  # behind what is queued

    def leave(self) -> None:
        self._left = True
        self._release()

    def drop(self) -> None:
        self._dropped = True
        if self._transport:
            with suppress(PermissionError):  # it runs as another user (sudo): it ends with its input
                self._transport.close()  # closes the pipes and sends SIGKILL

    def _release(self) -> None:
        """Close our ends once the child is gone, even if what it detached still holds the outputs."""
        if self._exited and self._transport and (self._left or not self._outputs):
            self._transport.close()

    def _input(self) -> asyncio.WriteTransport | None:
        pipe = self._transport.get_pipe_transport(0) if self._transport else None
        if pipe is None or pipe.is_closing():
            return None
        return cast("asyncio.WriteTransport", pipe)
