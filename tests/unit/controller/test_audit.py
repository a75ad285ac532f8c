"""Who gave which command: what is kept of it, and whose change of primary it was."""

from datetime import UTC, datetime
from typing import Any

import pytest

from pgvigil.controller.history import changes_of_primary
from pgvigil.model.command import (
    Command,
    Failover,
    Maintenance,
    Rejoin,
    RestartServers,
    Schedule,
    SetParameters,
    Switchover,
    words_of,
)
from pgvigil.model.step import RebuildMethod
from pgvigil.model.units import NodeName

PG2 = NodeName("pg2")
AT = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (Switchover(), "switchover"),
        (Failover(PG2, force=True), "failover pg2 force"),
        (Rejoin(PG2, RebuildMethod.CLONE), "rejoin pg2 clone"),
        (Maintenance(PG2, on=True), "maintenance pg2 on"),
        (Maintenance(PG2, on=False), "maintenance pg2 off"),
        (RestartServers((PG2,), pending=True), "restart-servers pg2 pending"),
        (Schedule(AT, Switchover(PG2)), f"schedule {AT.isoformat()} switchover pg2"),
        (
            SetParameters({"primary_conninfo": "password=secret"}, "ann", "new"),
            "set-parameters primary_conninfo",
        ),
    ],
)
def test_what_is_kept_of_a_command_has_no_values(command: Command, words: str) -> None:
    assert words_of(command) == words


def test_what_is_kept_is_short() -> None:
    assert len(words_of(Switchover(NodeName("x" * 5000)))) == 200


def event(kind: str, generation: int, **data: Any) -> dict[str, Any]:
    return {"kind": kind, "generation": generation, "data": data}


def test_a_change_is_whose_command_began_it() -> None:
    change = {"origin": "switchover", "timeline": 2}
    told = changes_of_primary(
        [
            event("switchover", 2, by="user ann"),
            event("promoted", 2, **change),
            event("command", 2, by="user bob"),  # points a standby elsewhere: no change of primary
            event("primary_crashed", 3),
            event("promoted", 3, **change),
        ]
    )
    assert [each["data"].get("by") for each in told] == ["user ann", None]
