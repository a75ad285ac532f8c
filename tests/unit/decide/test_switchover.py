"""Planned changes of primary: what is refused, what is undone, and what becomes a failover (SAFETY §6)."""

from dataclasses import replace
from datetime import timedelta

import pytest

from pgvigil.model.command import Switchover
from pgvigil.model.record import Fenced, Origin, Phase
from pgvigil.model.sighting import Postmaster, Silence
from pgvigil.model.spec import Tag
from pgvigil.model.step import Act, Hold, Stop, StopMode
from pgvigil.model.units import Instant, Lsn, NodeName
from pgvigil.model.vantage import Reach
from tests.builders import (
    HERE,
    NOW,
    WALL,
    Cluster,
    a_cluster,
    cascade,
    changed_node,
    changed_record,
    claims_primary,
    crashed,
    host_silent,
    in_role,
    lagging,
    on_host,
    receiver_lost,
    refuses,
    said,
    silent,
    witnessed,
)
from tests.unit.decide.situations import acted, decided, kinds, obeyed, refusal, rule
from tests.unit.judge.scenes import control, frozen, lost, quiet, role_of, stopped, without_shells

C = a_cluster("pg1* pg2 pg3")
PG1, PG2, PG3 = NodeName("pg1"), NodeName("pg2"), NodeName("pg3")
MB = 2**20


def switching(cluster: Cluster, *, for_s: float = 1.0, **changes: object) -> Cluster:
    """pg1 is being stopped for pg2."""
    since = WALL - timedelta(seconds=for_s)
    fields = {"generation": 2, "candidate": PG2, "since": since}
    return changed_record(cluster, phase=Phase.SWITCHING, **(fields | changes))


def complete(cluster: Cluster, by: int = 0x78) -> Cluster:
    """pg2 has received the stopped primary's last record."""
    at = Lsn(HERE + by)
    return in_role(cluster, "pg2", received=at, replayed=at)


DOWN = stopped(C)
UNCLEAN = on_host(DOWN, "pg1", control=control(shut_down=False))


# S1-06
def test_a_switchover_checkpoints_twice_and_stops() -> None:
    act = obeyed(C, Switchover(PG3))
    assert act.record
    assert (act.record.phase, act.record.generation, act.record.candidate) == (Phase.SWITCHING, 2, PG3)
    assert (act.record.primary, act.record.deposed) == (PG1, frozenset())
    assert kinds(act) == [["Checkpoint pg1"], ["Checkpoint pg1"], ["Stop pg1"]]
    assert [stage.must for stage in act.stages] == [False, False, True]


@pytest.mark.parametrize(
    ("cluster", "chosen"),
    [
        pytest.param(C, PG2, id="by name"),
        pytest.param(changed_node(C, "pg3", priority=200), PG3, id="by priority"),
        pytest.param(
            receiver_lost(changed_node(C, "pg2", priority=200), ["pg2"]), PG3, id="only who streams"
        ),
        pytest.param(changed_record(C, paused=True), PG2, id="also while paused"),
        pytest.param(
            cascade(changed_node(C, "pg3", priority=200), "pg3", "pg2"), PG3, id="a standby of a standby"
        ),
    ],
)
def test_without_a_wish_the_best_streaming_standby_is_chosen(cluster: Cluster, chosen: NodeName) -> None:
    act = obeyed(cluster, Switchover())
    assert act.record
    assert act.record.candidate == chosen


@pytest.mark.parametrize(
    ("cluster", "to", "why"),
    [
        pytest.param(C, "pg9", "there is no node pg9 in orders", id="unknown"),
        pytest.param(C, "pg1", "pg1 is the primary already", id="the primary itself"),
        pytest.param(silent(C, "pg1"), "pg2", "the primary pg1 does not answer", id="no primary"),
        pytest.param(host_silent(C, "pg1"), "pg2", "there is no working shell on pg1", id="no shell on pg1"),
        pytest.param(without_shells(C), None, "there is no working shell on pg1", id="no shells"),
        pytest.param(host_silent(C, "pg2"), "pg2", "its host's shell does not answer", id="no shell on pg2"),
        pytest.param(silent(C, "pg2"), "pg2", "pg2: it does not answer", id="silent candidate"),
        pytest.param(receiver_lost(C), None, "it does not stream from the primary", id="nobody streams"),
        pytest.param(lagging(C, "pg2", 16 * MB + 1), "pg2", "more than max_lag", id="lagging"),
        pytest.param(
            changed_node(C, "pg2", tags=frozenset({Tag.NEVER_PROMOTE})),
            "pg2",
            "may never be",
            id="never_promote",
        ),
        pytest.param(changed_record(C, phase=Phase.FENCING), "pg2", "a change is under way", id="fencing"),
        pytest.param(switching(C), "pg3", "a change is under way", id="another switchover"),
        pytest.param(
            changed_record(C, primary=NodeName("pg9")), "pg2", "pg9 is not in the conf", id="pg9 gone"
        ),
    ],
)
def test_a_switchover_is_refused(cluster: Cluster, to: str | None, why: str) -> None:
    assert why in refusal(cluster, Switchover(NodeName(to) if to else None))


def test_a_candidate_with_everything_is_promoted() -> None:
    act = acted(switching(complete(DOWN)))
    record = act.record
    assert record
    assert (record.phase, record.primary, record.generation) == (Phase.PROMOTING, PG2, 2)
    assert (record.fenced, record.origin, record.candidate) == (Fenced.STOPPED, Origin.SWITCHOVER, None)
    assert record.deposed == {PG1}
    assert record.at_least == HERE + 0x78
    assert kinds(act) == [["Promote pg2", "Fence pg1"], ["Follow pg3"]]


# S0-03
@pytest.mark.parametrize(
    ("cluster", "decision"),
    [
        pytest.param(C, "undone", id="it still serves"),
        pytest.param(refuses(C, "pg1", "57P03", for_s=14), "stopping", id="it is shutting down"),
        pytest.param(silent(C, "pg1", Silence.CLOSED), "stopping", id="it ended our session"),
        pytest.param(DOWN, "catching_up", id="the candidate has not got the last record"),
        pytest.param(complete(DOWN, 0), "catching_up", id="the checkpoint's beginning is not its end"),
        pytest.param(silent(DOWN, "pg2"), "catching_up", id="the candidate does not answer"),
        pytest.param(
            complete(on_host(DOWN, "pg1", control=None)), "catching_up", id="its checkpoint is unread"
        ),
        pytest.param(complete(on_host(DOWN, "pg1", strays=(5,))), "stopping", id="a process lives"),
        pytest.param(
            complete(on_host(DOWN, "pg1", at=Instant(NOW - 1))), "stopping", id="its host's word is old"
        ),
        pytest.param(stopped(C, for_s=10), "undo", id="the candidate does not catch up"),
        pytest.param(
            complete(on_host(stopped(C, for_s=10), "pg1", control=None)),
            "undo",
            id="its checkpoint cannot be read",
        ),
        pytest.param(complete(UNCLEAN), "stop_was_unclean", id="it did not stop cleanly"),
        pytest.param(crashed(C, "pg1"), "catching_up", id="killed; control file not read yet"),
        pytest.param(
            quiet(refuses(C, "pg1", "57P03", for_s=16)), "stop_takes_too_long", id="it does not stop"
        ),
        pytest.param(frozen(C), "switchover_primary_hung", id="it hangs"),
        pytest.param(
            witnessed(lost(C), "pg1", Reach.NO_REPLY, ["pg2"]),
            "switchover_primary_lost",
            id="its host is lost",
        ),
        pytest.param(
            said(C, "pg1", role=role_of(C, "pg2")), "switchover_stopped", id="it came back as a standby"
        ),
    ],
)
def test_switching(cluster: Cluster, decision: str) -> None:
    assert rule(switching(cluster)) == decision


def test_long_checkpoints_before_the_stop_cost_no_time_to_stop_or_to_catch_up() -> None:
    assert rule(switching(DOWN, for_s=300)) == "catching_up"
    assert rule(switching(refuses(C, "pg1", "57P03", for_s=3), for_s=300)) == "stopping"


# S1-06
def test_a_stop_that_lasts_longer_than_the_restart_grace_is_no_failure_of_the_primary() -> None:
    hold = decided(switching(quiet(refuses(C, "pg1", "57P03", for_s=14))))
    assert isinstance(hold, Hold)
    assert hold.rule == "stopping"


def test_a_switchover_that_is_given_up_leaves_the_old_primary_in_office() -> None:
    act = acted(switching(C))
    assert act.record
    assert (act.record.phase, act.record.primary, act.record.generation) == (Phase.STABLE, PG1, 2)
    assert (act.record.candidate, act.record.origin) == (None, Origin.FIRST_SEEN)
    assert not act.stages


def test_an_undone_switchover_starts_the_old_primary_where_it_is() -> None:
    act = acted(switching(stopped(C, for_s=10)))
    assert act.record
    assert (act.record.phase, act.record.primary, act.record.candidate) == (Phase.RESTARTING, PG1, None)
    assert kinds(act) == [["StartPrimary pg1"]]


def test_a_stop_that_takes_too_long_is_hurried_and_the_switchover_given_up() -> None:
    slow = switching(quiet(refuses(C, "pg1", "57P03", for_s=16)))
    act = acted(slow)
    assert act.record
    assert (act.record.phase, act.record.candidate) == (Phase.SWITCHING, None)
    assert act.stages[0].steps == (Stop(PG1, act.record.generation, StopMode.IMMEDIATE),)
    given_up = replace(slow, record=act.record)
    again = acted(given_up)
    assert (again.rule, again.record) == ("stop_takes_too_long", None)
    for down in (crashed(C, "pg1"), complete(UNCLEAN), complete(DOWN)):
        assert rule(replace(down, record=act.record)) == "undo"
    strays = on_host(crashed(C, "pg1"), "pg1", strays=(5,))
    assert rule(replace(strays, record=act.record)) == "stopping"


def test_a_candidate_that_is_not_configured_any_more_undoes_the_switchover() -> None:
    assert rule(switching(complete(DOWN), candidate=NodeName("pg9"))) == "undo"


def test_an_unclean_stop_becomes_a_failover_with_rescue() -> None:
    act = acted(switching(complete(UNCLEAN)))
    assert isinstance(act, Act)
    assert act.record
    assert (act.record.phase, act.record.generation, act.record.candidate) == (Phase.FENCING, 3, None)
    assert kinds(act) == [["Fence pg1", "Cut pg2", "Cut pg3"]]


def test_a_candidate_promoted_by_hand_meanwhile_is_not_taken_for_complete() -> None:
    assert rule(switching(claims_primary(DOWN, "pg2", timeline=2))) == "catching_up"


def test_a_postmaster_that_runs_again_is_being_stopped_still() -> None:
    assert rule(switching(on_host(DOWN, "pg1", postmaster=Postmaster.RUNNING))) == "stopping"
