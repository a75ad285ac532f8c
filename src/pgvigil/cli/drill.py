"""`drill`: rehearse a switchover there and back, and report."""

from typing import Annotated, Final

import typer
from rich.console import Console, Group, RenderableType
from rich.text import Text

from pgvigil.cli.desk import ClusterArgument, ConfigOption, JsonOption, begin, node_of, seconds_option
from pgvigil.cli.orders import DryRunOption, Order, TimeoutOption, YesOption, carry_out
from pgvigil.cli.report import EXIT_CODES
from pgvigil.cli.schedule import AtOption, EveryOption, at_option, every_option, then
from pgvigil.cli.tables import Column, Shape, fitting_table
from pgvigil.cli.theme import DIM, STRONG, WARN, bytes_text, seconds_text
from pgvigil.controller.operations import Result
from pgvigil.model.command import Drill, Schedule

PANEL = "Operate"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("drill", rich_help_panel=PANEL)(drill)


def drill(
    ctx: typer.Context,
    cluster: ClusterArgument = None,
    *,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="NODE", help="Switch to this one; else to the best standby.", show_default=False
        ),
    ] = None,
    at: AtOption = None,
    every: EveryOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    timeout: TimeoutOption = "20min",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Rehearse: switch over, and back again, and report.

    How long writes stood still, each step's time, whom a switchover cuts off, and who could not have taken
    over. Only in a healthy cluster. It is a real switchover: sessions on the primary end, twice.

    Every week: `pgvigil drill orders --at '2026-11-22 03:00' --every 7d`

    Example: `pgvigil drill orders --to pg2`
    """
    desk = begin(ctx, config, as_json=as_json)
    spec = desk.cluster(cluster)
    command = Drill(node_of(spec, to).name if to else None)
    when = at_option(at)
    again = every_option(every, when)
    target = command.to or "the best standby"
    question = f"Switch {spec.name} over to {target} and back{then(when, again)}?"
    given = Schedule(when, command, again) if when else command
    order = Order(spec, given, seconds_option(timeout), question)
    outcome = carry_out(desk, order, yes=yes, dry_run=dry_run)
    if outcome.result is Result.DONE and outcome.data and not as_json:
        desk.print(drill_view(desk.out, outcome.data))
    raise typer.Exit(EXIT_CODES[outcome.result])


STEPS: Final = (
    Column("Step", lambda row: row["step"], folds=True),
    Column("Took", lambda row: seconds_text(row["took_s"]), justify="right"),
)


def drill_view(console: Console, report: Shape) -> RenderableType:
    """The report of a drill."""
    parts: list[RenderableType] = []
    for leg in report["legs"]:
        gap = leg["longest_gap_s"]
        told = "" if gap is None else f"  writes stood still for {seconds_text(gap)} at most;"
        head = Text.assemble((f"to {leg['to']}", STRONG), told)
        head.append(f" healthy again after {seconds_text(leg['healthy_after_s'])}")
        parts += [head, fitting_table(console, STEPS, leg["steps"])]
    lag = ", ".join(f"{name} {bytes_text(size)}" for name, size in report["lag_bytes"].items())
    parts.append(Text(f"behind at the beginning: {lag}", style=DIM))
    parts += [Text(each, style=WARN) for each in report["would_fail"]]
    return Group(*parts)
