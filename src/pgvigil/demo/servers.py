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
import functools
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import psycopg
import yaml
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from pgvigil.config.grants import REWIND_FUNCTIONS
from pgvigil.demo.binaries import Binaries, find_postgres, runnable
from pgvigil.demo.ports import HOST, free_port
from pgvigil.demo.processes import Account, process_stat, processes_in, reaper, send_signal, server_account
from pgvigil.errors import ConfigError, StepFailed, TimedOut, UsageError
from pgvigil.model.spec import slot_name
from pgvigil.model.units import NodeName

Setting = str | int | bool
LOGIN, REPLICATION_LOGIN = "pgvigil", "replicator"
SETTINGS: Mapping[str, Setting] = {
    "listen_addresses": HOST,
    "shared_buffers": "16MB",
    "max_connections": 30,
    "wal_level": "replica",
    "max_wal_senders": 10,
    "password_encryption": "scram-sha-256",  # what pg_hba.conf asks for; before 14 the default is md5
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
STOP = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


def wait_until(condition: Callable[[], object], *, within_s: float, what: str, every_s: float = 0.01) -> None:
    """Return as soon as `condition()` is true, asked every `every_s`. Raises TimedOut naming `what`.

    A condition that PostgreSQL answers with an error (a server that starts, stops, has not replayed a table
    yet) does not hold yet; the last such error is the cause of TimedOut.
    """
    deadline = time.monotonic() + within_s
    while True:
        trouble: psycopg.Error | None = None
        try:
            if condition():
                return
        except psycopg.Error as error:
            trouble = error
        if time.monotonic() > deadline:
            raise TimedOut(f"waited {within_s:g} s for: {what}") from trouble
        time.sleep(every_s)


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
        started = reaper().keep(lambda: self.account.spawn(*command, home=self.home, log=self.log))
        wait_until(lambda: started.poll() is not None or self._accepts(started.pid),
                   within_s=within_s, what=f"{self.name} to accept connections")  # fmt: skip
        if started.poll() is not None:
            raise StepFailed(f"{self.name} did not start", detail=self.log.read_text(errors="replace")[-800:])

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast", *, within_s: float = 30) -> None:
        """Stop and wait until the last process is gone; nothing to do if it does not run. Raises TimedOut."""
        if pid := self.pid():
            send_signal([pid], STOP[mode])
        wait_until(self._is_gone, within_s=within_s, what=f"{self.name} to stop")

    def kill_postmaster(self) -> None:
        """SIGKILL to the postmaster alone; returns when it is dead. Its children notice and end."""
        send_signal(filter(None, [self.pid()]), signal.SIGKILL)
        wait_until(lambda: not self.is_running(), within_s=5, what="the postmaster to die", every_s=0.001)

    def kill_all(self) -> None:
        """SIGKILL to the postmaster and every child at once, as if power went; returns when they are dead."""
        self._signal_all(signal.SIGKILL)
        wait_until(lambda: not processes_in(self.data_dir), within_s=5, what="all to die", every_s=0.001)

    def freeze(self, *, only_postmaster: bool = False) -> None:
        """SIGSTOP to every process (a hung host), or to the postmaster alone (no new connections)."""
        if only_postmaster:
            send_signal(filter(None, [self.pid()]), signal.SIGSTOP)
        else:
            self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT to every process."""
        send_signal(processes_in(self.data_dir), signal.SIGCONT)

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
            return bool(self.sql(question, upstream.port, goal))

        wait_until(streams, within_s=within_s, what=f"{self.name} to stream from {upstream.name}")

    def _signal_all(self, number: signal.Signals) -> None:
        send_signal(filter(None, [self.pid()]), signal.SIGSTOP)  # it must start no child meanwhile
        send_signal(processes_in(self.data_dir), number)

    def _pid_in_file(self) -> int:
        lines = _read_lines(self.data_dir / "postmaster.pid")
        return int(lines[0]) if lines and lines[0].isdigit() else 0

    def _is_gone(self) -> bool:
        old = self._pid_in_file()
        return not processes_in(self.data_dir) and process_stat(old)[:2] != ("postgres", "Z")

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
        send_signal(processes_in(self.home), signal.SIGCONT)
        send_signal(processes_in(self.home), signal.SIGQUIT)
        with contextlib.suppress(TimedOut):
            wait_until(lambda: not processes_in(self.home), within_s=5, what="an immediate stop")
        send_signal(processes_in(self.home), signal.SIGKILL)
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
    whole = {
        "state_dir": str(servers.home / "state"),
        "http": {"listen": "off"},
        "clusters": {cluster: settings},
    }
    text: str = yaml.safe_dump(whole, sort_keys=False)
    return text


def run_sql(server: Server, statements: Iterable[str]) -> None:
    """Run statements as superuser one by one, such as those that make a login of fewer rights."""
    for statement in statements:
        server.sql(statement)


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
        text += "".join(
            f"GRANT EXECUTE ON FUNCTION {function} TO {REPLICATION_LOGIN}\n" for function in REWIND_FUNCTIONS
        )
        self.account.run(self.bin_dir / "postgres", "--single", "-F", "-D", data_dir, "postgres",
                         home=home, text=text)  # fmt: skip


@functools.cache
def _workshop(binaries: Binaries, account: Account, wal_segment_mb: int) -> _Workshop:
    home = _temporary_directory(account)
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    passwords = {login: secrets.token_hex(16) for login in (LOGIN, REPLICATION_LOGIN)}
    bin_dir = runnable(binaries, account, home)
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


def _settings_text(settings: Mapping[str, Setting]) -> str:
    def quoted(value: Setting) -> str:
        text = ("off", "on")[value] if isinstance(value, bool) else str(value)
        return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"

    return "".join(f"{name} = {quoted(value)}\n" for name, value in settings.items())
