"""Who servers run as, which processes are theirs, and who collects them when they end. Linux only.

A killed postmaster leaves children behind; this process becomes their subreaper and collects them, because
PostgreSQL will not start while the zombie of its last postmaster is still there (SAFETY §5).
"""

import contextlib
import ctypes
import functools
import os
import pwd
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from pgvigil.errors import ConfigError, StepFailed

_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class Account:
    """The OS user that servers run as; `switch`: it is not ours, we are root."""

    name: str
    uid: int
    gid: int
    switch: bool

    def spawn(self, *command: str | Path, home: Path, log: Path) -> subprocess.Popen[bytes]:
        """Start a program with its output added to `log`, in its own session: our Ctrl-C is not for it."""
        user, group, others = self._identity()
        with log.open("ab") as output:
            self.own(log)
            return subprocess.Popen(command, cwd=home, env=_environment(home), stdin=subprocess.DEVNULL,
                                    stdout=output, stderr=output, start_new_session=True,
                                    user=user, group=group, extra_groups=others)  # fmt: skip

    def run(self, *command: str | Path, home: Path, text: str = "") -> None:
        """Run a program with `text` as its input, at most 120 s. Raises StepFailed with its last words."""
        user, group, others = self._identity()
        done = subprocess.run(command, cwd=home, env=_environment(home), input=text, text=True, timeout=120,
                              capture_output=True, check=False,
                              user=user, group=group, extra_groups=others)  # fmt: skip
        if done.returncode:
            raise StepFailed(f"{Path(command[0]).name} failed", detail=done.stderr[-600:].strip())

    def may_run(self, program: Path) -> bool:
        """Whether this account can reach and execute a program, or enter a directory."""
        user, group, others = self._identity()
        test = ("test", "-x", program)
        return not subprocess.run(test, check=False, user=user, group=group, extra_groups=others).returncode

    def own(self, path: Path) -> None:
        """Give a file or directory to this account."""
        if self.switch:
            os.chown(path, self.uid, self.gid)

    def write(self, path: Path, text: str) -> None:
        """Write a file that only this account (and root) may read."""
        path.touch(0o600)
        self.own(path)
        path.write_text(text)

    def _identity(self) -> tuple[int | None, int | None, list[int] | None]:
        return (self.uid, self.gid, []) if self.switch else (None, None, None)


def _environment(home: Path) -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "LC_ALL": "C"}


def server_account() -> Account:
    """Who runs the servers: ourselves; under root `postgres`, `nobody` or any other. Raises ConfigError."""
    if uid := os.geteuid():
        return Account(pwd.getpwuid(uid).pw_name, uid, os.getegid(), switch=False)
    known = {entry.pw_name: entry for entry in pwd.getpwall() if entry.pw_uid}
    for name in ("postgres", "nobody", *known):
        if entry := known.get(name):
            return Account(name, entry.pw_uid, entry.pw_gid, switch=True)
    raise ConfigError("PostgreSQL refuses to run as root, and there is no other account", hint="make one")


def processes_in(directory: Path) -> list[int]:
    """Live server processes, and what they run, whose working directory is `directory` or below it."""
    inside: dict[int, str] = {}
    for pid in _pids():
        with contextlib.suppress(OSError):  # ended, a zombie, or another user's
            if Path(os.readlink(f"/proc/{pid}/cwd")).is_relative_to(directory):
                inside[pid] = Path(os.readlink(f"/proc/{pid}/exe")).name
    servers = {process_stat(pid)[3] for pid, program in inside.items() if program.startswith("postgres")}
    return [pid for pid in inside if process_stat(pid)[3] in servers]


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def process_stat(pid: int) -> tuple[str, str, int, int]:
    """Program, state, parent and session of a process; a dead one when it is gone (manual: proc(5))."""
    try:
        program, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")
    except OSError:
        return "", "X", 0, 0
    state, parent, _group, session, *_ = rest.split()
    return program.partition("(")[2], state, int(parent), int(session)


def send_signal(pids: Iterable[int], number: signal.Signals) -> None:
    """Signal each process that is still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


class _Reaper(threading.Thread):
    """Collects the exit of servers: those started here, and orphans of servers that fell to us.

    Never takes an exit that someone else in this process waits for: an orphan is known by its session, which
    is neither ours nor, unless it is a `postgres` not started here, its own.
    """

    def __init__(self) -> None:
        super().__init__(name="reaper of PostgreSQL servers", daemon=True)
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()
        if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
            raise ConfigError("this system has no subreapers", hint="needs Linux 3.4 or newer")
        self.start()

    def keep(self, spawn: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        """Start a program and collect its exit."""
        with self._lock:
            started = spawn()
            self._children[started.pid] = started
            return started

    def run(self) -> None:
        """Sleep until a child has ended (its exit stays to be collected), then look which are ours."""
        while True:
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            with self._lock:
                for child in [child for child in self._children.values() if child.poll() is not None]:
                    del self._children[child.pid]
                for pid in filter(self._is_orphan, _pids()):
                    os.waitpid(pid, os.WNOHANG)
            time.sleep(0.02)

    def _is_orphan(self, pid: int) -> bool:
        program, state, parent, session = process_stat(pid)
        if state != "Z" or parent != os.getpid() or pid in self._children or session == os.getsid(0):
            return False
        return session != pid or program == "postgres"


reaper = functools.cache(_Reaper)
