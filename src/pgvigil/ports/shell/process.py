"""An `sh` as a child of the controller: on its own host, or at the end of a program such as kubectl."""

import asyncio
import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread
from typing import IO, Any

from pgvigil.ports.contract import ShellLost, ShellRefused
from pgvigil.ports.shell.wire import Link, Wire

_INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
"""All a local `sh` sees of the controller's environment: no secrets, no PG…, no sockets of systemd."""


_CHUNK = 256 * 1024
"""Bytes a turn of the event loop moves at most through one pipe."""


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
            return _start(self.label, ("sh",), wire, environment)
        if self._account is None:
            self._account = await asyncio.to_thread(self._look_up)
        environment |= dict(self._account.environment)
        if self._account.uid == os.geteuid():
            return _start(self.label, ("sh",), wire, environment)
        return _start(self.label, ("sh",), wire, environment, self._account)

    def abort(self) -> None:
        """Nothing is shared."""

    def leave(self) -> None:
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
        return _start(self.label, self._command, wire, None)

    def abort(self) -> None:
        """Nothing is shared."""

    def leave(self) -> None:
        """Nothing is shared."""


def _start(
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
    try:
        process = subprocess.Popen(
            argv,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
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
    return _Child(process, wire)


class _Child:
    """The link to a child process.

    Not asyncio's own subprocess: that one must not outlive its loop, and reaps in a race with itself.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", wire: Wire) -> None:
        self._process, self._wire = process, wire
        self._loop = asyncio.get_running_loop()
        self._queued = bytearray()
        self._finishing = False
        self._open: dict[int, IO[bytes]] = {}
        for number, pipe in enumerate((process.stdin, process.stdout, process.stderr)):
            assert pipe
            os.set_blocking(pipe.fileno(), False)
            self._open[number] = pipe
        for number in (1, 2):
            self._loop.add_reader(self._open[number], self._read, number)
        self._watch: int | None = None
        with suppress(OSError, AttributeError):  # Linux has it; elsewhere the end of its outputs must do
            self._watch = os.pidfd_open(process.pid)
            self._loop.add_reader(self._watch, self._exited)

    def write(self, data: bytes) -> None:
        if 0 in self._open and not self._finishing:
            self._queued += data
            self._send()

    def finish(self) -> None:
        self._finishing = True
        self._send()

    def leave(self) -> None:
        for number in tuple(self._open):
            self._close(number)
        self._unwatch()
        if self._process.poll() is None:
            # Whoever outlives whom, child or event loop: it is reaped.
            Thread(target=self._process.wait, daemon=True).start()

    def drop(self) -> None:
        with suppress(PermissionError):  # it runs as another user (sudo): it ends with its input
            self._process.kill()
        self.leave()

    def _send(self) -> None:
        """Write what the pipe takes, and the rest when it takes more."""
        if 0 not in self._open:
            return
        try:
            while self._queued:
                del self._queued[: os.write(self._open[0].fileno(), self._queued[:_CHUNK])]
        except BlockingIOError:
            self._loop.add_writer(self._open[0], self._send)
            return
        except OSError:  # nobody reads any more: what it printed says why
            self._queued.clear()
            self._finishing = True
        self._loop.remove_writer(self._open[0])
        if self._finishing:
            self._close(0)

    def _read(self, number: int) -> None:
        try:
            data = os.read(self._open[number].fileno(), _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._wire.feed(number, data)
            return
        self._close(number)
        if not self._open.keys() & {1, 2}:
            self._wire.close()

    def _exited(self) -> None:
        self._process.poll()
        self._unwatch()
        self._wire.exited()

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._loop.remove_reader(self._watch)
            os.close(self._watch)
            self._watch = None

    def _close(self, number: int) -> None:
        pipe = self._open.pop(number, None)
        if pipe:
            (self._loop.remove_reader if number else self._loop.remove_writer)(pipe)
            pipe.close()
