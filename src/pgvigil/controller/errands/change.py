"""`config set` and `config rollback`: one parameter or several on every node, as a version that is kept.

Everything is checked before anything is kept, a version is kept before anything counts, and what is written
is written in an order in which no standby can be left with less than its primary.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pgvigil.act.bench import DENIED
from pgvigil.act.settings import alter_system, write
from pgvigil.controller.errands.ground import Ground
from pgvigil.controller.errands.reload import reload_server
from pgvigil.controller.errands.restart import Settle, in_turn, planned
from pgvigil.controller.errands.show import known_or_error
from pgvigil.controller.errands.trial import take_back, undo_leftover
from pgvigil.controller.errands.writing import write_due
from pgvigil.controller.operations import Result
from pgvigil.controller.orders import Order
from pgvigil.decide.parameter_change import before, due, refusal, rolled_back, unread, waits, written
from pgvigil.decide.parameters import Wanted, restarts
from pgvigil.errors import PgvigilError, StepFailed, Unsafe, UsageError
from pgvigil.model.command import RollBackParameters, SetParameters
from pgvigil.model.parameter import (
    LIMITED,
    NodeParameters,
    ParameterChange,
    ParameterVersion,
    Trial,
    TriedLine,
)
from pgvigil.model.record import Level, Underway
from pgvigil.model.units import NodeName
from pgvigil.ports.contract import QueryFailed
from pgvigil.ports.host import program, quoted
from pgvigil.sight.probe import without_secrets

VERSIONS_READ: Final = 100_000
TRIAL_WITHIN_S: Final = 10.0
_BACK: Final = "back to version "
_FATAL: Final = re.compile(r"FATAL:\s+(\w{5}): (.*)")
"""How `postgres` refuses a value, said verbosely. Class 22 is for values; anything else is not about them."""


@dataclass(frozen=True, slots=True)
class Intent:
    """A change as it was asked for, and what follows from it."""

    changes: Mapping[str, str | None]
    who: str
    comment: str
    restart: bool
    in_place: bool
    back_to: int | None = None
    """The version that is wanted again."""


async def set_parameters(ground: Ground, order: Order, errand: SetParameters) -> None:
    """Refused, planned, or done. Raises PgvigilError; what was reached then `config show` tells."""
    intent = Intent(errand.changes, errand.who, errand.comment, errand.restart, errand.in_place)
    await _change(ground, order, intent)


async def roll_back(ground: Ground, order: Order, errand: RollBackParameters) -> None:
    """The same, to what an earlier version wanted."""
    versions = await ground.store.versions(ground.bench.spec.name, limit=VERSIONS_READ)
    last = versions[-1].number if versions else 0
    to = errand.version
    if to is None:
        to = await _unfinished(ground, versions) if versions else None
    to = last - 1 if to is None else to
    if not versions or not 0 <= to < last:
        detail = f"versions: 0 (before the first) to {last}" if versions else "nothing was ever set"
        raise UsageError(
            "there is no such version to go back to", detail=detail, hint="pgvigil config history"
        )
    changes = rolled_back(versions, to)
    comment = f"{_BACK}{to}"
    intent = Intent(changes, errand.who, comment, errand.restart, errand.in_place, to)
    await _change(ground, order, intent)


async def _unfinished(ground: Ground, versions: tuple[ParameterVersion, ...]) -> int | None:
    """Where an earlier rollback was going, if it is not written everywhere: it is gone on with."""
    newest = versions[-1]
    at_once = [change for change in newest.changes if change.name not in LIMITED]
    said = re.fullmatch(rf"{_BACK}(\d+)", newest.comment)
    if said is None:
        return None
    nodes = await ground.all_parameters(but=ground.stopped())
    over = all(written(node, change.name, change.after) for node in nodes.values() for change in at_once)
    return None if over else int(said[1])


async def _change(ground: Ground, order: Order, intent: Intent) -> None:
    record = ground.settled()
    if not order.dry_run:
        await undo_leftover(ground)
    stopped = ground.stopped() if intent.back_to is not None else frozenset()
    nodes = await ground.all_parameters(but=stopped)
    wanted = _checked(ground, intent.changes, nodes)
    _rollable(wanted, stopped)
    changed = {
        name: value
        for name, value in wanted.items()
        if not all(written(node, name, value) for node in nodes.values())
    }
    unheard = unread(nodes, wanted)
    if not changed and not unheard and not stopped and not (intent.restart and waits(nodes, wanted)):
        order.finish(Result.DONE, "nothing to do: every node has it already")
        return
    await _tried_on_hosts(ground, changed, nodes)
    plan = [*_difference(changed, nodes), *(f"have {n} read its configuration files" for n in unheard)]
    plan += [f"write it on {n} through its host, for its server does not run" for n in sorted(stopped)]
    targets = waits(nodes, wanted) | _need_restart(changed, nodes)
    if intent.restart and targets:
        plan += planned(restarts(targets, nodes, record.primary, wanted=wanted, in_place=intent.in_place))
    if order.dry_run:
        order.finish(Result.PLANNED, f"change parameters of {ground.bench.spec.name}", plan=tuple(plan))
        return
    await ground.loop.notes.make(_underway(record.cluster, intent, wanted))
    try:
        await _tried_on_one(ground, intent.who, changed, nodes)
        version = await _kept(ground, intent, changed, nodes)
    except PgvigilError:
        await take_back(ground, order)
        raise

    async def settle(now: Mapping[NodeName, NodeParameters]) -> None:
        await write_due(ground, order, now, wanted)

    for name in stopped:
        await write(ground.bench.place(name), wanted)
        order.progress(f"{name}: {', '.join(wanted)} written through its host")
    await settle(nodes)
    for name in unheard:
        await reload_server(ground, name, {})
        order.progress(f"{name}: configuration files read again")
    if intent.restart and targets:
        await _restarted(ground, order, intent, targets, wanted, settle)
        await settle(await ground.all_parameters(but=stopped))
    await _told(ground, order, version, wanted, tuple(plan), stopped)


async def _restarted(
    ground: Ground,
    order: Order,
    intent: Intent,
    targets: frozenset[NodeName],
    wanted: Wanted,
    settle: Settle,
) -> None:
    try:
        await in_turn(ground, order, targets, wanted=wanted, in_place=intent.in_place, settle=settle)
    except StepFailed as failed:
        if intent.back_to is None:
            failed.hint = f"to take it back: pgvigil config rollback {ground.bench.spec.name}; {failed.hint}"
        raise


def _rollable(wanted: Wanted, stopped: frozenset[NodeName]) -> None:
    """A server that does not run takes what is in its file, except what must fit its primary's first."""
    limited = sorted(wanted.keys() & LIMITED)
    if stopped and limited:
        name, detail = min(stopped), f"{limited[0]} is written there only in step with the others"
        raise Unsafe(
            f"{name} does not run", detail=detail, hint=f"bring it back first: pgvigil rejoin {name}"
        )


def _checked(
    ground: Ground, changes: Mapping[str, str | None], nodes: dict[NodeName, NodeParameters]
) -> Wanted:
    """The changes under the parameters' own names. Raises UsageError or Unsafe with the reason."""
    if not changes:
        raise UsageError("nothing was asked for", hint="name a parameter: pgvigil config set work_mem=8MB")
    checked: dict[str, str | None] = {}
    for name, value in changes.items():
        if why := refusal(ground.bench.spec.protection, name.lower(), value, nodes):
            raise why
        own = known_or_error(name, nodes)
        if why := refusal(ground.bench.spec.protection, own, value, nodes):
            raise why
        checked[own] = value
    return checked


async def _tried_on_hosts(ground: Ground, changes: Wanted, nodes: Mapping[NodeName, NodeParameters]) -> None:
    """Ask the server's own program whether it takes these values; nothing is changed. Raises UsageError."""
    for name in nodes:
        try:
            place = ground.bench.place(name)
        except StepFailed:
            continue
        postgres, data = program(place.bin_dir, "postgres"), quoted(place.data_dir)
        config = f" -c config_file={quoted(place.config_file)}" if place.config_outside else ""
        for parameter, value in changes.items():
            if value is None:
                continue
            tried = (
                f"LC_ALL=C {postgres} -D {data}{config} -c log_error_verbosity=verbose -c log_line_prefix= "
                f"-C {parameter} -c {quoted(f'{parameter}={value}')}"
            )
            output = await place.run(tried, within_s=TRIAL_WITHIN_S)
            if (said := _FATAL.search(output.err.decode(errors="replace"))) and said[1].startswith("22"):
                raise _refused(parameter, value, f"SQLSTATE {said[1]} on {name}: {said[2]}")
        return


async def _tried_on_one(
    ground: Ground, who: str, changes: Wanted, nodes: Mapping[NodeName, NodeParameters]
) -> None:
    """ALTER SYSTEM on one node each, not loaded; noted durably before. Raises UsageError, StepFailed."""
    first = due(nodes, changes)
    standbys_first = sorted(nodes.values(), key=lambda node: node.primary)
    lines = [
        TriedLine(node.node, name, node.written.get(name), value)
        for name, value in changes.items()
        if (node := next((each for each in standbys_first if name in first.get(each.node, {})), None))
    ]
    if not lines:
        return
    spec = ground.bench.spec
    await ground.store.note_trial(spec.name, Trial(spec.name, who, tuple(lines)))
    for line in lines:
        try:
            await alter_system(ground.bench, line.node, {line.name: line.after})
        except QueryFailed as refused:
            if refused.sqlstate == DENIED:
                continue  # written through the host, which was asked already
            detail = f"SQLSTATE {refused.sqlstate} on {line.node}: {refused}"
            raise _refused(line.name, line.after, detail) from refused


def _underway(cluster: str, intent: Intent, wanted: Wanted) -> Underway:
    """Names only: a value may be a secret."""
    verb, words = (
        "set",
        " ".join(f"{n}=…" if value is not None else f"--reset {n}" for n, value in wanted.items()),
    )
    if intent.back_to is not None:
        verb, words = "rollback", f"--to {intent.back_to}"
    hint = f"give it again, it goes on: pgvigil config {verb} {cluster} {words}"
    return Underway(f"config {verb} of {', '.join(wanted)}", hint)


def _refused(name: str, value: str | None, detail: str) -> UsageError:
    what = f"PostgreSQL does not take {name} = {value}"
    return UsageError(what, detail=detail, hint="nothing was changed on any node")


def _need_restart(changes: Wanted, nodes: Mapping[NodeName, NodeParameters]) -> frozenset[NodeName]:
    """Where one of these counts only after a restart."""
    return frozenset(
        n
        for n, node in nodes.items()
        for name, value in changes.items()
        if name in node.parameters
        and node.parameters[name].context == "postmaster"
        and value not in (node.parameters[name].value, node.parameters[name].shown)
    )


def _difference(changes: Wanted, nodes: Mapping[NodeName, NodeParameters]) -> tuple[str, ...]:
    """A line for each parameter: what it is, where, and what it becomes."""
    lines = []
    for name, value in changes.items():
        shown: dict[str, list[str]] = {}
        for n, node in nodes.items():
            if name in node.parameters:
                shown.setdefault(_now(node, name), []).append(n)
        now = ", ".join(
            f"'{text}'" + (f" ({', '.join(who)})" if len(shown) > 1 else "") for text, who in shown.items()
        )
        to = "reset (the files decide)" if value is None else f"'{value}'"
        restart = any(
            node.parameters[name].context == "postmaster"
            for node in nodes.values()
            if name in node.parameters
        )
        lines.append(f"{name}: {now} → {to}{'; counts after a restart' if restart else ''}")
    return tuple(lines)


def _now(node: NodeParameters, name: str) -> str:
    """What the server has; our own session may have a value of its own, and then the files say it."""
    known = node.parameters[name]
    if known.of_the_server:
        return known.shown
    return node.written.get(name, node.files.get(name, known.default))


async def _kept(
    ground: Ground, intent: Intent, changed: Wanted, nodes: Mapping[NodeName, NodeParameters]
) -> ParameterVersion:
    """Make the version durable, unless the last one says all of it. Raises StoreError."""
    spec, clock = ground.bench.spec, ground.bench.clock
    last = await ground.store.versions(spec.name, limit=1)
    if last and changed.items() <= last[-1].settings.items():
        return last[-1]  # nothing new: it was interrupted, or changed by hand since
    number = last[-1].number + 1 if last else 1
    version = ParameterVersion(
        cluster=spec.name,
        number=number,
        at=clock.wall(),
        who=intent.who,
        comment=intent.comment,
        settings={**(dict(last[-1].settings) if last else {}), **changed},
        changes=tuple(ParameterChange(name, before(nodes, name), changed[name]) for name in changed),
    )
    await ground.store.add_version(version)
    return version


async def _told(
    ground: Ground,
    order: Order,
    version: ParameterVersion,
    wanted: Wanted,
    plan: tuple[str, ...],
    stopped: frozenset[NodeName],
) -> None:
    nodes, _ = await ground.parameters()
    later = {
        n: names
        for n, node in nodes.items()
        if (names := [name for name, value in wanted.items() if not written(node, name, value)])
    }
    waiting = sorted(waits(nodes, wanted))
    changes = ", ".join(
        f"{change.name} = {change.after if change.after is not None else 'reset'}"
        for change in version.changes
    )
    text = f"version {version.number}: {changes or 'as before'}"
    if record := ground.loop.record:
        told = without_secrets(f"{text}, by {version.who}")
        ground.journal.tell("parameters_set", told, Level.INFO, record.generation)
    parts = [f"written on {n} only when it is safe there: {', '.join(names)}" for n, names in later.items()]
    if waiting:
        parts.append(f"a restart is pending on {', '.join(waiting)}")
    parts += [f"{n} does not run: pgvigil rejoin {ground.bench.spec.name} {n}" for n in sorted(stopped)]
    hint = f"pgvigil restart {ground.bench.spec.name} --pending" if waiting or later else ""
    order.finish(Result.DONE, text, detail="; ".join(parts), hint=hint, plan=plan)
