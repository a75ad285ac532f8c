"""From whom standbys stream: the configured tree, what stands in for it, and what an operator may ask."""

from dataclasses import replace
from datetime import timedelta

import pytest

from pgvigil.model.command import FollowUpstream
from pgvigil.model.record import SyncSet
from pgvigil.model.sighting import Missed
from pgvigil.model.spec import Protection, Tag
from pgvigil.model.step import Follow
from pgvigil.model.units import Instant, NodeName
from tests.builders import (
    NOW,
    Cluster,
    a_cluster,
    cascade,
    changed_node,
    changed_record,
    changed_spec,
    crashed,
    receiver_lost,
    seen,
)
from tests.unit.decide.situations import answer, planned, refusal, repairs

C = a_cluster("pg1* pg2 pg3 pg4")
PG1, PG2, PG3 = NodeName("pg1"), NodeName("pg2"), NodeName("pg3")
AFTER_S = C.spec.replication.return_after.total_seconds()


def wanted(cluster: Cluster, **upstreams: str) -> Cluster:
    for node, upstream in upstreams.items():
        cluster = changed_node(cluster, node, upstream=NodeName(upstream))
    return cluster


def steady(cluster: Cluster, node: str, for_s: float = AFTER_S) -> Cluster:
    return seen(cluster, node, streams_since=Instant(NOW - for_s))


def missed(cluster: Cluster, node: str, host: str, *, ago_s: float, times: int = 1) -> Cluster:
    return seen(cluster, node, missed={f"host={host} port=5432": Missed(Instant(NOW - ago_s), times)})


def moved(cluster: Cluster) -> list[tuple[str, str]]:
    """Who is pointed at whom by itself."""
    return [(step.node, step.upstream) for step in follows(cluster)]


def follows(cluster: Cluster) -> list[Follow]:
    return [step for step in planned_repairs(cluster) if isinstance(step, Follow)]


def planned_repairs(cluster: Cluster) -> tuple[object, ...]:
    return planned(cluster).repairs


TREE = wanted(C, pg3="pg2")
HUNG_BELOW = cascade(TREE, "pg3", "pg2")


@pytest.mark.parametrize(
    ("cluster", "moves"),
    [
        pytest.param(steady(TREE, "pg2"), [("pg3", "pg2")], id="to its configured upstream"),
        pytest.param(TREE, [], id="not to one that has only begun to stream"),
        pytest.param(steady(TREE, "pg2", AFTER_S - 1), [], id="nor to one not well for long enough"),
        pytest.param(steady(HUNG_BELOW, "pg2"), [], id="it is there"),
        pytest.param(cascade(C, "pg3", "pg2"), [], id="without configuration it stays where a human put it"),
        pytest.param(
            missed(steady(TREE, "pg2"), "pg3", "10.0.0.12", ago_s=AFTER_S - 1), [], id="missed lately"
        ),
        pytest.param(
            missed(steady(TREE, "pg2"), "pg3", "10.0.0.12", ago_s=AFTER_S),
            [("pg3", "pg2")],
            id="missed once, some time ago",
        ),
        pytest.param(
            missed(steady(TREE, "pg2"), "pg3", "10.0.0.12", ago_s=3 * AFTER_S, times=3),
            [],
            id="each miss doubles the pause",
        ),
        pytest.param(
            missed(steady(TREE, "pg2"), "pg3", "10.0.0.12", ago_s=3600, times=30),
            [("pg3", "pg2")],
            id="up to an hour",
        ),
        pytest.param(wanted(cascade(C, "pg3", "pg2"), pg3="pg1"), [("pg3", "pg1")], id="back to the primary"),
        pytest.param(steady(wanted(cascade(C, "pg2", "pg3"), pg3="pg2"), "pg2"), [], id="never in a circle"),
        pytest.param(
            steady(changed_record(TREE, deposed=frozenset({PG2})), "pg2"), [], id="not to a deposed node"
        ),
        pytest.param(steady(wanted(C, pg1="pg2"), "pg2"), [], id="the primary itself stays what it is"),
    ],
)
def test_who_goes_to_the_upstream_that_is_configured(cluster: Cluster, moves: list[tuple[str, str]]) -> None:
    assert moved(cluster) == moves


def orphaned(cluster: Cluster) -> Cluster:
    """pg2 crashed a while ago; pg3 streamed from it and has had no upstream since."""
    return receiver_lost(crashed(cascade(cluster, "pg3", "pg2"), "pg2"), ["pg3"], ago_s=7)


FAR = a_cluster("pg1*@berlin pg2@madrid pg3@madrid pg4@madrid")


@pytest.mark.parametrize(
    ("cluster", "moves"),
    [
        pytest.param(orphaned(C), [("pg3", "pg1")], id="to the primary"),
        pytest.param(orphaned(TREE), [("pg3", "pg1")], id="also when it is to stream from the lost one"),
        pytest.param(
            orphaned(wanted(C, pg3="pg4")), [("pg3", "pg4")], id="to the configured one if that is fit"
        ),
        pytest.param(orphaned(FAR), [("pg3", "pg4")], id="to a standby of its location before a far primary"),
        pytest.param(
            missed(orphaned(FAR), "pg3", "10.0.0.14", ago_s=9),
            [("pg3", "pg1")],
            id="unless that failed lately",
        ),
        pytest.param(
            orphaned(changed_node(FAR, "pg1", location="")), [("pg3", "pg1")], id="a primary without location"
        ),
        pytest.param(
            receiver_lost(crashed(cascade(C, "pg3", "pg2"), "pg2"), ["pg3"], ago_s=3),
            [],
            id="not while the lost one may be back in a moment",
        ),
        pytest.param(changed_record(orphaned(C), paused=True), [], id="nothing while paused"),
        pytest.param(
            changed_record(
                changed_spec(orphaned(FAR), protection=Protection.QUORUM), sync=SyncSet(1, frozenset({PG3}))
            ),
            [("pg3", "pg1")],
            id="who acknowledges commits goes to the primary",
        ),
    ],
)
def test_where_a_standby_goes_whose_upstream_died(cluster: Cluster, moves: list[tuple[str, str]]) -> None:
    assert moved(cluster) == moves


QUORUM = changed_record(changed_spec(C, protection=Protection.QUORUM), sync=SyncSet(1, frozenset({PG3})))
SOLE = changed_node(
    changed_node(QUORUM, "pg2", tags=frozenset({Tag.NEVER_SYNC})), "pg4", tags=frozenset({Tag.NEVER_SYNC})
)


@pytest.mark.parametrize(
    ("cluster", "upstream", "why"),
    [
        pytest.param(
            TREE, "pg4", "the configuration has pg3 stream from pg2", id="against the configuration"
        ),
        pytest.param(receiver_lost(C, ["pg4"], ago_s=3), "pg4", "pg4 does not stream itself", id="no source"),
        pytest.param(SOLE, "pg2", "commits wait for pg3", id="its acknowledgement is needed"),
        pytest.param(cascade(C, "pg2", "pg3"), "pg2", "streams from pg3 itself", id="a circle"),
        pytest.param(
            cascade(cascade(C, "pg2", "pg3"), "pg4", "pg2"),
            "pg4",
            "streams from pg3 itself",
            id="a wide circle",
        ),
        pytest.param(C, "pg3", "pg3 cannot follow itself", id="itself"),
    ],
)
def test_a_follow_that_would_not_do_is_refused(cluster: Cluster, upstream: str, why: str) -> None:
    assert why in refusal(cluster, FollowUpstream(PG3, NodeName(upstream)))


@pytest.mark.parametrize(
    ("cluster", "upstream"),
    [
        pytest.param(TREE, "pg2", id="as configured"),
        pytest.param(C, "pg2", id="a standby"),
        pytest.param(QUORUM, "pg2", id="others acknowledge"),
        pytest.param(cascade(SOLE, "pg3", "pg2"), "pg1", id="back to the primary"),
    ],
)
def test_a_follow_is_done_as_asked(cluster: Cluster, upstream: str) -> None:
    step = Follow(PG3, NodeName(upstream), cluster.record.generation)
    assert answer(cluster, FollowUpstream(PG3, NodeName(upstream))) == step


def test_a_short_pause_is_as_configured() -> None:
    hasty = changed_spec(TREE, replication=replace(TREE.spec.replication, return_after=timedelta(seconds=2)))
    assert moved(steady(hasty, "pg2", 2)) == [("pg3", "pg2")]
    assert repairs(steady(hasty, "pg2", 1)) == []
