"""The command that tries the product's own code on a simulated cluster, seed by seed."""

import time
from importlib import import_module
from typing import Annotated, Any

import typer
from rich.text import Text

from pgvigil.cli.desk import ConfigOption, JsonOption, begin
from pgvigil.errors import UsageError

PANEL = "Look"
NODES_MAX = 9


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("simulate", rich_help_panel=PANEL)(simulate)


def simulate(
    ctx: typer.Context,
    *,
    seeds: Annotated[int, typer.Option("--seeds", metavar="N", help="So many courses of events.")] = 100,
    first: Annotated[int, typer.Option("--first", metavar="K", help="Begin with this seed.")] = 1,
    seed: Annotated[int | None, typer.Option("--seed", metavar="K", help="Only this seed.")] = None,
    trace: Annotated[bool, typer.Option("--trace", help="With --seed: everything that happened.")] = False,
    nodes: Annotated[int, typer.Option("--nodes", metavar="N", help="Servers of the cluster.")] = 3,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Try this very controller on a simulated cluster under faults drawn from seeds; needs no server.

    Crashes, lost hosts, cut and slow links, killed controllers, operators: then everything is healed and must
    come back in order. A seed that breaks an invariant is printed, and can be told again. Exit code 1 then.

    Example: `pgvigil simulate --seeds 500`, and for one of them `pgvigil simulate --seed 42 --trace`
    """
    desk = begin(ctx, config, as_json=as_json)
    if not 2 <= nodes <= NODES_MAX or seeds < 1:
        raise UsageError(f"--nodes is from 2 to {NODES_MAX}, --seeds at least 1")
    run: Any = import_module("pgvigil.sim.run")  # the layers keep command line and simulation apart
    begun, reports = time.monotonic(), []
    for each in range(first, first + seeds) if seed is None else (seed,):
        report = run.simulate(each, nodes)
        reports.append(report)
        for violation in report.violations:
            desk.tell(f"seed {each}: {violation}")
    if trace and seed is not None:
        desk.out.print(Text("\n".join(reports[0].trace)), soft_wrap=True)
    summed: Any = import_module("pgvigil.sim.campaign").summary(reports)
    figures = {**summed.figures(), "took_s": round(time.monotonic() - begun, 1)}
    if as_json:
        desk.print_json(figures)
    else:
        desk.print(_words(figures))
    if summed.broken:
        raise typer.Exit(1)


def _words(figures: dict[str, Any]) -> str:  # as JSON has them
    """The figures as lines for people."""
    outage = "  ".join(f"{name} {seconds:.2f} s" for name, seconds in figures["outage_s"].items())
    hours, took = f"{figures['simulated_h']:.1f} simulated hours", f"{figures['took_s']} s"
    return "\n".join(
        (
            f"{figures['seeds']} seeds, {hours} in {took}",
            f"failovers      {figures['failovers']}, {figures['unneeded']} from a primary that still served",
            f"acknowledged   {figures['acknowledged']} rows, {figures['lost']} lost",
            f"outages        {figures['outages']}: {outage}",
            f"violations     {len(figures['violations'])}",
        )
    )
