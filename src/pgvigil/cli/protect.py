"""Commands around the controller: discover, check, run, reload, demo, version."""

import gc
from enum import StrEnum, auto
from pathlib import Path
from typing import Annotated, Final

import typer

from pgvigil import __version__
from pgvigil.cli.desk import ClusterArgument, ConfigOption, JsonOption, begin, run_async
from pgvigil.cli.reach import Config
from pgvigil.cli.report import checks_view
from pgvigil.errors import UsageError
from pgvigil.model.check import CheckItem, CheckLevel, worst

PANEL = "Protect"
GARBAGE: Final = (200_000, 20, 20)
"""Cycles are looked for this seldom: what is seen of a fleet has none, and to go through it costs time."""


class LogStyle(StrEnum):
    """`text` for people, `json` for machines."""

    TEXT = auto()
    JSON = auto()


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (discover, check, run, reload, demo, version):
        app.command(command.__name__, rich_help_panel=PANEL)(command)


def discover(
    ctx: typer.Context,
    dsn: Annotated[str, typer.Argument(metavar="DSN", help="libpq connection string or URI of any node.")],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write it there; never over a file.", show_default=False
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="What to call the cluster; else its cluster_name.")] = "",
    ssh_key: Annotated[
        str, typer.Option(metavar="FILE", help="Private key for the hosts; else as ssh finds one.")
    ] = "",
) -> None:
    """Write a configuration from a running cluster.

    Nodes, directories and service managers are found over SQL and the hosts' shells.

    Example: `pgvigil discover "host=10.0.0.11 user=pgvigil dbname=postgres" -o pgvigil.yaml`
    """
    desk = begin(ctx, None)
    if output is not None and output.exists():
        raise UsageError(f"{output} exists already", hint="choose another name: it is never overwritten")
    key = _readable(Path(ssh_key)) if ssh_key else ""
    found = run_async(desk.reach.discover(dsn, name, key))
    desk.tell(checks_view(desk.err, found.items))
    if output is None:
        typer.echo(found.text, nl=False)
        return
    try:
        with output.open("x") as file:
            file.write(found.text)
    except OSError as wrong:
        raise UsageError(f"cannot write {output}", detail=str(wrong)) from wrong
    desk.tell(f"written: {output}; now run: pgvigil check --config {output}")


def _readable(key: Path) -> str:
    """Where it is, whatever the folder; the configuration may be written to another. Raises UsageError."""
    file = key.expanduser().absolute()
    try:
        with file.open("rb") as opened:
            opened.read(1)
    except OSError as wrong:
        raise UsageError(
            f"cannot read the key {file}",
            detail=wrong.strerror or str(wrong),
            hint="name the private key, readable by you; without --ssh-key those that ssh finds are tried",
        ) from wrong
    return str(file)


def check(
    ctx: typer.Context,
    cluster: ClusterArgument = None,
    *,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """See whether clusters are ready: every finding with its fix.

    Changes nothing.

    Exit code 0: ready, perhaps with warnings; 1: not ready.

    Example: `pgvigil check orders`
    """
    desk = begin(ctx, config, as_json=as_json)
    specs = [desk.cluster(cluster)] if cluster else list(desk.config.clusters)
    items = run_async(desk.reach.check(desk.config, [spec.name for spec in specs]))
    if as_json:
        desk.print_json([_item_json(item) for item in items])
    else:
        desk.print(checks_view(desk.out, items))
    raise typer.Exit(1 if worst(items) is CheckLevel.ERROR else 0)


def _item_json(item: CheckItem) -> dict[str, str]:
    return {"level": item.level, "place": item.place, "what": item.what, "fix": item.fix}


def run(
    ctx: typer.Context,
    *,
    log: Annotated[
        LogStyle | None,
        typer.Option(
            "--log",
            envvar="PGVIGIL_LOG",
            help="How to log on standard error; else as configured.",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Watch and protect all clusters until stopped: the service.

    SIGHUP reads the configuration again; SIGTERM and Ctrl-C stop it. Databases run on either way, and a
    change of primary that was begun is finished by the next run.

    Example: `pgvigil run --config /etc/pgvigil/pgvigil.yaml`
    """
    desk = begin(ctx, config)
    desk.interrupted = "databases run on"
    loaded = desk.config
    from pgvigil.cli.logs import set_up_logging
    from pgvigil.cli.signals import until_stopped

    set_up_logging(as_json=(log or loaded.log_format) == "json", level=loaded.log_level)

    def reread() -> Config:
        return desk.reach.load(desk.config_path)

    gc.freeze()  # what was imported stays: it need not be looked through for ever
    gc.set_threshold(*GARBAGE)
    run_async(until_stopped(desk.reach.run(loaded, reread), loaded.socket))


def reload(ctx: typer.Context, *, config: ConfigOption = None) -> None:
    """Have the running controller read its configuration again.

    Example: `pgvigil reload`
    """
    from pgvigil.api.socket_client import SocketOperations

    desk = begin(ctx, config)
    desk.print(run_async(SocketOperations(desk.config.socket).reload()))


def demo(
    ctx: typer.Context,
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running, and say what to try next.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show a failover and a switchover on this machine, with real servers.

    Makes three PostgreSQL servers in a temporary directory, kills the primary with SIGKILL under a
    writer, tells what happens by the millisecond, and switches back.

    Example: `pgvigil demo --keep`
    """
    desk = begin(ctx, None, as_json=as_json)
    raise typer.Exit(desk.reach.demo(keep, as_json))


def version(ctx: typer.Context, *, as_json: JsonOption = False) -> None:
    """Print the version.

    Example: `pgvigil version`
    """
    if begin(ctx, None, as_json=as_json).as_json:
        typer.echo(f'{{"version": "{__version__}"}}')
    else:
        typer.echo(f"pgvigil {__version__}")
