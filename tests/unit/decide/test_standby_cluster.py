"""Standby clusters: taken over, led by another node, put right, promoted and made, as values."""

from dataclasses import replace
from typing import Any

from pgvigil.controller.replay import replayed
from pgvigil.decide.engine import first_record
from pgvigil.errors import Unsafe
from pgvigil.judge.engine import diagnose_unknown
from pgvigil.model.command import DemoteSite, Failover, PromoteSite, Refused, Rejoin, Switchover
from pgvigil.model.record import ClusterRecord, Phase
from pgvigil.model.recording import Draft, Tick, packed, unpacked
from pgvigil.model.sighting import Postmaster, Receiver, Silence
from pgvigil.model.spec import FollowedCluster, NodeSpec
from pgvigil.model.step import Act, Hold, Rebuild
from pgvigil.model.units import Instant, Lsn, NodeName, Timeline
from pgvigil.model.vantage import FarLook, FarNode
from tests.builders import (
    HERE,
    NOW,
    SYSTEM,
    WALL,
    Cluster,
    a_cluster,
    a_standby,
    cascade,
    changed_record,
    changed_spec,
    claims_primary,
    crashed,
    in_role,
    on_host,
    receiver_lost,
    said,
    silent,
)
from tests.unit.decide.situations import (
    acted,
    answer,
    kinds,
    planned,
    recorded,
    repairs,
    rule,
    situation,
    words,
)
from tests.unit.judge.scenes import control

THERE = FollowedCluster(
    "main",
    (
        NodeSpec(NodeName("main/a1"), "10.9.0.1", 5432),
        NodeSpec(NodeName("main/a2"), "10.9.0.2", 5433),
    ),
)
GOOD = "host=10.9.0.1,10.9.0.2 port=5432,5433 target_session_attrs=read-write"


def far(*names: str, primary: str = "main/a1", at: Lsn = HERE, timeline: int = 1) -> FarLook:
    """Those of the other cluster who answer; `primary` takes writes, and was heard 3 s ago if it does not."""
    nodes = tuple(
        FarNode(NodeName(name), NOW, name == primary, at, Timeline(timeline), SYSTEM) for name in names
    )
    heard = FarNode(NodeName(primary), Instant(NOW - 3.0), True, Lsn(at + 512), Timeline(timeline), SYSTEM)
    look = FarLook(NOW, nodes)
    return replace(look, heard=look.primary or heard)


def seeing(cluster: Cluster, look: FarLook | None) -> Cluster:
    return replace(cluster, view=replace(cluster.view, far=look))


def a_site(**leader: Any) -> Cluster:
    """pg1 leads a standby cluster of `main`; pg2 and pg3 stream from it."""
    cluster = changed_spec(a_cluster("pg1* pg2 pg3"), standby_of=THERE)
    receiver = Receiver(77, "streaming", Timeline(1), "10.9.0.1", 5432, "", 0.2)
    role = replace(a_standby(THERE.nodes[0], "pg1"), receiver=receiver, conninfo=GOOD)
    cluster = said(cluster, "pg1", role=replace(role, **leader))
    cluster = changed_record(cluster, standby_cluster=True)
    return seeing(cluster, far("main/a1", "main/a2"))


def unheard(cluster: Cluster) -> Cluster:
    """Nobody of the other cluster answers any more, and nobody streams from it."""
    return seeing(receiver_lost(cluster, ["pg1"], ago_s=30), far())


def refusal(cluster: Cluster, command: PromoteSite | DemoteSite | Failover | Switchover | Rejoin) -> str:
    answered = answer(cluster, command)
    assert isinstance(answered, Refused), answered
    assert isinstance(answered.error, Unsafe)
    assert answered.error.hint
    return answered.error.what


def refused_detail(cluster: Cluster, command: PromoteSite) -> str:
    outcome = answer(cluster, command)
    assert isinstance(outcome, Refused)
    return outcome.error.detail


def test_a_healthy_standby_cluster_needs_nothing() -> None:
    assert rule(a_site()) == "rest"
    assert repairs(a_site()) == []


def test_it_is_taken_over_with_the_node_that_streams_from_outside_as_its_leader() -> None:
    cluster = a_site()
    known = diagnose_unknown(cluster.view, standby_cluster=True)
    record = first_record(cluster.spec, cluster.view, known)
    assert isinstance(record, ClusterRecord)
    assert (record.primary, record.standby_cluster, record.generation) == ("pg1", True, 1)


def test_a_cluster_with_a_primary_is_taken_over_as_what_it_is_whatever_the_file_says() -> None:
    cluster = changed_spec(a_cluster(), standby_of=THERE)
    record = first_record(cluster.spec, cluster.view, diagnose_unknown(cluster.view, standby_cluster=True))
    assert isinstance(record, ClusterRecord)
    assert not record.standby_cluster


def test_it_is_not_taken_over_while_a_node_may_take_writes() -> None:
    cluster = silent(a_site(), "pg3")
    known = diagnose_unknown(cluster.view, standby_cluster=True)
    held = first_record(cluster.spec, cluster.view, known)
    assert isinstance(held, Hold)
    assert held.rule == "standby_cluster_unclear"
    proved = on_host(cluster, "pg3", postmaster=Postmaster.STOPPED, pid=None, standby_signal=True)
    assert isinstance(first_record(proved.spec, proved.view, known), ClusterRecord)


def test_a_lost_leader_is_replaced_by_the_furthest_without_fencing() -> None:
    cluster = receiver_lost(crashed(in_role(a_site(), "pg3", received=Lsn(HERE + 8)), "pg1"))
    act = acted(cluster)
    assert kinds(act) == [["Follow pg3"], ["Follow pg2"]]
    assert words(act) == ["point pg3 at cluster main", "point pg2 at pg3"]
    record = recorded(cluster)
    assert (record.primary, record.generation, record.standby_cluster, record.phase) == (
        "pg3",
        2,
        True,
        Phase.STABLE,
    )


def test_a_lost_leader_is_not_replaced_while_paused_or_when_nobody_is_fit() -> None:
    cluster = receiver_lost(crashed(a_site(), "pg1"))
    assert rule(changed_record(cluster, paused=True)) == "paused"
    alone = silent(silent(cluster, "pg2"), "pg3")
    assert rule(alone) == "nobody_leads"


def test_a_leader_that_comes_back_follows_the_new_one() -> None:
    cluster = changed_record(a_site(), primary=NodeName("pg2"))
    assert repairs(cluster) == ["Follow pg1", "Follow pg2", "Follow pg3"]


def test_the_leaders_way_is_kept_right_when_nodes_come_and_go_there() -> None:
    grown = replace(THERE, nodes=(*THERE.nodes, NodeSpec(NodeName("main/a3"), "10.9.0.3", 5432)))
    cluster = changed_spec(a_site(), standby_of=grown)
    assert repairs(cluster) == ["Follow pg1"]
    assert repairs(changed_spec(a_site(), standby_of=None)) == []
    assert rule(changed_spec(a_site(), standby_of=None)) == "standby_of_missing"


def test_a_leader_that_hears_nothing_is_taken_from_a_node_that_is_no_primary_any_more() -> None:
    receiver = Receiver(77, "streaming", Timeline(1), "10.9.0.1", 5432, "", 8.0)
    cluster = seeing(a_site(receiver=receiver), far("main/a2", primary="main/a2", timeline=2))
    assert repairs(cluster) == ["Cut pg1"]
    assert repairs(seeing(a_site(receiver=receiver), far("main/a1"))) == []


def test_a_leader_whose_history_parted_is_rebuilt_from_the_primary_there() -> None:
    look = far("main/a2", primary="main/a2", timeline=2)
    cluster = seeing(receiver_lost(a_site(), ["pg1"], ago_s=3), look)
    assert repairs(cluster) == ["Nudge pg1"]
    assert repairs(seeing(receiver_lost(a_site(), ["pg1"], ago_s=15), look)) == ["Rebuild pg1"]


def test_a_node_that_follows_stays_in_a_cascade_that_works() -> None:
    assert repairs(cascade(a_site(), "pg3", "pg2")) == []


def test_a_node_that_takes_writes_is_told_and_not_stopped_unless_it_is_a_primary_of_the_past() -> None:
    by_hand = claims_primary(a_site(), "pg2", timeline=2)
    assert rule(by_hand) == "standby_cluster_writes"
    old = changed_record(by_hand, deposed=frozenset({NodeName("pg2")}))
    assert kinds(acted(old)) == [["Fence pg2"]]


def test_a_newer_timeline_of_the_other_cluster_is_put_on_record() -> None:
    record = recorded(in_role(a_site(), "pg1", timeline=Timeline(3)))
    assert (record.timeline, record.generation) == (3, 1)


def test_nothing_but_promote_site_promotes_here() -> None:
    assert "none is promoted" in refusal(a_site(), Failover(force=True))
    done = answer(a_site(), Switchover(NodeName("pg2")))
    assert isinstance(done, Act)
    assert kinds(done)[0] == ["Follow pg2"]


def test_it_is_not_promoted_while_the_other_cluster_lives() -> None:
    assert refusal(a_site(), PromoteSite()) == "main/a1 of the cluster that is followed takes writes"
    half = seeing(receiver_lost(a_site(), ["pg1"]), far("main/a2"))
    assert refusal(half, PromoteSite()) == "main/a2 answers in recovery, and may be promoted there"
    assert refusal(seeing(a_site(), far()), PromoteSite()) == (
        "pg1 still streams from 10.9.0.1:5432 of cluster main"
    )
    assert refusal(seeing(unheard(a_site()), None), PromoteSite()) == "cluster main was not looked at yet"
    assert isinstance(answer(a_site(), PromoteSite(force=True)), Act)
    assert isinstance(answer(half, PromoteSite(handed_over=Lsn(HERE - 8))), Act)


def test_handed_over_nobody_is_promoted_who_lacks_the_last_checkpoint() -> None:
    """A look may be older than what the other cluster sent last, and a cascading standby may be behind."""
    cluster, last = unheard(a_site()), Lsn(HERE)
    wrong = f"pg2: it has not received the last checkpoint of the other cluster, at {last}"
    assert wrong in refused_detail(cluster, PromoteSite(handed_over=last))
    act = answer(in_role(cluster, "pg1", received=Lsn(HERE + 0x78)), PromoteSite(handed_over=last))
    assert isinstance(act, Act)
    assert act.record is not None
    assert (act.record.primary, act.record.at_least) == ("pg1", HERE + 0x78)
    behind = in_role(cluster, "pg2", received=Lsn(HERE + 0x78))
    assert "pg1: it has not" in refused_detail(behind, PromoteSite(NodeName("pg1"), handed_over=last))


def test_the_furthest_is_promoted_with_the_record_first_and_the_loss_told() -> None:
    cluster = in_role(unheard(a_site()), "pg2", received=Lsn(HERE + 64))
    act = answer(cluster, PromoteSite())
    assert isinstance(act, Act)
    assert act.record is not None
    assert (act.record.phase, act.record.primary, act.record.generation) == (Phase.PROMOTING, "pg2", 2)
    assert not act.record.standby_cluster
    assert kinds(act)[-1] == ["Promote pg2"]
    assert any("at least 448 bytes of WAL are not here" in line for line in act.evidence)


def test_a_promotion_that_began_is_finished_whoever_looks_next() -> None:
    act = answer(unheard(a_site()), PromoteSite())
    assert isinstance(act, Act)
    assert act.record is not None
    going = replace(unheard(a_site()), record=act.record)
    assert rule(going) == "promote"
    done = recorded(claims_primary(going, "pg1", timeline=2))
    assert (done.phase, done.primary, done.timeline, done.standby_cluster) == (Phase.STABLE, "pg1", 2, False)


def test_a_node_that_was_promoted_by_hand_counts_when_it_is_named() -> None:
    cluster = claims_primary(unheard(a_site()), "pg2", timeline=2)
    assert refusal(cluster, PromoteSite()) == "pg2 takes writes already"
    act = answer(cluster, PromoteSite(NodeName("pg2")))
    assert isinstance(act, Act)
    assert act.record is not None
    assert act.record.primary == "pg2"
    planned_one = PromoteSite(NodeName("pg2"), handed_over=Lsn(HERE - 8))
    assert refusal(cluster, planned_one) == "pg2 takes writes already", "from when on, nobody knows"


def test_the_leader_is_copied_from_the_primary_there_and_the_others_from_the_leader() -> None:
    detached = receiver_lost(a_site(), ["pg1", "pg2"])
    leader, other = (answer(detached, Rejoin(NodeName(name))) for name in ("pg1", "pg2"))
    assert isinstance(leader, Rebuild)
    assert isinstance(other, Rebuild)
    assert (leader.upstream, leader.cascade) == ("main/a1", False)
    assert (other.upstream, other.cascade) == ("pg1", True)


def a_primary_site(look: FarLook) -> Cluster:
    """A cluster with a primary that the file has follow `main`."""
    return seeing(changed_spec(a_cluster(), standby_of=THERE), look)


def test_a_primary_is_never_made_a_standby_by_the_file_and_nobody_is_promoted_meanwhile() -> None:
    cluster = a_primary_site(far("main/a1", timeline=2))
    assert rule(cluster) == "rest"
    assert rule(receiver_lost(crashed(cluster, "pg1"))) == "site_not_standby"


def test_after_a_disaster_the_old_site_follows_and_its_primary_is_stopped() -> None:
    cluster = a_primary_site(far("main/a1", timeline=2))
    act = answer(cluster, DemoteSite())
    assert isinstance(act, Act)
    assert act.record is not None
    assert (act.record.standby_cluster, act.record.deposed, act.record.generation) == (
        True,
        frozenset({"pg1"}),
        2,
    )
    assert kinds(act) == [["Fence pg1"]]


def test_two_primaries_of_one_timeline_are_left_to_a_human() -> None:
    assert "was not promoted after pg1" in refusal(a_primary_site(far("main/a1")), DemoteSite())


def sending(cluster: Cluster) -> Cluster:
    """The other cluster's leader streams from our primary."""
    answered = cluster.view.node(NodeName("pg1")).answer
    assert answered is not None
    sender = replace(answered.senders[0], application_name="main/a1")
    return said(cluster, "pg1", senders=(*answered.senders, sender))


def test_as_planned_the_primary_is_stopped_and_follows_only_when_the_other_site_has_everything() -> None:
    cluster = a_primary_site(far("main/a1", "main/a2", primary="nobody"))
    assert refusal(cluster, DemoteSite()) == "cluster main does not stream from pg1"
    act = answer(sending(cluster), DemoteSite())
    assert isinstance(act, Act)
    assert act.record is not None
    assert kinds(act) == [["Checkpoint pg1"], ["Checkpoint pg1"], ["Stop pg1"]]
    assert rule(replace(cluster, record=act.record)) == "undone"
    stopped = replace(silent(cluster, "pg1", Silence.REFUSED, for_s=1), record=act.record)
    at_rest = on_host(stopped, "pg1", postmaster=Postmaster.STOPPED, pid=None, control=control(HERE))
    assert rule(at_rest) == "catching_up"
    late = on_host(
        replace(silent(cluster, "pg1", Silence.REFUSED, for_s=30), record=act.record),
        "pg1",
        postmaster=Postmaster.STOPPED,
        pid=None,
        control=control(HERE),
    )
    assert kinds(acted(late)) == [["StartPrimary pg1"]]
    complete = seeing(at_rest, far("main/a1", primary="nobody", at=Lsn(HERE + 0x78)))
    record = recorded(complete)
    assert (record.standby_cluster, record.phase, record.primary) == (True, Phase.STABLE, "pg1")
    assert record.primary_lsn == HERE


def test_a_site_that_was_copied_anew_follows_although_the_timelines_are_the_same() -> None:
    copied = a_site().view.node(NodeName("pg1")).standby
    cluster = said(a_primary_site(far("main/a1")), "pg1", role=copied)
    act = answer(cluster, DemoteSite())
    assert isinstance(act, Act)
    assert act.record is not None
    assert act.record.standby_cluster


def test_a_recording_of_a_standby_cluster_decides_the_same_again() -> None:
    cluster = receiver_lost(crashed(a_site(), "pg1"))
    known = situation(cluster)
    tick = Tick(WALL, known.record, known.view, planned(cluster))
    kept = unpacked(packed(Draft(cluster.spec, (tick,), changed_primary=True)))
    assert [each.same for each in replayed(kept)] == [True]
    assert kept.spec.standby_of is not None
    assert kept.spec.standby_of.upstream == "cluster main"
