"""`restart`: servers one after another, so that writers lose no more than a switchover takes.

Looks again after every turn and takes the first of what is left then: what a human, a failover or an earlier
errand did meanwhile is seen, and a change of primary that nobody of us ordered ends it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from pgvigil.act.engine import carry_out
from pgvigil.controller.errands.ground import Ground
from pgvigil.controller.errands.reload import chosen
from pgvigil.controller.errands.writing import wanted_of_limits, write_due
from pgvigil.controller.operations import Outcome, Result
from pgvigil.controller.orders import Order
from pgvigil.decide.parameter_change import waits
from pgvigil.decide.parameters import Sequence, Turn, Wanted, restarts
from pgvigil.errors import PgvigilError, StepFailed, TimedOut, Unsafe, WorldChanged
from pgvigil.model.command import Directive, RestartPrimary, RestartServers, Role, Switchover
from pgvigil.model.parameter import NodeParameters
from pgvigil.model.record import Level, Phase, Underway
from pgvigil.model.step import Checkpoint, RestartServer
from pgvigil.model.units import Lsn, NodeName, version_text

LOOK_EVERY_S: Final = 0.05
STREAMS_WITHIN_S: Final = 600.0
"""How long a restarted standby may take until it streams again and has what the primary had."""
SETTLES_WITHIN_S: Final = 3600.0

_END: Final = (
    "select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end as lsn"
)

Settle = Callable[[Mapping[NodeName, NodeParameters]], Awaitable[None]]
"""Before each turn: write what may be written by now."""


async def restart_servers(ground: Ground, order: Order, errand: RestartServers) -> None:
    """Refused, planned, or done with all turns. Raises PgvigilError when a turn fails; the rest is left."""
    record = ground.settled()
    nodes, silent = await ground.parameters()
    wanted = await wanted_of_limits(ground) if errand.pending else {}
    targets = _targets(ground, errand, nodes, silent, wanted)
    if not targets:
        order.finish(Result.DONE, f"nothing to do: {_nothing(errand)}", detail=_unknown(silent, errand))
        return
    plan = restarts(targets, nodes, record.primary, wanted=wanted, in_place=errand.in_place)
    words = planned(plan)
    if order.dry_run:
        text = f"restart {', '.join(sorted(targets))}"
        order.finish(Result.PLANNED, text, detail=_unknown(silent, errand), plan=words)
        return

    async def settle(now: Mapping[NodeName, NodeParameters]) -> None:
        left = [n for n in sorted(targets) if n not in now or now[n].started == nodes[n].started]
        await ground.loop.notes.make(_underway(record.cluster, left, in_place=errand.in_place))
        await write_due(ground, order, now, wanted)

    done = await in_turn(ground, order, targets, wanted=wanted, in_place=errand.in_place, settle=settle)
    text = f"restarted: {', '.join(done)}"
    order.finish(Result.DONE, text, detail=_unknown(silent, errand), plan=words)


def planned(plan: Sequence) -> tuple[str, ...]:
    """The turns in words. Raises Unsafe if somebody has none."""
    if plan.blocked:
        hint = "see: docs/operate/parameters.md"
        raise Unsafe("not all of them can be restarted", detail="; ".join(plan.blocked), hint=hint)
    return tuple(str(turn) for turn in plan.turns)


async def in_turn(
    ground: Ground,
    order: Order,
    targets: frozenset[NodeName],
    *,
    wanted: Wanted,
    in_place: bool,
    settle: Settle | None = None,
) -> tuple[NodeName, ...]:
    """Restart each of them once, in the right order; returns who was, in that order. Raises PgvigilError."""
    done: list[NodeName] = []
    _tell(ground, f"restarting {', '.join(sorted(targets))}, one after another")
    while left := targets - set(done):
        record = ground.settled()
        nodes, silent = await ground.parameters()
        if settle is not None:
            await settle(nodes)
        if missing := left & silent.keys():
            name = min(missing)
            raise StepFailed(f"{name} does not answer", detail=silent[name], hint="see: pgvigil status")
        plan = restarts(left, nodes, record.primary, wanted=wanted, in_place=in_place)
        planned(plan)
        turn = plan.turns[0]
        order.progress(str(turn))
        await _take(ground, order, turn, nodes[turn.node].started)
        done.append(turn.node)
    _tell(ground, f"restarted: {', '.join(done)}")
    return tuple(done)


async def _take(ground: Ground, order: Order, turn: Turn, started: str) -> None:
    """One turn: returns when the node is a streaming standby, or the serving primary, with a new server."""
    record = ground.settled()
    if turn.primary is not (turn.node == record.primary):
        raise WorldChanged(f"{record.primary} is the primary now", hint="give the command again")
    if turn.switchover:
        await _ordered(ground, order, Switchover())
        if record.standby_cluster:  # another node leads; that restarts nobody
            await _restart_standby(ground, order, turn.node)
    else:
        outcome = await carry_out(Checkpoint(turn.node, record.generation), ground.bench)
        if outcome.error:  # only makes the stop quick
            order.progress(f"{turn.node} was not checkpointed: {outcome.error}")
        if turn.primary:
            await _ordered(ground, order, RestartPrimary())
            await _until(lambda: _serves(ground, turn.node), SETTLES_WITHIN_S, f"{turn.node} to serve again")
        else:
            await _restart_standby(ground, order, turn.node)
    nodes, silent = await ground.parameters()
    if turn.node not in nodes:
        raise StepFailed(f"{turn.node} does not answer", detail=silent[turn.node])
    if nodes[turn.node].started == started:
        raise StepFailed(f"{turn.node} was not restarted", detail=f"its server runs since {started}")
    await _all_caught_up(ground, turn.node)


async def _restart_standby(ground: Ground, order: Order, name: NodeName) -> None:
    """Through `Repairs`, so that nobody repairs meanwhile what is merely being restarted."""
    record = ground.settled()
    future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    step = RestartServer(name, record.generation, primary=False)
    ground.repairs.begin(step, Order(order.command, False, order.progress, future))
    outcome = await future
    if outcome.result is not Result.DONE:
        raise StepFailed(outcome.text, detail=outcome.detail, hint=outcome.hint)


async def _ordered(ground: Ground, order: Order, directive: Directive) -> None:
    """Have the loop do it, and wait for its outcome. Raises Unsafe or StepFailed with it."""
    future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    asked = Order(directive, False, order.progress, future)
    old = ground.settled().primary
    ground.loop.ask(asked)
    await _until(
        lambda: future.done() or bool(asked.reached and _streams(ground, old)), SETTLES_WITHIN_S, "its end"
    )
    if not future.done():  # another node does not stream yet: its own affair
        return
    outcome = future.result()
    if outcome.result is not Result.DONE:
        unsafe = outcome.result in (Result.REFUSED, Result.WRONG)
        kind: type[PgvigilError] = Unsafe if unsafe else StepFailed
        raise kind(outcome.text, detail=outcome.detail, hint=outcome.hint)


async def _all_caught_up(ground: Ground, restarted: NodeName) -> None:
    """Until the one restarted, and every standby that answers, streams and has replayed all there is by now.

    With that it knows, too, what the primary has of the limited parameters: WAL tells it.
    """
    record = ground.settled()
    (row,) = await ground.bench.sql(record.primary, _END)
    goal = Lsn.parse(row["lsn"] or "0/0")
    for name in ground.bench.nodes:
        answers = name == restarted or ground.loop.view.node(name).answer is not None
        if name != record.primary and answers:
            await _until(
                lambda name=name: _has(ground, name, goal),  # type: ignore[misc]  # bound at once
                STREAMS_WITHIN_S,
                f"{name} to stream again",
            )


def _streams(ground: Ground, name: NodeName) -> bool:
    standby = ground.loop.view.node(name).standby
    return standby is not None and standby.receiver is not None


def _has(ground: Ground, name: NodeName, goal: Lsn) -> bool:
    standby = ground.loop.view.node(name).standby
    if standby is None or standby.receiver is None or standby.receiver.status != "streaming":
        return False
    delayed = ground.loop.view.node(name).answer
    waits = delayed is not None and delayed.facts.settings.get("recovery_min_apply_delay", "0") not in (
        "",
        "0",
    )
    return waits or standby.replay_paused or (standby.replayed is not None and standby.replayed >= goal)


def _serves(ground: Ground, name: NodeName) -> bool:
    record = ground.loop.record
    if record is None or record.primary != name:
        raise WorldChanged(f"{name} is not the primary any more", hint="see: pgvigil events")
    return record.phase is Phase.STABLE and ground.loop.view.node(name).primary is not None


async def _until(condition: Callable[[], bool], within_s: float, what: str) -> None:
    try:
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110  # the view has no event for every condition
                await asyncio.sleep(LOOK_EVERY_S)
    except TimeoutError as late:
        raise TimedOut(f"waited {within_s:g} s for {what}") from late


def _targets(
    ground: Ground,
    errand: RestartServers,
    nodes: Mapping[NodeName, NodeParameters],
    silent: Mapping[NodeName, str],
    wanted: Wanted,
) -> frozenset[NodeName]:
    """Who is meant. Raises UsageError, or Unsafe if one of them does not answer."""
    named = chosen(ground, errand.nodes)
    for name in named:
        if name in silent and not _conditions(errand):
            hint = "name the others; or bring it back: pgvigil status"
            raise Unsafe(f"{name} does not answer, so it is not restarted", detail=silent[name], hint=hint)
    waiting = waits(nodes, wanted)
    return frozenset(
        name
        for name in named
        if name in nodes
        and (not errand.pending or name in waiting)
        and (errand.role is None or nodes[name].primary is (errand.role is Role.PRIMARY))
        and (errand.below_version is None or nodes[name].version < errand.below_version)
    )


def _conditions(errand: RestartServers) -> bool:
    """Whether a node must answer before anybody knows if it is meant."""
    return errand.pending or errand.role is not None or errand.below_version is not None


def _nothing(errand: RestartServers) -> str:
    if errand.below_version is None:
        return "no such node waits for a restart"
    return f"no such node runs a PostgreSQL older than {version_text(errand.below_version)}"


def _unknown(silent: Mapping[NodeName, str], errand: RestartServers) -> str:
    """Who was left out because nobody could ask it."""
    asked = [name for name in silent if name in (errand.nodes or silent)]
    return f"not asked, for want of an answer: {', '.join(asked)}" if asked else ""


def _underway(cluster: str, left: list[NodeName], *, in_place: bool) -> Underway:
    how = " --in-place" if in_place else ""
    hint = f"restart those that are left: pgvigil restart {cluster} {' '.join(left)}{how}"
    return Underway(f"a restart of servers one after another; not restarted yet: {', '.join(left)}", hint)


def _tell(ground: Ground, text: str) -> None:
    if record := ground.loop.record:
        ground.journal.tell("restart_servers", text, Level.INFO, record.generation)
