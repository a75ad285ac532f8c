"""The command that turns another program's configuration into ours."""

from enum import StrEnum, auto
from pathlib import Path
from typing import Annotated

import typer

from pgvigil.cli.desk import begin
from pgvigil.errors import UsageError

PANEL = "Protect"
BYTES_AT_MOST = 4 * 2**20


class Program(StrEnum):
    """Whose files can be read."""

    PATRONI = auto()
    REPMGR = auto()
    PG_AUTO_FAILOVER = auto()


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("import", rich_help_panel=PANEL)(import_)


def import_(
    ctx: typer.Context,
    program: Annotated[Program, typer.Argument(help="patroni, repmgr or pg_auto_failover.")],
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE…",
            help="Its files, of every node one. patroni: patroni.yml, and `patronictl show-config`; repmgr: "
            "repmgr.conf; pg_auto_failover: pg_autoctl.cfg, `pg_autoctl show state --json`, "
            "`get formation settings --json`.",
        ),
    ],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write it there; never over a file.", show_default=False
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="What to call the cluster; else as the files do.")] = "",
) -> None:
    """Write a configuration from that of Patroni, repmgr or pg_auto_failover.

    Asks no server. What is not taken over is listed with the reason; passwords never are.

    Example: `pgvigil import repmgr pg1/repmgr.conf pg2/repmgr.conf -o pgvigil.yaml`
    """
    from pgvigil.config.imports import IMPORTERS, Source

    desk = begin(ctx, None)
    if output is not None and output.exists():
        raise UsageError(f"{output} exists already", hint="choose another name: it is never overwritten")
    found = IMPORTERS[program]([Source(str(file), _read(file)) for file in files], name)
    text = found.text()
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        with output.open("x") as stream:
            stream.write(text)
    except OSError as wrong:
        raise UsageError(f"cannot write {output}", detail=str(wrong)) from wrong
    desk.tell(f"written: {output}; what it begins with says what comes next")


def _read(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            content = stream.read(BYTES_AT_MOST + 1)
        if len(content) > BYTES_AT_MOST:
            raise UsageError(f"{file} has more than 4 MB: that is none of its files")
        return content.decode()
    except OSError as wrong:
        raise UsageError(f"cannot read {file}", detail=wrong.strerror or str(wrong)) from wrong
    except UnicodeDecodeError as wrong:
        raise UsageError(f"{file} is no text (UTF-8)") from wrong
