"""What a loop that stood still says of itself."""

import asyncio
import time
from itertools import pairwise

import pytest

from pgvigil.model.units import Instant
from pgvigil.ports.clock import SystemClock
from pgvigil.sight.own_loop import (
    AT_ONCE,
    ATTEMPT_WAITS_S,
    BUSY_S,
    EASE_MAX,
    EVERY_S,
    HURRIES_UP_TO,
    JUDGED_A_SECOND,
    PER_S,
    SLOWDOWN_MAX,
    TELL_SLOWDOWN,
    OwnLoop,
)


async def lateness(block_s: float) -> float:
    """What is measured after the loop was held up for so long."""
    own_loop = OwnLoop(SystemClock())
    measuring = asyncio.create_task(own_loop.run())
    await asyncio.sleep(0.05)
    time.sleep(block_s)  # noqa: ASYNC251  # that is the fault
    await asyncio.sleep(0.2)  # its timer is due before this one
    measuring.cancel()
    return own_loop.late_s()


def test_a_loop_that_stood_still_says_for_how_long() -> None:
    assert asyncio.run(lateness(0.6)) >= 0.3


def test_a_loop_that_was_never_measured_accuses_nobody_and_itself_neither() -> None:
    assert OwnLoop(SystemClock()).late_s() == 0.0


def at_work(turn_s: float, *, for_s: float, own_loop: OwnLoop) -> None:
    """What is measured in so many seconds when every turn of the loop takes that long."""
    for _ in range(round(for_s / EVERY_S)):
        own_loop._set_slowdown(turn_s)


def test_a_loop_with_too_much_to_do_looks_less_often_says_so_once_and_recovers() -> None:
    told = list[float]()
    own_loop = OwnLoop(SystemClock(), tell_slowdown=told.append)
    at_work(BUSY_S / 3, for_s=60, own_loop=own_loop)
    assert (own_loop.slowdown, own_loop.busy) == (1.0, False)
    at_work(BUSY_S * 2, for_s=2, own_loop=own_loop)
    assert 1.2 < own_loop.slowdown < TELL_SLOWDOWN
    assert (own_loop.busy, told) == (True, [])
    at_work(BUSY_S * 2, for_s=90, own_loop=own_loop)
    assert own_loop.slowdown == SLOWDOWN_MAX
    assert len(told) == 1
    at_work(0.0, for_s=90, own_loop=own_loop)
    assert (own_loop.slowdown, own_loop.busy) == (1.0, False)


def test_a_loop_that_is_only_woken_late_looks_as_often_as_ever() -> None:
    own_loop = OwnLoop(SystemClock())
    for _ in range(100):
        own_loop.wheel.late(2.0)
        at_work(0.001, for_s=EVERY_S, own_loop=own_loop)
    assert own_loop.late_s() == 2.0
    assert own_loop.slowdown == 1.0


def test_a_standstill_is_no_reason_to_look_less_often_for_long() -> None:
    own_loop = OwnLoop(SystemClock())
    at_work(1.0, for_s=EVERY_S, own_loop=own_loop)
    at_work(0.001, for_s=2, own_loop=own_loop)
    assert own_loop.slowdown < 1.5
    at_work(0.001, for_s=10, own_loop=own_loop)
    assert own_loop.slowdown == 1.0


class Hand(SystemClock):
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.at = Instant(1000.0)

    def now(self) -> Instant:
        return self.at


def test_a_turn_of_the_loop_counts_as_a_tenth_of_a_second_of_listening_at_most() -> None:
    clock = Hand()
    own_loop = OwnLoop(clock)
    for _ in range(10):  # each turn takes 0.3 s, and all times that fall into it are missed
        clock.at = Instant(clock.at + 0.3)
        for late_s in (0.3, 0.25, 0.2):
            own_loop.wheel.late(late_s)
    assert own_loop.missed_s == pytest.approx(10 * (0.3 - EVERY_S))


def test_few_sessions_are_tried_at_once_beside_late_ones_and_a_crowd_of_them_over_seconds() -> None:
    own_loop = OwnLoop(Hand())
    waits = [own_loop.attempt_s() for _ in range(6000)]
    assert waits[: AT_ONCE - 1] == [0.0] * (AT_ONCE - 1)
    assert waits == sorted(waits)
    assert waits[AT_ONCE + 2 * PER_S] == pytest.approx(2.0, abs=0.1)
    assert waits[-1] == ATTEMPT_WAITS_S


def test_clusters_in_trouble_are_looked_at_as_often_as_ever_until_it_is_far_too_much() -> None:
    own_loop = OwnLoop(SystemClock())
    assert own_loop.stretch(calm=True) == own_loop.stretch(calm=False) == 1.0
    own_loop.slowdown = HURRIES_UP_TO
    assert own_loop.stretch(calm=True) == HURRIES_UP_TO
    assert own_loop.stretch(calm=False) == 1.0
    own_loop.slowdown = SLOWDOWN_MAX
    assert 1.0 < own_loop.stretch(calm=False) < SLOWDOWN_MAX / 2


@pytest.mark.parametrize("slowdown", [1.0, 2.7])
def test_looks_that_began_together_come_apart_evenly_and_each_keeps_its_place(slowdown: float) -> None:
    clock = Hand()
    own_loop, begun = OwnLoop(clock), clock.at
    own_loop.slowdown = slowdown
    period_s, places = 0.5 * slowdown, [own_loop.place() for _ in range(300)]
    pauses = [own_loop.pause_s(0.5, place, calm=True) for place in places]
    assert period_s / 4 <= min(pauses) < max(pauses) <= period_s * 5 / 4
    gaps = [later - earlier for earlier, later in pairwise(sorted(pauses))]
    assert max(gaps) < 3 * period_s / 300
    for place, pause_s in zip(places, pauses, strict=True):  # whatever the answer took
        clock.at = Instant(begun + pause_s + period_s * 0.6)
        assert own_loop.pause_s(0.5, place, calm=True) == pytest.approx(period_s * 0.4)


def test_calm_clusters_are_judged_once_a_second_and_of_a_large_fleet_less_often() -> None:
    own_loop = OwnLoop(Hand())
    own_loop.clusters = JUDGED_A_SECOND
    assert own_loop.ease() == 1.0
    own_loop.clusters *= 2
    assert own_loop.ease() == 2.0
    own_loop.slowdown = 3.0
    assert own_loop.ease() == 6.0
    own_loop.clusters, own_loop.slowdown = 99 * JUDGED_A_SECOND, 1.0
    assert own_loop.ease() == EASE_MAX
