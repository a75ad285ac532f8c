"""A client that never stops writing and remembers every acknowledgement: outages and losses are its word.

Its work is done in a process of its own (`writer_main`), in any network namespace, also in none: give it
conninfos. Times are monotonic seconds, comparable with `faults.Fault` and `time.monotonic()`.
"""

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from tests.lab.netns import LabError, in_netns

MAIN = Path(__file__).with_name("writer_main.py")
TABLE = "pgv_writes"


@dataclass(frozen=True, slots=True)
class Ack:
    """One acknowledged row: by whom, its number, when it was begun and acknowledged, on which timeline."""

    node: str
    id: int
    begun: float
    acknowledged: float
    timeline: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The writer's connection to a node ended, or could not be made."""

    node: str
    at: float
    reason: str


class Writer:
    """Writes a row about every `interval_s` to each node that accepts (normally one).

    Rows carry a random `run`, so that several writers may share the table. `answer_s`: a statement
    without answer this long is given up and its connection closed; later it would be an acknowledgement.
    `main`: another client's program, with the same order and the same words.
    """

    def __init__(
        self,
        conninfos: Mapping[str, str],
        *,
        netns: str = "",
        interval_s: float = 0.02,
        poll_s: float = 0.002,
        answer_s: float = 5.0,
        main: Path = MAIN,
    ) -> None:
        self.run = secrets.randbelow(2**31)
        self._order = {
            "nodes": dict(conninfos),
            "run": self.run,
            "table": TABLE,
            "interval_s": interval_s,
            "poll_s": poll_s,
            "answer_s": answer_s,
        }
        self._netns, self._main = netns, main
        self._process: subprocess.Popen[bytes] | None = None
        self._file = Path()
        self._read_to = 0
        self._acks: list[Ack] = []
        self._ends: list[Ended] = []
        self._told: set[int] = set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @staticmethod
    def create_table(connection: psycopg.Connection[tuple[object, ...]], owner: str = "") -> None:
        """Make the table on the primary; standbys must have replayed it before rows count."""
        connection.execute(
            f"create table if not exists {TABLE} (run int, id bigint, node text, "
            "at timestamptz default clock_timestamp(), primary key (run, id))".encode()
        )
        if owner:
            connection.execute(f'alter table {TABLE} owner to "{owner}"'.encode())

    def start(self, *, within_s: float = 10) -> None:
        """Start and wait for the first acknowledgement. Raises LabError."""
        descriptor, name = tempfile.mkstemp(prefix="pgv-writer-")
        self._file = Path(name)
        argv = [sys.executable, str(self._main), json.dumps(self._order)]
        try:
            self._process = subprocess.Popen(
                in_netns(self._netns, argv) if self._netns else argv,
                stdin=subprocess.PIPE,
                stdout=descriptor,
            )
        finally:
            os.close(descriptor)
        self.first_after(0.0, within_s=within_s)

    def stop(self) -> None:
        """End the process; what was acknowledged stays known. Safe to call twice."""
        if self._process is None:
            return
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._read()
        self._process = None
        self._file.unlink()

    def runs(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def acks(self) -> tuple[Ack, ...]:
        """Every acknowledgement so far, in the order they came."""
        self._read()
        return tuple(self._acks)

    @property
    def ends(self) -> tuple[Ended, ...]:
        """Every end of a connection so far, for explanations."""
        self._read()
        return tuple(self._ends)

    def acknowledged_ids(self) -> frozenset[int]:
        """Numbers of all acknowledged rows."""
        return frozenset(ack.id for ack in self.acks)

    def first_after(self, moment: float, *, within_s: float, not_on: Iterable[str] = ()) -> Ack:
        """The first acknowledged write begun after that moment, waited for. Raises LabError.

        `not_on`: nodes whose acknowledgements do not count, such as an isolated old primary.
        """
        until = time.monotonic() + within_s
        passed_over = frozenset(not_on)
        while True:
            for ack in self._since(moment):
                if ack.begun >= moment and ack.node not in passed_over:
                    return ack
            if time.monotonic() > until:
                last = self._ends[-1] if self._ends else None
                raise LabError(f"no write was acknowledged within {within_s} s; last end: {last}")
            if self._process and self._process.poll() is not None:
                raise LabError(f"the writer ended by itself: exit {self._process.returncode}")
            time.sleep(0.002)

    def outage(self, began: float, done: float, *, within_s: float, not_on: Iterable[str] = ()) -> float:
        """Seconds from `began` to the first acknowledged write begun after `done`, waited for."""
        return self.first_after(done, within_s=within_s, not_on=not_on).acknowledged - began

    def longest_gap(self, since: float = 0.0, until: float = float("inf")) -> float:
        """Longest time between two acknowledged writes that overlaps the window; one interval at least."""
        times = [ack.acknowledged for ack in self.acks]
        gaps = [b - a for a, b in pairwise(times) if b >= since and a <= until]
        return max(gaps, default=float("inf"))

    def lost(self, connection: psycopg.Connection[tuple[object, ...]]) -> tuple[int, ...]:
        """Numbers of the rows that were acknowledged and are not there."""
        claimed = self.acknowledged_ids()
        rows = connection.execute(f"select id from {TABLE} where run = {self.run}".encode())
        return tuple(sorted(claimed - {int(str(row[0])) for row in rows}))

    def newly_lost(self, connection: psycopg.Connection[tuple[object, ...]]) -> tuple[int, ...]:
        """Like `lost`, without what was already told."""
        found = tuple(sorted(set(self.lost(connection)) - self._told))
        self._told.update(found)
        return found

    def writers_at_once(self, since: float = 0.0) -> tuple[tuple[Ack, Ack], ...]:
        """Pairs of neighbouring acknowledgements that show a node acknowledging after another had taken over.

        Empty when every node's acknowledgements end before the next node's begin (SAFETY I2).
        """
        acks = [ack for ack in self.acks if ack.begun >= since]
        found = []
        finished: set[str] = set()
        for before, after in pairwise(acks):
            if before.node != after.node:
                finished.add(before.node)
                if after.node in finished:
                    found.append((before, after))
        return tuple(found)

    def _since(self, moment: float) -> list[Ack]:
        self._read()
        for index in range(len(self._acks) - 1, -1, -1):
            if self._acks[index].acknowledged < moment:
                return self._acks[index + 1 :]
        return self._acks

    def _read(self) -> None:
        if self._process is None:
            return
        with self._file.open("rb") as file:
            file.seek(self._read_to)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read_to += len(whole)
        for line in whole.splitlines():
            kind, *words = json.loads(line)
            if kind == "ack":
                self._acks.append(Ack(*words))
            else:
                self._ends.append(Ended(*words))
