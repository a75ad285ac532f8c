"""explain, replay, recording: what a person sees of a recording, and how wrong calls are told."""

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from pgvigil.controller.operations import Outcome, Result
from pgvigil.controller.replay import decision_words
from pgvigil.model.command import FetchRecording, ListRecordings
from pgvigil.model.recording import unpacked
from tests.unit.cli.test_commands import Place

FILE = Path(__file__).resolve().parents[2] / "recordings" / "crash.recording"


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place()
    frames = unpacked(FILE.read_bytes()).frames
    frame = next(f for f in frames if decision_words(f.decided)[0] == "act primary_crashed")
    event = {
        "number": 42,
        "cluster": "orders",
        "at": frame.wall.isoformat(),
        "kind": "primary_crashed",
        "level": "alert",
        "node": None,
        "generation": 2,
        "text": "pg1 is to be replaced",
        "evidence": ["our session ended"],
        "hint": "",
        "data": {},
    }
    body = b64encode(FILE.read_bytes()).decode()
    place.ops.outcome = Outcome(Result.DONE, "", data={"event": event, "recording": body})
    yield place
    structlog.reset_defaults()


def test_explain_tells_evidence_rule_and_alternatives(place: Place) -> None:
    told = place.run("explain", "42")
    assert told.exit_code == 0
    assert place.ops.orders[0][1] == FetchRecording(42)
    for words in ("#42", "act primary_crashed", "pg1: no answer", "this it is", "promote pg1: not fit"):
        assert words in told.stdout, told.stdout
    whole = json.loads(place.run("explain", "orders", "#42", "--json").stdout)
    assert whole["explained"]["rule"] == "act primary_crashed"


def test_explain_without_a_recording_says_so(place: Place) -> None:
    assert isinstance(place.ops.outcome, Outcome)
    place.ops.outcome.data["recording"] = None
    told = place.run("explain", "42")
    assert told.exit_code == 0
    assert "no recording is kept" in told.stdout


@pytest.mark.parametrize("words", ["explain soon", "explain orders", "explain 1 2 3", "recording export 42"])
def test_a_call_without_its_event_is_told(place: Place, words: str) -> None:
    told = place.run(*words.split())
    assert told.exit_code == 2
    assert not place.ops.orders


def test_an_unknown_event_is_told_as_the_controller_tells_it(place: Place) -> None:
    place.ops.outcome = Outcome(Result.REFUSED, "orders has no event 9", hint="see: pgvigil events")
    told = place.run("explain", "9")
    assert (told.exit_code, "no event 9" in told.stderr) == (2, True)


def test_a_recording_is_exported_and_replayed(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "crash.recording"
    assert place.run("recording", "export", "42", str(file)).exit_code == 0
    assert file.read_bytes() == FILE.read_bytes()
    again = place.run("recording", "export", "42", str(file))
    assert (again.exit_code, "exists" in again.stderr) == (2, True)
    assert place.run("recording", "export", "42", str(file), "--yes").exit_code == 0
    told = place.run("replay", str(file))
    assert told.exit_code == 0
    count = len(unpacked(FILE.read_bytes()).frames)
    assert f"{count} decisions" in told.stdout
    assert f"{count} are the same" in told.stdout


def test_a_replay_with_other_settings_shows_where_it_differs(place: Place) -> None:
    told = place.run("replay", str(FILE), "--set", "failover.automatic=false")
    assert told.exit_code == 0
    assert "hold not_automatic" in told.stdout
    rows = json.loads(place.run("replay", str(FILE), "--set", "failover.automatic=false", "--json").stdout)
    assert any(not row["same"] for row in rows["decisions"])


@pytest.mark.parametrize("words", [["nowhere.recording"], [str(FILE), "--set", "x=1"], [__file__]])
def test_what_cannot_be_replayed_is_told(place: Place, words: list[str]) -> None:
    told = place.run("replay", *words)
    assert told.exit_code == 2
    assert "ERROR" in told.stderr


def test_recordings_are_listed(place: Place) -> None:
    row = {
        "number": 1,
        "began": "2026-03-14T09:26:53+00:00",
        "ended": "2026-03-14T09:26:59+00:00",
        "ticks": 77,
        "bytes": 4096,
        "changed_primary": True,
    }
    place.ops.outcome = Outcome(Result.DONE, "", data={"recordings": [row]})
    told = place.run("recording", "list", "orders")
    assert place.ops.orders[0][1] == ListRecordings()
    assert "77" in told.stdout
    assert "yes" in told.stdout
    assert json.loads(place.run("recording", "list", "--json").stdout) == [row]
