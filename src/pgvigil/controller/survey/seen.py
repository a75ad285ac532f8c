"""What one look at a cluster brought back, for `check` and `discover`: values, no I/O.

It asks more, and more rarely, than the looks of `model.sighting`, which are made several times a second.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pgvigil.model.spec import ClusterSpec, NodeSpec
from pgvigil.model.units import Lsn, NodeName, SystemId, Timeline
from pgvigil.model.vantage import WitnessLook
from pgvigil.ports.contract import NoReply, Rejected, ShellLost, ShellRefused
from pgvigil.ports.guard import Pulse

_KEYWORD = re.compile(r"(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)*)", re.DOTALL)
_SECRET = re.compile(r"\bpassword\s*=|://[^/@\s]*:[^/@\s]+@", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Setting:
    """A row of pg_settings: the value in its base unit."""

    value: str
    unit: str
    pending: bool
    """Changed in a file, but only a restart makes it count."""
    source: str = ""
    """Where the value comes from, in PostgreSQL's words, such as `command line`."""


@dataclass(frozen=True, slots=True)
class SenderSeen:
    """A row of pg_stat_replication."""

    pid: int
    user: str
    application_name: str
    address: str
    host: str
    slot: str


@dataclass(frozen=True, slots=True)
class ReceiverSeen:
    """The row of pg_stat_wal_receiver."""

    status: str
    host: str
    port: int
    slot: str


@dataclass(frozen=True, slots=True)
class SlotSeen:
    """A row of pg_replication_slots."""

    name: str
    physical: bool
    active: bool
    held_bytes: int
    wal_status: str
    failover: bool
    synced: bool = False
    """On a standby: a complete copy of the primary's logical slot (from 17 on)."""


@dataclass(frozen=True, slots=True)
class SqlSeen:
    """What a server said of itself."""

    version: int
    version_text: str
    user: str
    superuser: bool
    system_id: SystemId
    recovering: bool
    timeline: Timeline
    position: Lsn
    """Of a primary what it wrote, of a standby the furthest it has."""
    started: str
    settings: Mapping[str, Setting]
    values: Mapping[str, str] = field(default_factory=dict)
    """Every parameter whose value is the server's own: for comparing, never for telling."""
    receiver: ReceiverSeen | None = None
    senders: tuple[SenderSeen, ...] = ()
    slots: tuple[SlotSeen, ...] = ()
    rights: Mapping[str, bool] = field(default_factory=dict)
    """What our login may do; a name that is missing does not exist in this version."""
    rewind_rights: Mapping[str, bool] | None = None
    """Which functions pg_rewind's login may call; None: there is no such role."""
    lowered: tuple[tuple[str, str], ...] = ()
    """Roles and databases with a synchronous_commit of their own: whose, and which."""
    others: tuple[str, ...] = ()
    """Other programs for high availability that are connected."""
    unread: tuple[str, ...] = ()
    """What could not be asked, with the server's complaint."""

    @property
    def major(self) -> int:
        """The major version, such as 17."""
        return self.version // 10000

    def text(self, name: str) -> str:
        """A setting's value; empty: not set, not in this version, or not ours to see."""
        found = self.settings.get(name)
        return found.value if found else ""

    def number(self, name: str) -> int | None:
        """A numeric setting in its base unit; None: not in this version, or not ours to see."""
        text = self.text(name)
        return int(text) if re.fullmatch(r"-?\d+", text) else None

    def is_off(self, name: str) -> bool:
        """Whether a boolean setting is known to be off."""
        return self.text(name) == "off"


@dataclass(frozen=True, slots=True)
class FileSeen:
    """A file that a login names, where that login is used."""

    keyword: str
    """libpq's, such as `sslkey`."""
    path: str
    sslmode: str
    """Of the login; empty: libpq's default."""
    mode: int | None = None
    """Its permissions. None: it is not there, or nobody lets us look into its directory."""
    regular: bool = True
    of_root: bool = False
    readable: bool = False


@dataclass(frozen=True, slots=True)
class HostSeen:
    """What a host's shell said. Fields are empty where there was nothing to ask about."""

    user: str
    is_root: bool = False
    owner: str = ""
    """OS user that the data directory belongs to."""
    is_data_dir: bool = False
    same_data_dir: bool = True
    """It is the directory that the running server uses."""
    running: bool = False
    """A live postmaster works in the data directory."""
    system_id: str = ""
    bin_dir: str = ""
    bin_dir_found: bool = True
    missing: tuple[str, ...] = ()
    """Programs that are not in the program directory."""
    version_text: str = ""
    free_bytes: int | None = None
    clock_off_s: float | None = None
    """How far its clock is ahead of the controller's; less than the time the question took counts as 0."""
    machine: str = ""
    """Same text: same running kernel, that is the same host."""
    unit: str = ""
    """systemd unit that the postmaster runs under."""
    unit_load: str = ""
    """systemd's LoadState of the configured unit."""
    unit_restart: str = ""
    """systemd's Restart of the configured unit, or of the one the postmaster runs under."""
    may_control: bool | None = None
    """Whether sudo lets us stop and start the configured unit; None: not asked."""
    has_psql: bool = False
    passfile_mode: str = ""
    """Of the replication passfile; "missing": there is none."""
    tls_files: tuple[FileSeen, ...] = ()
    """Those that the replication login names."""


@dataclass(frozen=True, slots=True)
class Passage:
    """What came of trying a node's port from another node's host."""

    source: NodeName
    target: NodeName
    reached: bool | None
    """pg_isready says that somebody listens; None: it could not be tried."""
    replication: str | None = None
    """Why the replication login failed there; empty: it works; None: not tried."""
    ordinary: str | None = None
    """The same for an ordinary login, which pg_rewind needs."""


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """All that was learnt about one node."""

    spec: NodeSpec
    sql: SqlSeen | NoReply | Rejected
    host: HostSeen | ShellLost | ShellRefused | None
    """None: no shell is configured."""
    guard: Pulse | None = None
    """What its guard says; None: guards are not wanted, or its shell does not work."""

    @property
    def name(self) -> NodeName:
        """As configured."""
        return self.spec.name

    @property
    def answer(self) -> SqlSeen | None:
        """What the server said, if it let us in."""
        return self.sql if isinstance(self.sql, SqlSeen) else None

    @property
    def host_answer(self) -> HostSeen | None:
        """What the host said, if its shell works."""
        return self.host if isinstance(self.host, HostSeen) else None

    @property
    def is_primary(self) -> bool:
        """It answers, out of recovery."""
        return self.answer is not None and not self.answer.recovering

    @property
    def is_standby(self) -> bool:
        """It answers, in recovery."""
        return self.answer is not None and self.answer.recovering


@dataclass(frozen=True, slots=True)
class ClusterSeen:
    """One look at a cluster, complete."""

    spec: ClusterSpec
    nodes: tuple[NodeSeen, ...]
    passages: tuple[Passage, ...] = ()
    references: Mapping[str, bool] = field(default_factory=dict)
    """Reference target → it answered."""
    addresses: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Host name → the addresses it stands for, as far as they could be found here."""
    witnesses: Mapping[str, WitnessLook] = field(default_factory=dict)
    """Witness host → what it found when it tried to reach every node."""
    passfile_modes: Mapping[str, int | None] = field(default_factory=dict)
    """Our own password files → their mode; None: missing or not readable for us."""
    tls_files: tuple[FileSeen, ...] = ()
    """Those that our own logins name."""

    @property
    def primary(self) -> NodeSeen | None:
        """The primary, if exactly one node answers as one."""
        found = [node for node in self.nodes if node.is_primary]
        return found[0] if len(found) == 1 else None

    @property
    def standbys(self) -> tuple[NodeSeen, ...]:
        """All nodes that answer in recovery."""
        return tuple(node for node in self.nodes if node.is_standby)

    def answers(self) -> Iterator[tuple[NodeSeen, SqlSeen]]:
        """The nodes that let us in, with what they said."""
        for node in self.nodes:
            if node.answer:
                yield node, node.answer

    def upstream(self, node: NodeSeen) -> NodeSeen | None:
        """The configured node that a standby streams from, found by name, else by address."""
        receiver = node.answer.receiver if node.answer else None
        if receiver is None:
            return None
        there = self.addresses.get(receiver.host, frozenset({receiver.host}))
        for other in self.nodes:
            own = dict(other.spec.conninfo).get("hostaddr", other.spec.host)
            names = {other.spec.host, own, *self.addresses.get(other.spec.host, ())}
            if receiver.port == other.spec.port and (receiver.host in names or there & names):
                return other
        return None


def conninfo_keywords(text: str) -> dict[str, str]:
    """The keywords of a connection string as `primary_conninfo` holds it; a URI has none for us."""
    if "://" in text:
        return {}
    found = {}
    for name, value in _KEYWORD.findall(text):
        bare = value[1:-1] if value.startswith("'") else value
        found[name] = re.sub(r"\\(.)", r"\1", bare)
    return found


def holds_password(conninfo: str) -> bool:
    """Whether a connection string has a password in it."""
    return bool(_SECRET.search(conninfo))
