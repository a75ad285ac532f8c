"""The `pgvigil` command: its options, its families of commands, and the one place where errors end."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from pgvigil import __version__
from pgvigil.cli import (
    bootstrap,
    clone,
    drill,
    guard,
    look,
    migrate,
    nodes,
    notify,
    operate,
    parameters,
    protect,
    recordings,
    render,
    schedule,
    settings_file,
    simulate,
    sites,
    stores,
    tokens,
)
from pgvigil.cli.desk import ConfigOption, Desk, begin
from pgvigil.cli.report import error_view
from pgvigil.errors import PgvigilError, UsageError

HELP = """Keep PostgreSQL streaming replication available, from outside: no agent, no extension.

With a controller running (pgvigil run), commands go through its socket; without one they do the same
work in this process, under the lock of its state.
"""
EPILOG = (
    "Exit codes: 0 done; 1 failed; 2 wrong call or configuration; 3 refused, because it would not be safe; "
    "4 timed out; 130 interrupted."
)


class Commands(TyperGroup):
    """All commands; what they raise is told as ERROR, DETAIL and HINT, never as a traceback."""

    def invoke(self, ctx: Any) -> Any:  # typer's own context type is private to it
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except TyperException as wrong:
            error = misread(wrong)
            if error is None:
                raise
            raise typer.Exit(_told(ctx.ensure_object(Desk), error)) from wrong
        except PgvigilError as error:
            raise typer.Exit(_told(ctx.ensure_object(Desk), error)) from error
        except BaseExceptionGroup as group:
            ours, others = group.split(PgvigilError)
            if ours is None or others is not None:
                raise
            codes = [_told(ctx.ensure_object(Desk), error) for error in _leaves(ours)]
            raise typer.Exit(max(codes)) from group
        except (
            KeyboardInterrupt,
            typer.Abort,
        ) as stop:  # Abort: the same, or the end of input, at a question
            desk = ctx.ensure_object(Desk)
            desk.tell(f"\ninterrupted: {desk.interrupted}")
            raise typer.Exit(130) from stop


def misread(wrong: TyperException) -> UsageError | None:
    """What is wrong with the words of a call, in our form; None: it is no error, but the help."""
    ctx, said = getattr(wrong, "ctx", None), getattr(wrong, "format_message", None)
    if ctx is None or said is None or type(wrong).__name__ == "NoArgsIsHelpError":
        return None
    what = said().replace("Value error, ", "").replace("Input should be", "it must be").rstrip(".")
    usage = " ".join(ctx.get_usage().removeprefix("Usage: ").split())
    return UsageError(what[:1].lower() + what[1:], detail=usage, hint=f"see: {ctx.command_path} --help")


def _leaves(group: BaseExceptionGroup[PgvigilError]) -> list[PgvigilError]:
    found: list[PgvigilError] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found


def _told(desk: Desk, error: PgvigilError) -> int:
    if desk.as_json:
        from pgvigil.api.wire import error_json

        desk.print_json({"error": error_json(error)})
    desk.tell(error_view(error))
    return error.exit_code


app = typer.Typer(
    name="pgvigil",
    cls=Commands,
    help=HELP,
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for family in (
    protect,
    render,
    migrate,
    guard,
    look,
    recordings,
    operate,
    sites,
    schedule,
    drill,
    parameters,
    settings_file,
    simulate,
    bootstrap,
    clone,
    nodes,
    stores,
    tokens,
    notify,
):
    family.add_to(app)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"pgvigil {__version__}")
        raise typer.Exit


VersionOption = Annotated[
    bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version.")
]


@app.callback()
def options(ctx: typer.Context, config: ConfigOption = None, version: VersionOption = False) -> None:
    """Options for every command."""
    begin(ctx, config)


def main() -> None:
    """Entry point of the `pgvigil` program."""
    app(prog_name="pgvigil")
