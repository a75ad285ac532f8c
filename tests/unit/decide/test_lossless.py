"""Which promotion loses no acknowledged commit, and what is said where none is sure."""

from dataclasses import replace
from typing import Any

import pytest

from pgvigil.decide import lossless
from pgvigil.decide.lossless import NOTHING, Ground
from pgvigil.model.record import ALONE, Fenced, Phase, SyncSet
from pgvigil.model.sighting import Postmaster, Silence
from pgvigil.model.spec import Protection
from pgvigil.model.units import Lsn, NodeName, Timeline
from tests.builders import (
    HERE,
    Cluster,
    a_cluster,
    cascade,
    changed_node,
    changed_record,
    changed_spec,
    claims_primary,
    crashed,
    in_role,
    on_host,
    silent,
    vanished,
)
from tests.unit.decide.situations import rule, situation

PG1, PG2, PG3, PG4 = (NodeName(f"pg{n}") for n in range(1, 5))


def sync(acks: int, *names: NodeName) -> SyncSet:
    return SyncSet(acks, frozenset(names))


BOTH = sync(1, PG2, PG3)


def quorum(
    cluster: Cluster, now: SyncSet | None = BOTH, following: SyncSet | None = None, **more: Any
) -> Cluster:
    """Being failed over, under that set."""
    cluster = changed_spec(cluster, protection=Protection.QUORUM)
    return changed_record(cluster, phase=Phase.FENCING, sync=now, sync_next=following, **more)


def cut(cluster: Cluster, *nodes: str, at: Lsn = HERE) -> Cluster:
    for node in nodes:
        cluster = in_role(cluster, node, receiver=None, conninfo="", received=at, replayed=at)
    return cluster


LOST = quorum(vanished(a_cluster("pg1* pg2 pg3"), "pg1"))
FOUR = vanished(a_cluster("pg1* pg2 pg3 pg4"), "pg1")
NO_RESCUE = changed_spec(LOST, failover=replace(LOST.spec.failover, rescue_max_bytes=0))


def ground(cluster: Cluster) -> Ground | None:
    return lossless.ground(situation(cluster))


def objection(cluster: Cluster, node: str) -> str:
    """Why that one may not be promoted, where there is some ground."""
    found = ground(cluster)
    assert found is not None
    return found.objection(situation(cluster), cluster.view.node(NodeName(node)))


def test_it_is_asked_for_in_a_quorum_unless_an_operator_waived_it() -> None:
    assert lossless.demanded(situation(LOST))
    assert not lossless.demanded(situation(changed_record(LOST, forced=True)))
    assert not lossless.demanded(situation(changed_spec(LOST, protection=Protection.ASYNC)))


@pytest.mark.parametrize(
    ("cluster", "proved"),
    [
        pytest.param(LOST, False, id="nobody is cut"),
        pytest.param(cut(LOST, "pg2"), False, id="the other may be acknowledging"),
        pytest.param(cut(LOST, "pg2", "pg3"), True, id="both are cut"),
        pytest.param(cut(quorum(LOST, sync(2, PG2, PG3)), "pg3"), True, id="each commit is on both"),
        pytest.param(cut(quorum(LOST, sync(1, PG2)), "pg2"), True, id="it was the only one"),
        pytest.param(cut(quorum(LOST, sync(1, PG2)), "pg3"), False, id="it does not count"),
        pytest.param(cut(quorum(LOST, sync(1, PG2), BOTH), "pg2"), False, id="the new set may be in force"),
        pytest.param(cut(quorum(LOST, BOTH, sync(1, PG2)), "pg2"), False, id="the old set may be in force"),
        pytest.param(
            cut(quorum(LOST, sync(2, PG2, PG3), BOTH), "pg2"), False, id="the smaller number may be in force"
        ),
        pytest.param(cut(quorum(LOST, ALONE), "pg2", "pg3"), False, id="it acknowledged alone"),
        pytest.param(cut(quorum(LOST, ALONE, BOTH), "pg2", "pg3"), False, id="it may still do so"),
        pytest.param(cut(quorum(LOST, None), "pg2", "pg3"), False, id="nothing is known of a set"),
        pytest.param(
            cut(quorum(FOUR, sync(2, PG2, PG3, PG4)), "pg2", "pg4"), True, id="two of three with k=2"
        ),
        pytest.param(
            cut(quorum(FOUR, sync(1, PG2, PG3, PG4)), "pg2", "pg4"), False, id="two of three with k=1"
        ),
        pytest.param(
            cut(quorum(FOUR, sync(3, PG2, PG3, PG4)), "pg4"),
            True,
            id="one of three that all have each commit",
        ),
        pytest.param(
            in_role(cut(LOST, "pg2", "pg3"), "pg3", received=None), False, id="its WAL is not known"
        ),
        pytest.param(
            in_role(cut(LOST, "pg2"), "pg3", receiver=None),
            False,
            id="it has no receiver now, but may get one",
        ),
    ],
)
def test_cutting_enough_of_those_who_acknowledge_is_ground(cluster: Cluster, proved: bool) -> None:
    found = ground(cluster)
    assert (found is not None) == proved
    if found:
        assert (found.fenced, found.floor) == (Fenced.QUORUM, (Timeline(1), HERE))


def test_who_follows_a_standby_that_is_cut_is_cut_itself() -> None:
    fed = quorum(vanished(cascade(a_cluster("pg1* pg2 pg3"), "pg3", "pg2"), "pg1"))
    behind = cut(fed, "pg2")
    assert ground(behind) is not None
    assert lossless.severed(situation(behind), behind.view.node(PG3))
    waiting = in_role(behind, "pg3", receiver=None)
    assert lossless.severed(situation(waiting), waiting.view.node(PG3)), "it can only get to that one"
    away = silent(behind, "pg2")
    assert not lossless.severed(situation(away), away.view.node(PG3)), (
        "whether that one is a standby is unknown"
    )
    elsewhere = in_role(behind, "pg3", conninfo="host=10.9.9.9 port=5432")
    assert not lossless.severed(situation(elsewhere), elsewhere.view.node(PG3))
    assert not lossless.severed(situation(behind), behind.view.node(PG1)), "it does not answer"


def test_the_furthest_of_those_cut_has_every_commit_and_nobody_with_less() -> None:
    behind = cut(cut(LOST, "pg2", "pg3"), "pg3", at=Lsn(HERE - 8))
    assert objection(behind, "pg2") == ""
    assert objection(behind, "pg3") == "it lacks WAL that may have been acknowledged"
    assert lossless.furthest(situation(behind)) == PG2
    assert lossless.furthest(situation(LOST)) is None


def test_whoever_is_not_in_the_set_may_be_promoted_if_it_has_enough() -> None:
    only = cut(quorum(LOST, sync(1, PG2)), "pg2", "pg3")
    assert objection(only, "pg3") == ""


def test_one_that_never_reached_the_timeline_acknowledged_nothing_on_it() -> None:
    old = cut(changed_record(LOST, timeline=Timeline(2)), "pg2", "pg3")
    newer = in_role(old, "pg2", timeline=Timeline(2), received=Lsn(16), replayed=Lsn(16))
    found = ground(newer)
    assert found is not None
    assert found.floor == (Timeline(2), Lsn(16))
    assert objection(newer, "pg3") == "it lacks WAL that may have been acknowledged", (
        "longer, but another line"
    )
    stale = ground(old)
    assert stale is not None
    assert stale.floor == NOTHING


def test_an_old_primary_that_answers_as_a_standby_is_the_only_one_sure_to_have_everything() -> None:
    demoted = quorum(in_role(a_cluster("pg2* pg1 pg3"), "pg1", conninfo=""), BOTH, primary=PG1)
    found = ground(demoted)
    assert found == Ground(Fenced.IN_RECOVERY, only=PG1)
    assert objection(demoted, "pg1") == ""
    assert "only pg1 is sure" in objection(demoted, "pg3")


def test_a_stopped_primary_whose_wal_can_be_fetched_is_ground_for_a_rescue() -> None:
    stopped = on_host(crashed(LOST, "pg1"), "pg1", standby_signal=True)
    assert ground(stopped) == Ground(Fenced.STOPPED, rescue=True)
    assert objection(stopped, "pg2") == ""
    bare = changed_node(stopped, "pg2", shell=None)
    assert "no shell" in objection(bare, "pg2")
    assert ground(on_host(stopped, "pg1", standby_signal=False)) is None, "its service could start it again"
    assert ground(on_host(stopped, "pg1", postmaster=Postmaster.RUNNING)) is None
    never = changed_spec(stopped, failover=replace(stopped.spec.failover, rescue_max_bytes=0))
    assert ground(never) is None, "nothing is fetched: rescue.max is 0"


def test_a_failover_begins_only_where_something_can_be_proved_later() -> None:
    assert lossless.may_not_promote(situation(LOST)) is None, "both can be cut"
    one = silent(LOST, "pg3", Silence.TIMED_OUT, for_s=9)
    hold = lossless.may_not_promote(situation(one))
    assert hold is not None
    assert hold.rule == "not_lossless"
    by_host = on_host(crashed(one, "pg1"), "pg1", standby_signal=False)
    assert lossless.may_not_promote(situation(by_host)) is None, "its host speaks: it can be stopped and read"
    assert lossless.may_not_promote(situation(changed_spec(by_host, failover=NO_RESCUE.spec.failover)))


@pytest.mark.parametrize(
    ("cluster", "reason", "evidence"),
    [
        (
            silent(LOST, "pg3"),
            "2 of them must be cut off and compared, and 1 can be",
            ("pg3: it does not answer",),
        ),
        (
            claims_primary(LOST, "pg3"),
            "and 1 can be",
            ("pg3: it is a primary",),
        ),
        (
            in_role(LOST, "pg3", received=None),
            "and 1 can be",
            ("pg3: it has not streamed since its start; how much it acknowledged before is not known",),
        ),
        (
            quorum(LOST, sync(1, PG2, NodeName("old"))),
            "2 of them must be cut off and compared, and 1 can be",
            ("old: it is not in the configuration any more",),
        ),
        (quorum(LOST, ALONE), "pg1 acknowledged commits without any standby", ()),
        (quorum(LOST, None), "pg1 acknowledged commits without any standby", ()),
    ],
)
def test_what_is_missing_for_the_proof_is_said(
    cluster: Cluster, reason: str, evidence: tuple[str, ...]
) -> None:
    hold = lossless.unproved(situation(cluster))
    assert reason in hold.reason
    assert hold.evidence == evidence
    assert "pg1" in hold.hint
    assert "pgvigil failover orders --force" in hold.hint


def test_the_decision_is_held_for_that_reason_and_goes_on_when_forced() -> None:
    fencing = cut(silent(LOST, "pg3", Silence.TIMED_OUT, for_s=9), "pg2")
    assert rule(fencing) == "not_lossless"
    assert rule(changed_record(fencing, forced=True)) != "not_lossless"
