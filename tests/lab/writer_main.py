"""The writer's own process: numbered rows to whichever node accepts, each acknowledgement remembered.

`python writer_main.py JSON` with {"nodes": {name: conninfo}, "run": int, "interval_s": float, …}.
Lines on standard output: `["ack", node, id, begun, acknowledged, timeline]`, `["end", node, time, reason]`.
Ends when standard input ends. Imports nothing of ours.

One thread, one kept connection per node, each served by a generator that yields what it waits for: a
dead or hung node delays nobody. Standbys are asked `pg_is_in_recovery()`, every 2 ms while nobody has
acknowledged for a moment, so that a promoted one gets its first write within about 2 ms.
"""

import itertools
import json
import os
import selectors
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from psycopg import pq
from psycopg.errors import Error

READ_ONLY = b"25006"
CONNECT_S = 1.0
RETURNING = "returning pg_walfile_name(pg_current_wal_insert_lsn())"
"""Its first eight digits are the timeline on which the row was written."""


@dataclass(slots=True)
class Wait:
    """What a node's generator waits for: a socket until a deadline, or only time (`descriptor` < 0)."""

    until: float
    descriptor: int = -1
    events: int = 0
    until_hunting: float = field(default=float("inf"))


Visit = Generator[Wait, bool, None]


class Ended(Exception):
    """The connection is of no more use."""


@dataclass(slots=True)
class Board:
    """What the nodes' generators share."""

    run: int
    table: str
    interval_s: float
    poll_s: float
    answer_s: float
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    last_ack: float = field(default_factory=time.monotonic)
    broken: bool = False

    def hunting(self, now: float) -> bool:
        """Whether nobody takes writes, as far as we know."""
        return self.broken or now - self.last_ack > 1.5 * self.interval_s

    def tell(self, *words: object) -> None:
        """One line, written at once: it survives our death."""
        os.write(1, json.dumps(words).encode() + b"\n")


def visit(node: str, conninfo: bytes, board: Board) -> Visit:
    """Connect, write while the node accepts, connect again; for ever."""
    while True:
        started = time.monotonic()
        connection = pq.PGconn.connect_start(conninfo)
        try:
            yield from _connect(connection)
            yield from _write(node, connection, board)
        except (Ended, Error) as error:
            board.tell("end", node, time.monotonic(), str(error).strip()[:200])
        finally:
            connection.finish()
        yield Wait(until=started + 0.1, until_hunting=started + 0.01)


def _connect(connection: pq.abc.PGconn) -> Visit:
    until = time.monotonic() + CONNECT_S
    events = selectors.EVENT_WRITE
    while True:
        if connection.status == pq.ConnStatus.BAD:
            raise Ended(connection.get_error_message())
        if not (yield Wait(until, connection.socket, events)):
            raise Ended("no answer while connecting")
        match connection.connect_poll():
            case pq.PollingStatus.OK:
                connection.nonblocking = 1
                return
            case pq.PollingStatus.READING:
                events = selectors.EVENT_READ
            case pq.PollingStatus.WRITING:
                events = selectors.EVENT_WRITE
            case _:
                raise Ended(connection.get_error_message())


def _write(node: str, connection: pq.abc.PGconn, board: Board) -> Visit:
    warnings: list[object] = []
    connection.notice_handler = warnings.append
    writing = False
    try:
        while True:
            now = time.monotonic()
            if not writing:
                result = yield from _query(connection, b"select pg_is_in_recovery()", board.answer_s)
                if result.status != pq.ExecStatus.TUPLES_OK or result.get_value(0, 0) == b"t":
                    yield Wait(now + board.interval_s, until_hunting=now + board.poll_s)
                    continue
                writing = True
            number = next(board.numbers)
            warnings.clear()
            begun = time.monotonic()
            sql = f"insert into {board.table} (run, id, node) values ({board.run}, {number}, '{node}') "
            result = yield from _query(connection, (sql + RETURNING).encode(), board.answer_s)
            acknowledged = time.monotonic()
            # A warning says that the wait for standbys was cancelled: committed, not acknowledged.
            if result.status == pq.ExecStatus.TUPLES_OK and not warnings:
                board.last_ack, board.broken = acknowledged, False
                board.tell("ack", node, number, begun, acknowledged, _timeline(result))
            elif result.error_field(pq.DiagnosticField.SQLSTATE) == READ_ONLY:
                writing = False
            yield Wait(until=begun + board.interval_s)
    finally:
        board.broken = board.broken or writing


def _timeline(result: pq.abc.PGresult) -> int:
    return int((result.get_value(0, 0) or b"0")[:8], 16)


def _query(connection: pq.abc.PGconn, sql: bytes, answer_s: float) -> Generator[Wait, bool, pq.abc.PGresult]:
    until = time.monotonic() + answer_s
    connection.send_query(sql)
    while connection.flush():
        yield Wait(until, connection.socket, selectors.EVENT_WRITE)
    last: pq.abc.PGresult | None = None
    while True:
        while not connection.is_busy():
            result = connection.get_result()
            if result is None:
                if last is None or connection.status == pq.ConnStatus.BAD:
                    raise Ended(connection.get_error_message())
                return last
            last = result
        if not (yield Wait(until, connection.socket, selectors.EVENT_READ)):
            raise Ended("no answer to a statement")
        connection.consume_input()


def serve(visits: list[Visit], board: Board) -> None:
    """Give every generator what it waits for until standard input ends."""
    waiting = [(v, next(v)) for v in visits]
    while True:
        now = time.monotonic()
        hunting = board.hunting(now)
        due = min(_due(wait, hunting) for _, wait in waiting)
        ready = _ready([wait for _, wait in waiting], max(0.0, due - now))
        if 0 in ready:
            return
        now = time.monotonic()
        for index, (each, wait) in enumerate(waiting):
            if wait.descriptor in ready or _due(wait, hunting) <= now:
                waiting[index] = (each, each.send(wait.descriptor in ready))


def _due(wait: Wait, hunting: bool) -> float:
    return min(wait.until, wait.until_hunting) if hunting else wait.until


def _ready(waits: list[Wait], within_s: float) -> set[int]:
    with selectors.EpollSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        for wait in waits:
            if wait.descriptor >= 0:
                selector.register(wait.descriptor, wait.events)
        # Hunting may begin while we wait: look again after a few milliseconds at most.
        return {key.fd for key, _ in selector.select(min(within_s, 0.005))}


def main() -> None:
    """Read the order from the command line and serve."""
    order = json.loads(sys.argv[1])
    nodes = order.pop("nodes")
    board = Board(**order)
    with suppress(KeyboardInterrupt):
        serve([visit(name, conninfo.encode(), board) for name, conninfo in nodes.items()], board)


if __name__ == "__main__":
    main()
