"""Hours of hiccups, each shorter than a verdict takes, and no failover (docs/measured.md: 24 hours)."""

import pytest

from pgvigil.sim.hiccups import ALONE, BESIDE, after


@pytest.mark.parametrize(("nodes", "seed"), [(2, 11), (3, 12)])
def test_an_hour_of_hiccups_moves_nobody(nodes: int, seed: int) -> None:
    report, count = after(1.0, seed, nodes)
    assert not report.violations, str(report.violations[0])
    assert report.failovers == 0, "\n".join(report.trace[-40:])
    assert report.lost == 0
    assert report.acknowledged > 1000
    assert {each.__name__ for each in (*ALONE, *BESIDE)} <= set(count), "some kind never happened"
