"""The one shape of a cluster for `status --json`, the socket and HTTP, and the words used in it.

Keys are only ever added. Times are ISO 8601 in UTC, durations seconds (`_s`), sizes bytes, positions
as PostgreSQL writes them (`0/3000148`). A value that is not known is None.

State words follow a custom that operators know: `*` is as it ought to be primary, `!` ought not to be,
`-` is proved not to run, `?` cannot be told from here.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypedDict


class Health(StrEnum):
    """A cluster in one word."""

    OK = "ok"
    """The primary serves and nothing is found."""
    DEGRADED = "degraded"
    """The primary serves; something is found."""
    CHANGING = "changing"
    """A change of primary is going on."""
    HELD = "held"
    """pgvigil deliberately does nothing; `decision` says why, and what a human can do."""
    DOWN = "down"
    """No primary serves, and nothing has been begun yet."""


class State(StrEnum):
    """The state column of `status`."""

    PRIMARY = "* running"
    RUNNING = "running"
    SECOND_PRIMARY = "! running"
    """Answers out of recovery although the record names another."""
    LEADER = "* leader"
    """Streams from another cluster, for all nodes of its standby cluster."""
    NOT_PROMOTED = "! in recovery"
    """The primary of record answers as a standby."""
    FAILED = "- failed"
    """Nobody listens, or the host says that its postmaster does not run."""
    HUNG = "- hung"
    REJOINING = "rejoining"
    STARTING = "starting"
    """The server speaks but takes no connections yet (or any more)."""
    NO_LOGIN = "? no login"
    """The server lives but does not let us in."""
    UNREACHABLE = "? unreachable"
    UNSEEN = "? unseen"
    """Not looked at yet."""


class Reported(StrEnum):
    """What a node is, in one word, beside the goal (primary, standby or stopped)."""

    PRIMARY = "primary"
    STANDBY = "standby"
    REBUILDING = "rebuilding"
    STARTING = "starting"
    NO_LOGIN = "no login"
    STOPPED = "stopped"
    CRASHED = "crashed"
    HUNG = "hung"
    SILENT = "silent"
    UNSEEN = "unseen"


class SenderStatus(TypedDict):
    """The upstream's end of a standby's replication, from `pg_stat_replication`."""

    upstream: str
    application_name: str
    address: str
    state: str
    sent_lsn: str | None
    flushed_lsn: str | None
    replayed_lsn: str | None
    sync_state: str
    replay_lag_s: float | None


class ReceiverStatus(TypedDict):
    """The standby's own end, from `pg_stat_wal_receiver`. `silent_s`: since the upstream's last message."""

    status: str
    host: str
    port: int
    slot: str
    timeline: int
    silent_s: float | None


class SlotStatus(TypedDict):
    """A replication slot."""

    name: str
    active: bool
    wal_status: str
    held_bytes: int | None
    """How much WAL it holds back on its node; None: it never was used."""
    physical: bool
    failover: bool
    """A logical one that standbys are to copy (from 17 on)."""
    synced: bool
    """On a standby: such a copy, complete."""


class BackupStatus(TypedDict):
    """A base backup that a node sends."""

    to: str
    """Address of whoever takes it, and the name it goes by."""
    phase: str
    """PostgreSQL's word for what it does now."""
    sent_bytes: int
    total_bytes: int | None
    """An estimate; None: it is not known."""
    rate_bytes: int | None
    """Bytes a second since it began; None: nothing was sent yet."""
    left_s: int | None


class NodeStatus(TypedDict):
    """One node. Timeline, LSN and version of a silent node are its last ones, as old as `last_seen_s`."""

    name: str
    host: str
    port: int
    role: str
    """`primary`, `standby` or `unknown`, as the node says itself."""
    state: str
    """A word of `State`."""
    progress: str
    """What is being done to it now, in words; empty: nothing."""
    reported_state: str
    """A word of `Reported`."""
    goal_state: str
    """What pgvigil wants it to be: `primary`, `standby` or `stopped`."""
    connection: str
    """What a client would get: `read-write`, `read-only` or `none`."""
    timeline: int | None
    lsn: str | None
    lag_bytes: int | None
    """Behind the primary's last known position, in WAL not yet received."""
    replay_lag_bytes: int | None
    """Behind the same position, in WAL not yet visible to queries."""
    lag_s: float | None
    upstream: str | None
    """Name of the node it streams from, `host:port` when that is none of ours."""
    sync_state: str | None
    """`async`, `potential`, `sync` or `quorum`, as its upstream says."""
    sender: SenderStatus | None
    receiver: ReceiverStatus | None
    slot: SlotStatus | None
    """The standby's own, on its upstream."""
    slots: list[SlotStatus]
    """All slots on this node, as it last said."""
    backups: list[BackupStatus]
    """Base backups that are taken from it now, whoever takes them."""
    wanted_upstream: str | None
    """From which node the configuration has it stream as a standby; None: it says nothing."""
    apply_delay_s: float
    """Seconds by which it replays later on purpose (`recovery_min_apply_delay`); 0: at once."""
    priority: int
    location: str
    tags: list[str]
    maintenance: bool
    """Somebody works on it: never promoted, not repaired, its absence is no finding."""
    conninfo: str
    """libpq's keywords of our login, never with a password."""
    postmaster: str | None
    """What the host's shell says: running, frozen, crashed or stopped."""
    guard: str | None
    """What was last heard of its guard: a word of `GuardState`; None: it ought not to have one."""
    guard_doing: str
    """The guard's own word: `leased`, `held`, `standby`, `stopping` or `stopped`."""
    detail: str
    """Why the node or its host does not answer, in words; empty when both do."""
    last_seen_s: float | None
    """Seconds since its last answer."""
    probe_s: float | None
    """Seconds that its last answer took."""
    host_seen_s: float | None
    """Seconds since the host's shell last answered, if it did when last asked: what it said is as old."""
    clock_skew_s: float | None
    """The host's wall clock minus the controller's."""
    pending_restart: list[str]
    """Parameters that wait for a restart of this node."""
    server_version: str | None
    system_id: str | None


class WitnessStatus(TypedDict):
    """A host without PostgreSQL that helps to look."""

    name: str
    host: str
    way: str
    """The program by which it tries to reach nodes; empty: not known yet."""
    reaches: dict[str, str]
    """What it found when it last tried, node by node: accepts, rejects, answers, refused, no_reply."""
    detail: str
    """Why it is of no use now; empty when it is."""
    last_seen_s: float | None
    """Seconds since its shell last answered."""


class FindingStatus(TypedDict):
    """One finding. `due_s`: seconds until it becomes a verdict; None: it waits for nothing."""

    problem: str
    node: str | None
    evidence: list[str]
    urgency: str
    due_s: float | None


class DecisionStatus(TypedDict):
    """What the last look led to. `kind`: `act`, `hold` or `rest`."""

    kind: str
    rule: str
    reason: str
    hint: str
    until_s: float | None
    """Seconds until a hold ends by itself; None: it does not."""
    steps: list[str]
    evidence: list[str]


class SyncStatus(TypedDict):
    """Whose acknowledgement commits wait for (`protection: quorum`)."""

    acks: int
    """So many of `standbys` must have a commit; 0: nobody is waited for, and nothing is promised."""
    standbys: list[str]
    wanted_acks: int
    changing: bool
    """A change is under way; until it is confirmed less is promised, or nothing."""


class ScheduledStatus(TypedDict):
    """One thing to be done at a later time."""

    number: int
    at: str
    """When it is done next."""
    every_s: int | None
    """And again so many seconds after each time; null: once."""
    what: str


class FarStatus(TypedDict):
    """The other cluster, as a standby cluster sees it."""

    name: str | None
    """As `standby_of` has it; None: the file does not say."""
    primary: str | None
    """Who takes writes there now; None: nobody answers who does."""
    answers: list[str]
    """Everybody there who answers."""
    timeline: int | None
    lsn: str | None
    """Its position when it was last heard."""
    heard_s: float | None
    """Seconds since then; None: never."""


class EndpointState(StrEnum):
    """How an endpoint is."""

    OK = "ok"
    """It leads where clients belong."""
    MOVING = "moving"
    FAILED = "failed"
    """The last attempt failed; another one follows."""
    UNSEEN = "unseen"
    """Nothing has been heard of it yet."""


class EndpointStatus(TypedDict):
    """What clients connect to."""

    name: str
    state: str
    """A word of `EndpointState`."""
    primary: str | None
    """Where it led when that last succeeded; None: nowhere, or not known."""
    wanted: str | None
    """Where it ought to lead; None: nowhere."""
    generation: int
    """Of what it ought to be."""
    detail: str
    """What went wrong; empty: nothing did."""
    hint: str


class ClusterStatus(TypedDict):
    """One cluster."""

    cluster: str
    health: str
    """A word of `Health`."""
    generation: int
    """How often the primary was changed; 0: not managed yet."""
    phase: str
    since: str | None
    """When the phase began."""
    primary: str | None
    candidate: str | None
    origin: str | None
    """Why this node is primary: first_seen, adopted, failover, switchover or site."""
    timeline: int | None
    system_id: str | None
    protection: str
    sync: SyncStatus | None
    """None: `protection: async`, or not managed yet."""
    automatic: bool
    """Whether `failover.automatic` is on (a pause is told apart)."""
    paused: bool
    paused_until: str | None
    decision: DecisionStatus
    repairs: list[str]
    """What is due to be done to single nodes beside the decision, as sentences."""
    warnings: list[str]
    findings: list[FindingStatus]
    nodes: list[NodeStatus]
    witnesses: list[WitnessStatus]
    scheduled: list[ScheduledStatus]
    at: str
    standby_cluster: bool
    """It follows another cluster and takes no writes; `primary` is its leader."""
    standby_of: FarStatus | None
    """None: it neither follows another cluster nor is to."""
    serves: str | None
    """Where clients that write belong; None: nowhere, until a promotion is verified."""
    endpoints: list[EndpointStatus]
    controller: str | None
    """Who guards it, where several controllers share a fleet; None: nobody, or there is only one."""


class EventStatus(TypedDict):
    """One event."""

    number: int
    cluster: str
    at: str
    kind: str
    level: str
    node: str | None
    generation: int
    text: str
    evidence: list[str]
    hint: str
    data: dict[str, str | int | float | None]


def is_change_of_primary(event: Mapping[str, Any]) -> bool:
    """Whether an event belongs to `history`: it tells the origin and timeline of a primary."""
    return "origin" in event["data"] and "timeline" in event["data"]
