"""The production controller on the simulated world: fresh seeds, kept seeds, and bugs made on purpose."""

import os
import subprocess
import sys

import pytest

from pgvigil.sim.campaign import summary
from pgvigil.sim.run import Report, simulate
from tests.simulation.mutations import FOUND_BY_SEEDS, Mutate

FRESH = range(1, 26)
KEPT = (
    (23, 3),
    (99, 3),
    (325, 3),
    (442, 3),
    (490, 3),
    (512, 3),
    (582, 3),
    (587, 3),
    (3001631, 2),
    (4001334, 2),
    (4000316, 3),
    (4000844, 3),
    (4001488, 3),
)
"""Seeds that once broke something, in the product or in the simulation itself, and with how many nodes."""

FINDS = {
    "promote_without_a_fence": 2,
    "believe_a_fence_that_failed": 1,
    "record_after_the_effect": 0,
    "prefer_the_less_advanced": 1,
    "take_a_refusal_for_a_crash": 160,
    "act_while_paused": 121,
    "rescue_nothing": 57,
    "leave_stale_primaries_alone": 1,
    "never_rejoin": 0,
}
"""Mutation → a seed that found it. When the simulation changes, others may: the test looks on from there."""
LOOKS_ON = 80


def told(report: Report) -> str:
    """What to read when a seed fails, and how to see all of it."""
    first = "\n".join(map(str, report.violations))
    return f"{first}\npgvigil simulate --seed {report.seed} --trace"


def test_the_same_seed_is_the_same_course_of_events() -> None:
    first, second = simulate(7), simulate(7)
    assert first.trace == second.trace
    assert simulate(8).trace != first.trace


def test_the_same_seed_is_the_same_in_another_process() -> None:
    code = "import sys; from pgvigil.sim.run import simulate; sys.stdout.write('\\n'.join(simulate(7).trace))"
    other = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "4711"},
    )
    assert other.stdout.splitlines() == "\n".join(simulate(7).trace).splitlines()


@pytest.mark.parametrize("nodes", [2, 3, 5])
def test_no_invariant_breaks(nodes: int) -> None:
    seeds = FRESH if nodes == 3 else FRESH[:8]
    reports = [simulate(seed, nodes) for seed in seeds]
    broken = [report for report in reports if report.violations]
    assert not broken, told(broken[0])
    if nodes == 3:
        assert summary(reports).failovers > len(reports) / 3


@pytest.mark.parametrize(("seed", "nodes"), KEPT)
def test_a_kept_seed_breaks_nothing(seed: int, nodes: int) -> None:
    report = simulate(seed, nodes)
    assert not report.violations, told(report)


@pytest.mark.parametrize("mutate", FOUND_BY_SEEDS, ids=lambda mutate: mutate.__name__)
def test_a_mutation_is_found(mutate: Mutate, monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch)
    first = FINDS[mutate.__name__]
    assert any(simulate(seed).violations for seed in range(first, first + LOOKS_ON))
