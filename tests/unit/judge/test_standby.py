from dataclasses import replace

import pytest

from pgvigil.model.diagnosis import Diagnosis, Problem, Urgency
from pgvigil.model.sighting import Postmaster, Primary, Silence, Unseen
from pgvigil.model.units import Instant, NodeName, SystemId, Timeline
from tests.builders import (
    NOW,
    Cluster,
    a_cluster,
    cascade,
    changed_node,
    claims_primary,
    in_role,
    lagging,
    on_host,
    receiver_lost,
    refuses,
    said,
    seen,
    silent,
)
from tests.unit.judge.scenes import judged, quiet, role_of

C = a_cluster("pg1* pg2 pg3")
PG2, PG3 = NodeName("pg2"), NodeName("pg3")


def words(found: Diagnosis, node: NodeName) -> str:
    return ", ".join(f"{f.problem} {f.urgency}" for f in found.findings if f.node == node) or "well"


def on_timeline(cluster: Cluster, node: str, timeline: int) -> Cluster:
    """A standby streams that timeline."""
    receiver = role_of(cluster, node).receiver
    assert receiver
    number = Timeline(timeline)
    return in_role(cluster, node, timeline=number, receiver=replace(receiver, timeline=number))


def receiver_is(status: str, *, ago_s: float) -> Cluster:
    """pg2 has a WAL receiver that has not been streaming for so long."""
    receiver = role_of(C, "pg2").receiver
    assert receiver
    cluster = in_role(C, "pg2", receiver=replace(receiver, status=status))
    return seen(cluster, "pg2", receiver_lost_at=Instant(NOW - ago_s))


def primary_on(cluster: Cluster, timeline: int) -> Cluster:
    """The primary is on that timeline and has no senders."""
    answer = cluster.view.node(NodeName("pg1")).answer
    assert answer
    assert isinstance(answer.role, Primary)
    return said(cluster, "pg1", role=replace(answer.role, timeline=Timeline(timeline)), senders=())


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        pytest.param(C, "well", id="it streams"),
        pytest.param(cascade(C, "pg2", "pg3"), "well", id="it streams from another standby"),
        pytest.param(seen(C, "pg2", sql=Unseen(PG2)), "well", id="it was not looked at yet"),
        pytest.param(
            silent(C, "pg2"), "standby_down tell", id="it does not answer, its host says it is there"
        ),
        pytest.param(
            on_host(silent(C, "pg2"), "pg2", postmaster=Postmaster.STOPPED), "standby_down now", id="stopped"
        ),
        pytest.param(
            on_host(silent(C, "pg2"), "pg2", postmaster=Postmaster.CRASHED), "standby_down now", id="crashed"
        ),
        pytest.param(
            on_host(silent(C, "pg2"), "pg2", postmaster=Postmaster.CRASHED, at=Instant(NOW - 1)),
            "standby_down tell",
            id="its host's word is older than its silence",
        ),
        pytest.param(refuses(C, "pg2", "28P01"), "standby_down tell", id="it lets us not in"),
        pytest.param(silent(C, "pg2", Silence.TIMED_OUT), "standby_down tell", id="out of sight"),
        pytest.param(
            in_role(C, "pg2", receiver=None, conninfo=""), "standby_detached now", id="pointed at nobody"
        ),
        pytest.param(
            receiver_lost(C, ["pg2"], ago_s=5.9), "standby_detached waiting", id="it retries by itself"
        ),
        pytest.param(
            receiver_lost(C, ["pg2"], ago_s=6.0), "standby_detached now", id="its retries do not help"
        ),
        pytest.param(
            receiver_is("waiting", ago_s=6.0),
            "standby_detached now",
            id="its receiver is there, but waits",
        ),
        pytest.param(
            receiver_is("waiting", ago_s=5.9), "standby_detached waiting", id="perhaps not for long"
        ),
        pytest.param(receiver_is("", ago_s=60), "well", id="our login may not see its status"),
        pytest.param(
            on_timeline(primary_on(C, 2), "pg2", 1),
            "standby_detached waiting",
            id="about to change timelines",
        ),
        pytest.param(
            quiet(on_timeline(primary_on(C, 2), "pg2", 1), silent_s=6),
            "standby_detached now",
            id="old timeline",
        ),
        pytest.param(
            changed_node(on_timeline(primary_on(C, 2), "pg2", 1), "pg1", port=5433),
            "standby_detached now",
            id="an old timeline from elsewhere",
        ),
        pytest.param(lagging(C, "pg2", 16 * 2**20), "well", id="behind by max_lag"),
        pytest.param(
            lagging(C, "pg2", 16 * 2**20 + 1), "standby_lagging tell", id="further behind than max_lag"
        ),
        pytest.param(claims_primary(C, "pg2"), "stale_primary now", id="it runs as a primary"),
    ],
)
def test_what_is_seen_of_a_standby_explains_it(cluster: Cluster, expected: str) -> None:
    assert words(judged(cluster), PG2) == expected


def test_the_primarys_own_sender_outweighs_the_standbys_last_look() -> None:
    answer = C.view.node(NodeName("pg1")).answer
    assert answer
    cluster = on_timeline(said(primary_on(C, 2), "pg1", senders=answer.senders), "pg2", 1)
    assert words(judged(cluster), PG2) == "well"


def test_a_standby_of_a_standby_follows_that_one_to_a_new_timeline() -> None:
    cluster = on_timeline(primary_on(cascade(C, "pg2", "pg3"), 2), "pg2", 1)
    assert words(judged(cluster), PG2) == "well"
    assert words(judged(silent(cluster, "pg3")), PG2) == "standby_detached now"


def test_a_stranger_is_told_of_and_otherwise_not_counted() -> None:
    answer = C.view.node(PG3).answer
    assert answer
    cluster = said(C, "pg3", facts=replace(answer.facts, system_id=SystemId("1")))
    assert words(judged(cluster), PG3) == "system_foreign tell"
    lost = receiver_lost(cluster, ["pg3"])
    assert words(judged(silent(lost, "pg1", for_s=60)), NodeName("pg1")) == "primary_overloaded tell"


def test_a_stranger_at_the_primarys_address_is_all_that_is_told() -> None:
    answer = C.view.node(NodeName("pg1")).answer
    assert answer
    cluster = said(C, "pg1", facts=replace(answer.facts, system_id=SystemId("1")))
    assert [f.problem for f in judged(cluster).findings] == [Problem.SYSTEM_FOREIGN]


def test_findings_come_in_the_order_of_problems() -> None:
    cluster = receiver_lost(silent(claims_primary(C, "pg2", timeline=1), "pg1", for_s=60), ["pg3"], ago_s=9)
    order = list(Problem)
    places = [order.index(f.problem) for f in judged(cluster).findings]
    assert places == sorted(places)
    assert len(places) == 3


def test_the_diagnosis_is_due_when_the_first_waiting_finding_is() -> None:
    cluster = receiver_lost(C, ["pg2"], ago_s=4)
    cluster = receiver_lost(cluster, ["pg3"], ago_s=2)
    assert judged(cluster).due == Instant(NOW + 2)
    assert judged(C).due is None
    assert all(f.urgency is Urgency.WAITING for f in judged(cluster).findings)
