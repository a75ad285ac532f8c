"""Who is in service, check by check: Patroni's names, and what is answered when nothing can be seen."""

from dataclasses import replace

import pytest

from pgvigil.api.health import CHECKS, Case, cluster_passes, passes, wanted
from pgvigil.controller.status import status_json
from pgvigil.controller.status_shape import ClusterStatus
from pgvigil.errors import UsageError
from pgvigil.model.diagnosis import Diagnosis, Finding, Problem
from pgvigil.model.record import Phase
from pgvigil.model.spec import Tag
from pgvigil.model.step import Plan, Rest
from pgvigil.model.units import Lsn, NodeName
from tests.builders import (
    HERE,
    WALL,
    Cluster,
    a_cluster,
    a_sender,
    changed_node,
    changed_record,
    claims_primary,
    crashed,
    in_role,
    lagging,
    refuses,
    said,
    vanished,
)

C = a_cluster("pg1* pg2 pg3")
PG1, PG3 = NodeName("pg1"), NodeName("pg3")
ISOLATED = Finding(Problem.CONTROLLER_ISOLATED, None, ())
NOBODY = vanished(vanished(vanished(C, "pg1"), "pg2"), "pg3")


def status(cluster: Cluster, *findings: Finding) -> ClusterStatus:
    return status_json(  # type: ignore[return-value]  # it is one
        cluster.spec, cluster.record, cluster.view, Diagnosis(findings), Plan(Rest()),
        wall=WALL, paused=False, busy={},
    )  # fmt: skip


def passing(cluster: Cluster, node: str, *findings: Finding, **query: str) -> set[str]:
    whole = status(cluster, *findings)
    case = Case(whole, next(n for n in whole["nodes"] if n["name"] == node), wanted(query))
    return {check for check in CHECKS if passes(check, case)}


PRIMARY = {
    "primary", "leader", "read-write", "master", "read-only", "read-only-sync", "read-only-quorum", "health",
    "readiness",
}  # fmt: skip
STANDBY = {"replica", "standby", "read-only", "async", "asynchronous", "health", "readiness"}


# S2-17
def test_a_healthy_cluster() -> None:
    assert passing(C, "pg1") == PRIMARY
    assert passing(C, "pg2") == STANDBY


def test_a_standby_cluster_has_no_primary_even_when_its_leader_cannot_be_seen() -> None:
    site = changed_record(said(C, "pg1", role=C.view.node(PG3).standby), standby_cluster=True)
    assert passing(site, "pg1") == STANDBY | {"standby-leader"}
    assert passing(site, "pg2") == STANDBY
    assert not passing(vanished(site, "pg1"), "pg1") & {"primary", "leader", "standby-leader", "read-write"}


# S2-17
def test_the_names_are_those_of_patroni() -> None:
    known = "primary leader read-write replica read-only sync synchronous async asynchronous quorum"
    assert {*known.split(), "health", "readiness"} <= set(CHECKS)


@pytest.mark.parametrize(
    ("word", "more"),
    [("sync", {"sync", "synchronous", "read-only-sync"}), ("quorum", {"quorum", "read-only-quorum"})],
)
def test_a_standby_that_acknowledges(word: str, more: set[str]) -> None:
    senders = tuple(a_sender(C.spec.node(NodeName(n)), sync_state=word) for n in ("pg2", "pg3"))
    assert passing(said(C, "pg1", senders=senders), "pg2") == STANDBY - {"async", "asynchronous"} | more


@pytest.mark.parametrize(
    ("cluster", "node"),
    [
        (crashed(C, "pg1"), "pg1"),
        (crashed(C, "pg2"), "pg2"),
        (claims_primary(C, "pg2"), "pg2"),
        (refuses(C, "pg1", "57P03", "the database system is starting up"), "pg1"),
        (changed_record(C, phase=Phase.FENCING), "pg1"),
        (changed_record(C, primary=NodeName("pg2")), "pg1"),
    ],
)
def test_what_is_proved_is_a_no_at_once(cluster: Cluster, node: str) -> None:
    assert not passing(cluster, node) & {
        "primary",
        "leader",
        "read-write",
        "replica",
        "read-only",
        "readiness",
    }


def test_a_primary_that_is_to_be_stopped_serves_until_it_is() -> None:
    assert {"primary", "read-write"} <= passing(changed_record(C, phase=Phase.SWITCHING), "pg1")


@pytest.mark.parametrize(
    ("cluster", "findings"),
    [
        (vanished(C, "pg1"), ()),
        (NOBODY, ()),
        (vanished(C, "pg1"), (ISOLATED,)),
        (refuses(C, "pg1", "28P01"), ()),
    ],
)
def test_a_primary_that_only_we_do_not_see_stays_in_service(
    cluster: Cluster, findings: tuple[Finding, ...]
) -> None:
    assert {"primary", "read-write", "read-only"} <= passing(cluster, "pg1", *findings)


def test_a_standby_that_is_gone_is_out_but_not_when_we_are_blind() -> None:
    gone = vanished(C, "pg3")
    assert passing(gone, "pg3") == set()
    assert "replica" in passing(gone, "pg3", ISOLATED)
    assert "replica" in passing(NOBODY, "pg3")
    assert "replica" in passing(refuses(C, "pg3", "28P01"), "pg3")


# S2-14
def test_no_load_balance_and_maintenance_take_no_reads() -> None:
    tagged = changed_node(C, "pg3", tags=frozenset({Tag.NO_LOAD_BALANCE}))
    assert passing(tagged, "pg3") == {"health", "readiness"}
    assert passing(changed_record(C, maintenance=frozenset({PG3})), "pg3") == {"health"}


@pytest.mark.parametrize(
    ("lag", "far"), [("16MB", False), ("15MB", True), (str(16 * 2**20), False), ("0", True)]
)
def test_lag(lag: str, far: bool) -> None:
    behind = lagging(C, "pg3", 16 * 2**20)
    assert ("replica" in passing(behind, "pg3", lag=lag, mode="write")) is not far
    assert "primary" in passing(behind, "pg1", lag="0")


def test_a_replay_lag_counts_unless_the_receiver_is_asked_for() -> None:
    sender = replace(a_sender(C.spec.node(PG3)), replayed=Lsn(HERE - 2**20))
    delayed = said(in_role(C, "pg3", replayed=Lsn(HERE - 2**20)), "pg1", senders=(sender,))
    assert "replica" not in passing(delayed, "pg3", lag="1kB")
    assert "replica" in passing(delayed, "pg3", lag="1kB", mode="write")


def test_streaming_can_be_demanded() -> None:
    alone = in_role(C, "pg3", receiver=None)
    assert "replica" in passing(alone, "pg3")
    assert "replica" not in passing(alone, "pg3", replication_state="streaming")
    assert "readiness" not in passing(alone, "pg3")


def test_tags_by_our_names_and_by_patronis() -> None:
    tagged = changed_node(C, "pg3", tags=frozenset({Tag.CLONE_SOURCE}))
    assert "replica" in passing(tagged, "pg3", tag_clonefrom="true")
    assert "replica" in passing(tagged, "pg3", tag_clone_source="true")
    assert "replica" not in passing(tagged, "pg3", tag_clonefrom="false")
    assert "replica" not in passing(tagged, "pg2", tag_clonefrom="true")


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ({"lag": "16"}, None),
        ({"lag": "-1"}, "lag=-1"),
        ({"lag": ""}, "lag="),
        ({"lag": "16XB"}, "lag=16XB"),
        ({"lag": "٣"}, "lag="),
        ({"mode": "read"}, "mode=read"),
        ({"replication_state": "catchup"}, "replication_state=catchup"),
        ({"tag_x": "1"}, "tag_x=1"),
        ({"nonsense": "1"}, None),
    ],
)
def test_what_a_query_may_say(query: dict[str, str], place: str | None) -> None:
    if place is None:
        wanted(query)
        return
    with pytest.raises(UsageError, match=place):
        wanted(query)


def test_a_whole_cluster() -> None:
    assert cluster_passes("primary", status(C), wanted({}))
    assert not cluster_passes("primary", status(crashed(C, "pg1")), wanted({}))
    assert cluster_passes("replica", status(crashed(C, "pg2")), wanted({}))
    assert not cluster_passes("replica", status(crashed(crashed(C, "pg2"), "pg3")), wanted({}))
