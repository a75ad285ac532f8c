"""What was asked for a later time: `--at` of several commands, and `schedule list|cancel`."""

from datetime import datetime, timedelta
from enum import StrEnum, auto
from typing import Annotated, Final

import typer
from rich.text import Text

from pgvigil.cli.desk import ConfigOption, Desk, JsonOption, begin, run_async, seconds_option
from pgvigil.cli.errands import cluster_and_rest
from pgvigil.cli.orders import DryRunOption, YesOption, finish
from pgvigil.cli.tables import Column, fitting_table
from pgvigil.cli.theme import DIM, local_time, repeated
from pgvigil.controller.operations import Json
from pgvigil.errors import UsageError
from pgvigil.model.command import CancelScheduled
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.units import period_text

PANEL = "Operate"
AtOption = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="TIME",
        help="Have the running controller do it then: 02:30, or 2026-03-14 02:30.",
        show_default=False,
    ),
]

EveryOption = Annotated[
    str | None,
    typer.Option(
        "--every",
        metavar="DURATION",
        help="With --at: and again that long after each time, such as 7d, until it is cancelled.",
        show_default=False,
    ),
]


class Action(StrEnum):
    """What to do with what is scheduled."""

    LIST = auto()
    CANCEL = auto()


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("schedule", rich_help_panel=PANEL)(schedule)


def schedule(
    ctx: typer.Context,
    action: Annotated[Action, typer.Argument(help="list, or cancel one.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CLUSTER] [NUMBER]",
            help="The cluster may be left out when only one is configured; NUMBER for cancel.",
            show_default=False,
        ),
    ] = None,
    *,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show what is to be done at a later time, or cancel it.

    switchover, restart and drill take --at; restart and drill --every too. The running controller begins it
    then if the cluster is healthy, tries for a minute, and tells if it could not: nothing is done later.

    Example: `pgvigil schedule cancel orders 57`
    """
    desk = begin(ctx, config, as_json=as_json)
    spec, rest = cluster_and_rest(desk, words or [])
    if action is Action.LIST:
        if rest:
            raise UsageError("list takes a cluster at most", detail=" ".join(rest))
        _list(desk, spec)
        return
    if len(rest) != 1 or not rest[0].removeprefix("#").isdecimal():
        hint = f"the numbers are in: pgvigil schedule list {spec.name}"
        raise UsageError("a number is expected", detail=" ".join(rest), hint=hint)
    number = int(rest[0].removeprefix("#"))
    command, question = CancelScheduled(number), f"Cancel number {number}?"
    finish(desk, spec, command, "30s", question=question, yes=yes, dry_run=dry_run)


COLUMNS: Final = (
    Column("Number", lambda row: f"#{row['number']}", justify="right"),
    Column("When", lambda row: local_time(row["at"])),
    Column("Again", lambda row: repeated(row).removeprefix(", ")),
    Column("What", lambda row: row["what"], folds=True),
)


def _list(desk: Desk, spec: ClusterSpec) -> None:
    async def look() -> Json:
        async with desk.reach.look(desk.config, [spec.name]) as ops:
            return (await ops.status(spec.name))[0]

    scheduled = run_async(look())["scheduled"]
    if desk.as_json:
        desk.print_json(scheduled)
    elif scheduled:
        desk.print(fitting_table(desk.out, COLUMNS, scheduled))
    else:
        desk.print(Text("nothing is scheduled", style=DIM))


def at_option(text: str | None) -> datetime | None:
    """When it is to be done; None: now. Raises UsageError."""
    return moment(text, datetime.now().astimezone()) if text else None


def every_option(text: str | None, when: datetime | None) -> int | None:
    """After how many seconds it is done again. Raises UsageError."""
    if text is None:
        return None
    if when is None:
        raise UsageError("--every says how often after a first time", hint="give that with --at")
    return int(seconds_option(text, name="--every"))


def then(when: datetime | None, every_s: int | None = None) -> str:
    """The time in a question."""
    again = f", and every {period_text(every_s)} after that" if every_s else ""
    return f" at {local_time(when.isoformat())}{again}" if when else ""


def moment(text: str, now: datetime) -> datetime:
    """A time of day (the next one) or a date and time, in the zone of `now`. Raises UsageError."""
    try:
        if "-" in text:
            at = datetime.fromisoformat(text)
            at = at if at.tzinfo else at.replace(tzinfo=now.tzinfo)
        else:
            time_of_day = datetime.strptime(text, "%H:%M").time()  # noqa: DTZ007  # the zone is that of `now`
            at = datetime.combine(now.date(), time_of_day, tzinfo=now.tzinfo)
            at = at if at > now else at + timedelta(days=1)
    except ValueError as wrong:
        hint = "write it as 02:30 or 2026-03-14 02:30"
        raise UsageError(f"--at: {text!r} is no time", hint=hint) from wrong
    if at <= now:
        hint = "a time to come is expected; without a zone it is read in yours"
        detail = f"it is {local_time(now.isoformat())} here"
        raise UsageError(f"--at: {local_time(at.isoformat())} is over", detail=detail, hint=hint)
    return at
