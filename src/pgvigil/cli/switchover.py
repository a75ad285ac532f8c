"""`switchover`: the topology before, who and when, the change itself, the topology after."""

from typing import Annotated

import typer

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
from pgvigil.cli.orders import DryRunOption, Order, TimeoutOption, ToOption, YesOption, carry_out
from pgvigil.cli.report import EXIT_CODES
from pgvigil.cli.schedule import AtOption, at_option, then
from pgvigil.cli.tables import Shape
from pgvigil.cli.topology import topology_view
from pgvigil.controller.operations import Json, Result
from pgvigil.errors import UsageError
from pgvigil.model.command import Schedule, Switchover
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.units import NodeName


def switchover(
    ctx: typer.Context,
    cluster: ClusterArgument = None,
    *,
    to: ToOption = None,
    only_from: Annotated[
        str | None,
        typer.Option("--from", metavar="NODE", help="Refuse unless this is the primary.", show_default=False),
    ] = None,
    at: AtOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    timeout: TimeoutOption = "2min",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Make another node primary in good order.

    Nothing is lost, and the old primary becomes a standby of the new one.

    Without --to on a terminal it shows the standbys and asks. With --at the controller does it then, if the
    cluster is healthy.

    Example: `pgvigil switchover orders --to pg2`
    """
    desk = begin(ctx, config, as_json=as_json)
    spec = desk.cluster(cluster)
    within_s = seconds_option(timeout)
    when = at_option(at)
    target = node_of(spec, to).name if to else None
    before = run_async(_look(desk, spec))
    if only_from and before["primary"] != node_of(spec, only_from).name:
        raise UsageError(
            f"{only_from} is not the primary of {spec.name}", detail=f"it is {before['primary']}"
        )
    if not as_json:
        desk.tell(topology_view(desk.err, before))
        desk.tell("")
    if target is None and not (yes or dry_run or as_json):
        target = _ask_candidate(desk, spec, before)
    question = f"Switch {spec.name} over to {target or 'the best standby'}{then(when)}?"
    command = Schedule(when, Switchover(target)) if when else Switchover(target)
    outcome = carry_out(desk, Order(spec, command, within_s, question), yes=yes, dry_run=dry_run)
    if outcome.result is Result.DONE and not as_json and not when:
        desk.tell("")
        desk.tell(topology_view(desk.err, run_async(_look(desk, spec))))
    raise typer.Exit(EXIT_CODES[outcome.result])


async def _look(desk: Desk, spec: ClusterSpec) -> Json:
    async with desk.reach.operations(desk.config, [spec.name]) as ops:
        return (await ops.status(spec.name))[0]


def candidates(spec: ClusterSpec, shape: Shape) -> list[NodeName]:
    """Running standbys that may become primary: highest priority first, then the least behind."""
    allowed = {node.name for node in spec.nodes if node.may_be_primary()}
    allowed -= {node["name"] for node in shape["nodes"] if node.get("maintenance")}
    fit = [n for n in shape["nodes"] if n["role"] == "standby" and n["upstream"] and n["name"] in allowed]
    fit.sort(key=lambda n: (-n["priority"], n["lag_bytes"] or 0))
    return [NodeName(node["name"]) for node in fit]


def _ask_candidate(desk: Desk, spec: ClusterSpec, shape: Shape) -> NodeName | None:
    """Who it shall be; None leaves the choice to the controller."""
    names = candidates(spec, shape)
    desk.require_person()
    if len(names) < 2:
        return names[0] if names else None
    answer = typer.prompt(f"Who becomes primary ({', '.join(names)})", default=names[0], err=True)
    return node_of(spec, answer.strip()).name
