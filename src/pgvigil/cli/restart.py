"""`restart`: PostgreSQL on some nodes or all, one after another."""

from typing import Annotated

import typer

from pgvigil.cli.desk import ConfigOption, JsonOption, begin
from pgvigil.cli.errands import NodesArguments, cluster_and_nodes
from pgvigil.cli.orders import DryRunOption, TimeoutOption, YesOption, finish
from pgvigil.cli.schedule import AtOption, EveryOption, at_option, every_option, then
from pgvigil.errors import UsageError
from pgvigil.model.command import RestartServers, Role, Schedule
from pgvigil.model.units import server_version


def restart(
    ctx: typer.Context,
    words: NodesArguments = None,
    *,
    pending: Annotated[
        bool, typer.Option("--pending", help="Only where a parameter waits for a restart.")
    ] = False,
    role: Annotated[
        Role | None, typer.Option("--role", help="Only the primary, or only standbys.", show_default=False)
    ] = None,
    below_version: Annotated[
        str | None,
        typer.Option(
            "--below-version",
            metavar="VERSION",
            help="Only where the running PostgreSQL is older than this: 17.6, or 17.",
            show_default=False,
        ),
    ] = None,
    in_place: Annotated[
        bool,
        typer.Option(
            "--in-place", help="Restart the primary where it is, and not by a switchover: writes stand still."
        ),
    ] = False,
    at: AtOption = None,
    every: EveryOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    timeout: TimeoutOption = "1h",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Restart PostgreSQL, one node after another.

    Standbys first, each streaming again before the next; then a switchover, which restarts the old primary
    as a standby. So writers lose no more than the switchover takes. A restart in place is no failure: nothing
    is failed over for it.

    After an update of the packages: `pgvigil restart orders --below-version 17.6`

    Example: `pgvigil restart orders --pending`
    """
    desk = begin(ctx, config, as_json=as_json)
    spec, names = cluster_and_nodes(desk, words or [])
    which = ", ".join(names) or (f"each {role}" if role else "every node")
    older = _version(below_version)
    limits = f" older than {below_version}" if older else ""
    limits += " that waits for it" if pending else ""
    when = at_option(at)
    again = every_option(every, when)
    question = f"Restart PostgreSQL on {which}{limits} of {spec.name}{then(when, again)}?"
    errand = RestartServers(names, pending, role, in_place, older)
    command = Schedule(when, errand, again) if when else errand
    finish(desk, spec, command, timeout, question=question, yes=yes, dry_run=dry_run)


def _version(text: str | None) -> int | None:
    try:
        return server_version(text) if text else None
    except ValueError as wrong:
        raise UsageError(f"--below-version: {text!r} {wrong}") from wrong
