"""What must survive a crash of the controller: the record of a cluster, and its events."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum, auto
from typing import Final, Self

from pgvigil.model.units import ClusterName, Generation, Lsn, NodeName, SystemId, Timeline


class Phase(StrEnum):
    """Where in a change of primary a cluster is."""

    STABLE = auto()
    RESTARTING = auto()
    FENCING = auto()
    SWITCHING = auto()
    PROMOTING = auto()


TRANSITIONS: Final[Mapping[tuple[Phase, Phase], str]] = {
    (Phase.STABLE, Phase.FENCING): "the primary is lost; nothing has been promoted",
    (
        Phase.STABLE,
        Phase.RESTARTING,
    ): "the primary is down, or to be restarted, and is started again where it is",
    (Phase.STABLE, Phase.SWITCHING): "an operator asked for another primary",
    (Phase.STABLE, Phase.PROMOTING): "an operator has a standby cluster promoted",
    (Phase.STABLE, Phase.STABLE): "a primary chosen by a human is adopted, or a setting changed",
    (Phase.RESTARTING, Phase.STABLE): "the restarted primary serves again",
    (Phase.RESTARTING, Phase.FENCING): "the primary did not come back in its time",
    (Phase.FENCING, Phase.PROMOTING): "the old primary can acknowledge nothing more",
    (Phase.FENCING, Phase.STABLE): "the old primary came back before anything was promoted",
    (Phase.FENCING, Phase.RESTARTING): "no standby is fit; the old primary is started again where it is",
    (Phase.SWITCHING, Phase.PROMOTING): "the candidate has everything the stopped primary wrote",
    (Phase.SWITCHING, Phase.STABLE): "the switchover was undone: the old primary serves again",
    (Phase.SWITCHING, Phase.RESTARTING): "the switchover is undone: the old primary is started again",
    (Phase.SWITCHING, Phase.FENCING): "the primary was lost while it was being stopped",
    (Phase.PROMOTING, Phase.STABLE): "the new primary is verified on its new timeline",
    (Phase.PROMOTING, Phase.FENCING): "the candidate was lost before it was verified",
}


class Origin(StrEnum):
    """Why the present primary became primary."""

    FIRST_SEEN = auto()
    ADOPTED = auto()
    FAILOVER = auto()
    SWITCHOVER = auto()
    SITE = auto()
    """A standby cluster was promoted, or a cluster became one."""


class Fenced(StrEnum):
    """How the old primary was kept from acknowledging (DESIGN §4), strongest first."""

    STOPPED = auto()
    """Its host says that no server process lives; `standby.signal` lies in its data directory."""
    IN_RECOVERY = auto()
    """It answers as a standby."""
    COMMAND = auto()
    """The user's fence command said so."""
    QUORUM = auto()
    """So many of its synchronous standbys are cut from it that it can acknowledge nothing (SAFETY §3)."""
    GUARD = auto()
    """Its guard has no lease and sees no majority, for so long that it must have stopped the server."""
    RISK_ACCEPTED = auto()
    """Nothing applied, and the policy accepts that (`fencing.unreachable: promote`)."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Where a node keeps its data and its programs, learnt while it answered."""

    data_dir: str = ""
    bin_dir: str = ""
    config_file: str = ""


NOBODY: Final = NodeName("nobody yet")
"""Stands in `synchronous_standby_names` where commits wait and nobody may acknowledge: no name of a node."""


@dataclass(frozen=True, slots=True)
class SyncSet:
    """`ANY acks (standbys)`: a commit is acknowledged when that many of them have flushed it.

    `acks` 0: the primary acknowledges alone. More than there are standbys: commits wait.
    """

    acks: int
    standbys: frozenset[NodeName]

    def __str__(self) -> str:
        names = ", ".join(sorted(self.standbys)) or "none"
        return f"any {self.acks} of {names}" if self.acks else "nobody"

    @property
    def can_acknowledge(self) -> bool:
        """Whether commits wait for standbys, and there are enough of them."""
        return 1 <= self.acks <= len(self.standbys)

    @property
    def setting(self) -> str:
        """The value of `synchronous_standby_names` (manual: 20.6.2); empty if nobody is waited for."""
        quoted = ", ".join(f'"{name}"' for name in sorted(self.standbys) or [NOBODY])
        return f"ANY {self.acks} ({quoted})" if self.acks else ""


ALONE: Final = SyncSet(0, frozenset())
"""No standby is waited for: nothing is promised."""


@dataclass(frozen=True, slots=True)
class Scheduled:
    """One thing to be done at its time."""

    number: int
    at: datetime
    command: str
    """A `model.command.Schedulable`, as `model.tagged` writes it."""
    every_s: int | None = None
    """Done again so many seconds after each of its times."""


@dataclass(frozen=True, slots=True)
class Underway:
    """A command over several nodes that was begun and has not ended: what a controller that dies leaves."""

    what: str
    hint: str
    """How a human has it ended, should its controller have died."""
    home: NodeName | None = None
    away: NodeName | None = None
    """Of a drill: the primary it ends with, and the one in between."""


@dataclass(frozen=True, slots=True)
class ClusterRecord:
    """The durable truth of a cluster. Saved before the first effect of a phase (DESIGN §1.5)."""

    cluster: ClusterName
    generation: Generation
    phase: Phase
    primary: NodeName
    system_id: SystemId
    timeline: Timeline
    """The primary's, when it was last verified."""
    revision: int = 0
    """The store's own count of writes, for compare-and-swap."""
    origin: Origin = Origin.FIRST_SEEN
    since: datetime | None = None
    """When the phase began."""
    began: datetime | None = None
    """When the change of primary began: with the old one's silence, or with the order."""
    previous: NodeName | None = None
    """Whose place the change of primary is about."""
    candidate: NodeName | None = None
    """Switching: who is to become primary."""
    deposed: frozenset[NodeName] = frozenset()
    """Nodes that were primary and have not been seen streaming since."""
    left: frozenset[NodeName] = frozenset()
    """Nodes that were away at the last change of primary, and could not be pointed at the new one."""
    fenced: Fenced | None = None
    at_least: Lsn = Lsn(0)
    """Promoting: the position the candidate had when it was chosen; it may not have less."""
    rescue_from: frozenset[NodeName] = frozenset()
    """Promoting: nothing is lost only together with the WAL of these nodes (`quorum`)."""
    forced: bool = False
    """An operator accepted that this failover may lose data."""
    paused: bool = False
    paused_until: datetime | None = None
    failovers: tuple[datetime, ...] = ()
    """When automatic failovers began, newest last (for the cool-down)."""
    restarts: tuple[datetime, ...] = ()
    """When the primary was started again where it is, newest last (for the cool-down)."""
    primary_lsn: Lsn = Lsn(0)
    """The primary's last known position, noted when a failover began (for `max_lag`); of who handed its
    writes over to another cluster, its shutdown checkpoint."""
    paths: Mapping[NodeName, Paths] = field(default_factory=dict)
    sync: SyncSet | None = None
    """Who has acknowledged every commit that the primary acknowledged. None: not managed (`async`)."""
    sync_next: SyncSet | None = None
    """What is being put in its place and is not confirmed: until then both count."""
    maintenance: frozenset[NodeName] = frozenset()
    """Standbys that somebody works on: never promoted, not repaired, their absence is no finding."""
    scheduled: tuple[Scheduled, ...] = ()
    """What is to be done at a later time, soonest first."""
    underway: Underway | None = None
    """What goes over several nodes just now."""
    standby_cluster: bool = False
    """It follows another cluster and takes no writes: `primary` names who streams from there, its leader."""

    def moved(self, to: Phase, **changes: object) -> Self:
        """This record in another phase. Raises ValueError for a move the table does not have."""
        if (self.phase, to) not in TRANSITIONS:
            raise ValueError(f"no transition {self.phase.name} → {to.name}")
        return replace(self, phase=to, **changes)  # type: ignore[arg-type]  # checked by replace itself

    def next_generation(self) -> Generation:
        """The generation of the next change of primary."""
        return Generation(self.generation + 1)

    def is_paused(self, wall: datetime) -> bool:
        """Whether automatic actions are paused at that time."""
        return self.paused and (self.paused_until is None or wall < self.paused_until)


def phase_diagram() -> str:
    """The transitions as the Mermaid diagram that the documentation shows."""
    rows = (f"  {a.name} --> {b.name}: {why}" for (a, b), why in TRANSITIONS.items() if a is not b)
    return "\n".join(["stateDiagram-v2", *rows])


class Level(StrEnum):
    """How much a person should care."""

    INFO = auto()
    WARNING = auto()
    ALERT = auto()


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth telling, as kept for `events` and sent to people."""

    cluster: ClusterName
    at: datetime
    kind: str
    """A name in the past or present tense, such as `primary_crashed`, `promoted`, `hold`."""
    text: str
    level: Level = Level.INFO
    node: NodeName | None = None
    generation: Generation = Generation(0)
    evidence: tuple[str, ...] = ()
    hint: str = ""
    data: Mapping[str, str | int | float | None] = field(default_factory=dict)
    number: int = 0
    """Given by the store; grows."""
