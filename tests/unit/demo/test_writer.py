"""What the writer calls lost."""

from typing import Self

import psycopg
import pytest

from pgvigil.demo.writer import Ack, Writer


class Table:
    """A connection to a table of rows 1 to 3; while it is read, row 4 is acknowledged."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def execute(self, *_: object) -> list[tuple[int]]:
        self._writer._acks.append(Ack("pg1", 4, 0.0, 0.0))
        return [(1,), (2,), (3,)]


def test_what_is_acknowledged_while_the_table_is_read_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer({})
    writer._acks += [Ack("pg1", number, 0.0, 0.0) for number in (1, 2, 3)]
    monkeypatch.setattr(psycopg, "connect", lambda *_, **__: Table(writer))
    assert writer.lost("") == []
    writer._acks.append(Ack("pg1", 5, 0.0, 0.0))
    assert writer.lost("") == [4, 5]
