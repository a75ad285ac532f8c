"""HAProxy and PgBouncer as processes of a test, and clients of theirs that never stop."""

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from pgvigil.demo.ports import HOST, free_port
from pgvigil.demo.processes import Account
from pgvigil.demo.servers import LOGIN, wait_until

PLACES = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"
HAPROXY = shutil.which("haproxy", path=PLACES)
PGBOUNCER = shutil.which("pgbouncer", path=PLACES)


@contextmanager
def running_haproxy(file: Path, *sockets: Path) -> Iterator[None]:
    """A HAProxy with that configuration, once it answers at these sockets."""
    assert HAPROXY
    subprocess.run([HAPROXY, "-c", "-f", file], check=True)
    with (file.with_suffix(".log")).open("wb") as log:
        process = subprocess.Popen([HAPROXY, "-db", "-f", file], stdout=log, stderr=log)
    try:
        for place in sockets:
            wait_until(partial(answers, place), within_s=20, what=f"HAProxy at {place}")
        yield
    finally:
        process.terminate()
        process.wait(10)


def answers(place: Path) -> bool:
    """Whether somebody listens at a Unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(place)) == 0


class Bouncer:
    """Context manager: a PgBouncer with transaction pooling, and its place in the configuration."""

    def __init__(
        self,
        account: Account,
        home: Path,
        passfile: Path | None = None,
        *,
        admin: str = LOGIN,
        retry: str = "0.2",
    ) -> None:
        self._account, self._passfile, self._admin, self._retry = account, passfile, admin, retry
        self.home = home / "bouncer"
        self.file, self.port = self.home / "orders.ini", free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def section(self, **more: object) -> dict[str, Any]:
        """Its entry in `endpoints`."""
        user = {"user": self._account.name} if self._account.switch else {}
        return {
            "pgbouncer": {
                "host": HOST,
                "port": self.port,
                "user": LOGIN,
                "databases": ["postgres"],
                "file": str(self.file),
                "shell": {"via": "local", **user},
                **more,
            }
        }

    def __enter__(self) -> Self:
        self.home.mkdir(exist_ok=True)
        password = self._passfile.read_text().strip().rpartition(":")[2] if self._passfile else "none"
        (self.home / "users.txt").write_text(f'"{LOGIN}" "{password}"\n')
        self.file.touch()
        (self.home / "pgbouncer.ini").write_text(self._text())
        for path in (self.home, *self.home.iterdir()):
            self._account.own(path)
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _text(self) -> str:
        return "\n".join(
            [
                "[pgbouncer]",
                f"listen_addr = {HOST}",
                f"listen_port = {self.port}",
                "unix_socket_dir =",
                "auth_type = trust",
                f"auth_file = {self.home}/users.txt",
                f"admin_users = {self._admin}",
                f"stats_users = {LOGIN}",
                "pool_mode = transaction",
                f"server_login_retry = {self._retry}",
                f"%include {self.file}",
                "",
            ]
        )

    def start(self) -> None:
        """Begin, and wait until it answers."""
        assert PGBOUNCER
        command = (PGBOUNCER, "-q", self.home / "pgbouncer.ini")
        self._process = self._account.spawn(*command, home=self.home, log=self.home / "log")
        wait_until(lambda: self.tell("SHOW VERSION") is not None, within_s=10, what="PgBouncer to answer")

    def stop(self) -> None:
        """End it."""
        if self._process:
            self._process.terminate()
            self._process.wait(10)

    @property
    def conninfo(self) -> str:
        """As an application logs in."""
        return f"host={HOST} port={self.port} user={LOGIN} dbname=postgres connect_timeout=10"

    def tell(self, line: str) -> list[dict[str, Any]] | None:
        """What its console answers; None: it is not there."""
        words = f"host={HOST} port={self.port} user={LOGIN} dbname=pgbouncer connect_timeout=3"
        try:
            with psycopg.connect(words, autocommit=True, row_factory=psycopg.rows.dict_row) as console:
                cursor = console.execute(line.encode())
                return cursor.fetchall() if cursor.description else []
        except psycopg.OperationalError:
            return None

    @property
    def paused(self) -> bool:
        """Whether clients of the database wait because somebody said PAUSE."""
        rows = self.tell("SHOW DATABASES") or []
        assert rows, "its console does not answer"
        return any(row["name"] == "postgres" and str(row["paused"]) == "1" for row in rows)


@dataclass
class Busy:
    """Context manager: clients that write all the time through one address, and what they met."""

    conninfo: str
    clients: int = 20
    first: int = 0
    """The number of the first client, which its rows carry."""
    pause_s: float = 0.01
    failed: list[str] = field(default_factory=list)
    done: int = 0
    longest_s: float = 0.0
    last: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._threads: Sequence[threading.Thread] = ()

    def __enter__(self) -> Self:
        with psycopg.connect(self.conninfo, autocommit=True) as first:
            first.execute("create table if not exists busy (id bigserial primary key, client int)")
        self._threads = [
            threading.Thread(target=self._work, args=(self.first + n,)) for n in range(self.clients)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _work(self, number: int) -> None:
        session: psycopg.Connection | None = None
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                if session is None or session.closed:
                    session = psycopg.connect(self.conninfo, autocommit=True, prepare_threshold=None)
                session.execute("insert into busy (client) values (%s)", (number,))
            except psycopg.Error as error:
                with self._lock:
                    self.failed.append(str(error))
                if session:
                    session.close()
                self._stop.wait(0.02)
                continue
            now = time.monotonic()
            with self._lock:
                self.done += 1
                self.longest_s, self.last = max(self.longest_s, now - began), now
            self._stop.wait(self.pause_s)
        if session:
            session.close()


def needs(program: str | None, package: str) -> dict[str, Any]:
    """Arguments of `pytest.mark.skipif`, which say which Debian package is missing."""
    return {"condition": not program, "reason": f"{package} (Debian: {package}) is not there"}
