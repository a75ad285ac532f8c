"""What is scheduled is begun at its time in a healthy cluster, tried for a minute, then told as missed."""

from dataclasses import replace
from datetime import timedelta

import pytest

from pgvigil.decide.engine import decide
from pgvigil.decide.schedule import command_of
from pgvigil.model.command import (
    CancelScheduled,
    Drill,
    Refused,
    RestartServers,
    Role,
    Schedulable,
    Schedule,
    Switchover,
)
from pgvigil.model.record import ClusterRecord, Phase
from pgvigil.model.step import Act, Decision
from pgvigil.model.units import NodeName
from tests.builders import WALL, Cluster, a_cluster, changed_record, crashed, lagging, receiver_lost
from tests.unit.decide.situations import answer, obeyed, refusal, situation

PG2 = NodeName("pg2")
C = a_cluster("pg1* pg2 pg3")
THEN = WALL + timedelta(hours=2)


def scheduled(cluster: Cluster, *commands: Schedulable) -> Cluster:
    for command in commands:
        record = obeyed(cluster, Schedule(THEN, command)).record
        assert record
        cluster = replace(cluster, record=record)
    return cluster


def decided_at(cluster: Cluster, seconds: float) -> Decision:
    return decide(situation(cluster, THEN + timedelta(seconds=seconds))).decision


def act_at(cluster: Cluster, seconds: float) -> Act:
    decision = decided_at(cluster, seconds)
    assert isinstance(decision, Act), decision
    return decision


def record_of(act: Act) -> ClusterRecord:
    assert act.record
    return act.record


@pytest.mark.parametrize(
    "command",
    [
        Switchover(),
        Switchover(PG2),
        Drill(PG2),
        RestartServers((PG2,), pending=True, role=Role.STANDBY, in_place=True),
    ],
)
def test_it_is_on_record_as_it_was_asked(command: Schedulable) -> None:
    (one,) = scheduled(C, command).record.scheduled
    assert (one.at, command_of(one)) == (THEN, command)


def test_nothing_is_done_before_its_time() -> None:
    assert decided_at(scheduled(C, Switchover(PG2)), -0.1) == decided_at(C, -0.1)


def test_a_switchover_begins_at_its_time_and_is_struck_off() -> None:
    act = act_at(scheduled(C, Switchover(PG2)), 0.5)
    record = record_of(act)
    assert (act.rule, record.phase, record.candidate) == ("switchover", Phase.SWITCHING, PG2)
    assert record.scheduled == ()
    assert "scheduled under number" in act.evidence[-1]


@pytest.mark.parametrize("command", [Drill(), RestartServers()])
def test_an_errand_is_struck_off_for_the_controller_to_begin(command: Schedulable) -> None:
    act = act_at(scheduled(C, command, Switchover(PG2)), 0.5)
    assert act.rule == "schedule_due"
    assert [command_of(each) for each in record_of(act).scheduled] == [Switchover(PG2)]


UNFIT = {
    "paused": changed_record(scheduled(C, Switchover(PG2)), paused=True),
    "a standby lags": lagging(scheduled(C, Switchover(PG2)), "pg3", 64 * 2**20),
    "the candidate does not stream": receiver_lost(scheduled(C, Switchover(PG2)), ["pg2"]),
}


@pytest.mark.parametrize("cluster", UNFIT.values(), ids=UNFIT)
def test_an_unhealthy_cluster_is_left_alone_and_after_a_minute_it_is_told_why(cluster: Cluster) -> None:
    for seconds in (0.0, 30.0, 60.0):
        decision = decided_at(cluster, seconds)
        assert getattr(decision, "rule", "rest") not in ("switchover", "schedule_missed")
    act = act_at(cluster, 60.5)
    assert act.rule == "schedule_missed"
    assert act.evidence[0]
    assert "no controller" not in act.reason
    assert record_of(act) == replace(cluster.record, scheduled=())


def test_what_nobody_could_decide_about_at_its_time_is_never_made_up_for() -> None:
    act = act_at(scheduled(C, Switchover(PG2)), 3600.0)
    assert (act.rule, record_of(act).phase) == ("schedule_missed", Phase.STABLE)
    assert "no controller" in act.reason


def test_a_failover_goes_before_everything_that_is_scheduled() -> None:
    act = act_at(receiver_lost(crashed(scheduled(C, Switchover(PG2)), "pg1")), 0.5)
    assert act.rule == "primary_crashed"
    assert record_of(act).scheduled


def test_the_primary_of_then_is_no_candidate_and_that_is_told() -> None:
    moved = changed_record(scheduled(C, Switchover(PG2)), primary=NodeName("pg1"))
    same = scheduled(C, Switchover(NodeName("pg1")))
    assert act_at(moved, 1.0).rule == "switchover"
    assert act_at(same, 61.0).rule == "schedule_missed"
    assert "primary already" in act_at(same, 61.0).reason


def test_it_can_be_cancelled_by_its_number() -> None:
    cluster = scheduled(C, Switchover(PG2), Drill())
    first, second = cluster.record.scheduled
    act = obeyed(cluster, CancelScheduled(first.number))
    assert record_of(act).scheduled == (second,)
    assert "nothing is scheduled under number 9999" in refusal(cluster, CancelScheduled(9999))


WEEK_S = 7 * 86_400
WEEK = timedelta(seconds=WEEK_S)


def weekly(command: Schedulable) -> Cluster:
    record = obeyed(C, Schedule(THEN, command, WEEK_S)).record
    assert record
    return replace(C, record=record)


@pytest.mark.parametrize("command", [Drill(PG2), RestartServers(pending=True), Switchover()])
def test_what_is_repeated_stands_on_record_for_its_next_time_before_it_begins(command: Schedulable) -> None:
    cluster = weekly(command)
    (one,) = cluster.record.scheduled
    act = act_at(cluster, 0.5)
    assert act.rule in ("schedule_due", "switchover")
    assert record_of(act).scheduled == (replace(one, at=THEN + WEEK),)
    assert "every 7 d after it" in act.evidence[-1]
    again = decide(
        situation(replace(cluster, record=replace(record_of(act), phase=Phase.STABLE)), THEN)
    ).decision
    assert getattr(again, "rule", "rest") != "schedule_due"


@pytest.mark.parametrize(
    ("late", "then"), [(WEEK, 2 * WEEK), (timedelta(minutes=5), WEEK), (10.5 * WEEK, 11 * WEEK)]
)
def test_a_time_that_was_missed_is_told_and_the_next_of_the_row_comes(
    late: timedelta, then: timedelta
) -> None:
    act = act_at(weekly(Drill()), late.total_seconds())
    assert act.rule == "schedule_missed"
    assert [each.at for each in record_of(act).scheduled] == [THEN + then]
    assert f"its next time is {(THEN + then):%Y-%m-%d %H:%M}" in act.reason


def test_a_row_is_cancelled_as_a_whole() -> None:
    cluster = weekly(Drill())
    act = obeyed(cluster, CancelScheduled(cluster.record.scheduled[0].number))
    assert record_of(act).scheduled == ()
    assert "every 7 d" in act.reason


@pytest.mark.parametrize("every_s", [1, 3599, 366 * 86_400])
def test_nothing_is_repeated_too_often_or_too_seldom(every_s: int) -> None:
    assert "every hour at most" in refusal(C, Schedule(THEN, Drill(), every_s))


def test_the_soonest_stands_first_and_no_number_is_given_twice() -> None:
    cluster = scheduled(C, Drill(), Switchover(PG2))
    sooner = obeyed(cluster, Schedule(THEN - timedelta(hours=1), Switchover())).record
    assert sooner
    assert [each.at for each in sooner.scheduled] == sorted(each.at for each in sooner.scheduled)
    assert len({each.number for each in sooner.scheduled}) == 3


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (Schedule(WALL, Switchover()), "over"),
        (Schedule(THEN, Switchover(NodeName("pg9"))), "no node pg9"),
        (Schedule(THEN, Drill(NodeName("pg9"))), "no node pg9"),
        (Schedule(THEN, RestartServers((NodeName("pg9"),))), "no node pg9"),
    ],
)
def test_what_can_never_be_done_is_refused_at_once(command: Schedule, says: str) -> None:
    refused = answer(C, command)
    assert isinstance(refused, Refused)
    assert says in refused.error.what
