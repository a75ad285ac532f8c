"""`pgvigil config`: PostgreSQL's parameters over a whole cluster."""

from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.text import Text

from pgvigil.cli import change
from pgvigil.cli.desk import ConfigOption, JsonOption, begin, run_async
from pgvigil.cli.errands import NodesArguments, ParameterArguments, cluster_and_nodes, cluster_and_rest, look
from pgvigil.cli.orders import DryRunOption, TimeoutOption, YesOption, finish
from pgvigil.cli.tables import Column, Shape, fitting_table
from pgvigil.cli.theme import DIM, NOTE, STRONG, WARN
from pgvigil.model.command import ReloadServers, ShowParameters

PANEL = "Configure"

config = typer.Typer(
    help="PostgreSQL's parameters over the whole cluster; and pgvigil's own file.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
"""The group; whoever has a command for it registers it here."""


def add_to(app: typer.Typer) -> None:
    """Register the group and its commands."""
    config.command("show")(show)
    change.add_to(config)
    config.command("reload")(reload_servers)
    app.add_typer(config, name="config", rich_help_panel=PANEL)


def show(
    ctx: typer.Context,
    words: ParameterArguments = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="All parameters.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show PostgreSQL's parameters side by side.

    Without a name: those that were set by ALTER SYSTEM, that wait for a restart (*), or that differ between
    nodes and ought not to (!).

    Example: `pgvigil config show orders max_connections`
    """
    desk = begin(ctx, config, as_json=as_json)
    spec, names = cluster_and_rest(desk, words or [])
    outcome = run_async(look(desk, spec, ShowParameters(tuple(names), every)))
    if as_json:
        desk.print_json(outcome.data)
    else:
        desk.print(parameters_view(desk.out, outcome.data))
        desk.print(Text(outcome.text, style=DIM))


def reload_servers(
    ctx: typer.Context,
    words: NodesArguments = None,
    *,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    timeout: TimeoutOption = "1min",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Have PostgreSQL read its configuration files again, on these nodes or on all.

    It says what only a restart will bring, and which lines the server cannot accept. `pgvigil reload` is
    another thing: there the controller reads its own file.

    Example: `pgvigil config reload orders pg2`
    """
    desk = begin(ctx, config, as_json=as_json)
    spec, names = cluster_and_nodes(desk, words or [])
    which = ", ".join(names) or "every node"
    question = f"Have PostgreSQL on {which} of {spec.name} read its configuration files again?"
    finish(desk, spec, ReloadServers(names), timeout, question=question, yes=yes, dry_run=dry_run)


def parameters_view(console: Console, data: Shape) -> RenderableType:
    """A row a parameter, a column a node; below, nodes that do not answer and files with mistakes."""
    names = [node["name"] for node in data["nodes"]]
    columns = [
        Column("Parameter", lambda row: Text(row["name"], style=WARN if row["differs"] else STRONG)),
        *(Column(_title(node), _value_of(node["name"])) for node in data["nodes"]),
        Column("Wanted", lambda row: "" if row["wanted"] is None else str(row["wanted"]), drop=2),
        Column("Takes effect", lambda row: "restart" if row["needs_restart"] else "reload", drop=1),
    ]
    parts: list[RenderableType] = []
    if data["parameters"]:
        parts.append(fitting_table(console, columns, data["parameters"]))
    marks = []
    if any(row["pending"] for row in data["parameters"]):
        marks.append("* waits for a restart: pgvigil restart --pending")
    if any(row["unwritten"] for row in data["parameters"]):
        marks.append(f"- not written there yet, as version {data['version']} wants it")
    if any(row["differs"] for row in data["parameters"]):
        marks.append("! differs between nodes and ought not to")
    for node in data["nodes"]:
        if node["detail"]:
            marks.append(f"{node['name']} does not tell: {node['detail']}")
        marks += [f"{node['name']}: {mistake}" for mistake in node["mistakes"]]
    return Group(*parts, *(Text(mark, style=NOTE) for mark in marks)) if names else Group()


def _title(node: Shape) -> str:
    return f"{node['name']} (primary)" if node["role"] == "primary" else str(node["name"])


def _value_of(node: str) -> Callable[[Shape], Text]:
    """The column of one node: its value, with its marks."""

    def cell(row: Shape) -> Text:
        value = row["values"].get(node)
        if value is None:
            return Text("?", style=DIM)
        text = Text(value or "''")
        if node in row["pending"]:
            text.append(f" → {row['written'].get(node, '…')} *", style=WARN)
        if node in row["unwritten"]:
            text.append(" -", style=WARN)
        if row["differs"]:
            text.append(" !", style=WARN)
        return text

    return cell
