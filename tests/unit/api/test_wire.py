import json
from datetime import UTC, datetime
from typing import Any

import pytest

from pgvigil.api.wire import (
    AskEvents,
    AskStatus,
    Order,
    Ping,
    Reload,
    Request,
    decode_line,
    decode_request,
    encode_request,
    error_from,
    error_json,
    outcome_from,
    outcome_json,
    request_number,
)
from pgvigil.controller.operations import Outcome, Result
from pgvigil.errors import PgvigilError, Unsafe, UsageError
from pgvigil.model.command import (
    COMMANDS,
    CancelScheduled,
    Command,
    DemoteSite,
    Drill,
    Failover,
    FetchRecording,
    FollowUpstream,
    ListRecordings,
    Maintenance,
    Pause,
    PromoteNode,
    PromoteSite,
    Rejoin,
    ReloadServers,
    RestartPrimary,
    RestartServers,
    Resume,
    Role,
    RollBackParameters,
    Schedule,
    SetParameters,
    ShowParameters,
    ShowVersions,
    Switchover,
)
from pgvigil.model.spec import CheckpointPace
from pgvigil.model.step import Copying, RebuildMethod
from pgvigil.model.units import ClusterName, Lsn, NodeName

ORDERS, PG2, PG3 = ClusterName("orders"), NodeName("pg2"), NodeName("pg3")
EVERY_COMMAND: list[Command] = [
    Switchover(),
    Switchover(to=PG2),
    Failover(to=PG2, force=True),
    Rejoin(PG2, RebuildMethod.REWIND, force=True),
    Rejoin(PG2, RebuildMethod.CLONE, copying=Copying(PG2, 2**20, CheckpointPace.SPREAD)),
    FollowUpstream(PG3, PG2),
    PromoteSite(PG2, force=True),
    PromoteSite(handed_over=Lsn(0x3000148)),
    DemoteSite(),
    PromoteNode(PG2),
    Pause(),
    Pause(datetime(2026, 3, 14, tzinfo=UTC)),
    Resume(),
    ShowParameters(("max_connections",), every=True),
    ReloadServers((NodeName("pg2"),)),
    Maintenance(NodeName("pg3"), on=True),
    RestartServers((NodeName("pg2"),), pending=True, role=Role.STANDBY, in_place=True),
    RestartPrimary(),
    ListRecordings(),
    FetchRecording(7),
    SetParameters({"jit": "off", "work_mem": None}, "alice@host", "less", restart=True),
    RollBackParameters("alice@host", 3, in_place=True),
    ShowVersions(5),
    Drill(PG2),
    Schedule(datetime(2026, 3, 14, tzinfo=UTC), Switchover(PG2)),
    Schedule(datetime(2026, 3, 14, tzinfo=UTC), RestartServers((PG2,), role=Role.STANDBY)),
    CancelScheduled(7),
]


def decoded(line: bytes) -> tuple[int, Request]:
    body = decode_line(line)
    return request_number(body), decode_request(body)


@pytest.mark.parametrize("command", EVERY_COMMAND)
def test_every_command_comes_through_unchanged(command: Command) -> None:
    request = Order(ORDERS, command, dry_run=True, within_s=2.5)
    assert decoded(encode_request(9, request)) == (9, request)


def test_every_command_is_among_the_cases() -> None:
    assert {type(command) for command in EVERY_COMMAND} == set(COMMANDS.values())


@pytest.mark.parametrize(
    "request_", [Ping(), Reload(), AskStatus(), AskStatus(ORDERS), AskEvents(ORDERS, 5, 3)]
)
def test_every_question_comes_through_unchanged(request_: Request) -> None:
    assert decoded(encode_request(1, request_)) == (1, request_)


def order(**changes: Any) -> dict[str, Any]:
    body = {"id": 1, "verb": "order", "cluster": "orders", "dry_run": False, "within_s": 5}
    return {**body, "command": {"kind": "switchover"}, **changes}


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ([], "object"),
        ("x", "object"),
        ({}, "verb"),
        ({"verb": "drop"}, "drop"),
        ({"verb": ["order"]}, "verb"),
        ({"verb": "ping", "id": "1"}, "id"),
        ({"verb": "ping", "id": True}, "id"),
        ({"verb": "status", "claster": "orders"}, "claster"),
        ({"verb": "status", "cluster": 1}, "cluster"),
        ({"verb": "events", "limit": 0}, "limit"),
        ({"verb": "events", "limit": 1e9}, "limit"),
        ({"verb": "events", "limit": 10**9}, "limit"),
        ({"verb": "events", "after": -1}, "after"),
        ({"verb": "order", "cluster": "orders"}, "command"),
        (order(command=None), "command"),
        (order(command={"kind": "explode"}), "explode"),
        (order(command={"kind": "rejoin"}), "node"),
        (order(command={"kind": "rejoin", "node": ""}), "command.node"),
        (order(command={"kind": "rejoin", "node": "a", "method": "magic"}), "command.method"),
        (order(command={"kind": "rejoin", "node": "a", "force": "yes"}), "command.force"),
        (order(command={"kind": "switchover", "too": "a"}), "command.too"),
        (order(command={"kind": "pause", "until": "tomorrow"}), "command.until"),
        (order(command={"kind": "pause", "until": "2026-03-14"}), "command.until"),
        (order(within_s=0), "within_s"),
        (order(within_s=float("nan")), "within_s"),
        (order(within_s=float("inf")), "within_s"),
        (order(within_s=True), "within_s"),
        (order(dry_run=1), "dry_run"),
    ],
)
def test_a_wrong_request_is_refused_by_the_name_of_its_field(body: object, names: str) -> None:
    with pytest.raises(UsageError) as refused:
        decoded(json.dumps(body).encode())
    assert names in f"{refused.value.what} {refused.value.detail}"


@pytest.mark.parametrize("line", [b"", b"\n", b"\xff\xfe", b"{", b"[" * 100_000, b'{"a":1', b"null"])
def test_garbage_is_refused(line: bytes) -> None:
    with pytest.raises(UsageError):
        decoded(line)


def test_errors_and_outcomes_come_through_unchanged() -> None:
    error = error_from(error_json(Unsafe("no", detail="d", hint="h")))
    assert (type(error), error.what, error.detail, error.hint) == (Unsafe, "no", "d", "h")
    outcome = Outcome(Result.PLANNED, "would", "d", "h", ("one", "two"), {"x": 1})
    assert outcome_from(json.loads(json.dumps(outcome_json(outcome)))) == outcome


@pytest.mark.parametrize("kind", ["SomethingNew", "ClassVar", "__doc__", None])
def test_an_error_of_an_unknown_kind_is_still_an_error(kind: object) -> None:
    assert type(error_from({"kind": kind, "what": "w"})) is PgvigilError
