"""Messages to people: `notify test`, `notify list`."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from pgvigil.cli.desk import ConfigOption, Desk, JsonOption, begin, run_async, unknown
from pgvigil.cli.tables import Column, Shape, fitting_table
from pgvigil.cli.theme import BAD, GOOD
from pgvigil.errors import UsageError
from pgvigil.model.notify import TargetSpec

if TYPE_CHECKING:
    from pgvigil.ports.notify.sending import Sent
    from pgvigil.ports.notify.wording import Message

PANEL = "Protect"
Users = Mapping[TargetSpec, Sequence[str]]
"""Every target, with the clusters that it is told of."""


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    family = typer.Typer(help="Messages to people: test, list.", no_args_is_help=True)
    family.command("test")(send_test)
    family.command("list")(show)
    app.add_typer(family, name="notify", rich_help_panel=PANEL)


def send_test(
    ctx: typer.Context,
    target: Annotated[
        str | None,
        typer.Argument(metavar="TARGET", help="Without it: every target.", show_default=False),
    ] = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only read the URLs and say what they are; send nothing.")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Send a test message and say what came back. No controller is needed.

    It runs in this process, with this environment: a `url_env` must be there, too.

    Exit code 0: all were sent; 1: some was not, and it is said why.

    Example: `pgvigil notify test mail`; `pgvigil notify test --dry-run`
    """
    desk = begin(ctx, config, as_json=as_json)
    chosen = list(_targets(desk, target))
    results = run_async(_tried(chosen, dry_run=dry_run))
    rows: list[Shape] = [
        {
            "target": each.name,
            "service": sent.service,
            "ok": sent.ok,
            "detail": sent.detail,
            "took_s": round(sent.took_s, 3),
        }
        for each, sent in zip(chosen, results, strict=True)
    ]
    if as_json:
        desk.print_json(rows)
    else:
        word = "is understood" if dry_run else "sent"
        columns = (*TRIED, Column("Result", lambda row: _result(row, word)))
        desk.print(fitting_table(desk.out, columns, rows))
    if not all(sent.ok for sent in results):
        raise typer.Exit(1)


def show(ctx: typer.Context, *, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List where messages go: which targets, for which clusters, from which level on. URLs are not shown.

    Example: `pgvigil notify list`
    """
    desk = begin(ctx, config, as_json=as_json)
    rows: list[Shape] = [
        {
            "target": each.name,
            "clusters": list(clusters),
            "level": each.level.value if each.level else "none",
            "also": list(each.also),
            "never": list(each.never),
            "url_from": each.source.value,
        }
        for each, clusters in _users(desk).items()
    ]
    if as_json:
        desk.print_json(rows)
    elif rows:
        desk.print(fitting_table(desk.out, LISTED, rows))
    else:
        desk.tell("no targets are configured: see docs/operate/notifications.md")


def _users(desk: Desk) -> Users:
    found: dict[TargetSpec, list[str]] = {}
    for cluster, targets in desk.config.notify.items():
        for target in targets:
            found.setdefault(target, []).append(cluster)
    return found


def _targets(desk: Desk, name: str | None) -> list[TargetSpec]:
    """Those of that name, or all; one for each URL. Raises UsageError if there is none."""
    known = list(_users(desk))
    if not known:
        raise UsageError(
            "no targets are configured",
            detail="notify.targets",
            hint="write one into the configuration: see docs/operate/notifications.md",
        )
    chosen = [target for target in known if name in (None, target.name)]
    if not chosen:
        raise unknown("target", str(name), sorted({target.name for target in known}))
    return list({(each.name, each.source, each.place): each for each in chosen}.values())


async def _tried(targets: Sequence[TargetSpec], *, dry_run: bool) -> "list[Sent]":
    import asyncio

    from pgvigil.ports.notify.sending import send

    return await asyncio.gather(*(send(each, None if dry_run else _message(each)) for each in targets))


def _message(target: TargetSpec) -> "Message":
    """What the target would get of an event, with its own templates."""
    from pgvigil.model.record import Event, Level
    from pgvigil.model.units import ClusterName
    from pgvigil.ports.notify.mailbox import Item, Mailbox
    from pgvigil.ports.notify.wording import message

    event = Event(
        ClusterName("test"),
        datetime.now(UTC),
        "notify_test",
        "this is a test of pgvigil; nothing has happened",
        hint="nothing to do",
    )
    return message([Item(event, Level.INFO, 0.0)], target, Mailbox(target).local)


def _result(row: Shape, word: str) -> Text:
    return Text(word, style=GOOD) if row["ok"] else Text(f"failed: {row['detail']}", style=BAD)


TRIED = (
    Column("Target", lambda row: str(row["target"])),
    Column("Service", lambda row: str(row["service"] or "–")),
    Column("Took", lambda row: f"{row['took_s']:.1f} s"),
)
LISTED = (
    Column("Target", lambda row: str(row["target"])),
    Column("Clusters", lambda row: ", ".join(row["clusters"])),
    Column("From level", lambda row: str(row["level"])),
    Column("Also", lambda row: ", ".join(row["also"]) or "–"),
    Column("Never", lambda row: ", ".join(row["never"]) or "–"),
    Column("URL from", lambda row: str(row["url_from"])),
)
