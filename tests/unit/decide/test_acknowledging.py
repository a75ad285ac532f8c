"""Who may be waited for: nobody who could claim to have what he never got (internals/conformance.md)."""

from dataclasses import replace

import pytest

from pgvigil.model.record import ALONE, Fenced, SyncSet
from pgvigil.model.sighting import Sender
from pgvigil.model.spec import Protection
from pgvigil.model.step import Follow
from pgvigil.model.units import Lsn, NodeName
from pgvigil.model.vantage import Reach
from tests.builders import (
    HERE,
    Cluster,
    a_cluster,
    a_sender,
    changed_record,
    changed_spec,
    in_role,
    said,
    silent,
    vanished,
    witnessed,
)
from tests.unit.decide.situations import acted, recorded, rule

PG1, PG2, PG3 = (NodeName(f"pg{n}") for n in (1, 2, 3))
BOTH = SyncSet(1, frozenset({PG2, PG3}))
AHEAD = Lsn(HERE + 4096)


def quorum(cluster: Cluster, sync: SyncSet = BOTH, *, degrade: bool = True) -> Cluster:
    cluster = changed_spec(cluster, protection=Protection.QUORUM, degrade=degrade)
    return in_role(changed_record(cluster, sync=sync), "pg1", sync_names=sync.setting)


def lost_and_cut(cluster: Cluster, *cut: str) -> Cluster:
    """The primary's host is gone for everybody, the change has begun, and those standbys are cut."""
    cluster = witnessed(vanished(cluster, "pg1"), "pg1", Reach.NO_REPLY, list(cluster.view.nodes)[1:])
    cluster = changed_record(cluster, **_fencing(cluster))
    for node in cut:
        cluster = in_role(cluster, node, receiver=None, conninfo="")
    return cluster


def _fencing(cluster: Cluster) -> dict[str, object]:
    record = recorded(cluster)
    return {name: getattr(record, name) for name in ("phase", "generation", "deposed", "began", "since")}


def test_those_that_were_cut_and_compared_acknowledge_from_the_first_commit_on() -> None:
    record = recorded(lost_and_cut(quorum(a_cluster()), "pg2", "pg3"))
    assert (record.primary, record.fenced) == (PG2, Fenced.QUORUM)
    assert (record.sync, record.sync_next) == (ALONE, SyncSet(1, frozenset({PG3})))


@pytest.mark.parametrize("degrade", [True, False])
def test_one_that_was_not_cut_may_be_ahead_and_is_followed_but_not_waited_for(degrade: bool) -> None:
    """k = 2 of 3: two cuts prove it; the third may have got more of the old timeline meanwhile."""
    three = SyncSet(2, frozenset({PG2, PG3, NodeName("pg4")}))
    cluster = changed_spec(a_cluster("pg1* pg2 pg3 pg4"), sync_required=2)
    cluster = lost_and_cut(quorum(cluster, three, degrade=degrade), "pg2", "pg3")
    act = acted(cluster)
    assert act.record
    assert act.record.sync_next
    assert act.record.sync_next.standbys == {PG3}
    assert act.record.sync_next.acks == (1 if degrade else 2)
    assert any(isinstance(s, Follow) and s.node == "pg4" for stage in act.stages for s in stage.steps)


def test_without_degrade_commits_wait_for_nobody_in_particular_rather_than_for_somebody_unknown() -> None:
    alone = SyncSet(1, frozenset({PG2}))
    record = recorded(lost_and_cut(quorum(a_cluster("pg1* pg2"), alone, degrade=False), "pg2"))
    assert record.sync_next == SyncSet(1, frozenset())
    assert record.sync_next.setting == 'ANY 1 ("nobody yet")'


@pytest.mark.parametrize(
    ("sent", "flushed", "waited_for"),
    [
        pytest.param(HERE, HERE, True, id="has what it was sent"),
        pytest.param(HERE, Lsn(HERE - 8), True, id="a little behind"),
        pytest.param(HERE, AHEAD, False, id="claims more than it was sent"),
        pytest.param(HERE, None, False, id="has said nothing yet"),
    ],
)
def test_a_standby_is_waited_for_once_it_claims_no_more_than_it_was_sent(
    sent: Lsn, flushed: Lsn | None, waited_for: bool
) -> None:
    cluster = quorum(a_cluster(), SyncSet(1, frozenset({PG2})))
    senders = tuple(
        _sender(cluster, name, sent, flushed if name == "pg3" else HERE) for name in ("pg2", "pg3")
    )
    assert (rule(said(cluster, "pg1", senders=senders)) == "sync_set") is waited_for


def _sender(cluster: Cluster, name: str, sent: Lsn, flushed: Lsn | None) -> Sender:
    return replace(a_sender(cluster.spec.node(NodeName(name))), sent=sent, flushed=flushed)


def test_a_set_that_nobody_is_in_promises_nothing_and_says_so() -> None:
    cluster = quorum(a_cluster(), SyncSet(1, frozenset()), degrade=False)
    lost = witnessed(vanished(silent(cluster, "pg3"), "pg1"), "pg1", Reach.NO_REPLY, ["pg2"])
    assert rule(lost) == "not_lossless"


def test_who_comes_is_waited_for_also_where_commits_wait_for_nobody_in_particular() -> None:
    cluster = quorum(a_cluster(), SyncSet(1, frozenset()), degrade=False)
    waiting = changed_record(cluster, sync=ALONE, sync_next=SyncSet(1, frozenset()))
    assert recorded(waiting).sync_next == BOTH
    nobody = said(waiting, "pg1", senders=())
    assert rule(nobody) == "commits_wait"
