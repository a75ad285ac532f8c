"""What is done to single nodes while the primary serves, and what an operator may ask of them."""

from dataclasses import replace
from datetime import timedelta

import pytest

from pgvigil.decide.repair import leaves_out
from pgvigil.model.command import Directive, FollowUpstream, Rejoin
from pgvigil.model.record import Phase, SyncSet
from pgvigil.model.sighting import Postmaster, Slot
from pgvigil.model.spec import Protection, Tag
from pgvigil.model.step import DropSlots, Follow, Rebuild, RebuildMethod
from pgvigil.model.units import NodeName, SystemId, Timeline
from tests.builders import (
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
    on_host,
    receiver_lost,
    said,
    seen,
    silent,
)
from tests.unit.decide.situations import (
    acted,
    answer,
    kinds,
    planned,
    recorded,
    refusal,
    repairs,
    rule,
    situation,
)
from tests.unit.judge.scenes import role_of, without_shells

C = a_cluster("pg1* pg2 pg3")
PG1, PG2, PG3 = NodeName("pg1"), NodeName("pg2"), NodeName("pg3")
DEPOSED = changed_record(C, deposed=frozenset({PG2}))
MANUAL = changed_spec(C, failover=replace(C.spec.failover, auto_rejoin=False))


def detached(cluster: Cluster, *, ago_s: float = 7) -> Cluster:
    """pg2's receiver is gone for longer than it takes to retry."""
    return receiver_lost(cluster, ["pg2"], ago_s=ago_s)


def pointed_at(cluster: Cluster, node: str, host: str) -> Cluster:
    return in_role(cluster, node, conninfo=f"host={host} port=5432 user=replicator")


def with_slots(cluster: Cluster, node: str, *names: str, active: bool = False) -> Cluster:
    found = cluster.view.node(NodeName(node)).answer
    assert found
    slots = tuple(Slot(name, True, active, None, "reserved") for name in names)
    return said(cluster, node, facts=replace(found.facts, slots=slots))


def stranger(cluster: Cluster, node: str) -> Cluster:
    found = cluster.view.node(NodeName(node)).answer
    assert found
    return said(cluster, node, facts=replace(found.facts, system_id=SystemId("1")))


@pytest.mark.parametrize(
    ("cluster", "steps"),
    [
        pytest.param(C, [], id="all is well"),
        pytest.param(cascade(C, "pg3", "pg2"), [], id="a standby of a standby is left alone"),
        pytest.param(in_role(C, "pg2", receiver=None, conninfo=""), ["Follow pg2"], id="cut"),
        pytest.param(
            on_host(changed_record(C, since=WALL - timedelta(seconds=60)), "pg1", standby_signal=True),
            ["ClearSignal pg1"],
            id="fencing was given up",
        ),
        pytest.param(
            on_host(changed_record(C, since=WALL), "pg1", standby_signal=True),
            [],
            id="the host was looked at before it was promoted",
        ),
        pytest.param(receiver_lost(C, ["pg2"], ago_s=5), ["Nudge pg2"], id="it would retry by itself"),
        pytest.param(pointed_at(detached(C), "pg2", "10.0.0.99"), ["Follow pg2"], id="pointed elsewhere"),
        pytest.param(
            pointed_at(detached(C), "pg2", "10.0.0.13"), ["Follow pg2"], id="its upstream does not feed it"
        ),
        pytest.param(detached(C), [], id="the primary was away, or the network: it needs time"),
        pytest.param(detached(C, ago_s=60), ["Rebuild pg2"], id="pointed right, and does not get on"),
        pytest.param(detached(MANUAL, ago_s=60), [], id="the same, auto_rejoin off"),
        pytest.param(detached(without_shells(C), ago_s=60), [], id="the same, no shell"),
        pytest.param(detached(DEPOSED), ["Rebuild pg2"], id="an old primary that cannot follow"),
        pytest.param(
            in_role(detached(changed_record(C, timeline=Timeline(2))), "pg2", timeline=Timeline(1)),
            ["Rebuild pg2"],
            id="left on an old timeline",
        ),
        pytest.param(crashed(C, "pg2"), [], id="a standby that crashed is its supervisor's"),
        pytest.param(crashed(DEPOSED, "pg2"), ["Rebuild pg2"], id="an old primary that is down"),
        pytest.param(on_host(crashed(DEPOSED, "pg2"), "pg2", strays=(5,)), [], id="a process of it lives"),
        pytest.param(
            changed_record(crashed(MANUAL, "pg2"), deposed=frozenset({PG2})), [], id="auto_rejoin off"
        ),
        pytest.param(on_host(crashed(C, "pg2"), "pg2", marker="clone"), ["Rebuild pg2"], id="half rebuilt"),
        pytest.param(silent(host_silent(DEPOSED, "pg2"), "pg2"), [], id="an old primary out of reach"),
        pytest.param(stranger(detached(C), "pg2"), [], id="a stranger"),
        pytest.param(changed_record(detached(C), paused=True), [], id="paused"),
        pytest.param(silent(detached(C), "pg1"), [], id="the primary does not serve"),
        pytest.param(
            with_slots(C, "pg1", "pg1", "pg2", "pg9"), ["DropSlots pg1"], id="the primary's own slot"
        ),
        pytest.param(with_slots(C, "pg1", "pg1", active=True), [], id="a slot in use"),
        pytest.param(with_slots(C, "pg2", "pg3"), ["DropSlots pg2"], id="a slot left from being primary"),
        pytest.param(
            with_slots(cascade(C, "pg3", "pg2"), "pg2", "pg3"), [], id="a slot that pg3 comes back to"
        ),
        pytest.param(
            with_slots(seen(silent(C, "pg3"), "pg3", last=None), "pg2", "pg3"), [], id="never saw whose it is"
        ),
        pytest.param(with_slots(C, "pg2", "backup"), [], id="somebody else's slot"),
    ],
)
def test_what_a_node_needs_beside_a_serving_primary(cluster: Cluster, steps: list[str]) -> None:
    assert repairs(cluster) == steps


def test_repairs_say_what_exactly() -> None:
    assert planned(crashed(DEPOSED, "pg2")).repairs == (
        Rebuild(PG2, PG1, C.record.generation, RebuildMethod.AUTO),
    )
    assert planned(in_role(C, "pg3", receiver=None, conninfo="")).repairs == (
        Follow(PG3, PG1, C.record.generation),
    )
    slots = with_slots(C, "pg2", "pg1", "pg3")
    assert planned(slots).repairs == (DropSlots(PG2, ("pg1", "pg3"), C.record.generation),)


def test_a_standby_of_a_standby_is_left_alone_while_both_follow_to_a_new_timeline() -> None:
    cluster = said(cascade(C, "pg3", "pg2"), "pg1", senders=())
    primary = cluster.view.node(PG1).primary
    assert primary
    cluster = said(cluster, "pg1", role=replace(primary, timeline=Timeline(2)))
    assert repairs(cluster) == []


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.STABLE])
def test_nothing_is_repaired_while_the_primary_changes(phase: Phase) -> None:
    assert repairs(changed_record(detached(C), phase=phase, candidate=PG2)) == []


# Beside the primary
def test_a_second_primary_is_stopped_and_remembered() -> None:
    act = acted(claims_primary(C, "pg2", timeline=2))
    assert (act.rule, kinds(act)) == ("stale_primary", [["Fence pg2"]])
    assert act.record
    assert act.record.deposed == {PG2}
    assert acted(claims_primary(DEPOSED, "pg2")).record is None


@pytest.mark.parametrize(
    ("cluster", "held"),
    [
        pytest.param(without_shells(C), "stale_primary", id="no shell"),
        pytest.param(changed_record(C, paused=True), "paused", id="paused"),
    ],
)
def test_a_second_primary_that_may_not_or_cannot_be_stopped_is_told(cluster: Cluster, held: str) -> None:
    assert rule(claims_primary(cluster, "pg2")) == held


@pytest.mark.parametrize(
    ("later", "left_out"),
    [
        pytest.param(claims_primary(C, "pg2"), False, id="nobody new"),
        pytest.param(claims_primary(claims_primary(C, "pg2"), "pg3"), True, id="one more"),
        pytest.param(crashed(claims_primary(C, "pg3"), "pg2"), True, id="one more, the first is down"),
        pytest.param(host_silent(claims_primary(C, "pg3"), "pg3"), False, id="out of reach"),
    ],
)
def test_a_stray_primary_seen_while_another_is_being_stopped_need_not_wait(
    later: Cluster, left_out: bool
) -> None:
    """The stop of the first may take half a minute: seed 4001488."""
    act, now = acted(claims_primary(C, "pg2")), situation(later)
    assert leaves_out(act, now.view, now.diagnosis) is left_out
    assert not leaves_out(replace(act, rule="command"), now.view, now.diagnosis)


def test_two_stray_primaries_are_stopped_side_by_side() -> None:
    """A stop may take long, and the other one would acknowledge beside the primary: seed 4001488."""
    act = acted(claims_primary(claims_primary(C, "pg2"), "pg3"))
    assert (kinds(act), act.reason) == (
        [["Fence pg2", "Fence pg3"]],
        "pg2, pg3 must not take writes: stop them",
    )
    assert act.record
    assert act.record.deposed == {PG2, NodeName("pg3")}


def test_a_second_primary_out_of_reach_does_not_protect_a_third() -> None:
    both = claims_primary(claims_primary(host_silent(C, "pg2"), "pg2"), "pg3")
    assert kinds(acted(both)) == [["Fence pg3"]]


def test_an_old_primary_that_streams_again_is_forgiven() -> None:
    assert rule(DEPOSED) == "rejoined"
    assert recorded(DEPOSED).deposed == frozenset()
    assert rule(receiver_lost(DEPOSED, ["pg2"])) == "rest"


def test_an_old_primary_that_came_back_under_a_standby_is_fetched() -> None:
    """Somebody started it, and it is pointed at whom it followed once: seed 4000956 of the simulation."""
    astray = cascade(DEPOSED, "pg2", "pg3")
    record = recorded(astray)
    assert (record.deposed, record.left) == (frozenset(), frozenset({PG2}))
    assert repairs(changed_record(astray, deposed=frozenset(), left=frozenset({PG2}))) == ["Follow pg2"]


def test_a_higher_timeline_of_the_primary_is_noted() -> None:
    assert recorded(claims_primary(C, "pg1", timeline=3)).timeline == 3


# Commands on single nodes
@pytest.mark.parametrize(
    ("cluster", "command", "why"),
    [
        (C, Rejoin(NodeName("pg9")), "there is no node pg9"),
        (C, Rejoin(PG1), "pg1 is the primary"),
        (C, Rejoin(PG2), "pg2 is a streaming standby of pg1 already"),
        (silent(C, "pg1"), Rejoin(PG2), "the primary pg1 does not answer"),
        (host_silent(silent(C, "pg2"), "pg2"), Rejoin(PG2), "there is no working shell on pg2"),
        (stranger(C, "pg2"), Rejoin(PG2, force=True), "pg2 belongs to another cluster"),
        (changed_record(C, phase=Phase.FENCING), Rejoin(PG2), "a change is under way"),
        (C, FollowUpstream(NodeName("pg9"), PG1), "there is no node pg9"),
        (C, FollowUpstream(PG2, NodeName("pg9")), "there is no node pg9"),
        (C, FollowUpstream(PG1, PG2), "pg1 is the primary"),
        (silent(C, "pg2"), FollowUpstream(PG2, PG1), "pg2 is not a running standby"),
        (silent(C, "pg3"), FollowUpstream(PG2, PG3), "pg3 does not answer"),
        (C, FollowUpstream(PG2, PG2), "pg2 cannot follow itself"),
        (cascade(C, "pg3", "pg2"), FollowUpstream(PG2, PG3), "streams from pg2 itself"),
        (claims_primary(C, "pg3"), FollowUpstream(PG2, PG3), "pg3 takes writes that will be lost"),
        (stranger(C, "pg3"), FollowUpstream(PG2, PG3), "not of one cluster"),
    ],
)
def test_a_command_on_a_node_is_refused(cluster: Cluster, command: Directive, why: str) -> None:
    assert why in refusal(cluster, command)


@pytest.mark.parametrize("method", RebuildMethod)
def test_a_node_is_rebuilt_as_asked(method: RebuildMethod) -> None:
    rebuild = Rebuild(PG2, PG1, C.record.generation, method)
    assert answer(crashed(C, "pg2"), Rejoin(PG2, method)) == rebuild
    assert answer(C, Rejoin(PG2, method, force=True)) == rebuild
    assert answer(changed_record(crashed(C, "pg2"), paused=True), Rejoin(PG2, method)) == rebuild


def test_a_standby_follows_as_asked() -> None:
    assert answer(C, FollowUpstream(PG2, PG3)) == Follow(PG2, PG3, C.record.generation)
    assert answer(cascade(C, "pg3", "pg2"), FollowUpstream(PG3, PG1)) == Follow(PG3, PG1, C.record.generation)


def test_a_host_that_only_seems_up_is_no_streaming_standby() -> None:
    cluster = on_host(silent(C, "pg2"), "pg2", postmaster=Postmaster.STOPPED)
    assert isinstance(answer(cluster, Rejoin(PG2)), Rebuild)
    assert role_of(C, "pg2").receiver


QUORUM = changed_record(
    changed_spec(C, protection=Protection.QUORUM), sync=SyncSet(1, frozenset({PG3})), sync_next=None
)


def unsent(cluster: Cluster, node: str) -> Cluster:
    """The primary has no WAL sender for that node."""
    answer = cluster.view.node(cluster.record.primary).answer
    assert answer
    return said(cluster, "pg1", senders=tuple(s for s in answer.senders if s.application_name != node))


def known_as(cluster: Cluster, name: str, *, conninfo: str = "") -> Cluster:
    """pg2 streams from the primary under another name, as its connection settings say."""
    answer = cluster.view.node(PG1).answer
    assert answer
    senders = tuple(
        replace(s, application_name=name) if s.application_name == "pg2" else s for s in answer.senders
    )
    upstream = f"host=10.0.0.11 port=5432 user=replicator {conninfo}"
    return in_role(said(cluster, "pg1", senders=senders), "pg2", conninfo=upstream)


@pytest.mark.parametrize(
    ("cluster", "steps"),
    [
        pytest.param(known_as(C, "walreceiver"), [], id="async: it may be called what it likes"),
        pytest.param(known_as(QUORUM, "walreceiver"), ["Follow pg2"], id="it cannot acknowledge"),
        pytest.param(
            known_as(QUORUM, "replica", conninfo="application_name='replica'"), ["Follow pg2"], id="by hand"
        ),
        pytest.param(known_as(QUORUM, "pg2"), [], id="its server's cluster_name is its name"),
        pytest.param(
            known_as(QUORUM, "walreceiver", conninfo="application_name=pg2"), [], id="it is pointed already"
        ),
        pytest.param(
            in_role(known_as(QUORUM, "walreceiver"), "pg2", conninfo="host=db1.example port=5432"),
            ["Follow pg2"],
            id="its primary is known by another address, but sends to its host",
        ),
        pytest.param(
            in_role(known_as(QUORUM, "pg3"), "pg2", conninfo="host=archive port=5432"),
            [],
            id="it streams from somewhere else",
        ),
        pytest.param(
            changed_node(known_as(QUORUM, "walreceiver"), "pg2", tags=frozenset({Tag.NEVER_SYNC})),
            [],
            id="nobody waits for it",
        ),
        pytest.param(
            changed_node(known_as(QUORUM, "walreceiver"), "pg2", follow_command="mine"),
            [],
            id="the user's own way of pointing it gives what it gives",
        ),
        pytest.param(cascade(QUORUM, "pg2", "pg3"), [], id="a standby of a standby is left alone"),
        pytest.param(
            changed_spec(unsent(cascade(QUORUM, "pg2", "pg3"), "pg2"), sync_required=2),
            ["Follow pg2"],
            id="unless too few acknowledge without it",
        ),
        pytest.param(
            unsent(cascade(QUORUM, "pg2", "pg3"), "pg2"), [], id="where enough do, it stays where it is"
        ),
    ],
)
def test_a_standby_that_cannot_acknowledge_for_its_name_is_pointed_anew(
    cluster: Cluster, steps: list[str]
) -> None:
    assert [step for step in repairs(cluster) if step.startswith("Follow")] == steps
