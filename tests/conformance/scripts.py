"""The scripts that real and simulated servers play: what faults and the controller do to them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from pgvigil.model.step import StopMode
from pgvigil.ports.contract import Session
from pgvigil.sight import probe
from tests.conformance.stage import Stage

Script = Callable[[Stage], Awaitable[None]]


async def everything_is_well(stage: Stage) -> None:
    await stage.note("in the beginning")
    await stage.write_rows("pg1", 3)
    await stage.all_streaming()
    await stage.order("after three rows", "pg1", "pg2", "pg3")


async def a_primary_is_killed_and_started_again(stage: Stage) -> None:
    kept = await stage.keep("pg1")
    await stage.write_rows("pg1")
    await stage.kill_all("pg1")
    await stage.note_farewell("our session", kept)
    for standby in ("pg2", "pg3"):
        await stage.until(standby, lambda seen: seen.receiver is None)
    await stage.note("dead")
    await stage.start("pg1")
    await stage.all_streaming()
    await stage.note("alive")


async def a_postmaster_alone_is_killed(stage: Stage) -> None:
    kept = await stage.keep("pg1")
    await stage.kill_postmaster("pg1")
    await stage.note_farewell("our session", kept)
    await stage.until("pg1", lambda seen: not seen.host.strays)
    for standby in ("pg2", "pg3"):
        await stage.until(standby, lambda seen: seen.receiver is None)
    await stage.note("dead")
    await stage.start("pg1")
    await stage.all_streaming()


def stopped(mode: StopMode) -> Script:
    """A primary is stopped and started again."""

    async def script(stage: Stage) -> None:
        kept = await stage.keep("pg1")
        await stage.write_rows("pg1")
        await stage.stop("pg1", mode)
        await stage.note_farewell("our session", kept)
        for standby in ("pg2", "pg3"):
            await stage.until(standby, lambda seen: seen.receiver is None)
        await stage.note("down")
        control = (await stage.see("pg1")).host.control
        assert control
        ends = [(await stage.see(standby)).end > control.checkpoint for standby in ("pg2", "pg3")]
        stage.tell("standbys have more than the position of the last checkpoint", ends=ends)
        await stage.start("pg1")
        await stage.all_streaming()
        await stage.note("up")

    return script


def standby_ended(mode: StopMode | None) -> Script:
    """A standby is stopped (None: killed) and started again."""

    async def script(stage: Stage) -> None:
        kept = await stage.keep("pg2")
        if mode is None:
            await stage.kill_all("pg2")
        else:
            await stage.stop("pg2", mode)
        await stage.note_farewell("our session", kept)
        await stage.until("pg1", lambda seen: bool(seen.answer and len(seen.answer.senders) == 1))
        await stage.note("down")
        await stage.write_rows("pg1", 2)
        await stage.streaming("pg3", "pg1")
        await stage.start("pg2")
        await stage.all_streaming()
        await stage.note("up")
        await stage.order("up", "pg1", "pg2", "pg3")

    return script


async def a_primary_is_frozen(stage: Stage) -> None:
    kept, other = await stage.keep("pg1"), await stage.keep("pg1")
    await stage.freeze("pg1")
    await stage.note_query("on a kept session", kept)
    await stage.note("frozen")
    await stage.thaw("pg1")
    await stage.note_query("on another kept session", other, stage.patience_s)
    other.close()
    await stage.until("pg1", lambda seen: seen.answer is not None)
    await stage.all_streaming()
    await stage.note("thawed")


async def a_frozen_primary_is_killed(stage: Stage) -> None:
    kept = await stage.keep("pg1")
    await stage.freeze("pg1")
    await stage.stop("pg1", StopMode.KILL)
    await stage.note_farewell("our session", kept)
    await stage.note("killed", "pg1")


async def a_standby_is_frozen(stage: Stage) -> None:
    await stage.freeze("pg2")
    await stage.write_rows("pg1", 2)
    await stage.streaming("pg3", "pg1")
    await stage.note("frozen")
    await stage.thaw("pg2")
    await stage.all_streaming()
    await stage.order("thawed", "pg1", "pg2", "pg3")


async def a_standby_is_cut_and_follows_again(stage: Stage) -> None:
    await stage.cut("pg2")
    await stage.until("pg1", lambda seen: bool(seen.answer and len(seen.answer.senders) == 1))
    await stage.write_rows("pg1", 2)
    await stage.streaming("pg3", "pg1")
    await stage.note("cut")
    await stage.order("cut", "pg1", "pg2", "pg3")
    await stage.follow("pg2", "pg1")
    await stage.all_streaming()
    await stage.note("following")


async def a_slot_is_missing(stage: Stage) -> None:
    stage.tell("one that is there", made=await stage.slot("pg1", "pg2"))
    stage.tell("one in use", dropped=await stage.drop_slot("pg1", "pg2"))
    await stage.note("still there", "pg1")
    await stage.cut("pg2")
    await stage.until("pg1", lambda seen: bool(seen.answer and len(seen.answer.senders) == 1))
    stage.tell("one that nobody uses", dropped=await stage.drop_slot("pg1", "pg2"))
    await stage.note("dropped", "pg1")
    await stage.write_rows("pg1")
    await stage.alter("pg2", {"primary_slot_name": "nobodys"})
    conninfo = (await stage.see("pg3")).standby
    assert conninfo
    await stage.alter("pg2", {"primary_conninfo": conninfo.conninfo.replace("=pg3", "=pg2")})
    await stage.until("pg2", lambda seen: seen.receiver is None)
    await asyncio.sleep(1.0)  # in its attempt, the next of which comes 5 s later, it is a sender for a moment
    await stage.until("pg1", lambda seen: bool(seen.answer and len(seen.answer.senders) == 1))
    await stage.note("waiting for a slot", "pg1")
    await stage.order("waiting for a slot", "pg1", "pg2")
    await stage.follow("pg2", "pg1")
    await stage.all_streaming()
    await stage.note("with a slot")


async def a_standby_is_promoted_and_followed(stage: Stage) -> None:
    await stage.write_rows("pg1", 2)
    await stage.all_streaming()
    await stage.kill_all("pg1")
    for standby in ("pg2", "pg3"):
        await stage.until(standby, lambda seen: seen.receiver is None)
    kept = await stage.keep("pg2")
    await stage.promote("pg2")
    await stage.note_query("on a session from before", kept)
    kept.close()
    await stage.note("promoted")
    await stage.write_rows("pg2")
    await stage.order("promoted", "pg2", "pg3")
    await stage.follow("pg3", "pg2")
    await stage.streaming("pg3", "pg2")
    await stage.note("followed")
    await stage.make_standby("pg1", "pg2")
    await stage.note("prepared", "pg1")
    await stage.start("pg1")
    await stage.streaming("pg1", "pg2")
    await stage.note("rejoined")
    await stage.order("rejoined", "pg2", "pg3", "pg1")


async def a_switchover_by_hand(stage: Stage) -> None:
    await stage.write_rows("pg1", 2)
    await stage.all_streaming()
    await stage.stop("pg1", StopMode.FAST)
    await stage.promote("pg2")
    await stage.follow("pg3", "pg2")
    await stage.make_standby("pg1", "pg2")
    await stage.start("pg1")
    await stage.streaming("pg1", "pg2")
    await stage.streaming("pg3", "pg2")
    await stage.note("switched over")


async def an_old_primary_with_rows_of_its_own_does_not_stream(stage: Stage) -> None:
    await stage.alter("pg1", {"wal_retrieve_retry_interval": "5s"})  # as usual: it must be seen between two
    await stage.cut("pg2")
    await stage.cut("pg3")
    await stage.write_rows("pg1", 3)
    await stage.order("cut", "pg1", "pg2", "pg3")
    await stage.kill_all("pg1")
    await stage.promote("pg2")
    await stage.follow("pg3", "pg2")
    await stage.write_rows("pg2", 10)
    await stage.streaming("pg3", "pg2")
    await stage.make_standby("pg1", "pg2")
    await stage.start("pg1")
    await stage.until("pg1", lambda seen: bool(seen.receiver and seen.receiver.status == "waiting"))
    await stage.note("diverged")
    await stage.order("diverged", "pg2", "pg3")


async def a_cascade_follows_its_upstreams_promotion(stage: Stage) -> None:
    await stage.follow("pg3", "pg2")
    await stage.streaming("pg3", "pg2")
    await stage.write_rows("pg1", 2)
    await stage.streaming("pg2", "pg1")
    await stage.streaming("pg3", "pg2")
    await stage.note("cascade")
    await stage.kill_all("pg1")
    await stage.until("pg2", lambda seen: seen.receiver is None)
    await stage.note("upstream's upstream dead", "pg2", "pg3")
    await stage.promote("pg2")
    await stage.write_rows("pg2", 2)
    await stage.streaming("pg3", "pg2")
    await stage.note("promoted", "pg2", "pg3")


async def the_middle_of_a_cascade_restarts(stage: Stage) -> None:
    await stage.follow("pg3", "pg2")
    await stage.streaming("pg3", "pg2")
    await stage.kill_all("pg2")
    await stage.until("pg3", lambda seen: seen.receiver is None)
    await stage.write_rows("pg1", 2)
    await stage.note("middle dead")
    await stage.start("pg2")
    await stage.streaming("pg2", "pg1")
    await stage.streaming("pg3", "pg2")
    await stage.note("middle back")
    await stage.order("middle back", "pg1", "pg2", "pg3")


async def a_standby_starts_while_its_upstream_is_down(stage: Stage) -> None:
    await stage.stop("pg2", StopMode.FAST)
    await stage.stop("pg1", StopMode.FAST)
    await stage.start("pg2")
    await stage.note("alone", "pg2")
    await stage.start("pg1")
    await stage.all_streaming()
    await stage.note("together")


async def a_dead_primary_comes_back_as_a_standby_of_nobody(stage: Stage) -> None:
    await stage.write_rows("pg1")
    await stage.all_streaming()
    await stage.kill_all("pg1")
    await stage.make_standby("pg1", "")
    await stage.start("pg1")
    await stage.streaming("pg2", "pg1")
    await stage.streaming("pg3", "pg1")
    await stage.note("standbys of a standby")


async def a_new_primary_dies_at_once(stage: Stage) -> None:
    await stage.kill_all("pg1")
    await stage.promote("pg2")
    await stage.kill_all("pg2")
    await stage.note("dead", "pg1", "pg2")
    await stage.start("pg2")
    await stage.note("back", "pg2")


async def commands_to_the_wrong_node(stage: Stage) -> None:
    stage.tell("promoting a primary", got=await stage.sql("pg1", "select pg_promote(false)"))
    stage.tell("checkpoint on a standby", got=await stage.sql("pg2", "checkpoint"))
    stage.tell("slot on a standby", got=await stage.slot("pg2", "pg3"))
    await stage.note("afterwards")


async def all_connections_are_taken(stage: Stage) -> None:
    kept = await stage.keep("pg1")
    await stage.fill("pg1")
    await stage.note("full", "pg1")
    await stage.note_query("on a kept session", kept)
    kept.close()


async def pg_hba_shuts_us_out(stage: Stage) -> None:
    kept = await stage.keep("pg1")
    await stage.shut_out("pg1")
    await stage.until("pg1", lambda seen: seen.answer is None)
    await stage.note("shut out", "pg1")
    await stage.note_query("on a kept session", kept)
    kept.close()


async def a_query_is_given_up(stage: Stage) -> None:
    """Before it is answered, as a repair is when a failover begins; in a second, its server hangs."""
    kept = await stage.keep("pg1")
    await _give_up(kept, within_s=stage.patience_s)
    await stage.note_query("the next one", kept)
    await stage.freeze("pg1")
    await _give_up(kept, within_s=1.0)
    await stage.note_farewell("its time is over", kept)
    await stage.thaw("pg1")


async def _give_up(session: Session, *, within_s: float) -> None:
    asked = asyncio.ensure_future(session.query(probe.PROBE, within_s=within_s))
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.wait({asked})


SCRIPTS: Final[dict[str, Script]] = {
    "everything is well": everything_is_well,
    "a primary is killed and started again": a_primary_is_killed_and_started_again,
    "a postmaster alone is killed": a_postmaster_alone_is_killed,
    "a primary is stopped (fast)": stopped(StopMode.FAST),
    "a primary is stopped (immediate)": stopped(StopMode.IMMEDIATE),
    "a standby is stopped (fast)": standby_ended(StopMode.FAST),
    "a standby is stopped (immediate)": standby_ended(StopMode.IMMEDIATE),
    "a standby is killed": standby_ended(None),
    "a primary is frozen": a_primary_is_frozen,
    "a frozen primary is killed": a_frozen_primary_is_killed,
    "a standby is frozen": a_standby_is_frozen,
    "a standby is cut and follows again": a_standby_is_cut_and_follows_again,
    "a slot is missing": a_slot_is_missing,
    "a standby is promoted and followed": a_standby_is_promoted_and_followed,
    "a switchover by hand": a_switchover_by_hand,
    "an old primary has rows of its own": an_old_primary_with_rows_of_its_own_does_not_stream,
    "a cascade follows its upstream's promotion": a_cascade_follows_its_upstreams_promotion,
    "the middle of a cascade restarts": the_middle_of_a_cascade_restarts,
    "a standby starts while its upstream is down": a_standby_starts_while_its_upstream_is_down,
    "a dead primary comes back as a standby": a_dead_primary_comes_back_as_a_standby_of_nobody,
    "a new primary dies at once": a_new_primary_dies_at_once,
    "commands to the wrong node": commands_to_the_wrong_node,
    "a query is given up": a_query_is_given_up,
    "all connections are taken": all_connections_are_taken,
    "pg_hba.conf shuts us out": pg_hba_shuts_us_out,
}
