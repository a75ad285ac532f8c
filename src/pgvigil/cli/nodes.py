"""`node add`, `node drop`, `cluster create`, `cluster drop`: who belongs to what, at run time."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from pgvigil.cli import changing
from pgvigil.cli.desk import ClusterArgument, ConfigOption, Desk, JsonOption, begin, node_of, run_async
from pgvigil.cli.orders import DryRunOption, Order, YesOption, carry_out, progress_lines
from pgvigil.cli.report import EXIT_CODES, outcome_view
from pgvigil.controller.operations import Json, Outcome, Result
from pgvigil.errors import Unsafe, UsageError
from pgvigil.model.command import Maintenance, Rejoin
from pgvigil.model.spec import ClusterSpec, Protection, Tag
from pgvigil.model.step import RebuildMethod
from pgvigil.model.units import NodeName

if TYPE_CHECKING:
    from pgvigil.controller.retire import Aside

PANEL = "Protect"
CLONE_S = 86400.0
ORDER_S = 30.0

node = typer.Typer(
    help="The nodes of a cluster, changed at run time.", no_args_is_help=True, rich_markup_mode="markdown"
)
cluster = typer.Typer(
    help="The clusters of this configuration, changed at run time.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
InClusterOption = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="CLUSTER",
        help="May be left out when only one is configured.",
        show_default=False,
    ),
]


def add_to(app: typer.Typer) -> None:
    """Register the groups and their commands."""
    node.command("add")(add_node)
    node.command("drop")(drop_node)
    cluster.command("create")(create_cluster)
    cluster.command("drop")(drop_cluster)
    app.add_typer(node, name="node", rich_help_panel=PANEL)
    app.add_typer(cluster, name="cluster", rich_help_panel=PANEL)


def add_node(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NODE", help="What to call it.")],
    *,
    host: Annotated[str, typer.Option(metavar="HOST", help="Name or address of its host.")],
    cluster: InClusterOption = None,
    port: Annotated[
        int | None, typer.Option(metavar="PORT", help="Else as the cluster has it.", show_default=False)
    ] = None,
    data_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="Else as the cluster has it.", show_default=False)
    ] = None,
    bin_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="Else as the cluster has it.", show_default=False)
    ] = None,
    priority: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="For promotion; else 100.", show_default=False)
    ] = None,
    location: Annotated[
        str | None, typer.Option(metavar="PLACE", help="Where it stands.", show_default=False)
    ] = None,
    tag: Annotated[list[Tag] | None, typer.Option(help="A wish for it; may be repeated.")] = None,
    clone: Annotated[bool, typer.Option("--clone", help="Copy it from the cluster at once.")] = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Add a node to a cluster: to the file, and to the running controller.

    The file keeps its comments. A standby that runs is watched from then on; a new one is cloned, with
    --clone at once.

    Example: `pgvigil node add pg4 --host 10.0.0.14 --clone`
    """
    desk = begin(ctx, config, as_json=as_json)
    spec = desk.cluster(cluster)
    places = {"port": port, "data_dir": data_dir, "bin_dir": bin_dir}
    entry = _entry(host, places, {"priority": priority, "location": location, "tags": tag})
    from pgvigil.config.edit import with_node

    change = changing.worked_out(desk, lambda text: with_node(text, spec.name, name, entry))
    plan = [f"write {name} into {change.file}", "have a running controller read it"]
    plan += [f"clone {name} from {spec.name}"] if clone else []
    if _rehearsed(desk, change, plan, f"Add {name} to {spec.name}?", yes=yes, dry_run=dry_run):
        return
    changing.write(change)
    desk.interrupted = f"{name} is in the file; give the command again, it goes on"
    told = changing.reload(desk, change)
    text, hint = f"{name} belongs to {spec.name}", f"new there? pgvigil clone {spec.name} {name}"
    if not clone:
        _tell(desk, Outcome(Result.DONE, text, told, hint, tuple(plan), {"diff": change.diff}))
        return
    desk.tell(Text(f"{text}; {told}"))
    outcome = _cloned(begin(ctx, config, as_json=as_json), spec.name, name, change, plan)
    raise typer.Exit(EXIT_CODES[outcome.result])


def _cloned(desk: Desk, cluster: str, name: str, change: changing.Change, plan: list[str]) -> Outcome:
    """Copy the node that the file has by now; one that the file had before may be there already."""
    desk.forget_config()
    added = desk.cluster(cluster)
    if not change.diff and run_async(_streams(desk, added, name)):
        there = Outcome(Result.DONE, f"{name} belongs to {cluster}, and streams", plan=tuple(plan))
        _tell(desk, there)
        return there
    command = Rejoin(NodeName(name), RebuildMethod.CLONE, force=True)
    return carry_out(desk, Order(added, command, CLONE_S, ""), yes=True, dry_run=False)


async def _streams(desk: Desk, spec: ClusterSpec, name: str) -> bool:
    """Whether the node is a streaming standby by now: the command was given before, and is done."""
    async with desk.reach.look(desk.config, [spec.name]) as ops:
        (status,) = await ops.status(spec.name)
    return any(n["name"] == name and n["role"] == "standby" and n["upstream"] for n in status["nodes"])


def _entry(host: str, places: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """What the file says of the node: only what was given."""
    entry: dict[str, Any] = {"host": host}
    for key, value in given.items():
        if value not in (None, []):
            entry[key] = [str(each) for each in value] if isinstance(value, list) else value
    if postgres := {key: value for key, value in places.items() if value is not None}:
        entry["postgres"] = postgres
    return entry


def drop_node(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NODE", help="Which one.")],
    *,
    cluster: InClusterOption = None,
    destroy: Annotated[
        bool, typer.Option("--destroy", help="Stop its server, and move its data directory aside.")
    ] = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Take a node out of its cluster: out of the file, and out of the running controller.

    Its slot and its place among the synchronous standbys go too. Never a running primary: switch over
    first. Without --destroy its server runs on, and follows the cluster without a slot.

    Interrupted, give it again: it goes on.

    Example: `pgvigil node drop pg4 --destroy`
    """
    desk = begin(ctx, config, as_json=as_json)
    spec = desk.cluster(cluster)
    target = node_of(spec, name).name
    from pgvigil.config.edit import without_node

    change = changing.worked_out(desk, lambda text: without_node(text, spec.name, target))
    run_async(_may_go(desk, spec, target))
    if destroy and node_of(spec, name).shell is None:
        raise UsageError(f"{name} has no shell", hint="without one it cannot be stopped: leave --destroy out")
    plan = _dropping(spec, target, change, destroy=destroy)
    question = f"Drop {name} from {spec.name}{', stop it and move its data aside' if destroy else ''}?"
    if _rehearsed(desk, change, plan, question, yes=yes, dry_run=dry_run):
        return
    desk.interrupted = f"give the command again, it goes on; {name} is under maintenance until then"
    maintenance = Order(spec, Maintenance(target, on=True), ORDER_S, "")
    run_async(_order(desk, maintenance))
    aside = run_async(_taken_out(desk, spec, target, destroy=destroy))
    changing.write(change)
    desk.interrupted = f"{name} is out of the file; see: pgvigil reload"
    told = changing.reload(desk, change)
    run_async(_slots_gone(desk, spec, target))
    detail = "; ".join(filter(None, [str(aside or ""), told]))
    data = {"diff": change.diff, "outside": list(aside.outside if aside else ())}
    text = f"{name} does not belong to {spec.name} any more"
    _tell(desk, Outcome(Result.DONE, text, detail, "", tuple(plan), data))


def create_cluster(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="CLUSTER", help="What to call it.")],
    *,
    nodes: Annotated[
        list[str], typer.Option("--node", metavar="NODE=HOST[:PORT]", help="A node; may be repeated.")
    ],
    protection: Annotated[Protection | None, typer.Option(help="Else as `defaults` has it.")] = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Add a cluster: to the file, and to the running controller.

    Everything else comes from `defaults`, or is written into the file afterwards. A running cluster is taken
    over as it is; empty hosts are filled by `pgvigil bootstrap`.

    Example: `pgvigil cluster create billing --node b1=10.0.1.11 --node b2=10.0.1.12`
    """
    desk = begin(ctx, config, as_json=as_json)
    entry: dict[str, Any] = {"nodes": dict(map(_node_option, nodes))}
    if protection is not None:
        entry["protection"] = str(protection)
    from pgvigil.config.edit import with_cluster

    change = changing.worked_out(desk, lambda text: with_cluster(text, name, entry))
    plan = [f"write {name} into {change.file}", "have a running controller read it"]
    if _rehearsed(desk, change, plan, f"Add the cluster {name}?", yes=yes, dry_run=dry_run):
        return
    changing.write(change)
    desk.interrupted = f"{name} is in the file; give the command again, it goes on"
    told, hint = (
        changing.reload(desk, change),
        f"pgvigil check {name}; on empty hosts: pgvigil bootstrap {name}",
    )
    _tell(desk, Outcome(Result.DONE, f"{name} is configured", told, hint, tuple(plan), {"diff": change.diff}))


def drop_cluster(
    ctx: typer.Context,
    name: ClusterArgument = None,
    *,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Protect a cluster no longer: out of the file, and out of the running controller.

    Its servers run on untouched. Its record and events are kept: added again it is guarded as before.

    Example: `pgvigil cluster drop billing`
    """
    desk = begin(ctx, config, as_json=as_json)
    spec = desk.cluster(name)
    from pgvigil.config.edit import without_cluster

    change = changing.worked_out(desk, lambda text: without_cluster(text, spec.name))
    run_async(_is_settled(desk, spec))
    plan = [f"take {spec.name} out of {change.file}", "have a running controller read it"]
    if spec.protection is Protection.QUORUM:
        plan.append("synchronous_standby_names stays as it is: commits go on waiting, and nobody adapts it")
    if _rehearsed(desk, change, plan, f"Protect {spec.name} no longer?", yes=yes, dry_run=dry_run):
        return
    changing.write(change)
    desk.interrupted = f"{spec.name} is out of the file; a controller that runs forgets it by: pgvigil reload"
    told = changing.reload(desk, change)
    text = f"{spec.name} is not protected any more; its servers run on"
    _tell(desk, Outcome(Result.DONE, text, told, "", tuple(plan), {"diff": change.diff}))


def _node_option(text: str) -> tuple[str, Any]:
    name, equals, address = text.partition("=")
    host, colon, port = address.rpartition(":")
    if not colon or ":" in host:  # no port, or an IPv6 address
        host, port = address, ""
    if not equals or not name or not host or (port and not port.isdigit()):
        raise UsageError("--node is NODE=HOST or NODE=HOST:PORT", detail=text)
    return name, {"host": host, "port": int(port)} if port else {"host": host}


def _dropping(spec: ClusterSpec, name: str, change: changing.Change, *, destroy: bool) -> list[str]:
    """What a drop does, in its order."""
    slot = f"drop the slot of {name} on the other nodes"
    end = [
        f"stop PostgreSQL on {name}",
        slot,
        "move its data directory aside, as DATA.pgvigil-dropped-<time>; "
        "tablespaces and WAL that lie elsewhere stay, and are named",
    ]
    plan = [f"begin maintenance of {name}"]
    plan += end if destroy else [f"let {name} stream on without a slot", slot]
    plan += [f"take {name} out of {change.file}", "have a running controller read it"]
    if spec.protection is Protection.QUORUM:
        plan.append(f"the controller takes {name} out of synchronous_standby_names")
    return plan


async def _may_go(desk: Desk, spec: ClusterSpec, name: NodeName) -> None:
    """Raises Unsafe if the node is the primary, or nobody knows which one is."""
    async with desk.reach.look(desk.config, [spec.name]) as ops:
        (status,) = await ops.status(spec.name)
    hint = f"first make another node primary: pgvigil switchover {spec.name}"
    if status["primary"] == name:
        raise Unsafe(f"{name} is the primary", hint=hint)
    if status["primary"] is None or status["generation"] == 0:
        raise Unsafe(
            f"it is not known which node of {spec.name} is the primary",
            detail=str(status["decision"]["reason"]),
            hint=f"see: pgvigil status {spec.name}",
        )
    if below := [each["name"] for each in status["nodes"] if each["upstream"] == name]:
        hint = f"point it elsewhere first: pgvigil follow {spec.name} {below[0]} {status['primary']}"
        raise Unsafe(f"{', '.join(below)} streams from {name}", hint=hint)
    if busy := next((each["progress"] for each in status["nodes"] if each["name"] == name), ""):
        raise Unsafe(f"{name} is being worked on: {busy}", hint="wait until that is finished: pgvigil status")
    _settled(status)


async def _is_settled(desk: Desk, spec: ClusterSpec) -> None:
    """Raises Unsafe while a change of primary is under way: nobody would finish it."""
    async with desk.reach.look(desk.config, [spec.name]) as ops:
        (status,) = await ops.status(spec.name)
    _settled(status)


def _settled(status: Json) -> None:
    if status["phase"] != "stable":
        hint = "wait until it is finished: pgvigil status --watch"
        raise Unsafe(f"a change of primary is under way ({status['phase']})", hint=hint)


async def _order(desk: Desk, order: Order) -> None:
    """Raises Unsafe with what the controller has against it."""
    async with desk.reach.operations(desk.config, [order.spec.name]) as ops:
        outcome = await ops.order(
            order.spec.name, order.command, dry_run=False, within_s=order.within_s, progress=lambda _: None
        )
    if outcome.result is not Result.DONE:
        raise Unsafe(outcome.text, detail=outcome.detail, hint=outcome.hint)


async def _taken_out(desk: Desk, spec: ClusterSpec, name: NodeName, *, destroy: bool) -> "Aside | None":
    """What is done on the nodes; where the data lies now, if it was moved. Raises Unsafe, StepFailed."""
    from pgvigil.controller import retire
    from pgvigil.wiring import workbench

    with progress_lines(desk) as tell:
        async with workbench(spec, lambda node, text: tell(f"{node}: {text}")) as bench:
            await retire.retire(bench, name, destroy=destroy)
            await retire.drop_slots(bench, name)
            if not destroy:
                return None
            stamp = datetime.now(UTC).strftime("%Y%m%d%H%M%S%f")
            return await retire.move_aside(bench, name, stamp=stamp)


async def _slots_gone(desk: Desk, spec: ClusterSpec, name: NodeName) -> None:
    """Once more, now that no controller makes it anew."""
    from pgvigil.controller import retire
    from pgvigil.wiring import workbench

    async with workbench(spec, lambda *_: None) as bench:
        await retire.drop_slots(bench, name)


def _rehearsed(
    desk: Desk, change: changing.Change, plan: list[str], question: str, *, yes: bool, dry_run: bool
) -> bool:
    """Show what would change; True: that was all that was asked for. Else ask the person."""
    if not desk.as_json:
        changing.show(desk, change)
    if dry_run:
        outcome = Outcome(Result.PLANNED, "nothing was changed", plan=tuple(plan), data={"diff": change.diff})
        _tell(desk, outcome)
        return True
    desk.confirm(question, yes=yes)
    return False


def _tell(desk: Desk, outcome: Outcome) -> None:
    if desk.as_json:
        from pgvigil.api.wire import outcome_json

        desk.print_json(outcome_json(outcome))
    else:
        desk.print(outcome_view(desk.out, outcome))
