"""Scripts about `synchronous_standby_names`, for real and simulated servers."""

from typing import Final

from pgvigil.model.step import StopMode
from tests.conformance.scripts import Script
from tests.conformance.stage import Stage

ONE, BOTH, NOBODY = "ANY 1 (pg2, pg3)", "ANY 2 (pg2, pg3)", "ANY 1 (pg4)"


async def one_of_two(stage: Stage) -> None:
    await stage.names("pg1", ONE)
    await stage.synchronous("both count", "pg1")
    await stage.commits("both stream", "pg1")
    await stage.cut("pg2")
    await stage.commits("one is cut", "pg1")
    await stage.cut("pg3")
    waiting = await stage.commits("both are cut", "pg1")
    await stage.follow("pg3", "pg1")
    await stage.ends("one follows again", waiting)
    await stage.synchronous("one counts", "pg1")
    await stage.follow("pg2", "pg1")
    await stage.all_streaming()
    await stage.synchronous("both count again", "pg1")


async def two_of_two(stage: Stage) -> None:
    await stage.names("pg1", BOTH)
    await stage.commits("both stream", "pg1")
    await stage.kill_all("pg2")
    waiting = await stage.commits("one is dead", "pg1")
    await stage.start("pg2")
    await stage.ends("it is back", waiting)
    await stage.freeze("pg3")
    waiting = await stage.commits("one is frozen", "pg1")
    await stage.names("pg1", ONE)
    await stage.ends("one is enough now", waiting)
    await stage.thaw("pg3")
    await stage.all_streaming()
    await stage.synchronous("thawed", "pg1")


async def another_name_does_not_count(stage: Stage) -> None:
    await stage.names("pg1", NOBODY)
    await stage.synchronous("nobody counts", "pg1")
    waiting = await stage.commits("nobody counts", "pg1")
    other = await stage.commits("nobody counts, again", "pg1")
    await stage.names("pg1", "")
    await stage.ends("nobody is asked for", waiting)
    await stage.ends("nobody is asked for, again", other)
    await stage.commits("nobody is asked for", "pg1")


async def a_wait_is_cancelled(stage: Stage) -> None:
    await stage.names("pg1", NOBODY)
    waiting = await stage.commits("nobody counts", "pg1")
    await waiting.cancel()
    await stage.ends("cancelled", waiting)
    stage.tell("it is there", there=await stage.has_row("pg1", waiting))
    await stage.all_streaming()
    stage.tell("there too", there=await stage.has_row("pg2", waiting))


def ended(how: StopMode | None) -> Script:
    """A primary on which commits wait is stopped (None: killed) and started again."""

    async def script(stage: Stage) -> None:
        await stage.names("pg1", NOBODY)
        waiting = await stage.commits("nobody counts", "pg1")
        if how is None:
            await stage.kill_all("pg1")
        else:
            await stage.stop("pg1", how)
        await stage.ends("down", waiting)
        await stage.start("pg1")
        stage.tell("it is there", there=await stage.has_row("pg1", waiting))
        other = await stage.commits("the names are still set", "pg1")
        await stage.names("pg1", "")
        await stage.ends("nobody is asked for", other)

    return script


async def a_cascade_does_not_count(stage: Stage) -> None:
    await stage.follow("pg3", "pg2")
    await stage.streaming("pg3", "pg2")
    await stage.names("pg2", "ANY 1 (pg3)")
    await stage.names("pg1", "ANY 1 (pg3)")
    await stage.synchronous("above", "pg1")
    await stage.synchronous("in the middle", "pg2")
    waiting = await stage.commits("only a cascaded standby is listed", "pg1")
    await stage.follow("pg3", "pg1")
    await stage.ends("it streams from the primary now", waiting)


async def promoted_with_names(stage: Stage) -> None:
    await stage.names("pg2", "ANY 1 (pg1, pg3)")
    await stage.kill_all("pg1")
    await stage.promote("pg2")
    waiting = await stage.commits("nobody follows", "pg2")
    await stage.follow("pg3", "pg2")
    await stage.ends("somebody follows", waiting)
    await stage.synchronous("somebody follows", "pg2")
    stage.tell("there too", there=await stage.has_row("pg3", waiting))


async def promoted_after_the_others_were_pointed_at_it(stage: Stage) -> None:
    await stage.names("pg2", "ANY 1 (pg1, pg3)")
    await stage.kill_all("pg1")
    await stage.follow("pg3", "pg2")
    await stage.streaming("pg3", "pg2")
    await stage.synchronous("still a standby", "pg2")
    await stage.promote("pg2")
    await stage.ends("after the promotion", await stage.commit("pg2"))
    await stage.streaming("pg3", "pg2")
    await stage.synchronous("after the promotion", "pg2")


async def a_standby_is_down_when_the_names_are_set(stage: Stage) -> None:
    await stage.stop("pg2", StopMode.FAST)
    await stage.names("pg1", "ANY 1 (pg2)")
    waiting = await stage.commits("it is down", "pg1")
    await stage.start("pg2")
    await stage.ends("it is up", waiting)
    await stage.streaming("pg2", "pg1")
    await stage.synchronous("it is up", "pg1")


SYNCHRONOUS: Final[dict[str, Script]] = {
    "one of two": one_of_two,
    "two of two": two_of_two,
    "another name does not count": another_name_does_not_count,
    "a wait is cancelled": a_wait_is_cancelled,
    "a primary with waiting commits is stopped (fast)": ended(StopMode.FAST),
    "a primary with waiting commits is stopped (immediate)": ended(StopMode.IMMEDIATE),
    "a primary with waiting commits is killed": ended(None),
    "a cascade does not count": a_cascade_does_not_count,
    "promoted with names": promoted_with_names,
    "promoted after the others were pointed at it": promoted_after_the_others_were_pointed_at_it,
    "a standby is down when the names are set": a_standby_is_down_when_the_names_are_set,
}
