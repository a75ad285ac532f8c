"""A client that never stops writing and remembers every acknowledgement: outage and loss are its word.

Owns one thread and one kept connection a node, each served by a generator that yields what it waits for, so
that a dead or hung node delays nobody. It writes to every node that accepts, normally one; standbys are asked
`pg_is_in_recovery()`, every 2 ms while nobody has acknowledged for a moment. It knows conninfos only, nothing
of where the servers run. Instants are `time.monotonic()`.
"""

import itertools
import math
import secrets
import select
import threading
import time
from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import psycopg
from psycopg import pq

from pgvigil.errors import TimedOut, Unreachable

CREATE = """CREATE TABLE IF NOT EXISTS pgvigil_writes (
    run int, id bigint, node text, at timestamptz DEFAULT clock_timestamp(), PRIMARY KEY (run, id))"""
INSERT = b"INSERT INTO pgvigil_writes (run, id, node) VALUES ($1, $2, $3)"
CONNECT_S = 1.0  # a frozen server lets its kernel accept, and is silent
ANSWER_S = 10.0  # after that the connection is closed: a later answer is no acknowledgement
RETRY_S, RETRY_HUNTING_S = 0.1, 0.01
POLL_HUNTING_S = 0.002
_READ_ONLY = b"25006"


@dataclass(frozen=True, slots=True)
class Ack:
    """One acknowledged row: who acknowledged it, its number, when it was begun and acknowledged."""

    node: str
    id: int
    begun: float
    acknowledged: float


class Writer:
    """Writes `rate` numbered rows a second while any node accepts; also a context manager.

    `conninfos`: by node name; addresses, not host names (resolving blocks). Rows carry a random `run`, so
    that several writers may share the table. A failed or unanswered row is not repeated: its number is
    neither acknowledged nor counted as lost.
    """

    def __init__(self, conninfos: Mapping[str, str], *, rate: float = 50.0) -> None:
        self.conninfos = dict(conninfos)
        self.run = secrets.randbelow(2**31)
        self._interval_s = 1 / rate
        self._numbers = itertools.count(1)
        self._acks: list[Ack] = []
        self._broken = False
        self._ended = math.inf
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="writer", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, *, within_s: float = 10) -> None:
        """Make the table on the primary and wait for an acknowledgement. Raises Unreachable, TimedOut."""
        self._create_table()
        self._thread.start()
        deadline = time.monotonic() + within_s
        while not self._acks:
            if time.monotonic() > deadline:
                raise TimedOut(f"no write was acknowledged within {within_s:g} s")
            time.sleep(0.005)

    def stop(self) -> None:
        """End the thread and its connections; what was acknowledged stays known. Safe to call twice."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(5)

    @property
    def acks(self) -> tuple[Ack, ...]:
        """Every acknowledgement so far, in the order they came."""
        return tuple(self._acks)

    def acknowledged(self) -> list[int]:
        """Numbers of all acknowledged rows."""
        return [ack.id for ack in self.acks]

    def outage_after(self, mark: float, *, not_on: Collection[str] = ()) -> float | None:
        """Seconds from `mark` to the first acknowledged write begun after it; None if there is none yet.

        Take the mark when the blow has fallen (`Server.kill_all` has returned), else a write that the dying
        node still acknowledged would count; or name that node in `not_on`.
        """
        live = (ack for ack in self.acks if ack.begun > mark and ack.node not in not_on)
        return next((ack.acknowledged - mark for ack in live), None)

    def longest_gap(self, since: float = 0.0) -> float:
        """Longest time, in seconds, without an acknowledgement that ended after `since` or lasts still."""
        times = [*(ack.acknowledged for ack in self.acks), min(time.monotonic(), self._ended)]
        return max(
            (after - before for before, after in itertools.pairwise(times) if after >= since), default=0.0
        )

    def lost(self, conninfo: str) -> list[int]:
        """Numbers that were acknowledged by now and are not in the table there. Raises psycopg.Error."""
        acknowledged = set(self.acknowledged())  # before the table is read: the writer may go on meanwhile
        with psycopg.connect(conninfo, autocommit=True) as connection:
            rows = connection.execute("SELECT id FROM pgvigil_writes WHERE run = %s", (self.run,))
            return sorted(acknowledged - {int(row[0]) for row in rows})

    def _create_table(self) -> None:
        for conninfo in self.conninfos.values():
            try:
                with psycopg.connect(conninfo, autocommit=True) as connection:
                    connection.execute(CREATE)
                return
            except (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction):
                continue
        raise Unreachable("no node accepts writes", detail=", ".join(self.conninfos))

    def _serve(self) -> None:
        visits = {node: self._visit(node, conninfo.encode()) for node, conninfo in self.conninfos.items()}
        waits = {node: next(visit) for node, visit in visits.items()}
        try:
            while not self._stopping.is_set():
                hunting = self._hunting()
                ready = _ready(waits, hunting=hunting)
                now = time.monotonic()
                for node, wait in waits.items():
                    if wait.descriptor in ready or wait.deadline(hunting=hunting) <= now:
                        waits[node] = visits[node].send(wait.descriptor in ready)
        finally:
            self._ended = time.monotonic()
            for visit in visits.values():
                visit.close()

    def _hunting(self) -> bool:
        """Whether nobody takes writes, as far as we know."""
        last = self._acks[-1].acknowledged if self._acks else 0.0
        return self._broken or time.monotonic() - last > 1.5 * self._interval_s

    def _visit(self, node: str, conninfo: bytes) -> "_Visit":
        while True:
            began = time.monotonic()
            connection = pq.PGconn.connect_start(conninfo)
            try:
                yield from _connect(connection)
                yield from self._write(node, connection)
            except (_Over, psycopg.Error):
                pass
            finally:
                connection.finish()
            yield _Wait(began + RETRY_S, until_hunting=began + RETRY_HUNTING_S)

    def _write(self, node: str, connection: pq.abc.PGconn) -> "_Visit":
        warnings: list[bool] = []
        connection.notice_handler = lambda _: warnings.append(True)
        while True:
            asked = time.monotonic()
            answer = yield from _query(connection, b"SELECT pg_is_in_recovery()")
            if answer.status == pq.ExecStatus.TUPLES_OK and answer.get_value(0, 0) == b"f":
                warnings.clear()
                yield from self._write_rows(node, connection, warnings)
            yield _Wait(asked + self._interval_s, until_hunting=asked + POLL_HUNTING_S)

    def _write_rows(self, node: str, connection: pq.abc.PGconn, warnings: list[bool]) -> "_Visit":
        """Until the node turns read-only; when it ends, the hunt for another begins at once."""
        try:
            while True:
                number, begun = next(self._numbers), time.monotonic()
                row = [str(value).encode() for value in (self.run, number, node)]
                result = yield from _query(connection, INSERT, row)
                # A warning says that the wait for standbys was cancelled: committed, not acknowledged.
                if result.status == pq.ExecStatus.COMMAND_OK and not warnings:
                    self._acks.append(Ack(node, number, begun, time.monotonic()))
                    self._broken = False
                elif result.error_field(pq.DiagnosticField.SQLSTATE) == _READ_ONLY:
                    return
                warnings.clear()
                yield _Wait(begun + self._interval_s)
        finally:
            self._broken = True


@dataclass(frozen=True, slots=True)
class _Wait:
    """What a visit waits for: a socket until an instant, or only time (`descriptor` < 0)."""

    until: float
    descriptor: int = -1
    events: int = 0
    until_hunting: float = math.inf

    def deadline(self, *, hunting: bool) -> float:
        return min(self.until, self.until_hunting) if hunting else self.until


_Visit = Generator[_Wait, bool, None]
"""Is sent whether the socket is ready; False: the time has come."""


class _Over(Exception):
    """The connection is of no more use."""


def _ready(waits: Mapping[str, _Wait], *, hunting: bool) -> set[int]:
    poll = select.poll()
    for wait in waits.values():
        if wait.descriptor >= 0:
            poll.register(wait.descriptor, wait.events)
    next_s = min(wait.deadline(hunting=hunting) for wait in waits.values()) - time.monotonic()
    return {descriptor for descriptor, _ in poll.poll(max(0.0, min(next_s, 0.05)) * 1000)}


def _connect(connection: pq.abc.PGconn) -> _Visit:
    until, events = time.monotonic() + CONNECT_S, select.POLLOUT
    while connection.status != pq.ConnStatus.BAD:
        if not (yield _Wait(until, connection.socket, events)):
            break
        match connection.connect_poll():
            case pq.PollingStatus.OK:
                connection.nonblocking = 1
                return
            case pq.PollingStatus.READING:
                events = select.POLLIN
            case pq.PollingStatus.WRITING:
                events = select.POLLOUT
            case _:
                break
    raise _Over


def _query(
    connection: pq.abc.PGconn, sql: bytes, parameters: Sequence[bytes] = ()
) -> Generator[_Wait, bool, pq.abc.PGresult]:
    until = time.monotonic() + ANSWER_S
    connection.send_query_params(sql, parameters)
    while connection.flush():
        yield _Wait(until, connection.socket, select.POLLOUT)
    last: pq.abc.PGresult | None = None
    while True:
        while not connection.is_busy():
            result = connection.get_result()
            if result is None:
                if last is None or connection.status == pq.ConnStatus.BAD:
                    raise _Over
                return last
            last = result
        if not (yield _Wait(until, connection.socket, select.POLLIN)):
            raise _Over
        connection.consume_input()
