"""How a command that changes something goes: plan, question, progress, outcome."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, NoReturn

import typer
from rich.text import Text

from pgvigil.cli.copybar import CopyBar
from pgvigil.cli.desk import Desk, run_async, seconds_option
from pgvigil.cli.report import EXIT_CODES, outcome_view, plan_view
from pgvigil.cli.tables import hanging
from pgvigil.cli.theme import DIM
from pgvigil.controller.operations import Operations, Outcome, Result
from pgvigil.model.command import Command
from pgvigil.model.progress import Copied
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.units import ClusterName

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print the plan; change nothing.")]
TimeoutOption = Annotated[
    str, typer.Option("--timeout", metavar="DURATION", help="Give up waiting after this; exit code 4.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Do it although it is not safe or needed.")]
ToOption = Annotated[
    str | None,
    typer.Option(
        "--to", metavar="NODE", help="Who becomes primary; else the best standby.", show_default=False
    ),
]


@dataclass(frozen=True, slots=True)
class Order:
    """A command for a cluster, how long it may take, and what to ask before."""

    spec: ClusterSpec
    command: Command
    within_s: float
    question: str


def agree(desk: Desk, steps: Sequence[str], question: str, *more: str, yes: bool) -> None:
    """Show what is going to be done, and ask, unless `yes`.

    Raises UsageError when there is nobody to ask, typer.Exit when the person does not agree.
    """
    if yes:
        return
    desk.require_person()
    desk.tell(plan_view(steps))
    for text in more:
        desk.tell(text)
    desk.confirm(question, yes=False)


def carry_out(desk: Desk, order: Order, *, yes: bool, dry_run: bool) -> Outcome:
    """Show the plan and ask unless `yes`; give the order; print what came of it.

    Raises UsageError when there is nobody to ask, typer.Exit when the person does not agree.
    """
    if dry_run:
        return told(desk, run_async(give(desk, order, dry_run=True)))
    if not yes:
        desk.require_person()
        planned = run_async(give(desk, order, dry_run=True))
        if planned.result is not Result.PLANNED:
            return told(desk, planned)
        agree(desk, planned.plan, order.question, yes=False)
    return told(desk, run_async(give(desk, order, dry_run=False)))


def finish(
    desk: Desk,
    spec: ClusterSpec,
    command: Command,
    timeout: str,
    *,
    question: str,
    yes: bool,
    dry_run: bool,
) -> NoReturn:
    """Plan, question, progress, outcome; ends the command with its exit code."""
    order = Order(spec, command, seconds_option(timeout), question)
    raise typer.Exit(EXIT_CODES[carry_out(desk, order, yes=yes, dry_run=dry_run).result])


async def give(desk: Desk, order: Order, *, dry_run: bool) -> Outcome:
    """Give the order, with its progress told; what came of it."""
    name = order.spec.name
    async with desk.reach.operations(desk.config, [name]) as ops:
        if not dry_run:
            desk.interrupted = _left(ops, name)
        with contextlib.nullcontext(_quiet) if dry_run else progress_lines(desk) as progress:
            return await ops.order(
                name, order.command, dry_run=dry_run, within_s=order.within_s, progress=progress
            )


def _left(ops: Operations, name: ClusterName) -> str:
    """What Ctrl-C leaves behind once an order was given."""
    from pgvigil.api.socket_client import SocketOperations

    if isinstance(ops, SocketOperations):
        return f"the controller goes on with what was begun; see: pgvigil status {name}"
    again = "give the command again, or start a controller, which ends a change of primary: pgvigil run"
    return f"this process did the work, and what was begun stops here; {again}"


@contextlib.contextmanager
def progress_lines(desk: Desk) -> Iterator[Callable[[str], None]]:
    """Lines with the seconds since the order was given, on standard error; a copy draws a bar there.

    For programs, nothing.
    """
    if desk.as_json:
        yield _quiet
        return
    begun = time.monotonic()
    with CopyBar(desk.err) as bar:

        def tell(text: str) -> None:
            if copied := Copied.parse(text):
                shown = bar.show(copied)
                if not shown:
                    return
                text = shown
            clock = Text(f"{time.monotonic() - begun:8.2f} s ", style=DIM)
            desk.tell(hanging(clock, Text(text)))

        yield tell


def _quiet(_: str) -> None:
    """Programs read the outcome."""


def told(desk: Desk, outcome: Outcome) -> Outcome:
    """Print what came of an order."""
    if desk.as_json:
        from pgvigil.api.wire import outcome_json

        desk.print_json(outcome_json(outcome))
    elif outcome.result in (Result.DONE, Result.PLANNED):
        desk.print(outcome_view(desk.out, outcome))
    else:
        desk.tell(outcome_view(desk.err, outcome))
    return outcome
