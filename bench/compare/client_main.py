"""A client as applications are: one session through libpq's multi-host connection string, and again.

`python client_main.py JSON`, which is the order of `tests/lab/writer_main.py` with a single "node"; its lines
on standard output are the same, with the address libpq is connected to as the node's name. libpq itself goes
through the hosts and asks each whether it takes writes. A statement without answer for `answer_s` is given
up.
Ends when standard input ends. Imports nothing of ours.
"""

import itertools
import json
import os
import select
import sys
import time
from typing import Any

from psycopg import pq
from psycopg.errors import Error

AGAIN_S = 0.1
"""Pause before it goes through the hosts again."""
RETURNING = "returning pg_walfile_name(pg_current_wal_insert_lsn())"


class Over(Exception):
    """Standard input ended."""


class GivenUp(Exception):
    """The session is of no more use; says why."""


def tell(*words: object) -> None:
    """One line, written at once: it survives our death."""
    os.write(1, json.dumps(words).encode() + b"\n")


def answer(connection: pq.abc.PGconn, sql: str, within_s: float) -> pq.abc.PGresult:
    """The one result of a statement. Raises GivenUp, Over, psycopg.Error."""
    until = time.monotonic() + within_s
    connection.send_query(sql.encode())
    results: list[pq.abc.PGresult] = []
    while True:
        while not connection.is_busy():
            result = connection.get_result()
            if result is None:
                if not results or results[-1].status != pq.ExecStatus.TUPLES_OK:
                    raise GivenUp(connection.get_error_message())
                return results[-1]
            results.append(result)
        pause(max(0.0, until - time.monotonic()), connection.socket)
        if time.monotonic() >= until:
            raise GivenUp("no answer to a statement")
        connection.consume_input()


def pause(within_s: float, *sockets: int) -> None:
    """Until one of them can be read, at most so long. Raises Over."""
    ready, _, _ = select.select([0, *sockets], [], [], within_s)
    if 0 in ready:
        raise Over


def write(connection: pq.abc.PGconn, numbers: "itertools.count[int]", order: dict[str, Any]) -> None:
    """Rows, one after another, for as long as they are taken. Raises GivenUp, Over, psycopg.Error."""
    node = connection.host.decode()
    while True:
        number, begun = next(numbers), time.monotonic()
        sql = f"insert into {order['table']} (run, id, node) values ({order['run']}, {number}, '{node}') "
        result = answer(connection, sql + RETURNING, order["answer_s"])
        timeline = int((result.get_value(0, 0) or b"0")[:8], 16)
        tell("ack", node, number, begun, time.monotonic(), timeline)
        pause(max(0.0, begun + order["interval_s"] - time.monotonic()))


def main() -> None:
    """Read the order from the command line and serve."""
    order = json.loads(sys.argv[1])
    (conninfo,) = order["nodes"].values()
    numbers = itertools.count(1)
    try:
        while True:
            connection = pq.PGconn.connect(conninfo.encode())
            try:
                if connection.status != pq.ConnStatus.OK:
                    raise GivenUp(connection.get_error_message())
                write(connection, numbers, order)
            except (GivenUp, Error) as why:
                tell("end", "libpq", time.monotonic(), str(why).strip()[:200])
            finally:
                connection.finish()
            pause(AGAIN_S)
    except (Over, KeyboardInterrupt):
        return


if __name__ == "__main__":
    main()
