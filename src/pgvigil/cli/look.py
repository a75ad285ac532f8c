"""Commands that only look: status, topology, events, history, uri."""

from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.text import Text

from pgvigil.cli.desk import ClusterArgument, ConfigOption, Desk, JsonOption, begin, run_async
from pgvigil.cli.report import error_view, event_view, history_view
from pgvigil.cli.show import clusters_view, replication_view
from pgvigil.cli.tables import Shape
from pgvigil.cli.theme import DIM, make_console
from pgvigil.cli.topology import topology_view
from pgvigil.config.uri import Format, Purpose, connection_string
from pgvigil.controller.history import EVENTS_MAX, changes_of_primary
from pgvigil.controller.operations import Json
from pgvigil.errors import Unreachable
from pgvigil.model.units import ClusterName

PANEL = "Look"
REFRESH_S = 1.0
POLL_S = 0.5

Draw = Callable[[Console, list[Shape]], RenderableType]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("status", rich_help_panel=PANEL)(status)
    for alias in ("list", "show"):
        app.command(alias, rich_help_panel=PANEL, hidden=True)(status)
    app.command("topology", rich_help_panel=PANEL)(topology)
    app.command("events", rich_help_panel=PANEL)(events)
    app.command("history", rich_help_panel=PANEL)(history)
    app.command("uri", rich_help_panel=PANEL)(uri)


def status(
    ctx: typer.Context,
    cluster: ClusterArgument = None,
    *,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Look again every second until Ctrl-C.")
    ] = False,
    wide: Annotated[bool, typer.Option("--wide", help="Every column, however wide.")] = False,
    replication: Annotated[
        bool, typer.Option("--replication", "-r", help="Both ends of each standby's replication.")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show nodes, lag, findings and decisions. Also: list, show.

    State: `* running` is the primary, `! running` a second one that ought not to be, `- failed` is proved
    not to run, `? unreachable` cannot be told from here.

    Example: `pgvigil status orders --watch`
    """
    desk = begin(ctx, config, as_json=as_json)
    name = desk.cluster(cluster).name if cluster else None

    def draw(console: Console, clusters: list[Shape]) -> RenderableType:
        if replication:
            return _stacked([replication_view(console, shape) for shape in clusters])
        return clusters_view(console, clusters, wide=wide)

    if wide:
        desk.out = make_console(wide=True)
    if watch and not as_json:
        _watch(desk, name, draw)
        return
    shapes = run_async(_status(desk, name))
    if as_json:
        desk.print_json(shapes)
    else:
        desk.print(draw(desk.out, list(shapes)))


def topology(ctx: typer.Context, cluster: ClusterArgument = None, *, config: ConfigOption = None) -> None:
    """Draw who streams from whom.

    Example: `pgvigil topology orders`
    """
    desk = begin(ctx, config)
    shapes = run_async(_status(desk, desk.cluster(cluster).name if cluster else None))
    desk.print(_stacked([topology_view(desk.out, shape) for shape in shapes]))


def events(
    ctx: typer.Context,
    cluster: ClusterArgument = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="The newest so many.")] = 50,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Tell what happened and why, oldest first.

    With --json one object a line.

    Example: `pgvigil events orders --follow`
    """
    desk = begin(ctx, config, as_json=as_json)
    name = desk.cluster(cluster).name if cluster else None
    try:
        run_async(_events(desk, name, limit=limit, follow=follow))
    except KeyboardInterrupt:
        if not follow:
            raise


def history(
    ctx: typer.Context,
    cluster: ClusterArgument = None,
    *,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show every change of primary.

    Generation, timeline, why, by whose command, how long writes stood still, and what was lost.

    Example: `pgvigil history orders`
    """
    desk = begin(ctx, config, as_json=as_json)
    spec = desk.cluster(cluster)

    async def read() -> list[Json]:
        async with desk.reach.look(desk.config, [spec.name]) as ops:
            return await ops.events(spec.name, limit=EVENTS_MAX)

    changes = changes_of_primary(run_async(read()))
    if as_json:
        desk.print_json(changes)
    else:
        desk.print(history_view(desk.out, changes))


def uri(
    ctx: typer.Context,
    cluster: ClusterArgument = None,
    *,
    purpose: Annotated[
        Purpose, typer.Option("--for", help="write: the primary; read: standbys, spread (libpq 16 or later).")
    ] = Purpose.WRITE,
    style: Annotated[Format, typer.Option("--format", help="How the client takes it.")] = Format.URI,
    dbname: Annotated[str, typer.Option(help="Database.")] = "",
    user: Annotated[str, typer.Option(help="Login.")] = "",
    config: ConfigOption = None,
) -> None:
    """Print a connection string with all nodes.

    With it applications find the primary by themselves.

    Example: `psql "$(pgvigil uri orders --dbname shop)"`
    """
    desk = begin(ctx, config)
    text = connection_string(desk.cluster(cluster), purpose, style, dbname=dbname, user=user)
    typer.echo(text)


def _stacked(parts: list[RenderableType]) -> Group:
    return (
        Group(*(part for shown in parts for part in (shown, Text("")))) if len(parts) > 1 else Group(*parts)
    )


async def _status(desk: Desk, name: ClusterName | None) -> list[Json]:
    wanted = [name] if name else [spec.name for spec in desk.config.clusters]
    async with desk.reach.look(desk.config, wanted) as ops:
        return await ops.status(name)


def _watch(desk: Desk, name: ClusterName | None, draw: Draw) -> None:
    """Full screen on a terminal; the last picture stays when it is left."""
    from rich.live import Live

    last: list[RenderableType] = []

    import asyncio

    async def loop(show: Callable[[RenderableType], None]) -> None:
        wanted = [name] if name else [spec.name for spec in desk.config.clusters]
        async with desk.reach.look(desk.config, wanted) as ops:
            while True:
                try:
                    last[:] = [draw(desk.out, list(await ops.status(name)))]
                    show(last[0])
                except Unreachable as gone:
                    show(Group(*last, Text(""), error_view(gone)))
                await asyncio.sleep(REFRESH_S)

    try:
        if desk.out.is_terminal:
            hint = Text("Ctrl-C to leave", style=DIM)
            with Live(console=desk.out, screen=True, auto_refresh=False) as live:
                run_async(loop(lambda view: live.update(Group(view, Text(""), hint), refresh=True)))
        else:
            run_async(loop(desk.print))
    except KeyboardInterrupt:
        if desk.out.is_terminal and last:
            desk.print(last[0])


async def _events(desk: Desk, name: ClusterName | None, *, limit: int, follow: bool) -> None:
    import asyncio

    wanted = [name] if name else [spec.name for spec in desk.config.clusters]
    async with desk.reach.look(desk.config, wanted) as ops:
        seen = _tell_events(desk, await ops.events(name, limit=limit), 0)
        while follow:
            await asyncio.sleep(POLL_S)
            seen = _tell_events(desk, await ops.events(name, limit=limit, after=seen), seen)


def _tell_events(desk: Desk, told: list[Json], seen: int) -> int:
    import json

    for event in told:
        if desk.as_json:
            typer.echo(json.dumps(event, ensure_ascii=False))
        else:
            desk.print(event_view(desk.out, event))
        seen = max(seen, event["number"])
    return seen
