"""Commands that change a cluster. Each shows its plan, asks, tells its progress, and says how it ended."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum, auto
from typing import Annotated

import typer

from pgvigil.cli.desk import (
    ClusterArgument,
    ConfigOption,
    JsonOption,
    NodeArguments,
    begin,
    node_of,
    seconds_option,
)
from pgvigil.cli.orders import DryRunOption, ForceOption, TimeoutOption, ToOption, YesOption, finish
from pgvigil.cli.restart import restart
from pgvigil.cli.switchover import switchover
from pgvigil.cli.theme import local_time
from pgvigil.model.command import (
    Failover,
    FollowUpstream,
    Maintenance,
    Pause,
    PromoteNode,
    Rejoin,
    Resume,
)
from pgvigil.model.step import RebuildMethod

PANEL = "Operate"


class Turn(StrEnum):
    """Whether maintenance begins or ends."""

    ON = auto()
    OFF = auto()


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (
        switchover, failover, rejoin, follow, promote, restart, pause, resume, maintenance,
    ):  # fmt: skip
        app.command(command.__name__, rich_help_panel=PANEL)(command)


def failover(
    ctx: typer.Context,
    cluster: ClusterArgument = None,
    *,
    to: ToOption = None,
    force: ForceOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    timeout: TimeoutOption = "2min",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Make another node primary although the primary may be lost.

    While it is well, use switchover: it loses nothing.

    --force accepts that commits may be lost, and failovers that policy holds back.

    Example: `pgvigil failover orders --to pg3`
    """
    desk = begin(ctx, config, as_json=as_json)
    spec = desk.cluster(cluster)
    target = node_of(spec, to).name if to else None
    question = f"Fail {spec.name} over to {target or 'the best standby'}?"
    if force:
        question = f"Fail {spec.name} over to {target or 'the best standby'}, even if commits are lost?"
    finish(desk, spec, Failover(target, force), timeout, question=question, yes=yes, dry_run=dry_run)


def rejoin(
    ctx: typer.Context,
    names: NodeArguments,
    *,
    method: Annotated[
        RebuildMethod,
        typer.Option(
            help="start: as it is, as a standby; rewind: repair its timeline first; clone: copy it anew; "
            "auto: the mildest that works."
        ),
    ] = RebuildMethod.AUTO,
    force: ForceOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    timeout: TimeoutOption = "1h",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Make an old primary or a strayed node a standby again.

    Example: `pgvigil rejoin orders pg1 --method rewind`
    """
    desk = begin(ctx, config, as_json=as_json)
    spec, (node,) = desk.cluster_and_nodes(names, 1)
    command = Rejoin(node.name, method, force)
    question = f"Make {node.name} a standby of {spec.name} ({method})?"
    finish(desk, spec, command, timeout, question=question, yes=yes, dry_run=dry_run)


def follow(
    ctx: typer.Context,
    names: Annotated[
        list[str], typer.Argument(metavar="[CLUSTER] NODE [UPSTREAM]", help="Who follows whom.")
    ],
    *,
    upstream: Annotated[
        str | None,
        typer.Option(
            metavar="NODE", help="The upstream, if it is not given behind the node.", show_default=False
        ),
    ] = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    timeout: TimeoutOption = "1min",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Point a running standby at another upstream.

    The upstream is the primary, or a standby to cascade from. It is done when the node streams from
    there. A node that has an `upstream` in the configuration goes nowhere else.

    Example: `pgvigil follow orders pg3 --upstream pg2`
    """
    desk = begin(ctx, config, as_json=as_json)
    if upstream is None:
        spec, (node, above) = desk.cluster_and_nodes(names, 2)
    else:
        spec, (node,) = desk.cluster_and_nodes(names, 1)
        above = node_of(spec, upstream)
    command = FollowUpstream(node.name, above.name)
    question = f"Let {node.name} follow {above.name}?"
    finish(desk, spec, command, timeout, question=question, yes=yes, dry_run=dry_run)


def promote(
    ctx: typer.Context,
    names: NodeArguments,
    *,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    timeout: TimeoutOption = "1min",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Promote one node; refused unless it is safe.

    switchover and failover do all that belongs to a change of primary.

    Example: `pgvigil promote orders pg2`
    """
    desk = begin(ctx, config, as_json=as_json)
    spec, (node,) = desk.cluster_and_nodes(names, 1)
    question = f"Promote {node.name} to primary of {spec.name}?"
    finish(desk, spec, PromoteNode(node.name), timeout, question=question, yes=yes, dry_run=dry_run)


def pause(
    ctx: typer.Context,
    cluster: ClusterArgument = None,
    *,
    duration: Annotated[
        str | None,
        typer.Option("--for", metavar="DURATION", help="Resume by itself after this.", show_default=False),
    ] = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    timeout: TimeoutOption = "30s",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Do nothing by itself any more: no failover, no repair.

    What is broken then is mended after resume.

    Example: `pgvigil pause orders --for 2h`
    """
    desk = begin(ctx, config, as_json=as_json)
    spec = desk.cluster(cluster)
    until = None
    if duration:
        until = datetime.now(UTC) + timedelta(seconds=seconds_option(duration, name="--for"))
    how_long = f"until {local_time(until.isoformat())}" if until else "until resumed"
    question = f"Pause all automatic actions on {spec.name} {how_long}?"
    finish(desk, spec, Pause(until), timeout, question=question, yes=yes, dry_run=dry_run)


def resume(
    ctx: typer.Context,
    cluster: ClusterArgument = None,
    *,
    dry_run: DryRunOption = False,
    timeout: TimeoutOption = "30s",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Act by itself again.

    What happened meanwhile is acted on at once.

    Example: `pgvigil resume orders`
    """
    desk = begin(ctx, config, as_json=as_json)
    finish(desk, desk.cluster(cluster), Resume(), timeout, question="", yes=True, dry_run=dry_run)


def maintenance(
    ctx: typer.Context,
    turn: Annotated[Turn, typer.Argument(metavar="on|off", help="Begin or end it.")],
    names: NodeArguments,
    *,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    timeout: TimeoutOption = "30s",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Work on one standby: never promoted, not repaired.

    Stop, restart or take it away as you like; nothing is done about it until off. Refused for the primary.

    Example: `pgvigil maintenance on orders pg3`
    """
    desk = begin(ctx, config, as_json=as_json)
    spec, (node,) = desk.cluster_and_nodes(names, 1)
    command = Maintenance(node.name, turn is Turn.ON)
    question = f"{'Begin' if command.on else 'End'} maintenance of {node.name} in {spec.name}?"
    finish(desk, spec, command, timeout, question=question, yes=yes, dry_run=dry_run)
