"""What the shell offers after TAB where clusters and nodes are named: those of the configuration."""

import typer

from pgvigil.cli.desk import Desk
from pgvigil.errors import ConfigError
from pgvigil.model.spec import ClusterSpec


def cluster_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Clusters that begin so."""
    return [spec.name for spec in _configured(ctx) if spec.name.startswith(incomplete)]


def names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Clusters that begin so, where there are several; and nodes."""
    specs = _configured(ctx)
    clusters = [str(spec.name) for spec in specs] if len(specs) > 1 else []
    nodes = [str(node.name) for spec in specs for node in spec.nodes]
    return [name for name in dict.fromkeys((*clusters, *nodes)) if name.startswith(incomplete)]


def _configured(ctx: typer.Context) -> list[ClusterSpec]:
    """None where the configuration cannot be read: a complaint would end up in the command line."""
    desk = ctx.ensure_object(Desk)
    desk.config_path = desk.config_path or ctx.params.get("config")
    try:
        return list(desk.config.clusters)
    except ConfigError:
        return []
