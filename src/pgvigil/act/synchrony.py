"""Setting who commits wait for, and proving that every process of the server does so.

A reload reaches the processes of a server at different moments, and what one session sees proves nothing
about the others (internals/conformance.md). The checkpointer decides whether commits wait at all: proved by
a commit of our own that was seen waiting. Each WAL sender decides for whom and for how many it releases:
proved by its priority, and by its having come to rest after such a commit.
"""

import asyncio
import json
from typing import TYPE_CHECKING, Final

from pgvigil.act.bench import Bench, Confirmed
from pgvigil.act.settings import set_running
from pgvigil.errors import StepFailed
from pgvigil.model.record import SyncSet
from pgvigil.model.step import SetSync
from pgvigil.model.units import Lsn, NodeName
from pgvigil.ports.contract import Row

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_S: Final = 0.003
TRY_S: Final = 0.2
"""How long one commit of ours may wait before the next is tried: it was not seen, or nobody acknowledges."""
CONFIRM_S: Final = 1.0
AT_REST: Final = "WalSenderMain"
"""What a WAL sender waits for when it has passed on everything; a reload is taken note of before that."""

SYNC_STATE: Final = """
select pg_is_in_recovery() as recovering,
  current_setting('synchronous_standby_names') as names,
  case when not pg_is_in_recovery() then pg_current_wal_flush_lsn() end as flushed,
  (select json_agg(json_build_object('name', application_name, 'priority', sync_priority,
     'flushed', flush_lsn, 'waits', (select wait_event from pg_stat_get_activity(r.pid))))
   from pg_stat_replication r) as senders
"""
OWN_PID: Final = "select pg_backend_pid() as pid"
OWN_COMMIT: Final = "select pg_logical_emit_message(true, 'pgvigil', '')"
"""A transaction that writes WAL and nothing else (manual: 9.28.6)."""
WAITS_FOR: Final = "select wait_event from pg_stat_get_activity($1)"
END_SESSION: Final = "select pg_terminate_backend($1)"


async def confirm_set_sync(step: SetSync, bench: Bench) -> None:
    """Raises WorldChanged if the record moved on."""
    bench.still(step.generation)


async def set_sync(confirmed: Confirmed[SetSync], bench: Bench) -> dict[str, str]:
    """Set `synchronous_standby_names`; on return it is in force, and all earlier commits are covered by it.

    Covered: as many of the standbys as the set demands have flushed what was written until then. On a
    standby, which is about to be promoted, it is only set and seen; the rest follows when it is primary.
    Idempotent. Raises StepFailed when it cannot be proved in time; the record then still has both sets.
    """
    step = confirmed.step
    (row,) = await bench.sql(step.node, SYNC_STATE)
    if row["names"] != step.to.setting:
        await set_running(bench, step.node, {"synchronous_standby_names": step.to.setting})
    until = bench.clock.now() + CONFIRM_S
    row = await _until(bench, step, until, lambda row: _not_seen(row, step.to))
    if row["recovering"] == "t" or not step.to.acks:
        return {"names": step.to.setting}
    await _see_a_commit_wait(bench, step, until)
    (row,) = await bench.sql(step.node, SYNC_STATE)
    covers = Lsn.parse(row["flushed"] or "")
    await _until(bench, step, until, lambda row: _unchanged(row, step.to) or _lacking(row, step.to, covers))
    if step.to.acks > 1:
        rested: set[str] = set()
        await _until(bench, step, until, lambda row: _restless(row, step.to, covers, rested))
    return {"names": step.to.setting, "from": str(covers)}


async def _until(bench: Bench, step: SetSync, until: float, missing: "Callable[[Row], str]") -> Row:
    """Look until nothing is missing. Raises StepFailed with what was, at `until`."""
    while True:
        (row,) = await bench.sql(step.node, SYNC_STATE)
        if not (what := missing(row)):
            return row
        if bench.clock.now() > until:
            raise StepFailed(f"it is not proved that {step.node} waits for {step.to}", detail=what)
        await asyncio.sleep(POLL_S)


async def _see_a_commit_wait(bench: Bench, step: SetSync, until: float) -> None:
    """Commit in a session opened after the reload was seen, until such a commit was seen waiting.

    A backend enters that wait only after it has seen that commits are to wait; from then on all do. A
    commit that nobody acknowledges is ended with its session: it wrote nothing that anybody reads.
    """
    while bench.clock.now() < until:
        async with bench.extra_session(step.node) as other:
            (row,) = await other.sql(step.node, OWN_PID)
            if await _waits(bench, other, step.node, row["pid"]):
                return
    detail = "a commit of ours was not seen waiting; the checkpointer may be in a hurried checkpoint"
    raise StepFailed(f"it is not proved that {step.node} waits for {step.to}", detail=detail)


async def _waits(bench: Bench, other: Bench, node: NodeName, pid: str | None) -> bool:
    """Whether commits of the other session were seen waiting within `TRY_S`."""
    commit = asyncio.ensure_future(_commit_for_a_while(other, node, bench.clock.now() + TRY_S))
    try:
        while not commit.done():
            rows = await bench.sql(node, WAITS_FOR, (pid,))
            if rows and rows[0]["wait_event"] == "SyncRep":
                return True
            if not rows:
                return False  # that session has ended
        commit.result()
        return False
    finally:
        if not commit.done():
            commit.cancel()
            await asyncio.wait({commit})
            await bench.sql(node, END_SESSION, (pid,))


async def _commit_for_a_while(other: Bench, node: NodeName, until: float) -> None:
    """One after the other. A session that is ended meanwhile ends it too; a server's error is raised."""
    while other.clock.now() < until:
        try:
            await other.sql(node, OWN_COMMIT, within_s=TRY_S)
        except StepFailed:
            return


def _not_seen(row: Row, to: SyncSet) -> str:
    """What our session sees instead; empty: the reload has reached it."""
    return "" if row["names"] == to.setting else f"synchronous_standby_names is '{row['names']}'"


def _unchanged(row: Row, to: SyncSet) -> str:
    """Which WAL sender has not taken note of the list: all of them count whoever has a priority."""
    for sender in _senders(row):
        if bool(sender["priority"]) != (sender["name"] in to.standbys):
            return f"the WAL sender of {sender['name']} has not taken note"
    return ""


def _restless(row: Row, to: SyncSet, until: Lsn, rested: set[str]) -> str:
    """Which WAL sender may still release commits when fewer have them than `to` demands.

    Each has its own copy of that number, and shows it nowhere: one that came to rest after it passed on a
    commit that followed the reload has taken note. `rested`: those that were seen so before.
    """
    for sender in _senders(row):
        at_rest = sender["waits"] == AT_REST and Lsn.parse(sender["flushed"] or "0/0") >= until
        if sender["name"] in to.standbys and at_rest:
            rested.add(sender["name"])
    restless = sorted((to.standbys & {sender["name"] for sender in _senders(row)}) - rested)
    return f"WAL senders that may not have taken note: {', '.join(restless)}" if restless else ""


def _lacking(row: Row, to: SyncSet, until: Lsn) -> str:
    """Who lacks what was acknowledged before; empty: enough of the standbys have it."""
    have = {
        sender["name"]
        for sender in _senders(row)
        if sender["name"] in to.standbys and sender["flushed"] and Lsn.parse(sender["flushed"]) >= until
    }
    return "" if len(have) >= to.acks else f"{len(have)} of {to.acks} standbys have flushed {until}"


def _senders(row: Row) -> list[dict[str, str]]:
    return json.loads(row["senders"] or "[]") or []
