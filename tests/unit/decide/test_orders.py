"""What an operator may ask of the whole cluster; what the primary's troubles lead to; the first record."""

from dataclasses import replace
from datetime import timedelta

import pytest

from pgvigil.decide.engine import first_record
from pgvigil.judge.engine import diagnose_unknown
from pgvigil.model.command import Failover, Pause, PromoteNode, Resume, Switchover
from pgvigil.model.record import Phase
from pgvigil.model.sighting import Silence
from pgvigil.model.spec import Fencing, Tag, WhenUnreachable
from pgvigil.model.step import Hold
from pgvigil.model.units import Lsn, NodeName, SystemId
from pgvigil.model.vantage import Reach
from tests.builders import (
    HERE,
    WALL,
    Cluster,
    a_cluster,
    changed_node,
    changed_record,
    changed_spec,
    claims_primary,
    crashed,
    in_role,
    lagging,
    on_host,
    receiver_lost,
    refuses,
    said,
    silent,
    witnessed,
)
from tests.unit.decide.situations import decided, kinds, obeyed, refusal, rule
from tests.unit.judge.scenes import (
    control,
    lost,
    quiet,
    referred,
    refused_alone,
    running_late,
    stopped,
    without_shells,
)

C = a_cluster("pg1* pg2 pg3")
PG1, PG2, PG3 = NodeName("pg1"), NodeName("pg2"), NodeName("pg3")
CRASHED = on_host(crashed(C, "pg1"), "pg1", control=control(shut_down=False))
LOST = witnessed(lost(C), "pg1", Reach.NO_REPLY, ["pg2"])
WAIT = Fencing(unreachable=WhenUnreachable.WAIT)
BY_FORCE = Failover(force=True)


def stranger(cluster: Cluster, node: str) -> Cluster:
    found = cluster.view.node(NodeName(node)).answer
    assert found
    return said(cluster, node, facts=replace(found.facts, system_id=SystemId("1")))


def nobody_may(cluster: Cluster) -> Cluster:
    for name in ("pg2", "pg3"):
        cluster = changed_node(cluster, name, tags=frozenset({Tag.NEVER_PROMOTE}))
    return cluster


@pytest.mark.parametrize(
    ("cluster", "held"),
    [
        pytest.param(C, "rest", id="well"),
        pytest.param(
            silent(C, "pg1", Silence.CLOSED, for_s=2), "primary_overloaded", id="alive, says its host"
        ),
        pytest.param(
            silent(without_shells(C), "pg1", Silence.CLOSED), "primary_silent", id="just fell silent"
        ),
        pytest.param(
            quiet(silent(without_shells(C), "pg1", for_s=60)), "primary_unseen", id="silent for long"
        ),
        pytest.param(lost(C, for_s=1), "primary_lost", id="not long enough"),
        pytest.param(stopped(C), "primary_restarting", id="restarting"),
        pytest.param(refuses(C, "pg1", "28P01"), "primary_locked_out", id="locked out"),
        pytest.param(refuses(C, "pg1", "53300"), "primary_overloaded", id="overloaded"),
        pytest.param(referred(LOST, 3, 0), "controller_isolated", id="isolated"),
        pytest.param(referred(CRASHED, 3, 0), "controller_isolated", id="isolated, whatever else is proved"),
        pytest.param(stranger(C, "pg1"), "system_foreign", id="a stranger at the primary's address"),
        pytest.param(
            changed_record(C, primary=NodeName("pg9")), "primary_not_configured", id="pg9 was removed"
        ),
    ],
)
def test_what_the_primarys_troubles_lead_to(cluster: Cluster, held: str) -> None:
    assert rule(cluster) == held
    decision = decided(cluster)
    if isinstance(decision, Hold):
        assert decision.reason


def test_a_late_loop_holds_a_loss() -> None:
    assert isinstance(decided(running_late(LOST, 1.0)), Hold)


def test_a_wait_ends_when_its_verdict_is_due() -> None:
    hold = decided(lost(C, for_s=1))
    assert isinstance(hold, Hold)
    assert hold.until == C.view.at + 2


def test_a_stranger_among_the_standbys_hinders_nothing_and_is_not_touched() -> None:
    cluster = stranger(CRASHED, "pg3")
    assert rule(cluster) == "primary_crashed"
    assert kinds(obeyed(cluster, BY_FORCE)) == [["Fence pg1", "Cut pg2"]]


# failover
@pytest.mark.parametrize(
    ("cluster", "command", "why"),
    [
        (C, Failover(), "the primary pg1 serves"),
        (C, Failover(NodeName("pg9")), "there is no node pg9"),
        (C, Failover(NodeName("pg9"), force=True), "there is no node pg9"),
        (lost(C), Failover(), "it is not proved that pg1 is gone"),
        (quiet(refused_alone(without_shells(C))), Failover(), "no other vantage point"),
        (nobody_may(CRASHED), Failover(), "no standby is fit"),
        (nobody_may(CRASHED), BY_FORCE, "pg2: it may never be promoted"),
        (CRASHED, Failover(PG1), "pg1: it does not answer"),
        (changed_spec(LOST, fencing=WAIT), Failover(), "fencing.unreachable: wait"),
        (claims_primary(LOST, "pg2", timeline=2), Failover(), "pg2 was promoted by hand"),
        (changed_record(C, primary=NodeName("pg9")), BY_FORCE, "pg9 is not in the configuration"),
        (stranger(C, "pg1"), BY_FORCE, "pg1 belongs to another cluster"),
        (changed_record(CRASHED, phase=Phase.FENCING), Failover(), "a change is under way"),
        (changed_record(C, phase=Phase.SWITCHING), BY_FORCE, "a change is under way"),
        (changed_record(C, phase=Phase.PROMOTING), BY_FORCE, "pg1 answers"),
        (changed_record(C, phase=Phase.RESTARTING), BY_FORCE, "pg1 answers"),
        (nobody_may(changed_record(CRASHED, phase=Phase.FENCING)), BY_FORCE, "no standby is fit"),
        (C, PromoteNode(NodeName("pg9")), "there is no node pg9"),
        (C, PromoteNode(PG1), "pg1 is not in recovery"),
        (silent(C, "pg2"), PromoteNode(PG2), "pg2 is not in recovery"),
        (C, PromoteNode(PG2), "the primary pg1 serves"),
        (lost(C), PromoteNode(PG2), "it is not proved that pg1 is gone"),
    ],
)
def test_a_failover_is_refused(cluster: Cluster, command: Failover | PromoteNode, why: str) -> None:
    assert why in refusal(cluster, command)


OVERDUE = changed_record(
    CRASHED,
    phase=Phase.PROMOTING,
    primary=PG2,
    deposed=frozenset({PG1}),
    at_least=HERE,
    since=WALL - timedelta(seconds=90),
)


def test_a_promotion_that_does_not_end_may_be_given_to_another_by_force() -> None:
    pg3 = NodeName("pg3")
    record = obeyed(OVERDUE, Failover(pg3, force=True)).record
    assert record is not None
    assert (record.phase, record.candidate, record.forced) == (Phase.FENCING, pg3, True)
    assert PG2 in record.deposed
    for command in (Failover(force=True), Failover(PG2, force=True)):
        assert "the change goes on by itself" in refusal(OVERDUE, command)
    early = changed_record(OVERDUE, since=WALL - timedelta(seconds=30))
    assert "the change goes on by itself" in refusal(early, Failover(pg3, force=True))
    assert "a change is under way" in refusal(OVERDUE, Failover(pg3))


# S2-05
@pytest.mark.parametrize(
    ("cluster", "command", "forced"),
    [
        pytest.param(CRASHED, Failover(), False, id="a proved crash"),
        pytest.param(changed_record(CRASHED, paused=True), Failover(), False, id="also while paused"),
        pytest.param(
            changed_record(CRASHED, failovers=(WALL,) * 9), Failover(), False, id="after many others"
        ),
        pytest.param(CRASHED, PromoteNode(PG3), False, id="promote of a node"),
        pytest.param(lost(C), BY_FORCE, True, id="unproved, by force"),
        pytest.param(C, BY_FORCE, True, id="a serving primary, by force"),
        pytest.param(changed_spec(LOST, fencing=WAIT), BY_FORCE, True, id="unfenced, by force"),
    ],
)
def test_a_failover_is_begun(cluster: Cluster, command: Failover | PromoteNode, forced: bool) -> None:
    act = obeyed(cluster, command)
    assert act.record
    assert (act.record.phase, act.record.generation, act.record.forced) == (Phase.FENCING, 2, forced)
    assert act.record.failovers == cluster.record.failovers
    wanted = command.node if isinstance(command, PromoteNode) else command.to
    assert act.record.candidate == wanted


def test_force_accepts_lag() -> None:
    far = lagging(lagging(C, "pg2", 64 * 2**20), "pg3", 64 * 2**20)
    gone = witnessed(lost(far), "pg1", Reach.NO_REPLY, ["pg2"])
    assert "more than max_lag" in refusal(gone, Failover())
    assert obeyed(gone, BY_FORCE).evidence[-1] == "loss of data was accepted"


def test_a_failover_that_halted_for_want_of_proof_is_forced_on() -> None:
    halted = changed_record(
        changed_spec(LOST, fencing=WAIT), phase=Phase.FENCING, deposed=frozenset({PG1}), generation=2
    )
    for name in ("pg2", "pg3"):
        halted = in_role(halted, name, receiver=None, conninfo="")
    assert rule(halted) == "not_fenced"
    act = obeyed(halted, Failover(PG3, force=True))
    assert act.record
    assert (act.record.phase, act.record.forced, act.record.candidate) == (Phase.FENCING, True, PG3)
    assert (act.record.generation, act.stages) == (2, ())
    forced = replace(halted, record=act.record)
    assert rule(forced) == "promote"


@pytest.mark.parametrize("phase", [Phase.RESTARTING, Phase.PROMOTING])
def test_a_halted_restart_or_promotion_is_forced_on(phase: Phase) -> None:
    act = obeyed(changed_record(lost(C), phase=phase, generation=2), BY_FORCE)
    assert act.record
    assert (act.record.phase, act.record.generation, act.record.forced) == (Phase.FENCING, 3, True)


# pause
def test_pausing_and_resuming_need_nothing() -> None:
    for cluster in (C, changed_record(C, phase=Phase.FENCING), changed_record(C, primary=NodeName("pg9"))):
        until = WALL + timedelta(hours=1)
        paused = obeyed(cluster, Pause(until)).record
        assert paused
        assert (paused.paused, paused.paused_until, paused.phase) == (True, until, cluster.record.phase)
        resumed = obeyed(replace(cluster, record=paused), Resume()).record
        assert resumed == replace(cluster.record, paused=False, paused_until=None)


def test_a_failure_during_a_pause_is_acted_on_after_it() -> None:
    paused = changed_record(CRASHED, paused=True)
    assert rule(paused) == "paused"
    resumed = obeyed(paused, Resume()).record
    assert resumed
    assert rule(replace(paused, record=resumed)) == "primary_crashed"


# the first record
def test_a_running_cluster_is_taken_over_in_generation_1() -> None:
    record = first_record(C.spec, C.view, diagnose_unknown(C.view))
    assert not isinstance(record, Hold)
    assert (record.primary, record.generation, record.phase, record.timeline) == (PG1, 1, Phase.STABLE, 1)
    assert record.system_id == C.record.system_id


@pytest.mark.parametrize("cluster", [claims_primary(C, "pg2"), silent(C, "pg1")], ids=["two", "none"])
def test_without_exactly_one_primary_nothing_is_taken_over(cluster: Cluster) -> None:
    hold = first_record(cluster.spec, cluster.view, diagnose_unknown(cluster.view))
    assert isinstance(hold, Hold)
    assert hold.hint
    assert hold.evidence


def test_a_switchover_needs_a_primary_of_ours() -> None:
    assert "belongs to another cluster" in refusal(stranger(C, "pg1"), Switchover())
    assert receiver_lost(C).view.node(PG2).standby is not None
    assert Lsn.parse("0/5000148") == HERE
