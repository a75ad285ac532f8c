import json
from dataclasses import replace
from typing import Any

import pytest

from pgvigil.controller.operations import Json
from pgvigil.controller.status import event_json, status_json
from pgvigil.model.diagnosis import Diagnosis, Finding, Problem, Urgency
from pgvigil.model.record import Event, Level, Phase
from pgvigil.model.shell import SshShell
from pgvigil.model.sighting import Postmaster, Silence
from pgvigil.model.spec import WitnessSpec
from pgvigil.model.step import Hold, Plan, Rest
from pgvigil.model.units import Instant, Lsn, NodeName
from pgvigil.model.vantage import Reach, WitnessLook
from tests.builders import (
    HERE,
    NOW,
    WALL,
    Cluster,
    a_cluster,
    cascade,
    changed_node,
    changed_record,
    changed_spec,
    claims_primary,
    crashed,
    host_silent,
    in_role,
    lagging,
    on_host,
    refuses,
    said,
    silent,
    vanished,
)

REST = Plan(Rest())


def shown(cluster: Cluster, plan: Plan = REST, *findings: Finding, **busy: str) -> Json:
    progress = {NodeName(node): text for node, text in busy.items()}
    status = status_json(
        cluster.spec,
        cluster.record,
        cluster.view,
        Diagnosis(findings),
        plan,
        wall=WALL,
        paused=False,
        busy=progress,
    )
    json.dumps(status)
    return status


def node(status: Json, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(n for n in status["nodes"] if n["name"] == name)
    return found


C = a_cluster("pg1* pg2 pg3")
W1 = WitnessSpec("w1", "gate", SshShell("gate"))


# S1-02, S1-07, S1-08, S4-03
@pytest.mark.parametrize(
    ("cluster", "of", "state", "reported", "connection"),
    [
        (C, "pg1", "* running", "primary", "read-write"),
        (C, "pg2", "running", "standby", "read-only"),
        (claims_primary(C, "pg2"), "pg2", "! running", "primary", "read-write"),
        (crashed(C, "pg1"), "pg1", "- failed", "crashed", "none"),
        (
            on_host(silent(C, "pg1"), "pg1", postmaster=Postmaster.STOPPED),
            "pg1",
            "- failed",
            "stopped",
            "none",
        ),
        (silent(C, "pg3", Silence.REFUSED), "pg3", "- failed", "silent", "none"),
        (vanished(C, "pg3"), "pg3", "? unreachable", "silent", "none"),
        (silent(C, "pg3", Silence.MUTE), "pg3", "- hung", "hung", "none"),
        (
            refuses(C, "pg3", "57P03", "the database system is starting up"),
            "pg3",
            "starting",
            "starting",
            "none",
        ),
        (
            refuses(C, "pg3", "28P01", "password authentication failed"),
            "pg3",
            "? no login",
            "no login",
            "none",
        ),
    ],
)
def test_the_state_words(cluster: Cluster, of: str, state: str, reported: str, connection: str) -> None:
    row = node(shown(cluster), of)
    assert (row["state"], row["reported_state"], row["connection"]) == (state, reported, connection)


def test_a_node_that_is_rebuilt_is_rejoining_with_its_progress() -> None:
    row = node(shown(crashed(C, "pg1"), pg1="copying, 40 %"), "pg1")
    assert (row["state"], row["progress"]) == ("rejoining", "copying, 40 %")


def test_a_running_standby_that_is_pointed_elsewhere_stays_running() -> None:
    row = node(shown(C, pg2="pointing at pg3"), "pg2")
    assert (row["state"], row["progress"]) == ("running", "pointing at pg3")


# S1-05
def test_lag_is_told_in_bytes_and_seconds_from_both_ends() -> None:
    row = node(shown(lagging(C, "pg2", 4096)), "pg2")
    assert (row["lag_bytes"], row["replay_lag_bytes"], row["lag_s"]) == (4096, 4096, 0.001)
    assert row["sender"]["replayed_lsn"] == str(Lsn(HERE - 4096))
    assert row["receiver"]["host"] == "10.0.0.11"
    assert row["slot"] == {
        "name": "pg2",
        "active": True,
        "wal_status": "reserved",
        "held_bytes": 0,
        "physical": True,
        "failover": False,
        "synced": False,
    }


def test_a_silent_primary_leaves_its_last_position_to_compare_with() -> None:
    status = shown(vanished(lagging(C, "pg2", 512), "pg1"))
    assert node(status, "pg2")["lag_bytes"] == 512
    assert node(status, "pg1")["lsn"] == str(HERE)


def test_a_cascaded_standby_names_the_standby_it_streams_from() -> None:
    row = node(shown(cascade(C, "pg3", "pg2")), "pg3")
    assert (row["upstream"], row["sender"]["application_name"]) == ("pg2", "pg3")


def test_a_standby_that_neither_end_knows_has_no_upstream() -> None:
    row = node(shown(said(in_role(C, "pg2", receiver=None), "pg1", senders=())), "pg2")
    assert (row["upstream"], row["sync_state"], row["receiver"]) == (None, None, None)


def test_a_standby_that_we_cannot_reach_is_still_told_from_its_upstream() -> None:
    row = node(shown(vanished(C, "pg2")), "pg2")
    assert (row["state"], row["upstream"], row["sync_state"]) == ("? unreachable", "pg1", "async")


def test_no_password_is_shown() -> None:
    cluster = changed_node(
        C, "pg1", conninfo=(("user", "me"), ("password", "geheim"), ("sslpassword", "auch"))
    )
    assert "geheim" not in json.dumps(shown(cluster))
    assert "auch" not in json.dumps(shown(cluster))


# S4-03
@pytest.mark.parametrize(
    ("phase", "changes", "goals"),
    [
        (Phase.STABLE, {}, ["primary", "standby", "standby"]),
        (Phase.FENCING, {}, ["stopped", "standby", "standby"]),
        (Phase.SWITCHING, {"candidate": "pg2"}, ["stopped", "primary", "standby"]),
        (Phase.PROMOTING, {"primary": "pg2"}, ["standby", "primary", "standby"]),
    ],
)
def test_the_goal_follows_the_phase(phase: Phase, changes: dict[str, Any], goals: list[str]) -> None:
    status = shown(changed_record(C, phase=phase, **changes))
    assert [n["goal_state"] for n in status["nodes"]] == goals


LAG = Finding(Problem.STANDBY_LAGGING, NodeName("pg2"), ("pg2 is 1 GB behind",), Urgency.TELL)


@pytest.mark.parametrize(
    ("cluster", "plan", "findings", "health"),
    [
        (C, REST, (), "ok"),
        (C, REST, (LAG,), "degraded"),
        (crashed(C, "pg1"), REST, (), "down"),
        (changed_record(C, phase=Phase.FENCING), REST, (), "changing"),
        (C, Plan(Hold("paused", "paused")), (), "held"),
        (vanished(C, "pg1"), Plan(Hold("wait", "not long enough", until=Instant(NOW + 2))), (), "down"),
    ],
)
def test_health_in_a_word(cluster: Cluster, plan: Plan, findings: tuple[Finding, ...], health: str) -> None:
    assert shown(cluster, plan, *findings)["health"] == health


def test_waiting_findings_and_holds_tell_how_long() -> None:
    waiting = Finding(
        Problem.PRIMARY_LOST, NodeName("pg1"), ("no answer",), Urgency.WAITING, Instant(NOW + 2.5)
    )
    status = shown(vanished(C, "pg1"), Plan(Hold("wait", "not sure", until=Instant(NOW + 2.5))), waiting)
    assert status["findings"][0]["due_s"] == 2.5
    assert status["decision"]["until_s"] == 2.5


def test_without_a_record_the_only_primary_is_taken_for_it() -> None:
    def states(cluster: Cluster) -> list[str]:
        status = status_json(
            cluster.spec, None, cluster.view, Diagnosis(), REST, wall=WALL, paused=False, busy={}
        )
        return [n["state"] for n in status["nodes"]]

    assert states(C) == ["* running", "running", "running"]
    assert states(claims_primary(C, "pg2")) == ["! running", "! running", "running"]


def test_the_clock_of_a_host_is_compared_with_ours_at_the_time_it_was_read() -> None:
    cluster = on_host(C, "pg2", at=Instant(NOW - 10), clock_s=WALL.timestamp() - 10 + 3)
    pg2 = node(shown(cluster), "pg2")
    assert (pg2["clock_skew_s"], pg2["host_seen_s"]) == (3.0, 10.0)
    assert node(shown(host_silent(C, "pg2")), "pg2")["host_seen_s"] is None


def test_an_event_keeps_all_it_has() -> None:
    event = Event(
        C.spec.name, WALL, "promoted", "pg2 is primary", Level.ALERT, data={"outage_s": 0.2}, number=7
    )
    shape = event_json(event)
    assert (shape["number"], shape["at"], shape["data"]) == (7, WALL.isoformat(), {"outage_s": 0.2})
    json.dumps(shape)


# S1-12
def test_witness_hosts_are_shown_with_what_they_reach() -> None:
    cluster = changed_spec(C, witnesses=(W1, replace(W1, name="w2"), replace(W1, name="w3")))
    looks = {
        "w1": WitnessLook(Instant(NOW - 2), way="bash", reaches={NodeName("pg1"): Reach.ANSWERS}),
        "w2": WitnessLook(detail="it does not answer", heard=False),
    }
    cluster = replace(cluster, view=replace(cluster.view, witnesses=looks))
    told = {each["name"]: each for each in shown(cluster)["witnesses"]}
    assert told["w1"] == {
        "name": "w1",
        "host": "gate",
        "way": "bash",
        "reaches": {"pg1": "answers"},
        "detail": "",
        "last_seen_s": 2.0,
    }
    assert (told["w2"]["detail"], told["w2"]["last_seen_s"]) == ("it does not answer", None)
    assert (told["w3"]["reaches"], told["w3"]["detail"]) == ({}, "")
