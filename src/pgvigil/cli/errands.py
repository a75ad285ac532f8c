"""What commands over several nodes share: reading their words, giving the errand, asking what is known."""

from typing import Annotated

import typer

from pgvigil.cli.desk import Desk, complete_names, node_of
from pgvigil.controller.operations import Outcome, Result
from pgvigil.errors import Unreachable, Unsafe, UsageError
from pgvigil.model.command import Errand
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.units import NodeName

ParameterArguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CLUSTER] [PARAMETER]",
        help="The cluster may be left out when only one is configured.",
        show_default=False,
    ),
]
NodesArguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CLUSTER] [NODE]",
        help="The cluster may be left out when only one is configured; without a node it is all of them.",
        autocompletion=complete_names,
        show_default=False,
    ),
]


def cluster_and_rest(desk: Desk, words: list[str]) -> tuple[ClusterSpec, list[str]]:
    """Read `[CLUSTER] [WORD …]`: a first word that names a cluster is one. Raises UsageError."""
    clusters = {spec.name for spec in desk.config.clusters}
    cluster = words[0] if words and (words[0] in clusters or len(clusters) > 1) else None
    return desk.cluster(cluster), words[1 if cluster else 0 :]


def cluster_and_nodes(desk: Desk, words: list[str]) -> tuple[ClusterSpec, tuple[NodeName, ...]]:
    """Read `[CLUSTER] [NODE …]`. Raises UsageError."""
    spec, names = cluster_and_rest(desk, words)
    return spec, tuple(node_of(spec, name).name for name in names)


async def look(desk: Desk, spec: ClusterSpec, errand: Errand) -> Outcome:
    """An errand that only reads: no lock is needed. Raises UsageError or Unreachable with what it says."""
    async with desk.reach.look(desk.config, [spec.name]) as ops:
        outcome = await ops.order(spec.name, errand, dry_run=False, within_s=30.0, progress=lambda _: None)
    if outcome.result is not Result.DONE:
        kinds = {Result.WRONG: UsageError, Result.REFUSED: Unsafe}
        kind = kinds.get(outcome.result, Unreachable)
        raise kind(outcome.text, detail=outcome.detail, hint=outcome.hint)
    return outcome
