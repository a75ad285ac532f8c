"""The controller's state as such: `store migrate`."""

from enum import StrEnum, auto
from typing import Annotated

import typer

from pgvigil.cli.desk import ConfigOption, JsonOption, begin, run_async
from pgvigil.cli.orders import DryRunOption, YesOption

PANEL = "Protect"


class Kind(StrEnum):
    """What can keep the state."""

    SQLITE = auto()
    ETCD = auto()


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    family = typer.Typer(help="The controller's state: take it to etcd, or back.", no_args_is_help=True)
    family.callback()(lambda: None)
    family.command("migrate")(migrate)
    app.add_typer(family, name="store", rich_help_panel=PANEL)


def migrate(
    ctx: typer.Context,
    to: Annotated[Kind, typer.Argument(metavar="sqlite|etcd", help="Where it is to lie from now on.")],
    *,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Take the state of all configured clusters from SQLite to etcd, or back, while no controller runs.

    The configuration names the etcd (`store:`) in both cases. Events, recordings and versions of parameters
    keep their numbers. The target must have no records; the source has none afterwards: the file is renamed
    to pgvigil.db.migrated, records in etcd are removed. Databases are not touched.

    Example: `pgvigil store migrate etcd`
    """
    desk = begin(ctx, config, as_json=as_json)
    if not dry_run:
        desk.confirm(f"Take the state to {to}?", yes=yes)
    counts = run_async(desk.reach.migrate(desk.config, to.value, dry_run))
    if as_json:
        desk.print_json({"to": to.value, "dry_run": dry_run, **counts})
        return
    told = ", ".join(f"{number} {what}" for what, number in counts.items())
    if dry_run:
        desk.print(f"would be taken to {to}: {told}; nothing was changed")
        return
    desk.print(f"taken to {to}: {told}")
    if to is Kind.SQLITE:
        desk.tell("now take store: out of the configuration, and start one controller")
