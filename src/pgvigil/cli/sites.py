"""`promote-site`, `demote-site`: which of two clusters takes writes, on record and in the file."""

import time
from dataclasses import dataclass, replace
from typing import Annotated

import typer

from pgvigil.cli import changing
from pgvigil.cli.desk import (
    ClusterArgument,
    ConfigOption,
    Desk,
    JsonOption,
    begin,
    node_of,
    run_async,
    seconds_option,
)
from pgvigil.cli.orders import DryRunOption, Order, TimeoutOption, ToOption, YesOption, agree, give, told
from pgvigil.cli.report import EXIT_CODES
from pgvigil.controller.operations import Json, Outcome, Result
from pgvigil.errors import ConfigError, Unsafe, UsageError
from pgvigil.model.command import DemoteSite, PromoteSite
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.units import Lsn, NodeName

PANEL = "Operate"
SEEN_WITHIN_S = 10.0
"""The last WAL has arrived; a look at who received it comes within a second or two."""


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("promote-site", rich_help_panel=PANEL)(promote_site)
    app.command("demote-site", rich_help_panel=PANEL)(demote_site)


def promote_site(
    ctx: typer.Context,
    cluster: ClusterArgument = None,
    *,
    to: ToOption = None,
    planned: Annotated[
        bool,
        typer.Option(
            "--planned",
            help="Change places with the cluster that it follows, while that one is well: nothing is lost.",
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Although the other cluster may live, and goes on by itself.")
    ] = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    timeout: TimeoutOption = "5min",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Have a standby cluster take writes of its own: the cluster that it follows is lost, or changes places.

    The furthest node is promoted, and what may be lost is told. It is refused while anything of the other
    cluster answers. With --planned the other cluster is stopped in good order first, and follows this one
    afterwards; a step that fails is undone.

    The file is corrected: `standby_of` moves to the other cluster, if it stands there.

    Example: `pgvigil promote-site dr`
    """
    desk = begin(ctx, config, as_json=as_json)
    spec = desk.cluster(cluster)
    if planned and force:
        raise UsageError("--planned and --force exclude each other", hint="--planned loses nothing")
    call = _Call(desk, spec, node_of(spec, to).name if to else None, seconds_option(timeout))
    outcome = (
        _change_places(call, yes=yes, dry_run=dry_run)
        if planned
        else _promote(call, force=force, yes=yes, dry_run=dry_run)
    )
    raise typer.Exit(EXIT_CODES[told(desk, outcome).result])


def demote_site(
    ctx: typer.Context,
    cluster: ClusterArgument = None,
    *,
    standby_of: Annotated[
        str | None,
        typer.Option(
            "--standby-of",
            metavar="CLUSTER",
            help="Whom it is to follow; else as the file has it.",
            show_default=False,
        ),
    ] = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    timeout: TimeoutOption = "5min",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Make a cluster a standby cluster of another one.

    After a disaster: the old site has returned while the other one takes writes. What it wrote by itself
    since is given up, and its nodes are rewound, or copied anew.

    While the other one follows it: its primary is stopped in good order, and nobody takes writes until
    `pgvigil promote-site`; --planned there does both.

    Example: `pgvigil demote-site main --standby-of dr`
    """
    desk = begin(ctx, config, as_json=as_json)
    spec = desk.cluster(cluster)
    other = desk.cluster(standby_of).name if standby_of else None
    if other == spec.name:
        raise UsageError(f"{spec.name} cannot follow itself")
    call = _Call(desk, spec, None, seconds_option(timeout))
    raise typer.Exit(EXIT_CODES[told(desk, _demote(call, other, yes=yes, dry_run=dry_run)).result])


@dataclass(frozen=True, slots=True)
class _Call:
    """One command: whose, to which node, and how long it may take."""

    desk: Desk
    spec: ClusterSpec
    to: NodeName | None
    within_s: float

    def order(
        self, spec: ClusterSpec, command: PromoteSite | DemoteSite, *, dry_run: bool = False
    ) -> Outcome:
        """Give an order to one of both clusters."""
        self.desk.forget_config()
        fresh = self.desk.cluster(spec.name)
        return run_async(give(self.desk, Order(fresh, command, self.within_s, ""), dry_run=dry_run))

    def status(self, spec: ClusterSpec) -> Json:
        """What is known of a cluster now."""

        async def look() -> Json:
            async with self.desk.reach.look(self.desk.config, [spec.name]) as ops:
                (status,) = await ops.status(spec.name)
                return status

        return run_async(look())

    def apply(self, change: changing.Change) -> str:
        """Write the file and have a running controller read it; what it says."""
        changing.write(change)
        return changing.reload(self.desk, change)

    def put_back(self, change: changing.Change) -> str:
        """Undo that. Raises ConfigError if somebody else changed the file meanwhile."""
        return self.apply(replace(change, old=change.new, new=change.old))


def _promote(call: _Call, *, force: bool, yes: bool, dry_run: bool) -> Outcome:
    """The other cluster is lost: promote, then correct the file."""
    command, name = PromoteSite(call.to, force), call.spec.name
    status = call.status(call.spec)
    if not status["standby_cluster"] and status["generation"] and call.spec.standby_of and not dry_run:
        done = Outcome(Result.DONE, f"{name} takes writes of its own already: {status['primary']}")
        return _file_corrected(call, done)
    plan = call.order(call.spec, command, dry_run=True)
    if dry_run or plan.result is not Result.PLANNED:
        return plan
    there = call.spec.standby_of.name if call.spec.standby_of else "the other cluster"
    question = f"Promote {name}? Make sure that {there} is off for good."
    agree(call.desk, plan.plan, question, plan.detail, yes=yes)
    call.desk.interrupted = f"what was begun goes on; see: pgvigil status {name}"
    outcome = call.order(call.spec, command)
    outcome = replace(outcome, detail="; ".join(filter(None, [plan.detail, outcome.detail])))
    return _file_corrected(call, outcome) if outcome.result is Result.DONE else outcome


def _file_corrected(call: _Call, outcome: Outcome) -> Outcome:
    """With `standby_of` where it belongs now; a file that cannot be edited does not make it a failure."""
    from pgvigil.config.edit import site_promoted

    name, there = call.spec.name, call.spec.standby_of
    try:
        change = changing.worked_out(call.desk, lambda text: site_promoted(text, name))
        said = call.apply(change) if change.old != change.new else ""
    except (ConfigError, UsageError) as wrong:
        hint = f"take standby_of out of {name} by hand, then: pgvigil reload"
        return replace(outcome, detail=f"the file was not changed: {wrong}", hint=hint)
    data = {**outcome.data, "diff": change.diff}
    known = there is not None and any(spec.name == there.name for spec in change.config.clusters)
    hint = f"when {there.name} is back: pgvigil demote-site {there.name}" if known and there else ""
    detail = "; ".join(filter(None, [outcome.detail, "the file is corrected" if said else "", said]))
    return replace(outcome, detail=detail, hint=hint, data=data)


def _change_places(call: _Call, *, yes: bool, dry_run: bool) -> Outcome:
    """Both are well: the other one is stopped in good order, this one promoted; undone if that fails."""
    from pgvigil.config.edit import site_promoted

    ours, other = call.spec, _other(call)
    name = ours.name
    change = changing.worked_out(call.desk, lambda text: site_promoted(text, name))
    _ready(call, other)
    plan = (
        f"write into {change.file} that {other.name} follows {name}",
        f"stop the primary of {other.name} in good order, and wait until {name} has everything",
        f"promote the furthest node of {name}; its other nodes follow it",
        f"{other.name} follows {name} as a standby cluster",
    )
    if dry_run:
        return Outcome(Result.PLANNED, f"{name} and {other.name} change places", plan=plan)
    agree(call.desk, plan, f"Have {name} take the writes of {other.name}?", yes=yes)
    call.desk.interrupted = f"see: pgvigil status; to go on: pgvigil promote-site {name}"
    call.apply(change)
    stopped = call.order(other, DemoteSite())
    if stopped.result is not Result.DONE:
        call.put_back(change)
        return replace(stopped, detail=f"{stopped.detail}; {other.name} goes on".lstrip("; "))
    last = Lsn.parse(stopped.data.get("last_checkpoint", "0/0"))
    promoted = _promoted_complete(call, ours, call.to, last)
    if promoted.result is Result.DONE:
        text = f"{promoted.text}; {other.name} follows {name} now"
        return replace(promoted, text=text, plan=plan, data={**promoted.data, "diff": change.diff})
    return _undone(call, other, change, promoted, last)


def _promoted_complete(call: _Call, spec: ClusterSpec, to: NodeName | None, last: Lsn) -> Outcome:
    """Promote it once a node of it was seen to have the last checkpoint of who handed over to it."""

    def has_it() -> bool:
        nodes = [node for node in call.status(spec)["nodes"] if to in (None, node["name"])]
        return any(Lsn.parse(node["lsn"] or "0/0") > last for node in nodes)

    until = time.monotonic() + SEEN_WITHIN_S
    while not has_it() and time.monotonic() < until:
        time.sleep(0.1)
    return call.order(spec, PromoteSite(to, handed_over=last))


def _undone(call: _Call, other: ClusterSpec, change: changing.Change, failed: Outcome, last: Lsn) -> Outcome:
    """Nobody takes writes: the other cluster gets its primary back. A promotion that only is slow goes on."""
    if call.status(call.spec)["standby_cluster"] is False:
        return replace(failed, hint=f"the promotion goes on; see: pgvigil status {call.spec.name}")
    back = _promoted_complete(call, other, None, last)
    if back.result is not Result.DONE:
        hint = f"nobody takes writes: pgvigil promote-site {call.spec.name}, or {other.name} with --force"
        return replace(failed, result=Result.FAILED, detail=f"{failed.detail}; {back.text}", hint=hint)
    call.put_back(change)
    detail = f"{failed.detail}; undone: {back.text}; nothing was lost".lstrip("; ")
    return replace(failed, result=Result.FAILED, detail=detail)


def _other(call: _Call) -> ClusterSpec:
    """The cluster that ours follows, from the same file. Raises UsageError."""
    there = call.spec.standby_of
    other = next((each for each in call.desk.config.clusters if there and each.name == there.name), None)
    if other is None:
        hint = "stop the other cluster in good order by hand, then give the command without --planned"
        raise UsageError(f"{call.spec.name} follows no cluster of this file", hint=hint)
    return other


def _ready(call: _Call, other: ClusterSpec) -> None:
    """Raises Unsafe unless one takes writes, and the other one streams from it."""
    ours, theirs = call.status(call.spec), call.status(other)
    if not ours["standby_cluster"]:
        raise Unsafe(f"{call.spec.name} is no standby cluster", hint="see: pgvigil status")
    for status in (ours, theirs):
        if status["health"] not in ("ok", "degraded"):
            detail = f"{status['health']}: {status['decision']['reason']}"
            raise Unsafe(f"{status['cluster']} is not well", detail=detail, hint="see: pgvigil status")
    leader = next(node for node in ours["nodes"] if node["name"] == ours["primary"])
    if leader["upstream"] != f"{other.name}/{theirs['primary']}":
        what = f"{leader['name']} does not stream from {theirs['primary']}, the primary of {other.name}"
        raise Unsafe(what, hint=f"see: pgvigil status {call.spec.name}")


def _demote(call: _Call, other: str | None, *, yes: bool, dry_run: bool) -> Outcome:
    """Written into the file first, so that the controller knows whom; taken back if it is refused."""
    change, name = _followed(call, other), call.spec.name
    whom = other or (call.spec.standby_of.name if call.spec.standby_of else "")
    written = change.old != change.new
    plan = (
        *((f"write into {change.file} that {name} follows {whom}",) if written else ()),
        f"stop the primary of {name}, if it runs, and see to it that it can only return as a standby",
        f"have every node of {name} follow {whom}: as it is, else rewound, else copied anew",
    )
    if dry_run:
        return Outcome(Result.PLANNED, f"make {name} a standby cluster of {whom}", plan=plan)
    question = f"Have {name} follow {whom}, and give up what only {name} has?"
    agree(call.desk, plan, question, yes=yes)
    if written:
        call.apply(change)
    outcome = call.order(call.spec, DemoteSite())
    if outcome.result is Result.DONE:
        waits = any(
            each.name == whom and call.status(each)["standby_cluster"] for each in change.config.clusters
        )
        hint = f"nobody takes writes now: pgvigil promote-site {whom}" if waits else ""
        return replace(outcome, text=f"{name} is a standby cluster of {whom} now", hint=hint, plan=plan)
    if written:
        call.put_back(change)
    return outcome


def _followed(call: _Call, other: str | None) -> changing.Change:
    """The file with whom it is to follow. Raises ConfigError, UsageError."""
    from pgvigil.config.edit import site_follows, site_promoted

    name = call.spec.name
    if other is None and call.spec.standby_of is None:
        raise UsageError(f"whom is {name} to follow?", hint=f"pgvigil demote-site {name} --standby-of OTHER")

    def edit(text: str) -> str:
        if other is None:
            return text
        there = next(each.standby_of for each in call.desk.config.clusters if each.name == other)
        if there is not None and there.name == name:
            return site_promoted(text, other)
        return site_follows(text, name, other)

    return changing.worked_out(call.desk, edit)
