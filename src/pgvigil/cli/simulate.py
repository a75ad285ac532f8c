"""The command that tries the product's own code on a simulated cluster, seed by seed."""

import time
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from pgvigil.cli.desk import ConfigOption, Desk, JsonOption, begin
from pgvigil.errors import UsageError
from pgvigil.model.spec import ClusterSpec, Protection

if TYPE_CHECKING:
    from collections.abc import Iterable

PANEL = "Look"
NODES_MAX = 9
NODES = 3
CONTROLLERS_MAX = 5
ControllersOption = Annotated[
    int, typer.Option("--controllers", metavar="N", help="So many share each cluster, with a simulated etcd.")
]
KeptOption = Annotated[
    int | None,
    typer.Option("--shells-kept", metavar="N", help="Keep so many shells open (all).", show_default=False),
]


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
    nodes: Annotated[
        int | None,
        typer.Option("--nodes", metavar="N", help="Servers of the cluster (3).", show_default=False),
    ] = None,
    protection: Annotated[
        Protection | None,
        typer.Option("--protection", help="What is promised of acknowledged commits.", show_default="async"),
    ] = None,
    controllers: ControllersOption = 1,
    shells_kept: KeptOption = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", metavar="N", help="So many processes.")] = 1,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Try this very controller on a simulated cluster under faults drawn from seeds; needs no server.

    Crashes, lost hosts, cut and slow links, killed controllers, operators: then everything is healed and must
    come back in order. With --controllers also controllers that stand still, and an etcd that fails. With
    --shells-kept 0 every shell is opened when it is needed, as in a large fleet. With --config your own
    clusters are simulated: their names, policies, timings, priorities, tags and protection.
    A seed that breaks an invariant is printed, and can be told again. Exit code 1 then.

    Example: `pgvigil simulate --seeds 500 --protection quorum`, and for one of them
    `pgvigil simulate --protection quorum --seed 42 --trace`
    """
    desk = begin(ctx, config, as_json=as_json)
    if not 2 <= (nodes or NODES) <= NODES_MAX or seeds < 1 or jobs < 1:
        raise UsageError(f"--nodes is from 2 to {NODES_MAX}, --seeds and --jobs are at least 1")
    _within(controllers, shells_kept)
    campaign: Any = import_module("pgvigil.sim.campaign")  # the layers keep command line and simulation apart
    which = range(first, first + seeds) if seed is None else (seed,)
    wanted, broken = [], False
    for title, spec in _clusters(desk, nodes, protection):
        title += f", {controllers} controllers" if controllers > 1 else ""
        what = nodes or NODES, protection or Protection.ASYNC, spec, controllers, shells_kept
        trials = [campaign.Trial(each, *what) for each in which]
        begun, reports = time.monotonic(), []
        for report in (
            [trials[0].run()] if trace and seed is not None else campaign.reports(trials, jobs=jobs)
        ):
            reports.append(report)
            _tell_violations(desk, report)
        if trace and seed is not None:
            desk.out.print(Text("\n".join(reports[0].trace)), soft_wrap=True)
        summed: Any = campaign.summary(reports)
        wanted.append({**summed.figures(), "took_s": round(time.monotonic() - begun, 1), "cluster": title})
        broken = broken or bool(summed.broken)
    if as_json:
        desk.print_json(wanted[0] if len(wanted) == 1 else wanted)
    else:
        desk.print("\n\n".join(_words(figures, shared=controllers > 1) for figures in wanted))
    if broken:
        raise typer.Exit(1)


def _within(controllers: int, shells_kept: int | None) -> None:
    if not 1 <= controllers <= CONTROLLERS_MAX:
        raise UsageError(f"--controllers is from 1 to {CONTROLLERS_MAX}")
    if shells_kept is not None and shells_kept < 0:
        raise UsageError("--shells-kept is at least 0")


def _clusters(
    desk: Desk, nodes: int | None, protection: Protection | None
) -> "Iterable[tuple[str, ClusterSpec | None]]":
    """What to simulate, with a title: the user's clusters if a configuration was named, else a default."""
    if desk.config_path is None:
        yield f"{nodes or NODES} nodes, {protection or Protection.ASYNC}", None
        return
    if nodes is not None or protection is not None:
        hint = "leave them out, or change the configuration"
        raise UsageError("--nodes and --protection do not go with --config", hint=hint)
    prepared: Any = import_module("pgvigil.sim.cluster").prepared
    for spec in desk.config.clusters:
        if len(spec.nodes) < 2:  # nothing to fail over to
            desk.tell(f"{spec.name} has a single node and is left out")
            continue
        yield f"{spec.name}: {len(spec.nodes)} nodes, {spec.protection}", prepared(spec)


def _tell_violations(desk: Desk, report: Any) -> None:  # of a layer that the command line does not import
    for violation in report.violations:
        desk.tell(f"seed {report.seed}: {violation}")


def _words(figures: dict[str, Any], *, shared: bool) -> str:  # as JSON has them
    """The figures as lines for people. `shared`: by several controllers."""
    outage = "  ".join(f"{name} {seconds:.2f} s" for name, seconds in figures["outage_s"].items())
    hours, idle, took = figures["simulated_h"], figures["idle_h"], figures["took_s"]
    pace = f"{hours / max(took, 0.1) * 60:.0f} h a minute"
    holds = "  ".join(f"{rule} {count}" for rule, count in figures["holds"].items()) or "none"
    return "\n".join(
        (
            f"{figures['cluster']}: {figures['seeds']} seeds",
            f"simulated      {hours:.1f} h ({idle:.1f} h of them idle) in {took} s: {pace}",
            f"failovers      {figures['failovers']}, {figures['unneeded']} from a primary that still served",
            *([f"handed on      {figures['handed_on']} times to another controller"] if shared else []),
            f"acknowledged   {figures['acknowledged']} rows, {figures['lost']} lost",
            f"outages        {figures['outages']}: {outage}",
            f"holds          {holds}",
            f"violations     {len(figures['violations'])}",
        )
    )
