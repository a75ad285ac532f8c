"""The order of restarts: no standby ever has less of a limited parameter than its primary."""

from dataclasses import replace

import pytest

from pgvigil.decide.parameter_change import due
from pgvigil.decide.parameters import Wanted, restarts
from pgvigil.model.parameter import NodeParameters, Parameter
from pgvigil.model.units import NodeName

PG1, PG2, PG3 = NodeName("pg1"), NodeName("pg2"), NodeName("pg3")


def node(name: NodeName, runs: int, written: int | None = None) -> NodeParameters:
    pending = written is not None and written != runs
    known = Parameter("max_connections", str(runs), str(runs), "postmaster", "default", pending, "100")
    lines = {} if written is None else {"max_connections": str(written)}
    return NodeParameters(name, name == PG1, "then", 170006, {"max_connections": known}, lines)


def order(
    *nodes: NodeParameters, targets: str = "pg1 pg2 pg3", in_place: bool = False, wanted: Wanted | None = None
) -> tuple[list[str], tuple[str, ...]]:
    known = {each.node: each for each in nodes}
    chosen = frozenset(NodeName(name) for name in targets.split())
    found = restarts(chosen, known, PG1, wanted=wanted or {}, in_place=in_place)
    return [f"{turn.node}{'*' if turn.switchover else ''}" for turn in found.turns], found.blocked


SAME = (node(PG1, 100), node(PG2, 100), node(PG3, 100))
RAISED = (node(PG1, 100, 200), node(PG2, 100, 200), node(PG3, 100, 200))
LOWERED = (node(PG1, 100, 50), node(PG2, 100, 50), node(PG3, 100, 50))


def test_without_a_change_standbys_come_first_and_the_primary_by_a_switchover() -> None:
    assert order(*SAME) == (["pg2", "pg3", "pg1*"], ())


def test_a_raised_limit_comes_to_every_standby_before_the_primary() -> None:
    assert order(*RAISED) == (["pg2", "pg3", "pg1*"], ())
    assert order(*RAISED, in_place=True) == (["pg2", "pg3", "pg1"], ())


def test_a_lowered_limit_comes_to_the_primary_first_and_in_place() -> None:
    assert order(*LOWERED, in_place=True) == (["pg1", "pg2", "pg3"], ())
    turns, blocked = order(*LOWERED)
    assert turns == []
    assert "add --in-place" in blocked[0]


@pytest.mark.parametrize(
    ("nodes", "targets", "why"),
    [
        (RAISED, "pg1 pg2", "pg3 runs with less max_connections than pg1 would"),
        (LOWERED, "pg2", "pg2 would come up with less max_connections than its primary"),
    ],
)
def test_what_would_stop_another_node_is_blocked(
    nodes: tuple[NodeParameters, ...], targets: str, why: str
) -> None:
    _, blocked = order(*nodes, targets=targets, in_place=True)
    assert why in "; ".join(blocked)


def test_what_is_wanted_and_not_written_yet_counts() -> None:
    assert order(*SAME, wanted={"max_connections": "50"}, in_place=True) == (["pg1", "pg2", "pg3"], ())
    assert order(*LOWERED, wanted={"max_connections": None}) == (["pg2", "pg3", "pg1*"], ())


def test_a_primary_without_standbys_is_only_restarted_in_place() -> None:
    turns, blocked = order(node(PG1, 100), targets="pg1")
    assert (turns, "add --in-place" in blocked[0]) == ([], True)
    assert order(node(PG1, 100), targets="pg1", in_place=True) == (["pg1"], ())


def test_a_standby_that_replays_late_is_not_given_less_than_it_knows_of() -> None:
    late = replace(node(PG3, 100, 50), replays_late=True)
    turns, blocked = order(node(PG1, 100, 50), node(PG2, 100, 50), late, in_place=True)
    assert turns == ["pg1", "pg2"]
    assert "pg3 replays late on purpose" in blocked[0]
    assert order(node(PG1, 100, 200), replace(node(PG2, 100, 200), replays_late=True))[1] == ()
    known = {each.node: each for each in (node(PG1, 50, 50), node(PG2, 100), replace(late, written={}))}
    assert due(known, {"max_connections": "50"}) == {PG2: {"max_connections": "50"}}
