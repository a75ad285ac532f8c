"""The commands that copy a node anew: `clone` and `reinit`."""

from typing import Annotated

import typer

from pgvigil.cli.desk import ConfigOption, JsonOption, NodeArguments, begin, node_of, size_option
from pgvigil.cli.orders import DryRunOption, ForceOption, TimeoutOption, YesOption, finish
from pgvigil.errors import UsageError
from pgvigil.model.command import Rejoin
from pgvigil.model.spec import CheckpointPace, ClusterSpec, NodeSpec
from pgvigil.model.step import Copying, RebuildMethod

PANEL = "Operate"

FromOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="NODE",
        help="Copy this node; else the one tagged clone_source, else the primary.",
        show_default=False,
    ),
]
RateOption = Annotated[
    str | None,
    typer.Option(
        "--max-rate",
        metavar="SIZE",
        help="At most so much a second, 32kB to 1GB; else as configured.",
        show_default=False,
    ),
]
CheckpointOption = Annotated[
    CheckpointPace | None,
    typer.Option("--checkpoint", help="The checkpoint before the copy; else as configured."),
]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (clone, reinit):
        app.command(command.__name__, rich_help_panel=PANEL)(command)


def clone(
    ctx: typer.Context,
    names: NodeArguments,
    *,
    source: FromOption = None,
    max_rate: RateOption = None,
    checkpoint: CheckpointOption = None,
    force: ForceOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    timeout: TimeoutOption = "1d",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Copy a node anew from the cluster.

    What it had is kept aside until the copy streams. --force does it even to a standby that streams well.

    --dry-run looks at both nodes (login, size, room, WAL senders, slot) and prints what would be executed.

    Example: `pgvigil clone orders pg3 --from pg2 --max-rate 50MB`
    """
    desk = begin(ctx, config, as_json=as_json)
    spec, (node,) = desk.cluster_and_nodes(names, 1)
    command = Rejoin(
        node.name, RebuildMethod.CLONE, force, _copying(spec, node, source, max_rate, checkpoint)
    )
    question = f"Replace all data of {node.name} by a copy from {spec.name}?"
    finish(desk, spec, command, timeout, question=question, yes=yes, dry_run=dry_run)


def reinit(
    ctx: typer.Context,
    names: NodeArguments,
    *,
    source: FromOption = None,
    max_rate: RateOption = None,
    checkpoint: CheckpointOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    timeout: TimeoutOption = "1d",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Make a standby new, whatever state it is in.

    Always a new copy, of a standby that streams too. What it had is kept aside until the copy streams.

    Example: `pgvigil reinit orders pg3`
    """
    desk = begin(ctx, config, as_json=as_json)
    spec, (node,) = desk.cluster_and_nodes(names, 1)
    copying = _copying(spec, node, source, max_rate, checkpoint)
    command = Rejoin(node.name, RebuildMethod.CLONE, force=True, copying=copying)
    question = f"Stop {node.name} and replace all its data by a new copy from {spec.name}?"
    finish(desk, spec, command, timeout, question=question, yes=yes, dry_run=dry_run)


def _copying(
    spec: ClusterSpec,
    node: NodeSpec,
    source: str | None,
    max_rate: str | None,
    checkpoint: CheckpointPace | None,
) -> Copying:
    """The wish that the options spell. Raises UsageError."""
    from pgvigil.config.cloning import copy_rate  # pydantic comes with it

    named = node_of(spec, source).name if source else None
    if named == node.name:
        raise UsageError(f"{node.name} cannot be copied from itself", hint="name another node with --from")
    if max_rate is None:
        return Copying(named, None, checkpoint)
    try:
        rate = copy_rate(size_option(max_rate, name="--max-rate"))
    except ValueError as wrong:
        raise UsageError(f"--max-rate {wrong}", detail=max_rate, hint="write it as 50MB") from wrong
    return Copying(named, rate, checkpoint)
