"""Who commits wait for while the primary serves: one small change at a time, each on record first."""

from dataclasses import replace
from typing import Any

import pytest

from pgvigil.decide.synchrony import after_promotion, confirmed, forgotten
from pgvigil.model.record import ALONE, Phase, SyncSet
from pgvigil.model.sighting import SenderState, Silence
from pgvigil.model.spec import Protection, Tag
from pgvigil.model.step import Act, Hold, SetSync
from pgvigil.model.units import Instant, NodeName
from tests.builders import (
    Cluster,
    a_cluster,
    cascade,
    changed_node,
    changed_record,
    changed_spec,
    in_role,
    lagging,
    receiver_lost,
    refuses,
    said,
    seen,
    silent,
)
from tests.unit.decide.situations import acted, decided, recorded, rule

PG1, PG2, PG3, PG4 = (NodeName(f"pg{n}") for n in range(1, 5))


def sync(acks: int, *names: NodeName) -> SyncSet:
    return SyncSet(acks, frozenset(names))


BOTH = sync(1, PG2, PG3)


def with_set(cluster: Cluster, now: SyncSet | None, following: SyncSet | None = None, **wish: Any) -> Cluster:
    """On record and set on the primary; with a change under way the old one is set still."""
    cluster = changed_spec(cluster, protection=Protection.QUORUM, **wish)
    cluster = in_role(cluster, "pg1", sync_names=now.setting if now else "")
    return changed_record(cluster, sync=now, sync_next=following)


def set_by_hand(cluster: Cluster, names: str) -> Cluster:
    return in_role(cluster, "pg1", sync_names=names)


def paused(cluster: Cluster) -> Cluster:
    return changed_record(cluster, paused=True)


def gone(cluster: Cluster, node: str, *, for_s: float = 1.0) -> Cluster:
    """A standby's server is gone: it refuses us, and the primary has no WAL sender for it."""
    return unsent(silent(cluster, node, Silence.REFUSED, for_s=for_s), node)


def unsent(cluster: Cluster, *nodes: str) -> Cluster:
    """The primary has no WAL sender for these."""
    answer = cluster.view.node(PG1).answer
    assert answer
    rest = tuple(sender for sender in answer.senders if sender.application_name not in nodes)
    return said(cluster, "pg1", senders=rest)


def owing(cluster: Cluster, node: str, for_s: float) -> Cluster:
    """A standby owes WAL, and has confirmed none for so long; 0: it owes nothing."""
    since = {node: Instant(cluster.view.at - for_s)} if for_s else {}
    return seen(lagging(cluster, node, 80) if for_s else cluster, "pg1", owed_since=since)


def catching_up(cluster: Cluster, node: str) -> Cluster:
    answer = cluster.view.node(PG1).answer
    assert answer
    senders = tuple(
        replace(s, state=SenderState.CATCHUP) if s.application_name == node else s for s in answer.senders
    )
    return said(cluster, "pg1", senders=senders)


C = a_cluster("pg1* pg2 pg3")
FOUR = a_cluster("pg1* pg2 pg3 pg4")
Q = with_set(C, BOTH)


def following(cluster: Cluster) -> tuple[SyncSet | None, SyncSet | None]:
    """What is on record after what is decided."""
    record = recorded(cluster)
    return record.sync, record.sync_next


def asked(cluster: Cluster) -> SyncSet:
    """What the primary is to be set to; the step and the record say the same."""
    act = acted(cluster)
    ((step,),) = (stage.steps for stage in act.stages)
    assert isinstance(step, SetSync)
    record = act.record or cluster.record
    assert (step.node, step.generation, step.to) == (record.primary, record.generation, record.sync_next)
    return step.to


def test_as_long_as_all_is_as_wanted_nothing_is_done() -> None:
    assert rule(Q) == "rest"


def test_a_quorum_begins_with_nothing_promised_and_all_who_stream() -> None:
    begun = with_set(C, None)
    assert following(begun) == (ALONE, BOTH)
    assert following(set_by_hand(begun, "FIRST 1 (other)")) == (ALONE, BOTH)
    assert following(gone(begun, "pg3")) == (ALONE, sync(1, PG2))


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        pytest.param(gone(Q, "pg3"), (BOTH, sync(1, PG2)), id="one has left"),
        pytest.param(gone(gone(Q, "pg3"), "pg2"), (BOTH, ALONE), id="all have left: it acknowledges alone"),
        pytest.param(gone(Q, "pg3", for_s=0.1), None, id="a reconnect is waited for"),
        pytest.param(
            unsent(refuses(Q, "pg3", "57P03", for_s=0.4), "pg3"), (BOTH, sync(1, PG2)), id="it restarts"
        ),
        pytest.param(
            unsent(receiver_lost(Q, ["pg3"], ago_s=0.4), "pg3"), (BOTH, sync(1, PG2)), id="it is cut off"
        ),
        pytest.param(unsent(receiver_lost(Q, ["pg3"], ago_s=0.2), "pg3"), None, id="it reconnects"),
        pytest.param(unsent(Q, "pg3"), (BOTH, sync(1, PG2)), id="its receiver has been silent for longer"),
        pytest.param(cascade(Q, "pg3", "pg2"), (BOTH, sync(1, PG2)), id="it follows another standby now"),
        pytest.param(with_set(C, sync(1, PG2)), (sync(1, PG2), BOTH), id="one has come"),
        pytest.param(catching_up(with_set(C, sync(1, PG2)), "pg3"), None, id="it has not caught up yet"),
        pytest.param(
            silent(with_set(C, sync(1, PG2)), "pg3"), None, id="who does not answer us could not be cut"
        ),
        pytest.param(with_set(C, ALONE), (ALONE, BOTH), id="they are back"),
        pytest.param(with_set(C, BOTH, sync_required=2), (BOTH, sync(2, PG2, PG3)), id="more is wanted"),
        pytest.param(with_set(C, sync(2, PG2, PG3)), (sync(2, PG2, PG3), BOTH), id="less is wanted"),
        pytest.param(
            gone(with_set(C, sync(2, PG2, PG3), sync_required=2), "pg3"),
            (sync(2, PG2, PG3), BOTH),
            id="fewer are left: first the number, both still named",
        ),
        pytest.param(
            with_set(FOUR, sync(1, PG2), sync_required=2),
            (sync(1, PG2), sync(1, PG2, PG3, PG4)),
            id="widened before the number is raised",
        ),
        pytest.param(
            changed_node(Q, "pg3", tags=frozenset({Tag.NEVER_SYNC})), (BOTH, sync(1, PG2)), id="never_sync"
        ),
        pytest.param(
            with_set(C, sync(1, PG2, PG3, NodeName("old"))),
            (sync(1, PG2, PG3, NodeName("old")), BOTH),
            id="it is not in the configuration any more",
        ),
    ],
)
def test_the_set_follows_who_is_there(
    cluster: Cluster, expected: tuple[SyncSet | None, SyncSet | None] | None
) -> None:
    if expected is None:
        assert rule(cluster) == "rest"
    else:
        assert following(cluster) == expected
        assert asked(cluster) == expected[1]


def test_a_silent_standby_that_the_primary_still_feeds_is_kept_until_its_host_counts_as_lost() -> None:
    required = with_set(C, sync(2, PG2, PG3), sync_required=2)
    for for_s, owes_s in ((2.0, 0.0), (2.0, 2.0), (4.0, 0.0), (4.0, 0.9)):
        cluster = silent(owing(required, "pg3", owes_s), "pg3", for_s=for_s)
        assert rule(cluster) == "rest", "what it has is all there is, or it is not silent for long"
    held_up = silent(owing(required, "pg3", 1.0), "pg3", for_s=4.0)
    assert following(held_up) == (sync(2, PG2, PG3), BOTH)
    assert following(silent(Q, "pg3", for_s=4.0)) == (BOTH, sync(1, PG2)), "others are enough: it goes"


def test_a_standby_that_answers_and_confirms_nothing_is_waited_for_as_long_as_a_lost_host() -> None:
    lone = with_set(a_cluster("pg1* pg2"), sync(1, PG2))
    assert rule(owing(lone, "pg2", 2.9)) == "rest"
    assert following(owing(lone, "pg2", 3.0)) == (sync(1, PG2), ALONE)
    assert "confirms nothing" in acted(owing(lone, "pg2", 3.0)).reason
    assert rule(owing(with_set(lone, sync(1, PG2), degrade=False), "pg2", 3.0)) == "commits_wait"
    alone = with_set(a_cluster("pg1* pg2"), ALONE)
    assert rule(owing(alone, "pg2", 1.0)) == "rest", "it is not taken back while it stands still"
    assert following(owing(alone, "pg2", 0.9)) == (ALONE, sync(1, PG2))


def test_a_change_under_way_is_made_again_until_it_is_confirmed() -> None:
    halfway = with_set(C, sync(1, PG2), BOTH)
    act = acted(halfway)
    assert act.record is None, "it is on record"
    assert asked(halfway) == BOTH
    assert asked(set_by_hand(halfway, BOTH.setting)) == BOTH, "the server has it, but it is not proved"


def test_another_change_in_its_place_covers_what_it_may_have_left() -> None:
    halfway = gone(with_set(C, sync(1, PG2), BOTH), "pg2")
    record = recorded(halfway)
    assert (record.sync, record.sync_next) == (BOTH, sync(1, PG3))


def test_without_degrade_commits_wait_for_those_who_are_away() -> None:
    strict = with_set(C, BOTH, degrade=False)
    assert following(gone(strict, "pg3")) == (BOTH, sync(1, PG2)), "one is enough"
    hold = decided(gone(gone(strict, "pg3"), "pg2"))
    assert isinstance(hold, Hold)
    assert hold.rule == "commits_wait"
    assert "pg2, pg3" in hold.hint
    assert decided(gone(gone(with_set(C, ALONE, degrade=False), "pg3"), "pg2")) != hold


@pytest.mark.parametrize(("for_s", "told"), [(2.9, "rest"), (3.0, "commits_wait")])
def test_without_degrade_commits_that_wait_for_a_lost_host_are_told_although_its_sender_lives(
    for_s: float, told: str
) -> None:
    """A primary notices a lost standby only after `wal_sender_timeout`, a minute by default."""
    lone = with_set(a_cluster("pg1* pg2"), sync(1, PG2), degrade=False)
    behind = owing(lone, "pg2", 1.0)
    assert rule(silent(behind, "pg2", Silence.TIMED_OUT, for_s=for_s)) == told
    assert rule(silent(lone, "pg2", Silence.TIMED_OUT, for_s=30.0)) == "rest", "silent for us alone"


def test_without_degrade_what_nobody_can_confirm_is_not_tried_for_ever() -> None:
    strict = with_set(C, ALONE, BOTH, degrade=False)
    nobody = gone(gone(set_by_hand(strict, BOTH.setting), "pg3"), "pg2")
    assert rule(nobody) == "commits_wait"
    assert asked(gone(gone(strict, "pg3"), "pg2")) == BOTH, "it is not set yet: that needs nobody"


@pytest.mark.parametrize("names", ["", "*", "FIRST 1 (pg3)", "ANY 1 (pg2, pg3)", sync(1, PG2).setting])
def test_somebody_else_s_setting_ends_the_promise_and_is_replaced(names: str) -> None:
    cluster = set_by_hand(Q, names)
    assert rule(cluster) == "sync_drifted"
    assert f"'{names}'" in acted(cluster).reason
    assert following(cluster) == (ALONE, BOTH)


@pytest.mark.parametrize(
    ("names", "is_ours"),
    [
        (sync(1, PG2).setting, True),
        (BOTH.setting, True),
        (sync(2, PG2, PG3).setting, True),
        ("", False),
        (sync(1, PG2, PG3, PG4).setting, False),
        ("ANY 1 (pg2)", False),
        ("*", False),
    ],
)
def test_while_a_change_is_under_way_what_promises_less_is_not_ours(names: str, is_ours: bool) -> None:
    cluster = set_by_hand(with_set(C, sync(1, PG2), BOTH), names)
    assert rule(cluster) == ("sync_set" if is_ours else "sync_drifted")
    assert asked(cluster) == BOTH
    if not is_ours:
        assert following(cluster) == (ALONE, BOTH)


def test_what_promises_nothing_cannot_drift_while_it_is_changed() -> None:
    assert rule(set_by_hand(with_set(C, ALONE, BOTH), "*")) == "sync_set"


def test_nothing_is_set_while_paused_but_what_is_on_record_is_true() -> None:
    assert rule(paused(gone(Q, "pg3"))) == "rest"
    assert rule(paused(with_set(C, None))) == "rest"
    assert rule(paused(changed_spec(Q, protection=Protection.ASYNC))) == "rest"
    for cluster in (set_by_hand(Q, ""), set_by_hand(with_set(C, sync(1, PG2), BOTH), "")):
        act = acted(paused(cluster))
        assert (act.rule, act.stages) == ("sync_drifted", ())
        assert following(paused(cluster)) == (ALONE, None)
    assert rule(paused(set_by_hand(with_set(C, ALONE), "*"))) == "rest", "nothing is promised anyway"


def test_going_back_to_async_empties_the_setting_and_then_leaves_it() -> None:
    back = changed_spec(Q, protection=Protection.ASYNC, sync_required=1)
    assert following(back) == (BOTH, ALONE)
    assert asked(back) == ALONE
    emptied = changed_record(set_by_hand(back, ""), sync=ALONE, sync_next=None)
    assert rule(emptied) == "sync_released"
    assert following(emptied) == (None, None)
    assert rule(changed_record(set_by_hand(emptied, "FIRST 1 (pg3)"), sync=None)) == "rest"


def test_only_a_primary_that_answers_is_changed() -> None:
    away = silent(gone(Q, "pg3"), "pg1", Silence.TIMED_OUT, for_s=0.5)
    assert not isinstance(decided(away), Act)


def test_a_change_is_confirmed_for_the_primary_and_the_set_it_was_made_for() -> None:
    record = changed_record(C, sync=ALONE, sync_next=BOTH).record
    step = SetSync(PG1, record.generation, BOTH)
    changed = confirmed(record, step)
    assert changed is not None
    assert (changed.sync, changed.sync_next) == (BOTH, None)
    assert confirmed(record, replace(step, to=sync(1, PG2))) is None
    assert confirmed(record, replace(step, node=PG2)) is None
    assert confirmed(replace(record, phase=Phase.PROMOTING), step) is None


def test_the_next_primary_has_its_set_from_those_that_will_follow_it() -> None:
    assert after_promotion(C.spec, PG2, frozenset({PG1, PG3})) is None, "async: not managed"
    spec = Q.spec
    assert after_promotion(spec, PG2, frozenset({PG1, PG3})) == sync(1, PG1, PG3)
    assert after_promotion(spec, PG2, frozenset()) == ALONE
    strict = replace(spec, degrade=False)
    assert after_promotion(strict, PG2, frozenset()) == sync(1), "it waits until one is back"
    tagged = changed_node(Q, "pg3", tags=frozenset({Tag.NEVER_SYNC})).spec
    assert after_promotion(tagged, PG2, frozenset({PG3})) == ALONE
    assert after_promotion(replace(spec, sync_required=2), PG2, frozenset({PG3})) == sync(1, PG3)


def test_a_primary_that_was_not_set_by_us_promises_nothing() -> None:
    assert forgotten(C.spec) == {"sync": None, "sync_next": None}
    assert forgotten(Q.spec) == {"sync": ALONE, "sync_next": None}
