"""What an operator may ask of a cluster, as values."""

from dataclasses import dataclass
from datetime import datetime

from pgvigil.errors import PgvigilError
from pgvigil.model.step import RebuildMethod
from pgvigil.model.units import NodeName


@dataclass(frozen=True, slots=True)
class Switchover:
    """Planned change of primary. Without `to` the best standby is chosen."""

    to: NodeName | None = None


@dataclass(frozen=True, slots=True)
class Failover:
    """Change of primary although the primary may be lost. `force` accepts loss of data."""

    to: NodeName | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class Rejoin:
    """Make a node a standby of the present primary. `force`: even if it looks healthy."""

    node: NodeName
    method: RebuildMethod = RebuildMethod.AUTO
    force: bool = False


@dataclass(frozen=True, slots=True)
class FollowUpstream:
    """`follow`: point a running standby at another upstream."""

    node: NodeName
    upstream: NodeName


@dataclass(frozen=True, slots=True)
class PromoteNode:
    """`promote`: refused unless it is safe."""

    node: NodeName


@dataclass(frozen=True, slots=True)
class Pause:
    """No automatic actions until `until`, or until resumed."""

    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Resume:
    """Automatic actions again."""


@dataclass(frozen=True, slots=True)
class Maintenance:
    """A standby is taken out of what is automatic (`on`), or belongs to it again."""

    node: NodeName
    on: bool


@dataclass(frozen=True, slots=True)
class ShowParameters:
    """`config show`: these parameters; none named: those that were set, that wait, or that differ."""

    names: tuple[str, ...] = ()
    every: bool = False


@dataclass(frozen=True, slots=True)
class ReloadServers:
    """`config reload`: have these servers read their configuration files again; none named: all."""

    nodes: tuple[NodeName, ...] = ()


Directive = Switchover | Failover | Rejoin | FollowUpstream | PromoteNode | Pause | Resume | Maintenance
"""Decided about by the loop, with the record in hand."""

Errand = ShowParameters | ReloadServers
"""Goes over several nodes, one after another, beside the loop."""

Command = Directive | Errand


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a command is not carried out."""

    error: PgvigilError
