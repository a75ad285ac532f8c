"""What is heard from other places than the node itself: witnesses, our own connects and reference targets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, auto

from pgvigil.model.units import Instant, Lsn, NodeName, SystemId, Timeline


class Reach(StrEnum):
    """What another vantage point found when it tried to reach a node's port."""

    ACCEPTS = auto()
    REJECTS = auto()
    """The server speaks but takes no connections now (starting, stopping, recovering)."""
    ANSWERS = auto()
    """The server answers; whether it takes connections was not asked (a place without pg_isready)."""
    REFUSED = auto()
    """The host answers that nobody listens there."""
    NO_REPLY = auto()

    @property
    def through(self) -> bool:
        """Whether a server answered."""
        return self not in (Reach.REFUSED, Reach.NO_REPLY)


@dataclass(frozen=True, slots=True)
class Witness:
    """One active test from another vantage point: a standby's shell, or a witness host's."""

    vantage: str
    at: Instant
    reach: Reach
    others: bool | None = None
    """Whether it got through to another node that answers us, in the same round; None: not tried."""
    before: Reach | None = None
    """What it found when the node last answered us; None: it was not asked then."""
    reached_at: Instant | None = None
    """When it last got through in this silence; None: never yet."""

    @property
    def counts(self) -> bool:
        """Whether its failure proves anything: it is not cut off itself, and could get through before."""
        return self.others is not False and (self.before is None or self.before.through)


@dataclass(frozen=True, slots=True)
class WitnessLook:
    """The newest look through a witness host's shell."""

    at: Instant | None = None
    """When it last answered; None: never yet."""
    detail: str = ""
    """Why it is of no use now; empty: it works, or was not asked yet."""
    heard: bool = True
    """Whether its shell answered when it was last asked, for good or ill."""
    way: str = ""
    """The program by which it tries to reach nodes."""
    reaches: Mapping[NodeName, Reach] = field(default_factory=dict)
    """What it found, node by node, in its newest round."""


@dataclass(frozen=True, slots=True)
class Touch:
    """Our own newest bare TCP connect to a silent node: begun at `at`; a refusal is an answer too."""

    at: Instant
    reached: bool
    reached_at: Instant | None = None
    """When any attempt of this silence last got through; one that is slow may be older than `at`."""


@dataclass(frozen=True, slots=True)
class References:
    """Our own reference targets: `reached` of `asked` answered at `at`. Nothing asked: proves nothing."""

    at: Instant
    asked: int = 0
    reached: int = 0

    @property
    def sound(self) -> bool:
        """Whether most of them answered; also when there are none."""
        return not self.asked or self.reached * 2 > self.asked


@dataclass(frozen=True, slots=True)
class FarNode:
    """What one node of the cluster that a standby cluster follows said of itself."""

    name: NodeName
    at: Instant
    writes: bool
    """It answers out of recovery."""
    end: Lsn
    """What it has flushed, or in recovery received or replayed."""
    timeline: Timeline
    system_id: SystemId


@dataclass(frozen=True, slots=True)
class FarLook:
    """The newest look at that cluster. Empty: nobody there answered."""

    at: Instant
    nodes: tuple[FarNode, ...] = ()
    heard: FarNode | None = None
    """The newest answer of a node there that takes writes, however old."""

    @property
    def primary(self) -> FarNode | None:
        """Who takes writes there now, as far as is seen: of several the one of the newest timeline."""
        return max((n for n in self.nodes if n.writes), key=lambda n: (n.timeline, n.end), default=None)
