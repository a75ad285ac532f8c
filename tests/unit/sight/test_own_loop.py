"""What a loop that stood still says of itself."""

import asyncio
import time

from pgvigil.ports.clock import SystemClock
from pgvigil.sight.own_loop import OwnLoop


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
