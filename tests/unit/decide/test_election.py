"""Who becomes primary, and why the others do not."""

from dataclasses import replace

import pytest

from pgvigil.decide.election import Election, elect, rescuable
from pgvigil.model.record import Phase
from pgvigil.model.sighting import Facts, Postmaster, Slot
from pgvigil.model.spec import LogicalSlots, Tag
from pgvigil.model.step import Hold
from pgvigil.model.units import Instant, Lsn, NodeName, SystemId, Timeline
from tests.builders import (
    HERE,
    NOW,
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
    said,
    silent,
    vanished,
)
from tests.unit.decide.situations import decided, situation
from tests.unit.judge.scenes import control

C = a_cluster("pg1* pg2 pg3")
PG1, PG2, PG3 = NodeName("pg1"), NodeName("pg2"), NodeName("pg3")
MB = 2**20


def elected(cluster: Cluster, **wishes: object) -> Election:
    return elect(situation(cluster), **wishes)  # type: ignore[arg-type]  # wishes are elect's own


def why(cluster: Cluster, node: str, **wishes: object) -> str:
    """Why a node is not chosen."""
    found = [text for text in elected(cluster, **wishes).rejected if text.startswith(f"{node}: ")]
    assert len(found) == 1
    return found[0].removeprefix(f"{node}: ")


def ahead(cluster: Cluster, node: str, by: int) -> Cluster:
    at = Lsn(HERE + by)
    return in_role(cluster, node, received=at, replayed=at)


def facts(cluster: Cluster, node: str) -> Facts:
    answer = cluster.view.node(NodeName(node)).answer
    assert answer
    return answer.facts


def delayed(cluster: Cluster, node: str, delay: str) -> Cluster:
    known = facts(cluster, node)
    settings = {**known.settings, "recovery_min_apply_delay": delay}
    return said(cluster, node, facts=replace(known, settings=settings))


DOWN = on_host(crashed(C, "pg1"), "pg1", control=control())


# S2-14, S2-20
@pytest.mark.parametrize(
    ("cluster", "reason"),
    [
        pytest.param(claims_primary(DOWN, "pg2"), "it is a primary already", id="a primary"),
        pytest.param(silent(DOWN, "pg2"), "it does not answer", id="silent"),
        pytest.param(
            changed_node(DOWN, "pg2", tags=frozenset({Tag.NEVER_PROMOTE})),
            "it may never be promoted (never_promote, or priority 0)",
            id="never_promote",
        ),
        pytest.param(
            changed_node(DOWN, "pg2", priority=0),
            "it may never be promoted (never_promote, or priority 0)",
            id="priority 0",
        ),
        pytest.param(
            changed_record(DOWN, timeline=Timeline(2)),
            "it is on timeline 1, the cluster on 2",
            id="left behind on an old timeline",
        ),
        pytest.param(
            changed_record(in_role(DOWN, "pg2", timeline=Timeline(2)), deposed=frozenset({PG2})),
            "it is on timeline 2, the cluster on 1",
            id="deposed, and on a timeline of its own",
        ),
        pytest.param(
            delayed(DOWN, "pg2", "5min"), "it replays with a delay (recovery_min_apply_delay)", id="delayed"
        ),
        pytest.param(
            said(DOWN, "pg2", facts=replace(facts(C, "pg2"), system_id=SystemId("1"))),
            "it belongs to another cluster (other system identifier)",
            id="a stranger",
        ),
        pytest.param(
            vanished(lagging(C, "pg2", 16 * MB + 1), "pg1"),
            f"it is {16 * MB + 1} bytes behind, more than max_lag",
            id="behind the primary's last known position",
        ),
        pytest.param(
            ahead(vanished(C, "pg1"), "pg3", 16 * MB + 1),
            f"it is {16 * MB + 1} bytes behind, more than max_lag",
            id="behind another standby",
        ),
    ],
)
def test_a_node_is_unfit_for_a_reason(cluster: Cluster, reason: str) -> None:
    assert why(cluster, "pg2") == reason
    assert elected(cluster).chosen != PG2


@pytest.mark.parametrize("delay", ["0", "0ms", ""])
def test_no_delay_is_no_hindrance(delay: str) -> None:
    assert elected(delayed(DOWN, "pg2", delay)).chosen == PG2


@pytest.mark.parametrize(
    ("cluster", "chosen"),
    [
        pytest.param(DOWN, PG2, id="all alike: by name"),
        pytest.param(
            ahead(changed_node(DOWN, "pg2", priority=999), "pg3", 1), PG3, id="position before priority"
        ),
        pytest.param(changed_node(DOWN, "pg3", priority=101), PG3, id="priority before location"),
        pytest.param(
            on_host(crashed(a_cluster("pg1@a* pg2@b pg3@a"), "pg1"), "pg1", control=control()),
            PG3,
            id="location before name",
        ),
        pytest.param(
            ahead(in_role(DOWN, "pg3", timeline=Timeline(2)), "pg2", 999), PG3, id="timeline before position"
        ),
        pytest.param(
            in_role(DOWN, "pg3", received=None, replayed=Lsn(HERE + 1)),
            PG3,
            id="what was replayed was received",
        ),
        pytest.param(in_role(DOWN, "pg2", received=None, replayed=None), PG3, id="nothing received"),
    ],
)
def test_ranking(cluster: Cluster, chosen: NodeName) -> None:
    assert elected(cluster).chosen == chosen


def test_the_election_tells_the_position_of_the_chosen() -> None:
    assert elected(ahead(DOWN, "pg3", 8)).at == HERE + 8
    nobody = elected(silent(silent(DOWN, "pg2"), "pg3"))
    assert (nobody.chosen, nobody.at, len(nobody.rejected)) == (None, 0, 3)


def test_wishes_narrow_the_choice() -> None:
    nobody = silent(silent(DOWN, "pg2"), "pg3")
    assert elected(DOWN, wanted=PG3).chosen == PG3
    assert why(nobody, "pg3", wanted=PG3) == "it does not answer"
    assert len(elected(nobody, wanted=PG3).rejected) == 1
    assert elected(DOWN, objection=lambda node: "" if node.name == PG3 else "not that one").chosen == PG3
    assert why(DOWN, "pg2", objection=lambda _: "not that one") == "not that one"


def test_an_operator_may_accept_any_lag_but_nothing_else() -> None:
    far = vanished(lagging(lagging(C, "pg2", 64 * MB), "pg3", 64 * MB), "pg1")
    assert elected(far).chosen is None
    assert elected(far, any_lag=True).chosen == PG2
    assert elected(changed_node(far, "pg2", priority=0), any_lag=True).chosen == PG3


def test_lag_that_the_dead_primary_can_hand_over_is_no_hindrance() -> None:
    far = lagging(lagging(C, "pg2", 64 * MB), "pg3", 64 * MB)
    assert elected(on_host(crashed(far, "pg1"), "pg1", control=control())).chosen == PG2
    small = changed_spec(far, failover=replace(C.spec.failover, rescue_max_bytes=MB))
    assert elected(on_host(crashed(small, "pg1"), "pg1", control=control())).chosen is None


@pytest.mark.parametrize(
    ("cluster", "can"),
    [
        pytest.param(DOWN, True, id="down, its timeline ours"),
        pytest.param(crashed(C, "pg1"), False, id="its control file was not read"),
        pytest.param(on_host(DOWN, "pg1", control=control(timeline=2)), False, id="on another timeline"),
        pytest.param(on_host(DOWN, "pg1", strays=(7,)), False, id="a process lives"),
        pytest.param(on_host(DOWN, "pg1", at=Instant(NOW - 1)), False, id="the host's word is old"),
        pytest.param(on_host(DOWN, "pg1", postmaster=Postmaster.FROZEN), False, id="hung"),
        pytest.param(vanished(C, "pg1"), False, id="out of reach"),
        pytest.param(
            on_host(crashed(vanished(C, "pg1"), "pg3"), "pg3", control=control()), False, id="a dead standby"
        ),
        pytest.param(
            changed_record(
                on_host(crashed(vanished(C, "pg1"), "pg3"), "pg3", control=control()),
                deposed=frozenset({PG3}),
            ),
            True,
            id="a dead node deposed in this change",
        ),
        pytest.param(
            changed_record(
                on_host(crashed(vanished(C, "pg1"), "pg3"), "pg3", control=control()),
                deposed=frozenset({PG3}),
                timeline=Timeline(2),
            ),
            False,
            id="a dead node deposed in an earlier change",
        ),
    ],
)
def test_wal_can_be_rescued_from_a_dead_server_of_this_timeline_on_a_live_host(
    cluster: Cluster, can: bool
) -> None:
    assert rescuable(situation(cluster)) is can


def test_positions_on_another_timeline_are_not_compared() -> None:
    strayed = in_role(ahead(vanished(C, "pg1"), "pg3", 64 * MB), "pg3", timeline=Timeline(0))
    assert elected(strayed).chosen == PG2


def test_the_position_noted_when_the_change_began_outlives_our_sight_of_it() -> None:
    fencing = changed_record(vanished(C, "pg1"), phase=Phase.FENCING, primary_lsn=Lsn(HERE + 17 * MB))
    assert elected(fencing).chosen is None


def test_an_old_primary_in_recovery_is_a_candidate_like_others_as_long_as_it_has_not_strayed() -> None:
    back = in_role(changed_record(C, primary=PG3, deposed=frozenset({PG3, PG2})), "pg2")
    assert elected(claims_primary(back, "pg1", timeline=1)).chosen == PG2


SITES = a_cluster("pg1*@berlin pg2@berlin pg3@madrid pg4")


def only(cluster: Cluster, *fit: str) -> Cluster:
    """All standbys but these are marked as never to be promoted."""
    for node in cluster.spec.nodes:
        if node.name not in fit:
            cluster = changed_node(cluster, node.name, tags=frozenset({Tag.NEVER_PROMOTE}))
    return cluster


def test_no_standby_of_another_location_is_promoted_by_itself() -> None:
    away = only(SITES, "pg3")
    assert elected(away).chosen is None
    assert why(away, "pg3") == "it stands in madrid, the primary in berlin (failover.across_locations is off)"
    allowed = changed_spec(away, failover=replace(away.spec.failover, across_locations=True))
    assert elected(allowed).chosen == PG3


def test_an_operator_may_name_a_standby_of_another_location() -> None:
    assert elected(only(SITES, "pg3"), wanted=PG3).chosen == PG3
    assert elected(only(SITES, "pg3"), forced=True).chosen == PG3
    assert elected(only(SITES, "pg3"), any_lag=True).chosen is None


def test_a_node_without_a_location_is_at_home_everywhere() -> None:
    assert elected(only(SITES, "pg4")).chosen == NodeName("pg4")
    nowhere = changed_node(only(SITES, "pg3"), "pg1", location="")
    assert elected(nowhere).chosen == PG3


def test_of_two_equal_standbys_the_nearer_is_promoted() -> None:
    allowed = changed_spec(SITES, failover=replace(SITES.spec.failover, across_locations=True))
    assert elected(allowed).chosen == PG2
    assert elected(changed_node(allowed, "pg3", priority=200)).chosen == PG3


def test_the_hold_names_the_way_to_another_location() -> None:
    hold = decided(receiver_lost(vanished(only(SITES, "pg3"), "pg1"), ago_s=5))
    assert isinstance(hold, Hold)
    assert hold.rule == "nobody_fit"
    assert hold.hint == "to go to another location: pgvigil failover orders --to pg3"


def slotted(cluster: Cluster, node: str, *slots: Slot) -> Cluster:
    return said(cluster, node, facts=replace(facts(cluster, node), slots=slots))


SUBSCRIBED = slotted(C, "pg1", Slot("sub", False, True, HERE, "reserved", failover=True))
COPY = Slot("sub", False, False, HERE, "reserved", failover=True, synced=True)
COPIED = slotted(SUBSCRIBED, "pg3", COPY)


def slots_count(cluster: Cluster, how: LogicalSlots) -> Cluster:
    return changed_spec(cluster, failover=replace(cluster.spec.failover, logical_slots=how))


def test_of_two_equal_standbys_the_one_with_copies_of_logical_slots_is_promoted() -> None:
    assert elected(SUBSCRIBED).chosen == PG2
    assert elected(COPIED).chosen == PG3
    assert elected(changed_node(COPIED, "pg2", priority=900)).chosen == PG3
    assert elected(slots_count(COPIED, LogicalSlots.IGNORE)).chosen == PG2
    assert elected(ahead(COPIED, "pg2", by=1)).chosen == PG2, "no commit is given up for a slot"


def test_copies_of_logical_slots_can_be_required() -> None:
    strict = slots_count(COPIED, LogicalSlots.REQUIRE)
    assert elected(strict).chosen == PG3
    assert why(strict, "pg2") == "it has no copy of logical slots that must survive: sub"
    alone = slotted(strict, "pg3")
    assert elected(alone).chosen is None
    assert elected(alone, wanted=PG3).chosen is None
    assert elected(alone, wanted=PG3, forced=True).chosen == PG3


@pytest.mark.parametrize(
    "slot",
    [
        pytest.param(replace(COPY, synced=False), id="not complete"),
        pytest.param(replace(COPY, invalid="rows_removed"), id="given up"),
        pytest.param(replace(COPY, name="other"), id="another"),
    ],
)
def test_what_is_no_copy_of_a_logical_slot(slot: Slot) -> None:
    assert elected(slotted(slots_count(SUBSCRIBED, LogicalSlots.REQUIRE), "pg3", slot)).chosen is None


def test_a_logical_slot_that_is_not_to_survive_asks_nothing() -> None:
    plain = slotted(C, "pg1", Slot("sub", False, True, HERE, "reserved"))
    assert elected(slots_count(plain, LogicalSlots.REQUIRE)).chosen == PG2
