"""The checker finds what it is there to find: each rule is shown its offence and its innocent neighbour."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.lab import Ack
from tests.soak.checker import (
    Reigns,
    generations_that_do_not_grow,
    longest_gap,
    risk_was_accepted,
)


def ack(node: str, begun: float, acknowledged: float, timeline: int) -> Ack:
    return Ack(node, 1, begun, acknowledged, timeline)


def event(kind: str, generation: int, **more: Any) -> Mapping[str, Any]:
    return {"kind": kind, "generation": generation, **more}


@pytest.mark.parametrize(
    ("acks", "told"),
    [
        ([ack("pg1", 1, 2, 1), ack("pg2", 3, 4, 2)], ""),
        ([ack("pg1", 1, 9, 1), ack("pg2", 3, 4, 2)], ""),  # heard late, committed in time perhaps
        ([ack("pg1", 5, 6, 1), ack("pg2", 3, 4, 2)], "two acknowledged at once"),
        ([ack("pg2", 3, 4, 2), ack("pg1", 5, 6, 1)], "two acknowledged at once"),
        ([ack("pg1", 1, 2, 1), ack("pg2", 3, 4, 2), ack("pg1", 5, 6, 3)], ""),
        ([ack("pg1", 1, 2, 2), ack("pg2", 3, 4, 2)], "timeline 2 was written on pg1 and pg2"),
    ],
)
def test_two_nodes_that_acknowledge_at_once_are_found(acks: list[Ack], told: str) -> None:
    reigns = Reigns()
    reigns.add(acks)
    found = reigns.violations()
    assert [text.startswith(told) for text in found] == [True] * bool(told)


def test_a_violation_is_told_once() -> None:
    reigns = Reigns()
    reigns.add([ack("pg1", 5, 6, 1), ack("pg2", 3, 4, 2)])
    assert reigns.violations()
    assert not reigns.violations()


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ([event("fence", 2), event("promoted", 2, data={"primary": "pg2"})], 0),
        ([event("promoted", 2), event("promote", 1)], 1),
        ([event("fence", 2), event("seen", 1)], 0),
        ([event("promoted", 2, data={"primary": "pg2"}), event("promoted", 2, data={"primary": "pg3"})], 1),
    ],
)
def test_generations_grow_and_have_one_primary(events: list[Mapping[str, Any]], found: int) -> None:
    assert len(generations_that_do_not_grow(events)) == found


def test_accepted_risk_is_read_from_the_event_of_the_promotion() -> None:
    assert risk_was_accepted([event("promote", 2, evidence=["fenced: risk_accepted"])])
    assert not risk_was_accepted([event("promote", 2, evidence=["fenced: stopped"]), event("promoted", 2)])


def test_the_gap_is_of_the_window() -> None:
    acks = [ack("pg1", 0, t, 1) for t in (1.0, 2.0, 5.0, 6.0)]
    assert longest_gap(acks, 0.5, 6.5) == 3.0
    assert longest_gap(acks, 10.0, 14.0) == 4.0
