"""How a large fleet is begun."""

from itertools import pairwise

from pgvigil.controller.fleet import STARTS_AT_ONCE, STARTS_PER_S, start_after_s


def test_a_small_fleet_is_begun_at_once_and_a_large_one_over_seconds() -> None:
    instants = [start_after_s(place) for place in range(1000)]
    assert set(instants[:STARTS_AT_ONCE]) == {0.0}
    assert 8 < instants[-1] < 1000 / STARTS_PER_S
    assert max(later - earlier for earlier, later in pairwise(instants)) < 2 / STARTS_PER_S
