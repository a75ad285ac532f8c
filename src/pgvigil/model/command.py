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


Command = Switchover | Failover | Rejoin | FollowUpstream | PromoteNode | Pause | Resume


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a command is not carried out."""

    error: PgvigilError
