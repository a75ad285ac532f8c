"""The guard of a node as the controller knows it: whether it lives, and how long its lease may last."""

from dataclasses import dataclass
from enum import StrEnum, auto

from pgvigil.model.units import Instant, NodeName


class GuardState(StrEnum):
    """What the last renewal found."""

    UNKNOWN = auto()
    """The node's shell has not said yet."""
    MISSING = auto()
    """None was installed."""
    DEAD = auto()
    """It is installed, and its process does not run."""
    STALLED = auto()
    """Its process is stopped, or has not told of itself for a while."""
    OUTDATED = auto()
    """It runs, but another script, or with another list of nodes, than it ought to."""
    ALIVE = auto()
    """It runs as it ought to, and took the renewal."""


WATCHES = frozenset({GuardState.ALIVE, GuardState.OUTDATED})
"""There is one that would act."""
ABSENT = frozenset({GuardState.MISSING, GuardState.DEAD, GuardState.STALLED})
"""There is none that would act."""


@dataclass(frozen=True, slots=True)
class GuardLook:
    """The newest of one node's guard. `leased_until` is by the controller's own clock.

    No lease that this controller, or one before it, can have given lasts longer than that: not one whose
    renewal was never answered either, nor one that is still under way.
    """

    state: GuardState
    leased_until: Instant
    at: Instant | None = None
    """When `state` was found; None: never."""
    doing: str = ""
    """Its own word: leased, held (no lease, but a majority is in sight), standby, stopping, stopped."""
    acted: int = 0
    """When it last stopped a server, in seconds since 1970; 0: never."""
    watchdog: str = "none"
    """Of the watchdog device: open, closed (it could not be opened), none (it is not wanted)."""


@dataclass(frozen=True, slots=True)
class CutOff:
    """A vantage point that cannot reach a node's host: not one of its tests since `since` got through."""

    vantage: str
    since: Instant
    """When the first test of the unbroken series began."""
    until: Instant
    """When the newest of them ended, without an answer."""


@dataclass(frozen=True, slots=True)
class GuardReport:
    """What `pgvigil guard` found or did on one node, in words."""

    node: NodeName
    done: bool
    text: str
    hint: str = ""
    state: GuardState = GuardState.UNKNOWN
