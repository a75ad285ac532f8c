"""What can be done to a node, as plain values, and the decisions made of them.

A step can be printed, stored, compared and replayed; `act` carries it out.
"""

from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import assert_never

from pgvigil.model.record import ClusterRecord, SyncSet
from pgvigil.model.spec import CheckpointPace
from pgvigil.model.units import Generation, Instant, Lsn, NodeName, Timeline


class StopMode(StrEnum):
    """How a postmaster is ended: manual 19.5."""

    FAST = auto()
    IMMEDIATE = auto()
    KILL = auto()


class RebuildMethod(StrEnum):
    """How a stopped node becomes a standby."""

    AUTO = auto()
    """The mildest that works: just start, else rewind, else clone."""
    START = auto()
    REWIND = auto()
    CLONE = auto()


@dataclass(frozen=True, slots=True)
class Copying:
    """How a copy is to be made, where that differs from the configuration. None: as configured."""

    source: NodeName | None = None
    """The node that is copied; None: the node tagged `clone_source` that streams, else the upstream."""
    max_rate_bytes: int | None = None
    checkpoint: CheckpointPace | None = None


@dataclass(frozen=True, slots=True)
class Fence:
    """Stop the old primary through its host, prove it, and leave `standby.signal` behind."""

    node: NodeName
    generation: Generation
    mode: StopMode


@dataclass(frozen=True, slots=True)
class FenceByCommand:
    """Have the user's fence command (IPMI, hypervisor, cloud) turn the old primary's host off."""

    node: NodeName
    generation: Generation


@dataclass(frozen=True, slots=True)
class Cut:
    """End a standby's replication, so that it acknowledges nothing more."""

    node: NodeName
    generation: Generation


@dataclass(frozen=True, slots=True)
class Rescue:
    """Carry WAL that never left the dead primary to the candidate."""

    source: NodeName
    target: NodeName
    timeline: Timeline
    generation: Generation


@dataclass(frozen=True, slots=True)
class Promote:
    """Make the candidate primary; it may not have less than `at_least`."""

    node: NodeName
    generation: Generation
    at_least: Lsn
    beyond: Timeline
    """The new timeline must be higher than this one."""
    waits_for: SyncSet | None = None
    """It must have been told before to have commits wait for these (`quorum`). None: that is not ours."""


@dataclass(frozen=True, slots=True)
class Follow:
    """Point a running standby at an upstream (slot, connection settings, reload)."""

    node: NodeName
    upstream: NodeName
    generation: Generation


@dataclass(frozen=True, slots=True)
class SetSync:
    """Set which standbys a primary, or a standby once it is promoted, waits for; return when it does."""

    node: NodeName
    generation: Generation
    to: SyncSet


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Write a checkpoint on a primary, so that what follows is quick."""

    node: NodeName
    generation: Generation


@dataclass(frozen=True, slots=True)
class HoldClients:
    """Have clients wait at the endpoints that can, while the primary still serves."""

    node: NodeName
    generation: Generation


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop the primary for a switchover, and no service manager may start it again."""

    node: NodeName
    generation: Generation
    mode: StopMode


@dataclass(frozen=True, slots=True)
class StartPrimary:
    """Start the primary of record where it is, as primary."""

    node: NodeName
    generation: Generation


@dataclass(frozen=True, slots=True)
class RestartServer:
    """Stop and start a server in one go that its own host carries through; it stays what it is."""

    node: NodeName
    generation: Generation
    primary: bool
    """What it has to be still when the step begins."""


@dataclass(frozen=True, slots=True)
class Rebuild:
    """Make a node a streaming standby of `upstream`: start, rewind or clone."""

    node: NodeName
    upstream: NodeName
    generation: Generation
    method: RebuildMethod
    copying: Copying = field(default_factory=Copying)
    cascade: bool = False
    """The upstream is a standby itself: the leader of a standby cluster."""


@dataclass(frozen=True, slots=True)
class DropSlots:
    """Drop physical slots of ours that nobody will use on this node (they would hold back WAL)."""

    node: NodeName
    slots: tuple[str, ...]
    generation: Generation


@dataclass(frozen=True, slots=True)
class MakeSlots:
    """Create physical slots that nobody reads from yet, on a node that is primary or may become it."""

    node: NodeName
    slots: tuple[str, ...]
    generation: Generation


@dataclass(frozen=True, slots=True)
class AdvanceSlots:
    """Move slots that nobody reads from on to what their standbys have; the WAL before is held no more."""

    node: NodeName
    slots: tuple[tuple[str, Lsn], ...]
    generation: Generation


@dataclass(frozen=True, slots=True)
class Nudge:
    """Have a standby try its upstream again at once, instead of after `wal_retrieve_retry_interval`."""

    node: NodeName
    generation: Generation


@dataclass(frozen=True, slots=True)
class ClearSignal:
    """Take away a `standby.signal` that a given-up fencing left with the serving primary."""

    node: NodeName
    generation: Generation


Step = (
    Fence
    | FenceByCommand
    | Cut
    | Rescue
    | Promote
    | Follow
    | SetSync
    | Checkpoint
    | HoldClients
    | Stop
    | StartPrimary
    | RestartServer
    | Rebuild
    | DropSlots
    | MakeSlots
    | AdvanceSlots
    | ClearSignal
    | Nudge
)


def step_node(step: Step) -> NodeName:
    """The node on which the step has its effect."""
    return step.target if isinstance(step, Rescue) else step.node


def sentence(step: Step) -> str:
    """The step as `--dry-run`, logs and events print it."""
    match step:
        case Fence(node, _, mode):
            return f"stop PostgreSQL on {node} ({mode}) and see to it that it can only return as a standby"
        case FenceByCommand(node):
            return f"turn the host of {node} off by the fence command"
        case Cut(node):
            return f"cut {node} from the old primary"
        case Rescue(source, target):
            return f"carry WAL that {source} could not send any more to {target}"
        case Promote(node, generation, at_least):
            return f"promote {node} as generation {generation}, not behind {at_least}"
        case Follow(node, upstream):
            return f"point {node} at {upstream}"
        case SetSync(node, _, to):
            return f"have commits on {node} wait for {to}"
        case Checkpoint(node):
            return f"checkpoint on {node}"
        case HoldClients(node):
            return f"have clients of {node} wait at the endpoints"
        case Stop(node, _, mode):
            return f"stop PostgreSQL on {node} ({mode})"
        case StartPrimary(node):
            return f"start PostgreSQL on {node} as primary"
        case RestartServer(node):
            return f"restart PostgreSQL on {node}"
        case Rebuild(node, upstream, _, RebuildMethod.AUTO):
            return f"make {node} a standby of {upstream} (start it, else rewind, else clone)"
        case Rebuild(node, upstream, _, RebuildMethod.CLONE, Copying(source=source)) if source:
            return f"make {node} a standby of {upstream} (clone, copied from {source})"
        case Rebuild(node, upstream, _, method):
            return f"make {node} a standby of {upstream} ({method})"
        case DropSlots(node, slots):
            return f"drop unused slots on {node}: {', '.join(slots)}"
        case MakeSlots(node, slots):
            return f"make slots on {node}: {', '.join(slots)}"
        case AdvanceSlots(node, slots):
            return f"move slots on {node} on: {', '.join(name for name, _ in slots)}"
        case Nudge(node):
            return f"have {node} try its upstream again at once"
        case ClearSignal(node):
            return f"take a leftover standby.signal away from {node}, which is the primary"
        case _:
            assert_never(step)


@dataclass(frozen=True, slots=True)
class Stage:
    """Steps done side by side. `must`: when one fails, the stages behind it are not begun."""

    steps: tuple[Step, ...]
    must: bool = True


@dataclass(frozen=True, slots=True)
class Act:
    """Make `record` durable (if one is given), then do the stages in order."""

    rule: str
    """Which row of `decide.engine` decided."""
    reason: str
    record: ClusterRecord | None = None
    stages: tuple[Stage, ...] = ()
    evidence: tuple[str, ...] = ()
    data: tuple[tuple[str, str | int | float | None], ...] = ()
    """Figures for the event that tells of it."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Deliberately nothing, with its reason and what a human can do."""

    rule: str
    reason: str
    hint: str = ""
    until: Instant | None = None
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rest:
    """All is well."""


Decision = Act | Hold | Rest


@dataclass(frozen=True, slots=True)
class Plan:
    """The decision on the cluster's primary, and repairs of single nodes that may go on beside it."""

    decision: Decision
    repairs: tuple[Step, ...] = ()
    warnings: tuple[str, ...] = ()
