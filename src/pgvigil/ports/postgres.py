"""The real `Session`: libpq itself, driven by the event loop with a reader that is kept.

Owns one socket to one server: connecting, queries, and noticing its end. Knows no SQL.

- libpq never waits here (connecting: `ports.dial`). Every deadline is ours and simply closes the socket:
  nothing is ever cancelled on a server that may hang.
- The reader stays with the loop while the session idles, so end-of-file is noticed at once, and what the
  server said before it (57P01 and its kin arrive as notices) becomes the farewell.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import pq

from pgvigil.errors import Bug
from pgvigil.model.sighting import Farewell, Silence
from pgvigil.model.spec import NodeSpec
from pgvigil.model.units import SqlState
from pgvigil.ports.contract import NoReply, QueryFailed, Row, SessionEnded
from pgvigil.ports.dial import Dial, conninfo, whom

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn, PGresult

STATEMENTS_MAX = 50
"""Statements remembered a session; more would only cost the server memory."""
_STALE_STATEMENT = frozenset({"0A000", "26000"})
"""A prepared statement's result type changed, or it is gone: prepare it anew."""


@dataclass(slots=True)
class _Ask:
    """One query on its way: waiting, being prepared, or being executed."""

    sql: str
    params: list[bytes | None]
    answer: asyncio.Future[tuple[Row, ...]]
    within_s: float
    due: float
    """When `within_s` is over, by the event loop's time."""
    name: bytes = b""
    preparing: bool = False
    rows: tuple[Row, ...] = ()
    error: QueryFailed | None = None


class PostgresSession:
    """A `contract.Session` with the server of a NodeSpec. Can be made without an event loop.

    Raises ConfigError for libpq keywords that libpq does not know.
    """

    def __init__(self, spec: NodeSpec) -> None:
        self._spec = spec
        self._dial = Dial(spec, conninfo(spec), self._note)
        self._conn: PGconn | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._fd = -1
        self._writing = False
        self._open = False
        self._asks: deque[_Ask] = deque()
        self._statements: dict[str, bytes] = {}
        """SQL → name of its prepared statement; empty: used once."""
        self._columns: dict[bytes, tuple[str, ...]] = {}
        """Name of a prepared statement → those of its result's columns."""
        self._timer: asyncio.TimerHandle | None = None
        self._numbers = itertools.count(1)
        self._last_words: Farewell | None = None
        self._dying = False
        self._farewell: Farewell | None = None
        self._ended = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether queries can be sent."""
        return self._open

    async def ended(self) -> Farewell:
        """Return once the session has ended (also: failed to open, closed by us), with what was said before.

        Any number of tasks may wait; cancelling one leaves the session as it is.
        """
        await self._ended.wait()
        assert self._farewell is not None
        return self._farewell

    def close(self) -> None:
        """Close the socket at once. Pending queries raise SessionEnded; `ended` returns "closed by us"."""
        self._finish(Farewell(message="closed by us"))

    # connecting

    async def open(self, *, within_s: float) -> None:
        """Connect and log in, trying every address of the host.

        Raises Rejected if the server spoke: its own SQLSTATE, or 08001 if it was libpq that gave up (TLS,
        certificates), or 28P01 if we have no password to give. Raises NoReply otherwise: NO_ADDRESS stands
        for all trouble of our own (name, password command, descriptors); MUTE: connected, but no word
        until the deadline; CLOSED: connected, and the server went away without a word.
        Cancelled or failed, the session has ended and nothing is left behind.
        """
        assert self._loop is None, "a session is opened once"
        if self._farewell:
            raise NoReply(self._what("was closed"), Silence.CLOSED, detail=self._farewell.message)
        self._loop = asyncio.get_running_loop()
        try:
            conn = self._conn = await self._dial.connect(within_s)
        except BaseException:
            self._finish(Farewell(message="never opened"))
            raise
        self._fd = conn.socket
        self._loop.add_reader(self._fd, self._on_readable)
        self._open = True
        self._collect(conn)

    def _what(self, happened: str) -> str:
        return f"{whom(self._spec)} {happened}"

    # queries

    async def query(self, sql: str, params: Sequence[str | None] = (), *, within_s: float) -> tuple[Row, ...]:
        """One statement, after those asked before it; prepared at its second use.

        `within_s` includes the time in the queue; when it is over the session is closed under all who wait.
        A call that is cancelled harms nobody else: what is not sent yet never is, and the answer to what was
        sent is thrown away, but must come in its time. Raises QueryFailed (session lives), SessionEnded, or
        NoReply(OVERDUE).
        """
        if not self._open or self._loop is None:
            raise self._gone(self._farewell or Farewell(message="not open yet"))
        values = [None if value is None else value.encode() for value in params]
        ask = _Ask(sql, values, self._loop.create_future(), within_s, self._loop.time() + within_s)
        self._asks.append(ask)
        self._limit(ask)
        if len(self._asks) == 1:
            self._send(ask)
        try:
            return await ask.answer
        except asyncio.CancelledError:
            if ask in self._asks and ask is not self._asks[0]:
                self._asks.remove(ask)
            raise

    def _limit(self, ask: _Ask) -> None:
        """One timer serves all asks: set for the first that is due, and only looked at when it fires."""
        assert self._loop is not None
        if self._timer is not None:
            if self._timer.when() <= ask.due:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(ask.due, self._look_at_time, ask.due)

    def _look_at_time(self, until: float) -> None:
        self._timer = None
        if self._asks:
            first = min(self._asks, key=lambda ask: ask.due)
            if first.due <= until:
                self._overdue(first.within_s)
            else:
                self._limit(first)

    def _overdue(self, within_s: float) -> None:
        said = f"no answer within {within_s:g} s"
        for ask in self._asks:
            if not ask.answer.done():
                failure = NoReply(self._what("did not answer in time"), Silence.OVERDUE, detail=said)
                ask.answer.set_exception(failure)
        self._finish(Farewell(message=f"closed by us: {said}"))

    def _send(self, ask: _Ask) -> None:
        conn = self._conn
        assert conn is not None
        try:
            if not ask.name and not ask.preparing:
                ask.name, ask.preparing = self._remember(ask.sql)
            if ask.preparing:
                conn.send_prepare(ask.name, ask.sql.encode())
            elif ask.name:
                conn.send_query_prepared(ask.name, ask.params)
            else:
                conn.send_query_params(ask.sql.encode(), ask.params)
            self._flush()
        except psycopg.Error:
            self._on_readable(broken=True)

    def _remember(self, sql: str) -> tuple[bytes, bool]:
        """The statement's name, empty at its first use, and whether it is yet to be prepared."""
        name = self._statements.get(sql)
        if name is None:
            if len(self._statements) >= STATEMENTS_MAX:
                once = next((sql for sql, name in self._statements.items() if not name), None)
                if once is None:
                    return b"", False
                del self._statements[once]
            self._statements[sql] = b""
            return b"", False
        if name:
            return name, False
        return b"pgvigil%d" % next(self._numbers), True

    def _flush(self) -> None:
        """Send what the socket takes now; the loop sends the rest."""
        assert self._conn is not None
        assert self._loop is not None
        unsent = bool(self._conn.flush())
        if unsent and not self._writing:
            self._loop.add_writer(self._fd, self._on_writable)
        elif self._writing and not unsent:
            self._loop.remove_writer(self._fd)
        self._writing = unsent

    def _on_writable(self) -> None:
        try:
            self._flush()
        except psycopg.Error:
            self._on_readable(broken=True)

    def _on_readable(self, *, broken: bool = False) -> None:
        """Take what the server sent. At end-of-file first hear what it said before, then end."""
        conn = self._conn
        if conn is None:
            return
        try:
            conn.consume_input()
        except psycopg.Error:
            broken = True
        self._collect(conn)
        if broken and self._conn is conn:
            self._finish(self._last_words or Farewell())

    def _collect(self, conn: "PGconn") -> None:
        """Parse what has come (without `is_busy` notices stay unparsed) and answer what it completes."""
        while self._conn is conn and not conn.is_busy() and self._asks and not self._dying:
            ask = self._asks[0]
            if (result := conn.get_result()) is not None:
                self._take(ask, result)
                continue
            if ask.preparing and not ask.error:
                self._statements[ask.sql], ask.preparing = ask.name, False
                if ask.answer.done():  # cancelled: it is not executed any more
                    self._asks.popleft()
            else:
                self._answer(ask)
            if self._asks:
                self._send(self._asks[0])

    def _take(self, ask: _Ask, result: "PGresult") -> None:
        """Keep one result for its ask. An error that ends the session is no answer: end-of-file follows."""
        match result.status:
            case pq.ExecStatus.TUPLES_OK:
                ask.rows = _rows(result, self._names(ask, result))
            case pq.ExecStatus.COMMAND_OK | pq.ExecStatus.EMPTY_QUERY:
                pass
            case pq.ExecStatus.FATAL_ERROR:
                self._note(result)
                code = _diagnosis(result, pq.DiagnosticField.SQLSTATE)
                if not code:  # libpq's own words about a lost connection
                    self._dying = True
                elif not self._dying:
                    ask.error = _query_failed(result, code)
            case status:
                said = f"{pq.ExecStatus(status).name} cannot be read here"
                if not ask.answer.done():
                    ask.answer.set_exception(Bug(self._what("got a wrong kind of query"), detail=said))
                self._finish(Farewell(message=f"closed by us: {said}"))

    def _names(self, ask: _Ask, result: "PGresult") -> tuple[str, ...]:
        """Of the columns; kept for a prepared statement, whose columns never change."""
        names = self._columns.get(ask.name)
        if names is None:
            names = tuple(_decode(result.fname(column)) for column in range(result.nfields))
            if ask.name:
                self._columns[ask.name] = names
        return names

    def _answer(self, ask: _Ask) -> None:
        self._asks.popleft()
        if ask.error and ask.error.sqlstate in _STALE_STATEMENT:
            self._columns.pop(self._statements.pop(ask.sql, b""), None)
        if ask.answer.done():
            return
        if ask.error:
            ask.answer.set_exception(ask.error)
        else:
            ask.answer.set_result(ask.rows)

    # the end

    def _note(self, result: "PGresult") -> None:
        """Keep what may be last words: FATAL, PANIC, or the WARNING of a server that stops at once."""
        severity = _diagnosis(result, pq.DiagnosticField.SEVERITY_NONLOCALIZED)
        code = _diagnosis(result, pq.DiagnosticField.SQLSTATE)
        final = severity in ("FATAL", "PANIC")
        if final or (severity == "WARNING" and code.startswith("57P")):
            message = _diagnosis(result, pq.DiagnosticField.MESSAGE_PRIMARY)
            source = _diagnosis(result, pq.DiagnosticField.SOURCE_FUNCTION)
            self._last_words = Farewell(SqlState(code), message, source)
            self._dying = self._dying or final

    def _finish(self, farewell: Farewell) -> None:
        if self._farewell:
            return
        self._farewell, self._open = farewell, False
        self._dial.close()
        if self._timer:
            self._timer.cancel()
        if self._conn and self._loop:
            self._loop.remove_reader(self._fd)  # before the descriptor is closed and used anew by others
            self._loop.remove_writer(self._fd)
            self._conn.notice_handler = None
            self._conn.finish()
            self._conn = None
        asks, self._asks = self._asks, deque()
        for ask in asks:
            if not ask.answer.done():
                ask.answer.set_exception(self._gone(farewell))
        self._ended.set()

    def _gone(self, farewell: Farewell) -> SessionEnded:
        return SessionEnded(self._what("has no session with us"), farewell)


def _decode(text: bytes | None) -> str:
    return (text or b"").decode(errors="replace")


def _rows(result: "PGresult", names: Sequence[str]) -> tuple[Row, ...]:
    value, columns = result.get_value, tuple(enumerate(names))
    return tuple(
        {
            name: None if (said := value(row, column)) is None else str(said, "utf-8", "replace")
            for column, name in columns
        }
        for row in range(result.ntuples)
    )


def _diagnosis(result: "PGresult", which: pq.DiagnosticField) -> str:
    return _decode(result.error_field(which))


def _query_failed(result: "PGresult", code: str) -> QueryFailed:
    said, detail, hint = (
        _diagnosis(result, which)
        for which in (
            pq.DiagnosticField.MESSAGE_PRIMARY,
            pq.DiagnosticField.MESSAGE_DETAIL,
            pq.DiagnosticField.MESSAGE_HINT,
        )
    )
    return QueryFailed(said, SqlState(code), detail=detail, hint=hint)
