"""The command that puts guards on nodes, looks at them, and takes them away."""

from enum import StrEnum, auto
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from pgvigil.cli.desk import ConfigOption, JsonOption, begin, run_async
from pgvigil.cli.errands import NodesArguments, cluster_and_nodes
from pgvigil.cli.orders import DryRunOption, YesOption
from pgvigil.cli.theme import BAD, DIM, GOOD, STRONG
from pgvigil.errors import Unsafe
from pgvigil.model.guard import GuardReport

PANEL = "Protect"


class Action(StrEnum):
    """What to do with the guards."""

    INSTALL = auto()
    STATUS = auto()
    REMOVE = auto()


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("guard", rich_help_panel=PANEL)(guard)


def guard(
    ctx: typer.Context,
    action: Annotated[Action, typer.Argument(help="install, status or remove.")],
    names: NodesArguments = None,
    *,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Put a guard on each node, see how they are, or take them away.

    A guard is one small script on the node. It stops PostgreSQL there if that is a primary without a lease
    from the controller and without a majority of the nodes in sight: see docs/operate/guard.md.

    Exit code 0: done, or all are alive; 1: not so on some node, and the report says why.

    Example: `pgvigil guard install orders`
    """
    desk = begin(ctx, config, as_json=as_json)
    spec, chosen = cluster_and_nodes(desk, names or [])
    nodes = list(chosen)
    if action is Action.INSTALL and not spec.fencing.guard:
        raise Unsafe(
            f"guards are not wanted in {spec.name}",
            detail="without a controller that renews its lease a guard may stop a healthy primary",
            hint=f"set fencing: {{guard: true}} for {spec.name} first, and reload the controller",
        )
    which = ", ".join(nodes or [node.name for node in spec.nodes])
    if action is not Action.STATUS and not dry_run:
        desk.confirm(f"{action.capitalize()} the guard on {which}?", yes=yes)
    reports = run_async(desk.reach.guard(spec, action, nodes, dry_run))
    if as_json:
        desk.print_json([_report_json(report) for report in reports])
    else:
        desk.print(_view(reports))
    raise typer.Exit(0 if all(report.done for report in reports) else 1)


def _report_json(report: GuardReport) -> dict[str, str | bool]:
    return {
        "node": report.node,
        "done": report.done,
        "text": report.text,
        "hint": report.hint,
        "state": report.state,
    }


def _view(reports: list[GuardReport]) -> Table:
    table = Table.grid(padding=(0, 2))
    for report in reports:
        sign = Text("ok" if report.done else "!!", style=GOOD if report.done else BAD)
        text = Text(report.text)
        if report.hint:
            text.append(f"\nHINT:  {report.hint}", style=DIM)
        table.add_row(sign, Text(report.node, style=STRONG), text)
    return table
