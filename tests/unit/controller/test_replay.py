"""Recorded real failures are decided today as they were then; other settings decide otherwise."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pgvigil.config.what_if import changed
from pgvigil.controller.explain import explained
from pgvigil.controller.replay import decision_words, replayed
from pgvigil.errors import UsageError
from pgvigil.model.recording import Recording, unpacked

HERE = Path(__file__).resolve().parents[2] / "recordings"
FILES = sorted(HERE.glob("*.recording"))
ENDS_WITH = {
    "crash": "primary_crashed",
    "crash-without-a-shell": "primary_crashed",
    "crash-in-quorum": "promote",
    "hung": "primary_hung",
    "locked-out": "primary_locked_out",
    "postmaster-killed": "primary_crashed",
    "promoted-by-hand": "stale_primary",
    "restarted-by-a-human": "primary_restarting",
    "restarted-in-place": "restarted",
    "standby-killed-in-quorum": "sync_set",
    "stopped-for-good": "primary_stopped",
    "switchover": "switchover",
    "switchover-undone": "undo",
}
"""Name of a recording → the rule that it is about."""


def recorded(name: str) -> Recording:
    return unpacked((HERE / f"{name}.recording").read_bytes())


def rules(recording: Recording) -> list[str]:
    return [decision_words(each.now)[0] for each in replayed(recording)]


def test_there_are_recordings_of_ten_different_failures_at_least() -> None:
    assert {file.stem for file in FILES} == set(ENDS_WITH)
    assert len({name for name in ENDS_WITH if "switchover" not in name}) >= 10
    assert sum(file.stat().st_size for file in FILES) < 300_000


@pytest.mark.parametrize("name", ENDS_WITH)
def test_a_real_failure_is_decided_as_it_was(name: str) -> None:
    recording = recorded(name)
    differing = [
        (each.at_s, decision_words(each.frame.decided), decision_words(each.now))
        for each in replayed(recording)
        if not each.same
    ]
    assert not differing, "if that was meant: python -m tests.recordings --renew"
    assert {f"act {ENDS_WITH[name]}", f"hold {ENDS_WITH[name]}"} & set(rules(recording))


def test_another_core_would_be_noticed() -> None:
    """The comparison is of what was decided, not of nothing: a changed setting shows."""
    recording = recorded("crash")
    never = replace(recording.spec, failover=replace(recording.spec.failover, automatic=False))
    assert not all(each.same for each in replayed(recording, never))


def test_what_if_a_shorter_time_had_been_set() -> None:
    recording = recorded("hung")
    first = next(each.at_s for each in replayed(recording) if "act primary_hung" in decision_words(each.now))
    sooner = changed(recording.spec, "failover.hung_after=300ms")
    then = next(
        each.at_s for each in replayed(recording, sooner) if "act primary_hung" in decision_words(each.now)
    )
    assert then < first


@pytest.mark.parametrize(
    ("setting", "field", "value"),
    [
        ("failover.unreachable_after=1s", "timings.unreachable_after", timedelta(seconds=1)),
        ("failover.max_lag=1MB", "failover.max_lag_bytes", 2**20),
        ("failover.automatic=false", "failover.automatic", False),
        ("failover.max_per=none", "failover.max_per", None),
        ("fencing.unreachable=wait", "fencing.unreachable", "wait"),
        ("sync_required=2", "sync_required", 2),
    ],
)
def test_a_setting_is_written_as_in_the_configuration(setting: str, field: str, value: object) -> None:
    found: object = changed(recorded("crash").spec, setting)
    for part in field.split("."):
        found = getattr(found, part)
    assert found == value


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("failover.unreachable_after", "KEY=VALUE"),
        ("failover.unreachable_afer=1s", "no such setting"),
        ("failover.unreachable_after=soon", "failover.unreachable_after"),
        ("failover.unreachable_after=1", "failover.unreachable_after"),
        ("nodes.pg9.priority=3", "no node pg9"),
        ("degrade=perhaps", "no such setting"),
        ("sync_required=x", "sync_required"),
    ],
)
def test_a_wrong_setting_is_told(setting: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        changed(recorded("crash").spec, setting)


def test_an_explanation_has_evidence_rule_and_alternatives() -> None:
    recording = recorded("crash")
    frame = next(f for f in recording.frames if decision_words(f.decided)[0] == "act primary_crashed")
    told = explained(recording, frame.wall)
    assert told["rule"] == "act primary_crashed"
    assert told["evidence"]
    assert {each["node"] for each in told["seen"]} == {"pg1", "pg2", "pg3"}
    assert "primary_crashed" in {each["problem"] for each in told["findings"]}
    verdicts = {each["what"]: each["verdict"] for each in told["weighed"]}
    assert verdicts["primary crashed"].startswith("this it is")
    assert verdicts["primary hung"].startswith(("there is no evidence", "what stands above"))
    assert "not answer" in verdicts["promote pg1"]
    assert {"promote pg2", "promote pg3"} <= verdicts.keys()
    json.dumps(told)


@pytest.mark.parametrize("body", [b"", b"no recording", (HERE / "crash.recording").read_bytes()[:-9]])
def test_what_is_no_recording_is_refused(body: bytes) -> None:
    with pytest.raises(UsageError, match="no recording"):
        unpacked(body)
