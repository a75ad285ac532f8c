"""Connecting to a PostgreSQL server with libpq, without waiting in it, and why it failed in any language.

Names are resolved before, since libpq would block in it; every deadline is ours (libpq's `connect_timeout`
has a minimum of 2 s). A failure is told by errno, end-of-file and SQLSTATE, never by text. libpq keeps no
result of a failed connect, but at verbosity VERBOSE its text has the SQLSTATE in a fixed place, whatever the
language. psycopg does not wrap `PQsetErrorVerbosity`: ctypes calls it in the libpq psycopg itself uses, as
psycopg's manual proposes for `pgconn_ptr`.
"""

import asyncio
import contextlib
import ctypes
import errno
import ipaddress
import os
import re
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo
from psycopg.pq.misc import find_libpq_full_path

from pgvigil.errors import ConfigError
from pgvigil.model.sighting import Silence
from pgvigil.model.spec import NodeSpec
from pgvigil.model.units import SqlState
from pgvigil.ports.contract import NoReply, Rejected

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn, PGresult

NOT_OPENED = SqlState("08001")
"""The server spoke, but libpq gave up: TLS, certificate, or an error older than SQLSTATEs (no fork)."""

SERVER_OPTIONS = (
    "-c search_path=pg_catalog"  # nobody's function runs with our rights (CVE-2018-1058)
    " -c statement_timeout=0 -c lock_timeout=0"  # deadlines are ours; a role's own would cut long steps
    " -c client_min_messages=warning"  # an immediate stop says goodbye with a WARNING
    " -c jit=off -c datestyle=ISO"
    # the server drops what a lost controller left behind after 25 s, not after 2 hours
    " -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
)
DEFAULTS = {
    "dbname": "postgres",
    "gssencmode": "disable",  # looking for tickets blocks
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}
"""libpq settings unless the user, or the service file they name, has their own."""
PATHS = frozenset({"passfile", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslcrldir"})

SILENCES = {
    errno.ECONNREFUSED: Silence.REFUSED,
    errno.ENOENT: Silence.REFUSED,  # no such Unix socket: nobody listens
    errno.EHOSTUNREACH: Silence.TIMED_OUT,
    errno.EHOSTDOWN: Silence.TIMED_OUT,
    errno.ENETUNREACH: Silence.TIMED_OUT,
    errno.ENETDOWN: Silence.TIMED_OUT,
    errno.ETIMEDOUT: Silence.TIMED_OUT,
    errno.ENOTCONN: Silence.MUTE,  # a Unix socket whose queue is full: nobody accepts
    errno.EAGAIN: Silence.MUTE,  # the same, told at once
    errno.ECONNRESET: Silence.CLOSED,
    errno.EPIPE: Silence.CLOSED,
}
"""What an errno of connecting means; any other is trouble on our own side."""
SIGNIFICANCE = (Silence.MUTE, Silence.CLOSED, Silence.TIMED_OUT, Silence.REFUSED, Silence.NO_ADDRESS)
"""Of several addresses the most alive one speaks for the node; REFUSED only if none was silent."""
NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EADDRNOTAVAIL})

PASSWORD_MAX = 4096
"""Bytes of the password command's output that are read."""

_SERVER_ERROR = re.compile(r":  ([0-9A-Z]{5}): (.*)")
_NO_AUTHORIZATION = "28000"


class Dial:
    """One try to log in at a node. Nothing is left behind unless it returned a connection."""

    def __init__(self, spec: NodeSpec, settings: str, on_notice: "Callable[[PGresult], None]") -> None:
        self._spec = spec
        self._settings = settings
        self._on_notice = on_notice
        self._conn: PGconn | None = None
        self._watch: _Watch | None = None
        self._closed = False

    async def connect(self, within_s: float) -> "PGconn":
        """A non-blocking connection, ready for a query. Raises NoReply or Rejected as `Session.open` says."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        try:
            async with asyncio.timeout_at(deadline):
                addresses = await _addresses(self._spec)
                password = await password_by_command(self._spec)
        except (OSError, ValueError) as error:
            detail = str(error) or f"no name or password within {within_s:g} s"
            raise NoReply(self._what("cannot be tried"), Silence.NO_ADDRESS, detail=detail) from error
        failures: list[NoReply] = []
        try:
            for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
                until = loop.time() + (deadline - loop.time()) / left
                settings = make_conninfo(self._settings, **address, **password)
                try:
                    return await self._attempt(settings, until)
                except NoReply as failure:
                    self._release()
                    failures.append(failure)
        except BaseException:
            self._release()
            raise
        raise min(failures, key=_rank)

    def close(self) -> None:
        """Give up; `connect` raises NoReply."""
        self._closed = True
        self._release()

    def _release(self) -> None:
        if self._watch:
            self._watch.drop()
            self._watch = None
        if self._conn:
            self._conn.notice_handler = None
            self._conn.finish()
            self._conn = None

    async def _attempt(self, settings: str, until: float) -> "PGconn":
        """Connect to one address. Raises NoReply or Rejected; the caller releases."""
        self._check_open()
        conn = self._conn = pq.PGconn.connect_start(settings.encode())
        _set_error_verbosity(conn.pgconn_ptr, _VERBOSE)  # type: ignore[attr-defined]  # not in its Protocol
        conn.notice_handler = self._on_notice
        contact = _Contact()
        if conn.status == pq.ConnStatus.BAD:
            raise self._no_reply(_errno_of_connecting(conn), _text(conn))
        polled = int(pq.PollingStatus.WRITING)
        while polled in (pq.PollingStatus.READING, pq.PollingStatus.WRITING):
            await self._ready(conn, polled, until, contact)
            try:
                contact.look(conn)
            except OSError as error:
                raise self._no_reply(error.errno or 0, str(error)) from error
            polled = conn.connect_poll()
        if polled != pq.PollingStatus.OK:
            raise self._failure(conn, contact)
        conn.nonblocking = 1
        self._conn = None
        return conn

    async def _ready(self, conn: "PGconn", polled: int, until: float, contact: "_Contact") -> None:
        """Wait until libpq may go on. Raises NoReply at the deadline, or if we were closed meanwhile."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        watch = self._watch = _Watch(loop, conn.socket, waiter)
        add = loop.add_reader if polled == pq.PollingStatus.READING else loop.add_writer
        add(watch.fd, _wake, waiter)
        try:
            async with asyncio.timeout_at(until):
                await waiter
        except TimeoutError as error:
            silence = Silence.MUTE if contact.connected else Silence.TIMED_OUT
            detail = "connected, but the server says nothing" if contact.connected else "no TCP connection"
            raise NoReply(self._what("did not answer in time"), silence, detail=detail) from error
        finally:
            if self._watch is watch:
                watch.drop()
                self._watch = None
        self._check_open()

    def _check_open(self) -> None:
        if self._closed:
            raise NoReply(self._what("was closed"), Silence.CLOSED, detail="closed by us")

    def _failure(self, conn: "PGconn", contact: "_Contact") -> NoReply | Rejected:
        """What libpq's giving up means: the server's own error, our fault, or end-of-file."""
        text = _text(conn)
        if found := _SERVER_ERROR.findall(text):
            # sslmode=prefer tries again without TLS: "no entry for that" says less than the first error
            code, said = next((f for f in found if f[0] != _NO_AUTHORIZATION), found[-1])
            return Rejected(self._what("rejected us"), SqlState(code), detail=said)
        if conn.needs_password:
            return Rejected(self._what("wants a password"), SqlState("28P01"), detail=text)
        if contact.closed or not contact.heard:
            return NoReply(self._what("closed the connection without a word"), Silence.CLOSED, detail=text)
        return Rejected(self._what("spoke, but no session came of it"), NOT_OPENED, detail=text)

    def _no_reply(self, code: int, detail: str) -> NoReply:
        silence = SILENCES.get(code, Silence.NO_ADDRESS)
        failure = NoReply(self._what("cannot be reached"), silence, detail=detail)
        failure.__cause__ = OSError(code, detail)
        return failure

    def _what(self, happened: str) -> str:
        return f"{whom(self._spec)} {happened}"


def whom(spec: NodeSpec) -> str:
    """A server in a sentence: its name and address, or the address alone where that is its name."""
    address = f"{spec.host}:{spec.port}"
    return address if spec.name == address else f"{spec.name} ({address})"


def conninfo(spec: NodeSpec) -> str:
    """Everything but address and password. Raises ConfigError."""
    own = dict(spec.conninfo)
    settings = ({} if "service" in own else DEFAULTS) | {
        key: os.path.expanduser(value) if key in PATHS else value for key, value in own.items()
    }
    settings |= {"port": str(spec.port), "client_encoding": "UTF8"}
    settings["options"] = f"{SERVER_OPTIONS} {own.get('options', '')}".rstrip()
    settings.setdefault("fallback_application_name", "pgvigil")
    if spec.host:
        settings["host"] = spec.host
    try:
        return make_conninfo("", **settings)
    except psycopg.Error as error:
        raise ConfigError(f"conninfo of {spec.name} is wrong", detail=str(error).strip()) from None


async def _addresses(spec: NodeSpec) -> list[dict[str, str]]:
    """What to add to the conninfo for each address of the host. Raises OSError or ValueError."""
    if not spec.host or spec.host[0] in "/@" or "hostaddr" in dict(spec.conninfo):
        return [{}]
    try:
        return [{"hostaddr": str(ipaddress.ip_address(spec.host))}]
    except ValueError:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(spec.host, spec.port, type=socket.SOCK_STREAM)
        hosts = [
            socket.getnameinfo(entry[4], socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0] for entry in found
        ]
        return [{"hostaddr": host} for host in dict.fromkeys(hosts)]


async def password_by_command(spec: NodeSpec) -> dict[str, str]:
    """What the password command says; its whole process group ends with us. Raises OSError."""
    return {"password": await said_by(spec.password_command)} if spec.password_command else {}


async def said_by(password_command: str) -> str:
    """What a password command prints; its whole process group ends with us. Raises OSError."""
    ours, its = os.pipe()  # not asyncio's, which would also wait for children that keep it open
    try:
        status = await _run_shell(password_command, its)
        if status:
            raise OSError(f"password_command ended with status {status}")
        os.set_blocking(ours, False)
        return os.read(ours, PASSWORD_MAX).decode(errors="replace").strip()
    except BlockingIOError:
        raise OSError("password_command printed nothing") from None
    finally:
        os.close(ours)
        os.close(its)


async def _run_shell(command: str, stdout: int) -> int:
    quiet = asyncio.subprocess.DEVNULL
    program = await asyncio.create_subprocess_exec(
        "sh", "-c", command, stdin=quiet, stdout=stdout, stderr=quiet, start_new_session=True
    )
    try:
        return await program.wait()
    finally:
        if program.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
            await program.wait()


def _errno_of_connecting(conn: "PGconn") -> int:
    """Why libpq could not even begin, learnt by trying once more; 0: libpq's own complaint."""
    host, port = (conn.hostaddr or conn.host).decode(), int(conn.port)
    try:
        if host[:1] in ("/", "@"):
            path = re.sub("^@", "\0", f"{host}/.s.PGSQL.{port}")
            return _try_connecting(socket.AF_UNIX, path)
        numeric = socket.AI_NUMERICHOST
        entry = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=numeric)[0]
        return _try_connecting(entry[0], entry[4])
    except OSError as error:
        return error.errno or 0


def _try_connecting(family: socket.AddressFamily, address: str | tuple[object, ...]) -> int:
    with socket.socket(family, socket.SOCK_STREAM) as peer:
        peer.setblocking(False)
        return peer.connect_ex(address)


def _rank(failure: NoReply) -> int:
    cause = failure.__cause__
    if isinstance(cause, OSError) and cause.errno in NO_ROUTE:
        return len(SIGNIFICANCE)
    return SIGNIFICANCE.index(failure.silence)


@dataclass(slots=True)
class _Contact:
    """How far an attempt to connect came, seen on the socket itself before libpq reads it.

    `closed`: end-of-file was the last it saw. Not looked for after libpq gave up: a server that could not
    fork says so without SQLSTATE and closes; it is alive.
    """

    connected: bool = False
    heard: bool = False
    closed: bool = False

    def look(self, conn: "PGconn") -> None:
        """Take note before libpq reads. Raises OSError if TCP did not connect."""
        peer = socket.socket(fileno=conn.socket)
        try:
            if conn.status == pq.ConnStatus.STARTED:
                if code := peer.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    raise OSError(code, os.strerror(code))
                peer.getpeername()
                self.connected = True
            else:
                self._peek(peer)
        finally:
            peer.detach()

    def _peek(self, peer: socket.socket) -> None:
        """Whether the server has said or closed something."""
        try:
            said = peer.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            self.closed = True
        else:
            self.heard, self.closed = self.heard or bool(said), not said


@dataclass(slots=True)
class _Watch:
    """The socket the loop watches for us while we connect; libpq may change it at every step."""

    loop: asyncio.AbstractEventLoop
    fd: int
    waiter: asyncio.Future[None]

    def drop(self) -> None:
        """Leave the loop alone; must come before the descriptor is closed and used anew by others."""
        self.loop.remove_reader(self.fd)
        self.loop.remove_writer(self.fd)
        _wake(self.waiter)


def _find_set_error_verbosity() -> Callable[[int | None, int], int]:
    """`PQsetErrorVerbosity` of the very libpq psycopg uses: found through the module linked to it."""
    module = sys.modules[pq.PGconn.__module__]
    path = find_libpq_full_path() if pq.__impl__ == "python" else module.__file__
    function = ctypes.CDLL(path).PQsetErrorVerbosity
    function.argtypes, function.restype = (ctypes.c_void_p, ctypes.c_int), ctypes.c_int
    return function


_set_error_verbosity = _find_set_error_verbosity()
_VERBOSE = 2


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _text(conn: "PGconn") -> str:
    return conn.error_message.decode(errors="replace").strip()
