"""The sentence that tells of a copy is read back as what it was made of."""

import pytest

from pgvigil.model.progress import Copied


@pytest.mark.parametrize(
    "copied",
    [
        Copied("pg2", 0, 126_000),
        Copied("pg-2.east_1", 60_000, 126_000, 20_000),
        Copied("pg1", 126_100, 126_000, 1),
        Copied("pg1", 0, 0),
    ],
)
def test_a_copy_is_read_back_from_its_sentence(copied: Copied) -> None:
    assert Copied.parse(copied.sentence()) == copied
    assert Copied.parse(f"pg3: {copied.sentence()}") == copied


def test_what_is_left_follows_from_the_rate() -> None:
    copied = Copied("pg1", 50_000, 100_000, 10_000)
    assert (copied.percent, copied.left_s) == (50, 5)
    assert Copied("pg1", 50_000, 100_000).left_s is None
    assert (Copied("pg1", 9, 4, 2).percent, Copied("pg1", 9, 4, 2).left_s) == (100, 0)


def test_other_reports_are_not_taken_for_it() -> None:
    assert Copied.parse("pg3: clone is needed: its data directory is empty") is None
