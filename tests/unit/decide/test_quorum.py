"""The arithmetic that `protection: quorum` rests on, tried with everything there is up to five standbys."""

from collections.abc import Iterator
from itertools import combinations

import pytest

from pgvigil.decide.quorum import cuts_needed, next_change, revoked, weaker
from pgvigil.model.record import ALONE, SyncSet
from pgvigil.model.units import NodeName

FIVE = tuple(NodeName(name) for name in "abcde")
FOUR = FIVE[:4]


def subsets(names: tuple[NodeName, ...] | frozenset[NodeName]) -> Iterator[frozenset[NodeName]]:
    for size in range(len(names) + 1):
        yield from (frozenset(some) for some in combinations(sorted(names), size))


def sets(names: tuple[NodeName, ...]) -> list[SyncSet]:
    """Every set that promises something."""
    return [SyncSet(k, some) for some in subsets(names) for k in range(1, len(some) + 1)]


def acknowledging(sync: SyncSet) -> Iterator[frozenset[NodeName]]:
    """Everybody who may have been it when a commit was acknowledged: at least `acks` of the set."""
    yield from (some for some in subsets(sync.standbys) if len(some) >= sync.acks)


@pytest.mark.parametrize("sync", sets(FIVE), ids=str)
def test_cutting_that_many_silences_the_old_primary_and_keeps_every_commit(sync: SyncSet) -> None:
    for cut in subsets(FIVE):
        silenced = len(sync.standbys - cut) < sync.acks
        kept = all(cut & having for having in acknowledging(sync))
        assert revoked(sync, cut) == (silenced and kept)


@pytest.mark.parametrize("sync", sets(FIVE), ids=str)
def test_one_fewer_would_not_do(sync: SyncSet) -> None:
    for cut in map(frozenset, combinations(sync.standbys, cuts_needed(sync) - 1)):
        assert len(sync.standbys - cut) >= sync.acks


@pytest.mark.parametrize(
    "sync", [ALONE, SyncSet(0, frozenset(FOUR)), SyncSet(2, frozenset(FIVE[:1]))], ids=str
)
def test_what_promises_nothing_cannot_be_revoked(sync: SyncSet) -> None:
    assert not any(revoked(sync, cut) for cut in subsets(FIVE))
    with pytest.raises(ValueError, match="nothing is promised"):
        cuts_needed(sync)


def mixtures(old: SyncSet, new: SyncSet) -> Iterator[SyncSet]:
    """What a commit may be acknowledged under while some processes know the old set and some the new one.

    Each WAL sender shows whether it is on the list it knows, and counts with the number it knows all those
    that show it (PostgreSQL: SyncRepGetCandidateStandbys).
    """
    stay, move = old.standbys & new.standbys, old.standbys ^ new.standbys
    for some in subsets(move):
        for acks in {old.acks, new.acks}:
            yield SyncSet(acks, stay | some)


@pytest.mark.parametrize("wanted", [ALONE, *sets(FOUR)], ids=str)
@pytest.mark.parametrize("present", [ALONE, *sets(FOUR)], ids=str)
def test_every_mixture_on_the_way_is_covered_by_the_weaker_of_both(present: SyncSet, wanted: SyncSet) -> None:
    """Membership changes in flight: cutting for the weaker set silences whichever mixture is in force."""
    steps = 0
    while present != wanted:
        following = next_change(present, wanted)
        assert following != present
        both = weaker(present, following)
        for cut in subsets(FOUR):
            if revoked(both, cut):
                for mixture in mixtures(present, following):
                    assert len(mixture.standbys - cut) < mixture.acks
                    assert all(cut & having for having in acknowledging(mixture))
        present, steps = following, steps + 1
        assert steps <= 4


def test_a_change_that_was_left_halfway_is_covered_by_all_it_may_have_left() -> None:
    """Another target before the change under way is confirmed: all three sets are covered."""
    for old in sets(FOUR[:3]):
        for new in sets(FOUR[:3]):
            halfway = weaker(old, new)
            for other in sets(FOUR):
                both = weaker(halfway, next_change(halfway, other))
                for one in (old, new):
                    assert both.acks <= one.acks
                    assert one.standbys <= both.standbys


def test_the_setting_is_as_the_manual_writes_it() -> None:
    assert SyncSet(1, frozenset({NodeName("pg-2"), NodeName("a")})).setting == 'ANY 1 ("a", "pg-2")'
    assert ALONE.setting == ""
