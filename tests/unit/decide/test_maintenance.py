"""A node under maintenance is never promoted, its absence is nobody's business, and the primary never is."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from pgvigil.decide.engine import decide
from pgvigil.model.command import Failover, Maintenance, Pause, PromoteNode, Refused, Switchover
from pgvigil.model.guard import GuardLook, GuardState
from pgvigil.model.record import ALONE, Phase, SyncSet
from pgvigil.model.sighting import Postmaster
from pgvigil.model.spec import Protection
from pgvigil.model.step import Act, Rest
from pgvigil.model.units import Instant, NodeName
from tests.builders import (
    WALL,
    Cluster,
    a_cluster,
    changed_node,
    changed_record,
    changed_spec,
    claims_primary,
    crashed,
    in_role,
    on_host,
    receiver_lost,
    said,
    seen,
    silent,
)
from tests.unit.decide.situations import (
    acted,
    answer,
    decided,
    obeyed,
    recorded,
    refusal,
    repairs,
    rule,
    situation,
)

PG1, PG2, PG3 = NodeName("pg1"), NodeName("pg2"), NodeName("pg3")
C = a_cluster("pg1* pg2 pg3")


def worked_on(cluster: Cluster, *names: str) -> Cluster:
    return changed_record(cluster, maintenance=frozenset(map(NodeName, names)))


def with_policy(cluster: Cluster, **changes: Any) -> Cluster:
    return changed_spec(cluster, failover=replace(cluster.spec.failover, **changes))


def test_it_goes_on_record_and_off_again() -> None:
    begun = obeyed(C, Maintenance(PG3, on=True)).record
    assert begun
    assert begun.maintenance == {PG3}
    over = obeyed(replace(C, record=begun), Maintenance(PG3, on=False)).record
    assert over == C.record


def test_the_primary_is_refused_with_the_way_to_do_it() -> None:
    refused = answer(C, Maintenance(PG1, on=True))
    assert isinstance(refused, Refused)
    assert refused.error.exit_code == 3
    assert "pgvigil switchover orders" in refused.error.hint


def test_a_node_that_does_not_exist_and_a_change_under_way_are_refused() -> None:
    assert "no node pg9" in refusal(C, Maintenance(NodeName("pg9"), on=True))
    switching = changed_record(C, phase=Phase.SWITCHING, candidate=PG2)
    assert "under way" in refusal(switching, Maintenance(PG3, on=True))


def test_the_other_standby_is_promoted_whatever_the_priorities() -> None:
    cluster = changed_node(receiver_lost(crashed(C, "pg1")), "pg3", priority=900)
    fencing = replace(cluster, record=recorded(cluster))
    down = on_host(fencing, "pg1", standby_signal=True)
    cut = in_role(in_role(down, "pg2", conninfo=""), "pg3", conninfo="")
    assert recorded(cut).primary == PG3
    assert recorded(worked_on(cut, "pg3")).primary == PG2


# S4-06
@pytest.mark.parametrize("command", [Switchover(PG3), Failover(PG3, force=True), PromoteNode(PG3)])
def test_no_command_promotes_it(command: Switchover | Failover | PromoteNode) -> None:
    cluster = worked_on(C if isinstance(command, Switchover) else crashed(C, "pg1"), "pg3")
    assert "under maintenance" in refusal(cluster, command)


def test_nobody_is_promoted_when_all_standbys_are_worked_on() -> None:
    cluster = worked_on(receiver_lost(crashed(C, "pg1")), "pg2", "pg3")
    act = decided(with_policy(cluster, automatic=True))
    assert rule(cluster) not in ("promote", "primary_crashed"), act


def test_its_absence_is_neither_found_nor_repaired() -> None:
    policy = with_policy(C, restart_standbys=True)
    down = on_host(silent(policy, "pg3"), "pg3", postmaster=Postmaster.STOPPED, pid=None)
    assert repairs(down) == ["Rebuild pg3"]
    assert repairs(worked_on(down, "pg3")) == []
    assert situation(down).diagnosis.findings
    assert situation(worked_on(down, "pg3")).diagnosis.findings == ()
    assert rule(worked_on(down, "pg3")) == "rest"


def test_a_deposed_node_is_left_as_it_is_for_whoever_looks_at_it() -> None:
    down = on_host(silent(C, "pg3"), "pg3", postmaster=Postmaster.CRASHED, pid=None)
    deposed = changed_record(down, deposed=frozenset({PG3}))
    assert repairs(deposed) == ["Rebuild pg3"]
    assert repairs(worked_on(deposed, "pg3")) == []


def test_one_that_takes_writes_is_fenced_all_the_same() -> None:
    assert acted(worked_on(claims_primary(C, "pg3", timeline=2), "pg3")).rule == "stale_primary"


def test_no_guard_is_missed_there() -> None:
    look = GuardLook(GuardState.MISSING, Instant(0.0))
    missed = seen(C, "pg3", guard=look)
    assert situation(missed).diagnosis.findings
    assert situation(worked_on(missed, "pg3")).diagnosis.findings == ()


def in_quorum(cluster: Cluster, now: SyncSet) -> Cluster:
    cluster = changed_spec(cluster, protection=Protection.QUORUM)
    return changed_record(in_role(cluster, "pg1", sync_names=now.setting), sync=now)


def test_the_synchronous_set_keeps_it_until_it_leaves_and_does_not_take_it_back() -> None:
    both, one = SyncSet(1, frozenset({PG2, PG3})), SyncSet(1, frozenset({PG2}))
    assert rule(worked_on(in_quorum(C, both), "pg3")) == "rest"
    primary = C.view.node(PG1).answer
    assert primary
    left = tuple(sender for sender in primary.senders if sender.application_name != "pg3")
    gone = silent(said(worked_on(in_quorum(C, both), "pg3"), "pg1", senders=left), "pg3", for_s=1.0)
    assert recorded(gone).sync_next == one
    assert recorded(in_quorum(C, one)).sync_next == both
    assert rule(worked_on(in_quorum(C, one), "pg3")) == "rest"


def test_a_lone_standby_that_left_is_not_counted_before_its_maintenance_is_over() -> None:
    lone = a_cluster("pg1* pg2")
    cluster = in_quorum(lone, ALONE)
    assert rule(cluster) == "sync_set"
    assert rule(worked_on(cluster, "pg2")) == "rest"


@pytest.mark.parametrize("names", [("pg1",), ("pg9",), ("pg1", "pg3")])
def test_it_ends_for_a_primary_and_for_who_is_not_there(names: tuple[str, ...]) -> None:
    act = acted(worked_on(C, *names))
    assert act.rule == "maintenance_over"
    assert act.record
    assert act.record.maintenance == {NodeName(n) for n in names if n == "pg3"}


def test_deciding_is_the_same_without_any() -> None:
    assert decide(situation(C, WALL)) == decide(situation(worked_on(C), WALL))


def test_a_pause_for_a_time_ends_by_itself_and_is_told() -> None:
    until = WALL + timedelta(hours=2)
    begun = obeyed(C, Pause(until)).record
    assert begun
    cluster = replace(C, record=begun)
    for seconds in (0.0, 7199.0):
        plan = decide(situation(cluster, WALL + timedelta(seconds=seconds)))
        assert plan.decision == Rest()
    act = decide(situation(cluster, until)).decision
    assert isinstance(act, Act)
    assert (act.rule, act.record) == ("resume", C.record)


def test_the_end_of_a_pause_does_not_stand_before_a_failover() -> None:
    down = receiver_lost(crashed(C, "pg1"))
    over = changed_record(down, paused=True, paused_until=WALL - timedelta(seconds=1))
    assert acted(over).rule == "primary_crashed"
    assert rule(changed_record(down, paused=True)) == "paused"
