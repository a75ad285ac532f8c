"""--at, schedule and drill on the command line."""

import json
from collections.abc import Iterator
from datetime import datetime

import pytest
import structlog

from pgvigil.controller.operations import Outcome, Result
from pgvigil.model.command import Drill, RestartServers, Schedule, Switchover
from pgvigil.model.units import NodeName
from tests.unit.cli.pictures import healthy
from tests.unit.cli.test_commands import Place

PG2 = NodeName("pg2")
WHEN = "2099-03-14 02:30"


@pytest.fixture
def place() -> Iterator[Place]:
    yield Place()
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ("switchover orders --to pg2", Switchover(PG2)),
        ("restart orders --pending", RestartServers(pending=True)),
        ("drill orders --to pg2", Drill(PG2)),
    ],
)
def test_at_a_time_it_is_given_to_the_controller(place: Place, words: str, command: object) -> None:
    told = place.run(*words.split(), "--at", WHEN, "--yes")
    assert told.exit_code == 0, told.stderr
    (order,) = [o[1] for o in place.ops.orders]
    assert isinstance(order, Schedule)
    assert order.command == command
    assert order.at == datetime.fromisoformat(WHEN).astimezone()


@pytest.mark.parametrize(
    ("words", "command"),
    [("restart orders --pending", RestartServers(pending=True)), ("drill orders", Drill())],
)
def test_it_is_repeated_when_that_is_asked_for(place: Place, words: str, command: object) -> None:
    told = place.run(*words.split(), "--at", WHEN, "--every", "7d", "--yes")
    assert told.exit_code == 0, told.stderr
    (order,) = [o[1] for o in place.ops.orders]
    assert order == Schedule(datetime.fromisoformat(WHEN).astimezone(), command, 7 * 86_400)  # type: ignore[arg-type]  # of the table above
    for wrong in (("--every", "7d"), ("--at", WHEN, "--every", "weekly")):
        told = place.run(*words.split(), *wrong, "--yes")
        assert (told.exit_code, "--every" in told.stderr) == (2, True)
    assert len(place.ops.orders) == 1


@pytest.mark.parametrize("verb", ["switchover", "restart", "drill"])
def test_a_time_that_is_over_or_none_is_refused(place: Place, verb: str) -> None:
    for at in ("2001-01-01 00:00", "tonight"):
        told = place.run(verb, "orders", "--at", at, "--yes")
        assert (told.exit_code, "--at" in told.stderr) == (2, True)
    assert not place.ops.orders


def test_what_is_scheduled_is_listed_and_shown(place: Place) -> None:
    shape = {
        **healthy(),
        "scheduled": [
            {"number": 57, "at": "2099-03-14T01:30:00+00:00", "every_s": None, "what": "switch over to pg2"},
            {"number": 58, "at": "2099-03-15T01:30:00+00:00", "every_s": 129_600, "what": "a drill"},
        ],
    }
    place.ops.clusters = [shape]
    for words in (("schedule", "list", "orders"), ("status",)):
        told = place.run(*words)
        assert told.exit_code == 0
        assert "#57" in told.stdout
        assert "switch over to pg2" in told.stdout
        assert told.stdout.count("every") == 1
        assert "every 36 h" in told.stdout
    assert json.loads(place.run("schedule", "list", "--json").stdout) == shape["scheduled"]
    place.ops.clusters = [{**shape, "scheduled": []}]
    assert "nothing is scheduled" in place.run("schedule", "list").stdout


@pytest.mark.parametrize("words", ["schedule cancel", "schedule cancel soon", "schedule list 1"])
def test_a_wrong_call_is_told(place: Place, words: str) -> None:
    told = place.run(*words.split(), "--yes")
    assert told.exit_code == 2
    assert not place.ops.orders


def test_a_drill_prints_its_report(place: Place) -> None:
    steps = [{"step": "promote pg2 as generation 2", "took_s": 0.06}]
    report = {
        "primary": "pg1",
        "timeline": 3,
        "legs": [
            {"to": "pg2", "longest_gap_s": 0.2134, "healthy_after_s": 1.5, "steps": steps},
            {"to": "pg1", "longest_gap_s": None, "healthy_after_s": 1.4, "steps": steps},
        ],
        "lag_bytes": {"pg2": 0, "pg3": 2048},
        "would_fail": ["sessions on pg1 that a switchover ends: 4"],
    }
    place.ops.outcome = Outcome(Result.DONE, "drill: pg1 to pg2 and back", data=report)
    told = place.run("drill", "orders", "--yes")
    for words in ("to pg2", "213 ms", "promote pg2", "pg3 2.0 kB", "switchover ends: 4"):
        assert words in told.stdout, told.stdout
    assert json.loads(place.run("drill", "orders", "--yes", "--json").stdout)["data"] == report
