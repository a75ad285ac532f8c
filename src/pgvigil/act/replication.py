"""Cutting, promoting and pointing standbys: what is done over SQL to the flow of WAL."""

import asyncio
from typing import Final

from pgvigil.act import service
from pgvigil.act.bench import DENIED, Bench, Confirmed
from pgvigil.act.settings import set_running, upstream_settings
from pgvigil.errors import StepFailed, WorldChanged
from pgvigil.model.spec import Protection, slot_name
from pgvigil.model.step import Checkpoint, Cut, DropSlots, Follow, Nudge, Promote, RestartServer, StartPrimary
from pgvigil.model.units import Lsn, NodeName
from pgvigil.ports.contract import QueryFailed
from pgvigil.ports.host import program, quoted

POLL_S: Final = 0.003
CUT_S: Final = 2.0
CUT_SETTLE_S: Final = 0.01
PROMOTE_S: Final = 60.0
CHECKPOINT_S: Final = 300.0
DUPLICATE: Final = "42710"
_RECEIVED: Final = (
    "select pg_is_in_recovery() as recovering, "
    "pg_last_wal_receive_lsn() as received, pg_last_wal_replay_lsn() as replayed, "
    "current_setting('synchronous_standby_names') as names"
)
_RECEIVER: Final = "select pid from pg_stat_get_wal_receiver() where pid is not null"


async def confirm_cut(step: Cut, bench: Bench) -> None:
    """Raises WorldChanged if the node is no standby any more."""
    bench.still(step.generation)
    if not await bench.in_recovery(step.node):
        raise WorldChanged(f"{step.node} is no standby")


async def cut(confirmed: Confirmed[Cut], bench: Bench) -> dict[str, str]:
    """End the standby's replication; on return its WAL receiver is gone and no new one will start."""
    node = confirmed.step.node
    await set_running(bench, node, upstream_settings(bench.spec, node, None))
    until = bench.clock.now() + CUT_S
    gone_at: float | None = None
    while gone_at is None or bench.clock.now() - gone_at < _settle_s(bench):
        if not await bench.sql(node, _RECEIVER):
            gone_at = bench.clock.now() if gone_at is None else gone_at
        elif bench.clock.now() > until:
            raise StepFailed(f"{node} still has a WAL receiver", detail=f"after {CUT_S:g} s")
        else:
            gone_at = None
        if gone_at is None or _settle_s(bench):
            await asyncio.sleep(POLL_S)
    return {}


def _settle_s(bench: Bench) -> float:
    """How long a receiver must have been gone: one may just be starting with the old settings.

    Where the cut proves something (`quorum`) that is waited for; elsewhere it only makes comparing exact.
    """
    return CUT_SETTLE_S if bench.spec.protection is Protection.QUORUM else 0.0


async def confirm_promote(step: Promote, bench: Bench) -> None:
    """Still a standby with at least what it was chosen for, or promoted already. Raises WorldChanged.

    With `quorum` it must know, too, who its first commit is to wait for.
    """
    bench.still(step.generation)
    (row,) = await bench.sql(step.node, _RECEIVED)
    if row["recovering"] == "f":
        return
    if step.waits_for is not None and row["names"] != step.waits_for.setting:
        raise WorldChanged(
            f"{step.node} would not wait for {step.waits_for}", detail=f"'{row['names']}' is set"
        )
    ends = [Lsn.parse(text) for text in (row["received"], row["replayed"]) if text]
    if max(ends, default=Lsn(0)) < step.at_least:
        raise WorldChanged(f"{step.node} has less than it was chosen for", detail=f"{ends} < {step.at_least}")


async def promote(confirmed: Confirmed[Promote], bench: Bench) -> dict[str, str]:
    """Promote, and return when the node takes writes on a new timeline. Idempotent.

    `pg_promote(true)` would look only every 0.1 s; we look every few milliseconds (SAFETY §4.7).
    """
    step = confirmed.step
    if await bench.in_recovery(step.node):
        await _ask_to_promote(bench, step.node)
    until = bench.clock.now() + PROMOTE_S
    while await bench.in_recovery(step.node):
        if bench.clock.now() > until:
            raise StepFailed(f"{step.node} does not finish its promotion", detail=f"after {PROMOTE_S:g} s")
        await asyncio.sleep(POLL_S)
    (row,) = await bench.sql(step.node, "select pg_walfile_name(pg_current_wal_lsn()) as file")
    timeline = int((row["file"] or "0")[:8], 16)
    if timeline <= step.beyond:
        raise StepFailed(f"{step.node} is out of recovery, but on timeline {timeline}")
    return {"timeline": str(timeline)}


async def _ask_to_promote(bench: Bench, node: NodeName) -> None:
    if line := bench.spec.node(node).promote_command:
        await bench.place(node).must(
            f"NODE={quoted(node)}; export NODE; {line}", "promote_command", within_s=30.0
        )
        return
    try:
        await bench.sql(node, "select pg_promote(false)")
    except QueryFailed as refused:
        if refused.sqlstate != DENIED:
            raise StepFailed(f"{node} cannot be promoted", detail=str(refused)) from refused
        place = bench.place(node)
        line = f"{program(place.bin_dir, 'pg_ctl')} promote -W -s -D {quoted(place.data_dir)}"
        await place.must(line, "pg_ctl promote", within_s=5.0)


async def confirm_follow(step: Follow, bench: Bench) -> None:
    """A running standby, pointed at another node. Raises WorldChanged."""
    bench.still(step.generation)
    if step.node == step.upstream or not await bench.in_recovery(step.node):
        raise WorldChanged(f"{step.node} is no standby of {step.upstream}")


async def follow(confirmed: Confirmed[Follow], bench: Bench) -> dict[str, str]:
    """Slot on the upstream first, then connection settings and reload; no restart (13 and later)."""
    step = confirmed.step
    settings = upstream_settings(bench.spec, step.node, step.upstream)
    there = bench.spec.standby_of
    ours = not (there and there.is_upstream(step.upstream))
    if ours and bench.spec.replication.slots and not await ensure_slot(bench, step.node, step.upstream):
        settings["primary_slot_name"] = ""
    if line := bench.spec.node(step.node).follow_command:
        await _own_follow(bench, step, settings["primary_conninfo"], line)
    else:
        await set_running(bench, step.node, settings)
    return {"slot": settings["primary_slot_name"]}


async def _own_follow(bench: Bench, step: Follow, conninfo: str, line: str) -> None:
    """The user's own way of pointing a standby at an upstream."""
    there = bench.spec.standby_of
    site = there if there and step.upstream == there.upstream else None
    upstream = site or bench.spec.node(step.upstream)
    words = {
        "NODE": step.node,
        "UPSTREAM": step.upstream,
        "UPSTREAM_HOST": upstream.host,
        "UPSTREAM_PORT": str(upstream.port),
        "PRIMARY_CONNINFO": conninfo,
    }
    exports = "".join(f"{name}={quoted(value)}; export {name}; " for name, value in words.items())
    await bench.place(step.node).must(exports + line, "follow_command", within_s=5.0)


async def ensure_slot(bench: Bench, node: NodeName, upstream: NodeName) -> bool:
    """Create the node's physical slot on its upstream, if it is missing. False: we may not."""
    slot = slot_name(node)
    try:
        rows = await bench.sql(
            upstream, "select 1 as one from pg_replication_slots where slot_name = $1", (slot,)
        )
        if not rows:
            await bench.sql(upstream, "select pg_create_physical_replication_slot($1, true)", (slot,))
    except QueryFailed as refused:
        if refused.sqlstate == DUPLICATE:
            return True
        bench.report(node, f"goes without a slot on {upstream}: {refused}")
        return False
    return True


async def confirm_nudge(step: Nudge, bench: Bench) -> None:
    """Raises WorldChanged if the record moved on."""
    bench.still(step.generation)


async def nudge(confirmed: Confirmed[Nudge], bench: Bench) -> dict[str, str]:
    """A reload wakes the startup process from the pause between two attempts. Changes nothing else.

    A node that has a WAL receiver again is left alone.
    """
    if not await bench.sql(confirmed.step.node, _RECEIVER):
        await set_running(bench, confirmed.step.node, {})
    return {}


async def confirm_checkpoint(step: Checkpoint, bench: Bench) -> None:
    """Raises WorldChanged if the record moved on."""
    bench.still(step.generation)


async def checkpoint(confirmed: Confirmed[Checkpoint], bench: Bench) -> dict[str, str]:
    """CHECKPOINT in a session of its own: it may take long. A login that may not does without."""
    node = confirmed.step.node
    async with bench.extra_session(node) as extra:
        try:
            await extra.sql(node, "checkpoint", within_s=CHECKPOINT_S)
        except QueryFailed as refused:
            if refused.sqlstate != DENIED:
                raise StepFailed(f"checkpoint on {node} failed", detail=str(refused)) from refused
            bench.report(node, "may not be checkpointed by our login; the stop takes longer")
    return {}


async def confirm_start(step: StartPrimary, bench: Bench) -> None:
    """Nobody else is out of recovery. Raises WorldChanged."""
    bench.still(step.generation)
    for name, ports in bench.nodes.items():
        if name != step.node and ports.session.is_open and not await bench.in_recovery(name):
            raise WorldChanged(f"{name} is a primary")


async def start_primary(confirmed: Confirmed[StartPrimary], bench: Bench) -> dict[str, str]:
    """Start the server as its data directory says: with `standby.signal` it comes as a standby."""
    await service.start(bench, confirmed.step.node)
    return {}


async def confirm_restart(step: RestartServer, bench: Bench) -> None:
    """It answers and is still what it was: a primary, or a standby. Raises WorldChanged or StepFailed."""
    bench.still(step.generation)
    if await bench.in_recovery(step.node) is step.primary:
        raise WorldChanged(f"{step.node} is no {'primary' if step.primary else 'standby'} any more")


async def restart_server(confirmed: Confirmed[RestartServer], bench: Bench) -> dict[str, str]:
    """Cancelled: the host carries the restart through all the same."""
    await service.restart(bench, confirmed.step.node)
    return {}


async def confirm_drop_slots(step: DropSlots, bench: Bench) -> None:
    """Raises WorldChanged if the record moved on."""
    bench.still(step.generation)


async def drop_slots(confirmed: Confirmed[DropSlots], bench: Bench) -> dict[str, str]:
    """Drop those of the slots that are still inactive."""
    step = confirmed.step
    for slot in step.slots:
        text = (
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots "
            "where slot_name = $1 and not active and slot_type = 'physical'"
        )
        try:
            await bench.sql(step.node, text, (slot,))
        except QueryFailed as refused:
            raise StepFailed(f"slot {slot} on {step.node} stays", detail=str(refused)) from refused
    return {"dropped": ", ".join(step.slots)}
