"""`drill`: a switchover there and back on the real cluster, measured: a real one then holds no surprise."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from pgvigil.controller.errands.ground import Ground
from pgvigil.controller.errands.harmless import HarmlessWriter, longest_gap
from pgvigil.controller.operations import Json, Outcome, Result
from pgvigil.controller.orders import Order
from pgvigil.decide import switchover
from pgvigil.decide.election import elect
from pgvigil.decide.schedule import obstacle
from pgvigil.decide.situation import Situation
from pgvigil.errors import StepFailed, Unsafe
from pgvigil.model.command import Drill, Refused, Switchover
from pgvigil.model.record import ClusterRecord, Event, Level, Phase, Underway
from pgvigil.model.units import NodeName

SETTLES_WITHIN_S: Final = 300.0
"""How long after a switchover everything may take to be healthy again, before the drill ends there."""
RESTS_WITHIN_S: Final = 3.0
"""Something small may just be going on when the drill is asked for."""
LOOK_EVERY_S: Final = 0.05
CALM_S: Final = 0.5
"""Writes are watched for so long before the first switchover and after the last."""
SESSIONS: Final = """
select count(*) as sessions, count(*) filter (where xact_start is not null) as busy,
  coalesce(max(extract(epoch from clock_timestamp() - xact_start)), 0) as longest
from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()
"""


@dataclass(slots=True)
class Leg:
    """One of the two switchovers."""

    to: NodeName
    gap_s: float | None
    healthy_s: float
    """From the order until every node was in line again."""
    steps: list[Json] = field(default_factory=list)


async def drill(ground: Ground, order: Order, errand: Drill) -> None:
    """There and back. Refused unless the cluster is healthy. Raises PgvigilError when a leg fails."""
    home = ground.settled().primary
    try:
        await _until_healthy(ground, home, within_s=RESTS_WITHIN_S)
    except StepFailed as why_not:
        what = "the cluster is not healthy, so nothing is rehearsed"
        raise Unsafe(what, detail=why_not.detail) from why_not
    record = ground.settled()
    known = _situation(ground, record)
    begun = switchover.begin(known, Switchover(errand.to))
    if isinstance(begun, Refused):
        raise begun.error
    assert begun.record is not None
    away = begun.record.candidate
    assert away is not None
    plan = (f"switch over to {away}", "wait until the cluster is healthy", f"switch back to {home}")
    if order.dry_run:
        text = f"a drill: {home} to {away} and back"
        order.finish(Result.PLANNED, text, detail="; ".join(_risks(known, away)), plan=plan)
        return
    hint = f"it goes back to {home} by itself when all is healthy; see: pgvigil status {record.cluster}"
    await ground.loop.notes.make(Underway(f"a drill, {home} to {away} and back", hint, home, away))
    risks = [*await _sessions(ground, home), *_risks(known, away)]
    lag = {node.name: _behind(known, node.name) for node in known.standbys()}
    writer = HarmlessWriter(ground.bench.nodes, ground.bench.clock)
    writing = asyncio.ensure_future(writer.run())
    try:
        await asyncio.sleep(CALM_S)
        legs = [await _leg(ground, order, writer, to) for to in (away, home)]
    finally:
        writing.cancel()
        await asyncio.wait({writing})
    _report(ground, order, home, legs, {"lag_bytes": lag, "would_fail": risks}, plan)


async def go_home(ground: Ground, left: Underway) -> str:
    """End a drill whose controller died: what was done, in words; empty: nothing had to be.

    Only if the primary is the one in between: what else happened meanwhile stays. Raises PgvigilError.
    """
    if left.home is None:
        return ""
    await ground.loop.first_look.wait()
    while ground.loop.record is None or ground.loop.record.phase is not Phase.STABLE:  # noqa: ASYNC110  # no event
        await asyncio.sleep(LOOK_EVERY_S)
    if ground.loop.record.primary != left.away:
        return f"{left.what}: ended with {ground.loop.record.primary} as the primary"
    await _until_healthy(ground, ground.loop.record.primary)
    nobody: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    await _switch(ground, Order(Drill(), False, lambda _: None, nobody), left.home)
    await _until_healthy(ground, left.home)
    return f"{left.what}: {left.home} is the primary again, as before"


async def _leg(ground: Ground, order: Order, writer: HarmlessWriter, to: NodeName) -> Leg:
    clock = ground.bench.clock
    begun, steps = clock.now(), list[Json]()

    def listen(event: Event) -> None:
        if (took := event.data.get("took_s")) is not None:
            steps.append({"step": event.text, "took_s": took})

    stop = ground.journal.listen(listen)
    try:
        order.progress(f"switching over to {to}")
        await _switch(ground, order, to)
        await _until_healthy(ground, to)
        await asyncio.sleep(CALM_S)
    finally:
        stop()
    healthy_s = clock.now() - begun - CALM_S
    leg = Leg(to, longest_gap(writer.acks, begun), healthy_s, steps)
    order.progress(
        f"{to} is primary, all is healthy after {leg.healthy_s:.2f} s; writes stood still {_gap(leg)}"
    )
    return leg


async def _switch(ground: Ground, order: Order, to: NodeName) -> None:
    """Raises StepFailed, with what the cluster is like then."""
    future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    ground.loop.ask(Order(Switchover(to), False, order.progress, future))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SETTLES_WITHIN_S):
            await asyncio.shield(future)
    primary = ground.loop.record.primary if ground.loop.record else "nobody"
    if not future.done() or future.result().result is not Result.DONE:
        said = future.result() if future.done() else None
        detail = f"{said.text}: {said.detail}" if said else f"not finished in {SETTLES_WITHIN_S:g} s"
        text = f"the drill failed: the switchover to {to} did not succeed; {primary} is the primary"
        raise StepFailed(text, detail=detail, hint=said.hint if said and said.hint else "see: pgvigil events")


_SEE: Final = "see: pgvigil history"


async def _until_healthy(ground: Ground, primary: NodeName, *, within_s: float = SETTLES_WITHIN_S) -> None:
    """Until all nodes are in line with that primary. Raises StepFailed."""
    why_not = ""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while True:
                record = ground.loop.record
                if record is not None and record.phase is Phase.STABLE and record.primary != primary:
                    text = f"the drill ended early: {record.primary} is the primary now, and not {primary}"
                    raise StepFailed(text, detail="somebody or something else changed it", hint=_SEE)
                if record is not None and record.primary == primary:
                    why_not = _obstacle(ground, _situation(ground, record))
                    if not why_not:
                        return
                await asyncio.sleep(LOOK_EVERY_S)
    text = f"the drill ended early: {primary} is the primary, and the cluster is not healthy"
    hint = "when it is, switch back with: pgvigil switchover"
    raise StepFailed(text, detail=why_not or "a node does not stream", hint=hint)


def _situation(ground: Ground, record: ClusterRecord) -> Situation:
    loop = ground.loop
    return Situation(ground.bench.spec, record, loop.view, loop.diagnosis, ground.bench.clock.wall())


def _obstacle(ground: Ground, known: Situation) -> str:
    return obstacle(known, ground.loop.plan.decision, ground.loop.plan.repairs)


def _risks(known: Situation, away: NodeName) -> list[str]:
    """What would have failed: who could not have taken over in place of the candidate, and why."""
    fit = partial(switchover.not_streaming, known)
    home = known.record.primary
    return [
        f"{each.replace(': ', ' could not take over: ', 1)}"
        for each in elect(known, objection=fit).rejected
        if not each.startswith((f"{home}: ", f"{away}: "))
    ]


async def _sessions(ground: Ground, home: NodeName) -> list[str]:
    """Whom a switchover cuts off."""
    (row,) = await ground.bench.sql(home, SESSIONS)
    sessions, busy = int(row["sessions"] or 0), int(row["busy"] or 0)
    told = [f"sessions on {home} that a switchover ends: {sessions}"] if sessions else []
    if busy:
        longest = float(row["longest"] or 0.0)
        told.append(f"of them with a transaction open, which is lost: {busy}, for {longest:.1f} s at most")
    return told


def _behind(known: Situation, name: NodeName) -> int:
    primary, standby = known.primary.primary, known.view.node(name).standby
    return max(primary.written - standby.furthest, 0) if primary and standby else 0


def _report(
    ground: Ground, order: Order, home: NodeName, legs: list[Leg], more: Json, plan: tuple[str, ...]
) -> None:
    there, back = legs
    record = ground.settled()
    text = f"drill: {home} to {there.to} and back; writes stood still {_gap(there)}, then {_gap(back)}"
    figures = {"to": there.to, "gap_there_s": _rounded(there.gap_s), "gap_back_s": _rounded(back.gap_s)}
    ground.journal.tell("drill", text, Level.INFO, record.generation, data=figures)
    data: Json = {
        "primary": home,
        "timeline": record.timeline,
        "legs": [
            {
                "to": leg.to,
                "longest_gap_s": _rounded(leg.gap_s),
                "healthy_after_s": round(leg.healthy_s, 3),
                "steps": leg.steps,
            }
            for leg in legs
        ],
        **more,
    }
    order.finish(Result.DONE, text, plan=plan, data=data)


def _gap(leg: Leg) -> str:
    return "for a time not measured" if leg.gap_s is None else f"for {leg.gap_s:.3f} s"


def _rounded(gap_s: float | None) -> float | None:
    return None if gap_s is None else round(gap_s, 4)
