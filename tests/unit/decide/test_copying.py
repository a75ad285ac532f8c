"""Whom a copy is taken from."""

from pgvigil.model.command import Rejoin
from pgvigil.model.spec import Tag
from pgvigil.model.step import Copying, Rebuild, RebuildMethod
from pgvigil.model.units import NodeName
from tests.builders import Cluster, a_cluster, changed_node, changed_record, crashed, receiver_lost
from tests.unit.decide.situations import answer, planned, refusal

C = a_cluster("pg1* pg2 pg3 pg4")
PG1, PG2, PG3, PG4 = (NodeName(f"pg{number}") for number in range(1, 5))
DOWN = crashed(C, "pg4")


def tagged(cluster: Cluster, *nodes: str) -> Cluster:
    for node in nodes:
        cluster = changed_node(cluster, node, tags=frozenset({Tag.CLONE_SOURCE}))
    return cluster


def source(cluster: Cluster, wish: NodeName | None = None) -> NodeName | None:
    step = answer(cluster, Rejoin(PG4, RebuildMethod.CLONE, copying=Copying(wish)))
    assert isinstance(step, Rebuild), step
    assert step.upstream == PG1
    return step.copying.source


def test_without_a_word_the_primary_is_copied() -> None:
    assert source(DOWN) is None
    assert source(tagged(DOWN, "pg1", "pg2")) is None
    assert source(DOWN, PG1) is None


# S2-14
def test_the_tagged_standby_is_copied_if_it_streams() -> None:
    cluster = tagged(DOWN, "pg2", "pg3", "pg4")
    assert source(cluster) == PG2
    assert source(receiver_lost(cluster, ["pg2"], ago_s=1)) == PG3
    assert source(crashed(receiver_lost(cluster, ["pg2"], ago_s=1), "pg3")) is None


def test_the_named_one_wins_and_is_refused_if_it_is_not_fit() -> None:
    assert source(tagged(DOWN, "pg2"), PG3) == PG3
    wish = Rejoin(PG4, RebuildMethod.CLONE, copying=Copying(PG3))
    assert "pg3 cannot be copied: it does not stream" in refusal(receiver_lost(DOWN, ["pg3"], ago_s=1), wish)
    assert "pg3 cannot be copied: it is no running standby" in refusal(crashed(DOWN, "pg3"), wish)
    assert "there is no node pg9" in str(answer(DOWN, Rejoin(PG4, copying=Copying(NodeName("pg9")))))
    assert "copied from itself" in str(answer(DOWN, Rejoin(PG4, copying=Copying(PG4))))


def test_a_repair_of_its_own_accord_copies_the_tagged_one_too() -> None:
    cluster = tagged(changed_record(DOWN, deposed=frozenset({PG4})), "pg3")
    (step,) = planned(cluster).repairs
    assert isinstance(step, Rebuild)
    assert step.copying == Copying(PG3)
