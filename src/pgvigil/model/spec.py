"""What the user wants: clusters, nodes, limits. Made by `config.schema`, complete and checked."""

import functools
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum, auto

from pgvigil.model.endpoint import EndpointSpec, Pgbouncer
from pgvigil.model.shell import ShellSpec
from pgvigil.model.units import ClusterName, NodeName


class Protection(StrEnum):
    """What is promised about commits that were acknowledged (DESIGN §3)."""

    ASYNC = auto()
    QUORUM = auto()


class Tag(StrEnum):
    """Wishes for one node."""

    NEVER_PROMOTE = auto()
    NEVER_SYNC = auto()
    NO_LOAD_BALANCE = auto()
    CLONE_SOURCE = auto()


class CheckpointPace(StrEnum):
    """How the checkpoint before a base backup is made."""

    FAST = auto()
    """At once, with all the writing that takes."""
    SPREAD = auto()
    """As slowly as `checkpoint_completion_target` has it."""


@functools.lru_cache(65_536)
def slot_name(node: NodeName) -> str:
    """The physical slot of a standby, named from the node in the characters PostgreSQL allows."""
    return "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in node.lower())[:63]


class AfterCrash(StrEnum):
    """What to do when the primary's postmaster died on a live host."""

    FAILOVER = auto()
    RESTART = auto()


class WhenUnreachable(StrEnum):
    """What to do when the old primary can be fenced in no way."""

    PROMOTE = auto()
    WAIT = auto()


@dataclass(frozen=True, slots=True)
class Systemd:
    """Started and stopped as a systemd unit; `sudo` puts `sudo -n` in front."""

    unit: str
    sudo: bool = False


@dataclass(frozen=True, slots=True)
class PgCtl:
    """Started by the node's own pg_ctl as the shell's user."""

    options: str = ""


@dataclass(frozen=True, slots=True)
class PgCtlCluster:
    """Debian's pg_ctlcluster VERSION NAME."""

    version: str
    name: str


@dataclass(frozen=True, slots=True)
class OwnCommands:
    """The user's own shell lines, run on the host."""

    start: str
    stop: str
    reload: str = ""


Control = Systemd | PgCtl | PgCtlCluster | OwnCommands


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One PostgreSQL server: how to reach it and how to treat it."""

    name: NodeName
    host: str
    port: int
    conninfo: tuple[tuple[str, str], ...] = ()
    """libpq keywords for our own login besides host and port, such as user, dbname, passfile."""
    password_command: str = ""
    """Program whose output is the password, run by the controller's shell. Never logged."""
    data_dir: str = ""
    """Empty: asked from the server (`SHOW data_directory`) while it answers, then remembered."""
    bin_dir: str = ""
    """Empty: found from the running postmaster."""
    config_file: str = ""
    """Where postgresql.conf lies outside of the data directory (Debian); empty: inside."""
    wal_dir: str = ""
    """Where the WAL of a new data directory goes; empty: inside. One that exists stays where it is."""
    control: Control = field(default_factory=PgCtl)
    promote_command: str = ""
    """The user's own shell line in place of pg_promote(); empty: none."""
    follow_command: str = ""
    """The user's own shell line in place of ALTER SYSTEM; empty: none."""
    shell: ShellSpec | None = None
    priority: int = 100
    location: str = ""
    tags: frozenset[Tag] = frozenset()
    upstream: NodeName | None = None
    """Where it is to stream from while it is a standby; None: from the primary, and left where a human
    pointed it."""

    def may_be_primary(self) -> bool:
        """Whether the user allows this node to be promoted."""
        return Tag.NEVER_PROMOTE not in self.tags and self.priority > 0

    def may_acknowledge(self) -> bool:
        """Whether the user allows commits to wait for this node (`quorum`)."""
        return Tag.NEVER_SYNC not in self.tags


@dataclass(frozen=True, slots=True)
class WitnessSpec:
    """A host with a shell and without PostgreSQL: one more place from which nodes are looked at."""

    name: str
    host: str
    shell: ShellSpec


class SpareSlots(StrEnum):
    """Whether each node that may be primary has a slot for every other node, also one that reads elsewhere.

    A new primary then holds back WAL from its first moment.
    """

    LIMITED = auto()
    """Where `max_slot_wal_keep_size` limits them: nobody moves them while no controller runs."""
    ALWAYS = auto()
    NEVER = auto()


@dataclass(frozen=True, slots=True)
class Replication:
    """How standbys log in at their upstream; libpq keywords, never a password.

    `passfile` and certificates are paths on the nodes. `slots`: one physical slot a standby.
    """

    conninfo: tuple[tuple[str, str], ...]
    slots: bool = True
    return_after: timedelta = timedelta(minutes=1)
    """An upstream that is configured must have been well for so long before a standby goes back to it."""
    spare_slots: SpareSlots = SpareSlots.LIMITED
    slot_warning_bytes: int = 4 * 2**30
    """A slot that holds more WAL than that is told of."""


@dataclass(frozen=True, slots=True)
class Timings:
    """Periods and deadlines. Defaults are those of `config.schema`."""

    probe_interval: timedelta
    suspect_after: timedelta
    """An unanswered probe of this age sets all vantage points to work. Not yet a verdict."""
    probe_timeout: timedelta
    connect_timeout: timedelta
    shell_timeout: timedelta
    unreachable_after: timedelta
    hung_after: timedelta
    restart_grace: timedelta


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` in `within`."""

    count: int
    within: timedelta


class LogicalSlots(StrEnum):
    """What logical slots that are to survive a failover (from PostgreSQL 17 on) mean for who is promoted."""

    IGNORE = auto()
    PREFER = auto()
    REQUIRE = auto()


@dataclass(frozen=True, slots=True)
class FailoverPolicy:
    """When pgvigil may fail over by itself, and to whom."""

    automatic: bool
    after_crash: AfterCrash
    max_lag_bytes: int
    max_per: Rate | None
    """Cool-down: more failovers than this wait for a human. None: no limit."""
    rescue_max_bytes: int
    rescue_timeout: timedelta
    auto_rejoin: bool
    restart_standbys: bool = False
    """Start a standby again that was found stopped (S2-08)."""
    across_locations: bool = False
    """Promote a standby at another location than the primary's without being told which."""
    logical_slots: LogicalSlots = LogicalSlots.PREFER


@dataclass(frozen=True, slots=True)
class Fencing:
    """How the old primary is kept from acknowledging (DESIGN §4)."""

    unreachable: WhenUnreachable
    command: str = ""
    """The user's fence command, run on the controller; exit code 0 = proved off. NODE and HOST are set."""
    command_timeout: timedelta = timedelta(seconds=30)
    guard: bool = False
    """Each node has a guard, which stops it as a primary that is cut off; the controller renews its lease."""
    guard_lease: timedelta = timedelta(seconds=10)
    guard_watchdog: str = ""
    """The watchdog device that the guards feed; empty: none."""


class CallbackAction(StrEnum):
    """What happened to a node, in Patroni's words."""

    ON_START = auto()
    ON_STOP = auto()
    ON_RESTART = auto()
    ON_RELOAD = auto()
    ON_ROLE_CHANGE = auto()


@dataclass(frozen=True, slots=True)
class Callback:
    """A script that is called with action, role and cluster, and gets JSON on standard input."""

    command: str
    on_node: bool = True
    """Run on the host of the node that it is about; False: on the controller's."""
    actions: frozenset[CallbackAction] = frozenset(CallbackAction)
    timeout: timedelta = timedelta(seconds=10)
    attempts: int = 1
    """How often it is tried before its failure is told."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """The user's shell lines on the controller: event JSON on standard input."""

    on_event: tuple[str, ...] = ()
    """Told of every event. Slow ones delay nothing."""
    before_failover: tuple[str, ...] = ()
    """Asked before an automatic failover; any that does not exit 0 in time holds it."""
    timeout: timedelta = timedelta(seconds=10)
    callbacks: tuple[Callback, ...] = ()


@dataclass(frozen=True, slots=True)
class Cloning:
    """How copies of a node are made."""

    max_rate_bytes: int = 0
    """Bytes a second; 0: as fast as it goes."""
    checkpoint: CheckpointPace = CheckpointPace.FAST
    command: str = ""
    """The user's own shell line, run on the node in place of pg_basebackup; empty: none."""
    command_timeout: timedelta = timedelta(hours=23)


@dataclass(frozen=True, slots=True)
class FollowedCluster:
    """Another cluster, which a standby cluster follows: all that its leader has to know of it."""

    name: str
    """As people call it: its name in the same file, or its hosts."""
    nodes: tuple[NodeSpec, ...]
    """Its nodes, by names that no node of ours can have; of one that others guard without a shell."""
    conninfo: tuple[tuple[str, str], ...] = ()
    """How our leader logs in there for replication: libpq keywords, never a password."""
    slot: str = ""
    """The physical slot there that our leader streams from; empty: it goes without."""

    @property
    def upstream(self) -> NodeName:
        """What stands for the whole of it where a node is named as an upstream: whoever is its primary."""
        return NodeName(f"cluster {self.name}")

    @property
    def host(self) -> str:
        """All hosts, as libpq takes them."""
        return ",".join(node.host for node in self.nodes)

    @property
    def port(self) -> str:
        """The port of each, as libpq takes them."""
        return ",".join(str(node.port) for node in self.nodes)

    def is_upstream(self, name: NodeName) -> bool:
        """Whether that name means it, or a node of it."""
        return name == self.upstream or any(node.name == name for node in self.nodes)


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """A cluster as the user wants it."""

    name: ClusterName
    nodes: tuple[NodeSpec, ...]
    protection: Protection
    replication: Replication
    timings: Timings
    failover: FailoverPolicy
    fencing: Fencing
    references: tuple[str, ...] = ()
    """Targets that prove our own network: `host`, asked by ping, or `host:port`, asked over TCP."""
    hooks: Hooks = field(default_factory=Hooks)
    sync_required: int = 1
    """With `quorum`: how many standbys must have a commit before it is acknowledged (k)."""
    degrade: bool = True
    """With `quorum`: wait for fewer when fewer are left; False: then commits wait."""
    keep_old_data: bool = False
    """Keep what a clone replaced for good; False: only until the new standby streams."""
    witnesses: tuple[WitnessSpec, ...] = ()
    cloning: Cloning = field(default_factory=Cloning)
    standby_of: FollowedCluster | None = None
    """It is to be a standby cluster of that one; whether it is one now, the record says."""
    endpoints: tuple[EndpointSpec, ...] = ()
    """What clients connect to, each with a name of its own."""

    @property
    def holds_clients(self) -> bool:
        """Whether clients can be made to wait while the primary is changed on purpose."""
        return any(isinstance(each, Pgbouncer) for each in self.endpoints)

    def node(self, name: NodeName) -> NodeSpec:
        """The node of that name, also one of the cluster that is followed. Raises KeyError."""
        for node in (*self.nodes, *(self.standby_of.nodes if self.standby_of else ())):
            if node.name == name:
                return node
        raise KeyError(name)

    def others(self, name: NodeName) -> tuple[NodeSpec, ...]:
        """All nodes but that one."""
        return tuple(node for node in self.nodes if node.name != name)
