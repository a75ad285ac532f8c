"""What was seen: one look at a node, and the newest looks at a whole cluster side by side.

A look over SQL is an `Answer`, a `Refusal` (the server spoke: it is alive) or `NoAnswer`; a look
through the host's shell is a `HostAnswer`, `HostSilent` or `NoShell`. Each carries exactly what it has.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, auto

from pgvigil.model.guard import CutOff, GuardLook
from pgvigil.model.units import Instant, Lsn, NodeName, SqlState, SystemId, Timeline, setting_amount
from pgvigil.model.vantage import FarLook, References, Touch, Witness, WitnessLook


class Silence(StrEnum):
    """In which way nothing came back."""

    CLOSED = auto()
    """Our open session ended; a new one has not been tried to its end yet."""
    OVERDUE = auto()
    """An open session does not answer; a new one has not been tried to its end yet."""
    REFUSED = auto()
    """The host answers that nobody listens on the port."""
    TIMED_OUT = auto()
    """Not even TCP connects (also: no route, host unreachable)."""
    MUTE = auto()
    """TCP connects, the server says nothing."""
    NO_ADDRESS = auto()
    """The host's name cannot be resolved: our trouble, not the node's."""


@dataclass(frozen=True, slots=True)
class Farewell:
    """How a session ended: what the server said before end-of-file, if anything.

    `source` is the server's function that said it (untranslated, so it tells the reason in any language).
    """

    sqlstate: SqlState | None = None
    message: str = ""
    source: str = ""


class SenderState(StrEnum):
    """`pg_stat_replication.state`."""

    STARTUP = auto()
    CATCHUP = auto()
    STREAMING = auto()
    BACKUP = auto()
    STOPPING = auto()


@dataclass(frozen=True, slots=True)
class Sender:
    """A WAL sender, as the upstream sees its standby."""

    pid: int
    application_name: str
    address: str
    state: SenderState
    sent: Lsn | None
    flushed: Lsn | None
    replayed: Lsn | None
    sync_state: str
    replay_lag_s: float | None


@dataclass(frozen=True, slots=True)
class Receiver:
    """The WAL receiver, as the standby sees its upstream."""

    pid: int
    status: str
    timeline: Timeline
    host: str
    port: int
    slot: str
    silent_s: float | None
    """Server-side seconds since the last message from the upstream."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A replication slot."""

    name: str
    physical: bool
    active: bool
    restart: Lsn | None
    wal_status: str
    failover: bool = False
    """A logical one that standbys are to copy (from 17 on)."""
    synced: bool = False
    """On a standby: such a copy, complete."""
    invalid: str = ""
    """Why PostgreSQL gave it up (from 17 on); empty: it did not."""
    held: int | None = None
    """Bytes of WAL that it holds back; None: none, it never was used, or was given up."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What changes rarely: read when a session opens, then every few seconds."""

    server_version: int
    system_id: SystemId
    data_dir: str
    settings: Mapping[str, str] = field(default_factory=dict)
    """The settings of `sight.probe.SETTINGS`; a missing name = the login may not read it."""
    slots: tuple[Slot, ...] = ()
    pending: tuple[str, ...] = ()
    """Parameters changed in a file that count only after a restart."""

    @property
    def apply_delay_s(self) -> float:
        """By how many seconds it replays later on purpose; 0: at once."""
        return setting_amount(self.settings.get("recovery_min_apply_delay", "")) or 0.0


@dataclass(frozen=True, slots=True)
class Primary:
    """The part of an answer that only a node out of recovery has."""

    timeline: Timeline
    written: Lsn
    flushed: Lsn
    sync_names: str = ""
    """`synchronous_standby_names` as its sessions see it."""


@dataclass(frozen=True, slots=True)
class Standby:
    """The part of an answer that only a node in recovery has."""

    timeline: Timeline
    received: Lsn | None
    replayed: Lsn | None
    receiver: Receiver | None
    conninfo: str
    """`primary_conninfo` without its password. Empty: cut, or never pointed anywhere."""
    replay_paused: bool

    @property
    def furthest(self) -> Lsn:
        """The last position this standby has safely: received or replayed, whichever is further."""
        return max(self.received or Lsn(0), self.replayed or Lsn(0))


@dataclass(frozen=True, slots=True)
class Backup:
    """A base backup that a node sends, whoever takes it: `pg_stat_progress_basebackup`."""

    application_name: str
    address: str
    """Empty: over the node's own socket."""
    phase: str
    sent_bytes: int
    total_bytes: int | None
    """An estimate; None: it was not asked for."""
    seconds: float
    """Since its session began."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node said of itself over SQL."""

    node: NodeName
    at: Instant
    took_s: float
    role: Primary | Standby
    facts: Facts
    senders: tuple[Sender, ...] = ()
    backups: tuple[Backup, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """The server spoke, but did not let us in: its postmaster is alive."""

    node: NodeName
    at: Instant
    since: Instant
    sqlstate: SqlState
    message: str


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Nothing came back. `since`: when the first look that stayed without answer was begun."""

    node: NodeName
    at: Instant
    since: Instant
    silence: Silence
    farewell: Farewell | None = None


@dataclass(frozen=True, slots=True)
class Unseen:
    """Not looked at yet."""

    node: NodeName


SqlLook = Answer | Refusal | NoAnswer | Unseen


class Postmaster(StrEnum):
    """What the host says of the node's first process."""

    RUNNING = auto()
    FROZEN = auto()
    """Present but stopped (state T) or stuck in the kernel (state D)."""
    CRASHED = auto()
    """The pid file is there, its process is not (a zombie counts as gone: SAFETY §5)."""
    STOPPED = auto()
    """No pid file: ended in an orderly way, or was never started."""


@dataclass(frozen=True, slots=True)
class ControlFile:
    """What pg_controldata says of a data directory whose server does not run."""

    system_id: SystemId
    timeline: Timeline
    checkpoint: Lsn
    """Latest checkpoint location; after a clean stop the shutdown checkpoint's."""
    shut_down: bool
    """State "shut down" or "shut down in recovery": nothing is missing from its WAL."""
    in_recovery: bool
    """It was a standby when it ended ("in archive recovery", "shut down in recovery")."""


@dataclass(frozen=True, slots=True)
class HostAnswer:
    """What the host's shell said."""

    at: Instant
    postmaster: Postmaster
    pid: int | None = None
    frozen_since: Instant | None = None
    """Since which look it has been frozen in every one; None: it is not, or that is not known."""
    strays: tuple[int, ...] = ()
    """Server processes of this data directory that still live although the postmaster does not."""
    data_dir_ok: bool = True
    """The data directory is one (`PG_VERSION` is there)."""
    standby_signal: bool = False
    control: ControlFile | None = None
    """Read only while no postmaster runs."""
    marker: str = ""
    """What pgvigil noted in the data directory about an unfinished rebuild; empty: nothing."""
    bin_dir: str = ""
    """Where the running postmaster's program lies; empty: not asked or not running."""
    wal_free_bytes: int | None = None
    """As of this look, or of one up to half a minute before it."""
    clock_s: float | None = None
    """The host's wall clock, seconds since 1970; between looks at it, as it has gone on since."""


@dataclass(frozen=True, slots=True)
class HostSilent:
    """The shell does not answer. `refused`: its host lives, but did not let us in (key, login)."""

    at: Instant
    since: Instant
    refused: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class NoShell:
    """No shell is configured for this node, or it was not asked yet."""


HostLook = HostAnswer | HostSilent | NoShell


@dataclass(frozen=True, slots=True)
class Missed:
    """How often a standby did not get to stream from an upstream it was pointed at, and when last."""

    at: Instant
    times: int = 1


@dataclass(frozen=True, slots=True)
class NodeView:
    """The newest looks at one node, with the last good ones beside them."""

    name: NodeName
    sql: SqlLook
    host: HostLook = NoShell()
    last: Answer | None = None
    """The newest answer, however old."""
    witnesses: tuple[Witness, ...] = ()
    """Newest tests by others since the present silence began; one a vantage point."""
    touch: Touch | None = None
    guard: GuardLook | None = None
    """The newest of its guard; None: it has no shell, or guards are not wanted."""
    cut_off: tuple[CutOff, ...] = ()
    """Who cannot reach its host since the present silence began. Asked only where guards are wanted."""
    receiver_lost_at: Instant | None = None
    """When this standby was first seen without the WAL receiver it had; None while it has one."""
    owed_since: Mapping[str, Instant] = field(default_factory=dict)
    """Since when each standby (application_name) that it streams to owes it WAL, and confirms none."""
    unheard_at: Instant | None = None
    """When it last did not speak (see `speaks`); None: it always did."""
    streams_since: Instant | None = None
    """Since when this standby has been seen to stream without a break; None: it does not."""
    idle_slots: Mapping[str, Instant] = field(default_factory=dict)
    """Since when nobody has been seen to use each slot of this node that is not in use."""
    missed: Mapping[str, Missed] = field(default_factory=dict)
    """Upstreams (as `primary_conninfo`) that this standby was pointed at in vain lately."""

    @property
    def answer(self) -> Answer | None:
        """The answer, if the newest look is one."""
        return self.sql if isinstance(self.sql, Answer) else None

    @property
    def primary(self) -> Primary | None:
        """Its role, if it answers and is out of recovery."""
        sql = self.sql  # asked for a hundred times in each turn of a cluster's loop
        return sql.role if isinstance(sql, Answer) and isinstance(sql.role, Primary) else None

    @property
    def standby(self) -> Standby | None:
        """Its role, if it answers and is in recovery."""
        sql = self.sql
        return sql.role if isinstance(sql, Answer) and isinstance(sql.role, Standby) else None

    @property
    def speaks(self) -> bool:
        """Whether anything came from this node or its host lately: a refusal is a sign of life too."""
        match self.sql:
            case NoAnswer(silence=Silence.REFUSED | Silence.CLOSED | Silence.MUTE):
                return True
            case NoAnswer(since=since):
                return isinstance(self.host, HostAnswer) and self.host.at >= since
            case Unseen():
                return False
            case Answer() | Refusal():
                return True

    @property
    def host_answer(self) -> HostAnswer | None:
        """What the host's shell said, if its newest look is an answer."""
        return self.host if isinstance(self.host, HostAnswer) else None


@dataclass(frozen=True, slots=True)
class ClusterView:
    """Everything seen of a cluster at one moment, from one controller."""

    at: Instant
    nodes: Mapping[NodeName, NodeView]
    references: References
    late_s: float = 0.0
    """How late the controller's own loop ran lately: it distrusts itself before it accuses others."""
    sound_since: Instant = Instant(0.0)
    """Since when our own network and loop have been in order without a break, as far as we can tell: somebody
    answers, and most reference targets do. Silence of before proves nothing."""
    witnesses: Mapping[str, WitnessLook] = field(default_factory=dict)
    """Hosts without PostgreSQL that help to look."""
    far: FarLook | None = None
    """The cluster that this one is to follow; None: there is none, or it was not looked at yet."""

    def node(self, name: NodeName) -> NodeView:
        """The view of that node. Raises KeyError."""
        return self.nodes[name]

    def primaries(self) -> tuple[NodeView, ...]:
        """All nodes that answer out of recovery."""
        return tuple(view for view in self.nodes.values() if view.primary)
