"""What hosts without PostgreSQL add to the evidence, and when their word counts for nothing."""

from dataclasses import replace

import pytest

from pgvigil.model.units import Instant, NodeName
from pgvigil.model.vantage import Reach, Witness, WitnessLook
from tests.builders import (
    NOW,
    Cluster,
    a_cluster,
    receiver_lost,
    seen,
    vanished,
    witnessed,
)
from tests.unit.judge.scenes import explained, judged, lost, quiet, refused_alone, stopped, without_shells

TWO, C, FIVE = a_cluster("pg1* pg2"), a_cluster("pg1* pg2 pg3"), a_cluster("pg1* pg2 pg3 pg4 pg5")
LOST, UNSEEN = "primary_lost now", "primary_unseen tell"


def word(
    cluster: Cluster,
    reach: Reach = Reach.NO_REPLY,
    *,
    others: bool | None = True,
    before: Reach | None = Reach.ANSWERS,
    by: str = "w1",
) -> Cluster:
    """A witness host tried to reach the silent pg1; `others`: and got through to a standby."""
    said = Witness(by, cluster.view.at, reach, others, before)
    words = cluster.view.node(NodeName("pg1")).witnesses
    return hosts(seen(cluster, "pg1", witnesses=(*words, said)), **{by: True})


def hosts(cluster: Cluster, **heard: bool) -> Cluster:
    """Witness hosts whose shells answer us, or do not."""
    looks = {name: WitnessLook(NOW, "" if here else "no answer", here) for name, here in heard.items()}
    return replace(cluster, view=replace(cluster.view, witnesses={**cluster.view.witnesses, **looks}))


@pytest.mark.parametrize(
    ("cluster", "explanation"),
    [
        pytest.param(lost(TWO), UNSEEN, id="two nodes: the standby says nothing, so nobody confirms"),
        pytest.param(word(lost(TWO)), LOST, id="two nodes and a witness that cannot reach it either"),
        pytest.param(word(lost(TWO), Reach.REFUSED), LOST, id="nobody listens there for the witness"),
        pytest.param(word(lost(TWO), before=None), LOST, id="a witness asked for the first time"),
        pytest.param(word(lost(TWO), others=None), LOST, id="nobody else is there to compare with"),
        pytest.param(word(lost(TWO), others=False), UNSEEN, id="the witness is cut off from all of them"),
        pytest.param(word(lost(TWO), before=Reach.NO_REPLY), UNSEEN, id="it never got through to it"),
        pytest.param(word(lost(TWO), before=Reach.REFUSED), UNSEEN, id="a firewall refused it before too"),
        pytest.param(
            word(witnessed(lost(TWO), "pg1", Reach.NO_REPLY, ["pg2"]), others=False),
            LOST,
            id="a witness of no use takes nothing from the standby's word",
        ),
        pytest.param(
            hosts(witnessed(lost(TWO), "pg1", Reach.NO_REPLY, ["pg2"]), w1=False),
            LOST,
            id="nor does one that is not to be reached",
        ),
        pytest.param(word(lost(TWO), Reach.ACCEPTS), UNSEEN, id="the witness gets through"),
        pytest.param(
            word(witnessed(lost(C), "pg1", Reach.NO_REPLY, ["pg2", "pg3"]), Reach.ANSWERS),
            UNSEEN,
            id="one witness gets through, whoever else does not",
        ),
        pytest.param(
            word(witnessed(lost(C), "pg1", Reach.NO_REPLY, ["pg2"]), Reach.ANSWERS, others=False),
            UNSEEN,
            id="it gets through to the primary alone: that is proof enough of life",
        ),
        pytest.param(
            word(quiet(refused_alone(without_shells(TWO)))),
            "primary_crashed now",
            id="no shells: refused here, not to be reached from there",
        ),
        pytest.param(
            word(quiet(refused_alone(without_shells(TWO), for_s=2)), others=False),
            UNSEEN,
            id="no shells: refused here, and a witness that is cut off",
        ),
        pytest.param(
            word(receiver_lost(refused_alone(without_shells(TWO), for_s=2)), Reach.ANSWERS),
            UNSEEN,
            id="no shells: pg2 lost its upstream, but the witness gets an answer",
        ),
    ],
)
def test_a_witness_is_one_more_vantage_point(cluster: Cluster, explanation: str) -> None:
    assert explained(cluster) == explanation


@pytest.mark.parametrize(
    ("cluster", "explanation"),
    [
        (vanished(word(lost(C)), "pg3"), LOST),
        (hosts(vanished(word(lost(C)), "pg3"), w2=False), LOST),
        (hosts(vanished(word(lost(C)), "pg3"), w2=False, w3=False, w4=False), UNSEEN),
        (vanished(vanished(word(lost(FIVE)), "pg3"), "pg4"), LOST),
        (vanished(vanished(vanished(lost(FIVE), "pg3"), "pg4"), "pg5"), UNSEEN),
    ],
    ids=["1 of 3", "2 of 4", "4 of 6", "2 of 5", "3 of 4"],
)
def test_who_hears_of_the_smaller_part_only_may_be_the_one_cut_off(
    cluster: Cluster, explanation: str
) -> None:
    assert explained(witnessed_too(cluster)) == explanation


def witnessed_too(cluster: Cluster) -> Cluster:
    """pg2 confirms the loss."""
    words = cluster.view.node(NodeName("pg1")).witnesses
    return seen(cluster, "pg1", witnesses=(*words, Witness("pg2", cluster.view.at, Reach.NO_REPLY)))


def test_people_are_told_who_is_silent_beside_the_primary() -> None:
    cluster = witnessed_too(vanished(vanished(vanished(lost(FIVE), "pg3"), "pg4"), "pg5"))
    finding = judged(cluster).findings[0]
    assert any("pg3, pg4, pg5 cannot be reached from here either" in text for text in finding.evidence)


def test_people_are_told_why_a_witness_does_not_count() -> None:
    evidence = judged(word(lost(TWO), others=False)).findings[0].evidence
    assert "w1 does not reach it, but no other node either: that proves nothing" in evidence
    evidence = judged(word(lost(TWO), before=Reach.REFUSED)).findings[0].evidence
    assert "w1 does not reach it, but could not before either: that proves nothing" in evidence


def test_people_are_told_who_gets_through_and_who_does_not() -> None:
    cluster = word(witnessed(lost(C), "pg1", Reach.NO_REPLY, ["pg2", "pg3"]), Reach.ANSWERS)
    evidence = judged(cluster).findings[0].evidence
    assert {"w1 reaches it", "pg2 does not", "pg3 does not"} <= set(evidence)


def test_a_server_that_answers_a_witness_need_not_serve() -> None:
    stopping = stopped(without_shells(TWO))
    assert explained(word(stopping, Reach.ANSWERS)) == "primary_restarting waiting"
    assert explained(word(stopping, Reach.ACCEPTS)) == "primary_unseen waiting"


@pytest.mark.parametrize(("ago_s", "explanation"), [(2.9, "primary_lost waiting"), (3.0, LOST)])
def test_whoever_has_just_got_through_must_fail_as_long_as_any_silence_lasts(
    ago_s: float, explanation: str
) -> None:
    failed = Witness("w1", NOW, Reach.NO_REPLY, True, Reach.ANSWERS, Instant(NOW - ago_s))
    cluster = witnessed(lost(C, for_s=60), "pg1", Reach.NO_REPLY, ["pg2"])
    words = (*cluster.view.node(NodeName("pg1")).witnesses, failed)
    assert explained(seen(cluster, "pg1", witnesses=words)) == explanation
