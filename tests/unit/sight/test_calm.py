"""Which looks are news while all is well."""

from dataclasses import replace

import pytest

from pgvigil.model.sighting import Answer, Backup, NoAnswer, Primary, SenderState, Silence, Standby
from pgvigil.model.units import Instant, Lsn, NodeName, Timeline
from pgvigil.sight.calm import says_nothing_new
from tests.builders import NOW, a_cluster

CLUSTER = a_cluster("pg1* pg2 pg3")
FURTHER = Lsn.parse("0/6000000")


def answer(name: str) -> Answer:
    """What that node says while all is well."""
    found = CLUSTER.view.node(NodeName(name)).answer
    assert found
    return found


PRIMARY, STANDBY = answer("pg1"), answer("pg2")
P_ROLE, S_ROLE = PRIMARY.role, STANDBY.role
assert isinstance(P_ROLE, Primary)
assert isinstance(S_ROLE, Standby)
assert S_ROLE.receiver
FIRST = PRIMARY.senders[0]


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (PRIMARY, replace(PRIMARY, at=Instant(NOW + 1), took_s=0.5)),
        (PRIMARY, replace(PRIMARY, role=replace(P_ROLE, written=FURTHER, flushed=FURTHER))),
        (PRIMARY, replace(PRIMARY, senders=(replace(FIRST, sent=FURTHER), *PRIMARY.senders[1:]))),
        (PRIMARY, replace(PRIMARY, senders=(replace(FIRST, replay_lag_s=2.0), *PRIMARY.senders[1:]))),
        (STANDBY, replace(STANDBY, role=replace(S_ROLE, received=FURTHER, replayed=FURTHER))),
        (
            STANDBY,
            replace(STANDBY, role=replace(S_ROLE, receiver=replace(S_ROLE.receiver, silent_s=9.0))),
        ),
    ],
)
def test_positions_that_moved_on_are_no_news(before: Answer, now: Answer) -> None:
    assert says_nothing_new(before, now)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (PRIMARY, replace(PRIMARY, role=S_ROLE)),
        (PRIMARY, replace(PRIMARY, role=replace(P_ROLE, timeline=Timeline(2)))),
        (PRIMARY, replace(PRIMARY, role=replace(P_ROLE, sync_names="ANY 1 (pg2)"))),
        (PRIMARY, replace(PRIMARY, senders=PRIMARY.senders[1:])),
        (
            PRIMARY,
            replace(PRIMARY, senders=(replace(FIRST, state=SenderState.CATCHUP), *PRIMARY.senders[1:])),
        ),
        (PRIMARY, replace(PRIMARY, senders=(replace(FIRST, sync_state="sync"), *PRIMARY.senders[1:]))),
        (PRIMARY, replace(PRIMARY, senders=(replace(FIRST, pid=1), *PRIMARY.senders[1:]))),
        (PRIMARY, replace(PRIMARY, facts=replace(PRIMARY.facts, pending=("shared_buffers",)))),
        (PRIMARY, replace(PRIMARY, backups=(Backup("b", "", "streaming", 1, None, 0.1),))),
        (replace(PRIMARY, backups=(Backup("b", "", "streaming", 1, None, 0.1),)), PRIMARY),
        (STANDBY, replace(STANDBY, role=replace(S_ROLE, receiver=None))),
        (replace(STANDBY, role=replace(S_ROLE, receiver=None)), STANDBY),
        (STANDBY, replace(STANDBY, role=replace(S_ROLE, receiver=replace(S_ROLE.receiver, pid=1)))),
        (
            STANDBY,
            replace(STANDBY, role=replace(S_ROLE, receiver=replace(S_ROLE.receiver, status="waiting"))),
        ),
        (STANDBY, replace(STANDBY, role=replace(S_ROLE, conninfo=""))),
        (STANDBY, replace(STANDBY, role=replace(S_ROLE, replay_paused=True))),
        (None, PRIMARY),
        (PRIMARY, NoAnswer(PRIMARY.node, NOW, NOW, Silence.CLOSED)),
        (NoAnswer(PRIMARY.node, NOW, NOW, Silence.CLOSED), PRIMARY),
    ],
)
def test_whatever_changes_the_picture_is_news(
    before: Answer | NoAnswer | None, now: Answer | NoAnswer
) -> None:
    assert not says_nothing_new(before, now)
