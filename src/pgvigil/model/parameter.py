"""PostgreSQL's parameters as they are on each node, and the versions of what they ought to be."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from pgvigil.model.units import ClusterName, NodeName

LIMITED: Final = (
    "max_connections",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_wal_senders",
    "max_worker_processes",
)
"""A standby may not have less than its primary (manual: 26.4.3 Administrator's Overview)."""

OF_A_NODE: Final = frozenset(
    {
        "cluster_name", "config_file", "data_directory", "data_directory_mode", "event_source",
        "external_pid_file", "hba_file", "ident_file", "in_hot_standby", "krb_server_keyfile",
        "listen_addresses", "log_directory", "log_filename", "port", "primary_conninfo", "primary_slot_name",
        "promote_trigger_file", "recovery_min_apply_delay", "recovery_target_timeline", "ssl_ca_file",
        "ssl_cert_file", "ssl_crl_dir", "ssl_crl_file", "ssl_key_file", "synchronized_standby_slots",
        "synchronous_standby_names", "syslog_ident", "transaction_read_only", "unix_socket_directories",
    }
)  # fmt: skip
"""What nodes of one cluster may well have each for itself."""

SECRETIVE: Final = frozenset({"primary_conninfo", "ssl_passphrase_command"})
"""May hold a password: never read, shown or kept."""

RUN_PROGRAMS: Final = frozenset(
    {
        "archive_cleanup_command", "archive_command", "archive_library", "dynamic_library_path",
        "jit_provider", "local_preload_libraries", "oauth_validator_libraries", "recovery_end_command",
        "restore_command", "session_preload_libraries", "shared_preload_libraries", "ssl_passphrase_command",
    }
)  # fmt: skip
"""Have the server run or load something: whoever sets them acts as its account."""

OF_THE_SERVER: Final = frozenset({"default", "configuration file", "command line", "environment variable"})
"""Sources of a value that holds for the server and not for one session, role or database."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A row of pg_settings."""

    name: str
    value: str
    """In its base unit, as a fresh session has it."""
    shown: str
    """With its unit."""
    context: str
    """When a change counts: `postmaster` (restart), `sighup` (reload), `user` and others."""
    source: str
    pending: bool
    """Changed in a file, but only a restart makes it count."""
    default: str
    """What it is where nothing sets it."""

    @property
    def of_the_server(self) -> bool:
        """Whether the value is the server's own, and not only this session's."""
        return self.source in OF_THE_SERVER


@dataclass(frozen=True, slots=True)
class NodeParameters:
    """All parameters of one node at one moment."""

    node: NodeName
    primary: bool
    started: str
    """When its postmaster started, as it says: another text after every restart."""
    version: int
    """The running server's `server_version_num`: the one of its programs may be newer by now."""
    parameters: Mapping[str, Parameter]
    written: Mapping[str, str]
    """What `postgresql.auto.conf` holds: ALTER SYSTEM's own file."""
    files: Mapping[str, str] = field(default_factory=dict)
    """What all other configuration files say, as far as our login may read that."""
    mistakes: tuple[str, ...] = ()
    """Lines of configuration files that the server cannot accept, in its words."""
    replays_late: bool = False
    """A standby whose replay is paused, or later on purpose: what WAL tells of its primary it learns late."""

    @property
    def pending(self) -> frozenset[str]:
        """What waits for a restart."""
        return frozenset(name for name, each in self.parameters.items() if each.pending)


@dataclass(frozen=True, slots=True)
class ParameterChange:
    """One parameter's change. None: no line in `postgresql.auto.conf`, so the other files decide."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class ParameterVersion:
    """What the cluster's parameters ought to be since `at`, as far as pgvigil was asked to set them."""

    cluster: ClusterName
    number: int
    at: datetime
    who: str
    comment: str
    settings: Mapping[str, str | None]
    """All that was ever set through pgvigil, with its value. None: set once, and reset."""
    changes: tuple[ParameterChange, ...]


@dataclass(frozen=True, slots=True)
class TriedLine:
    """A line of ALTER SYSTEM on one node: what it was and what it became. None: no line."""

    node: NodeName
    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Trial:
    """Lines that servers are asked to take, without a reload, before a version of them is kept."""

    cluster: ClusterName
    who: str
    lines: tuple[TriedLine, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """A parameter that ought to be the same on all nodes and is not: node → value."""

    name: str
    values: Mapping[NodeName, str]


def differences(nodes: Mapping[NodeName, NodeParameters]) -> tuple[Difference, ...]:
    """What drifted apart: values of the server itself that differ between nodes and ought not to."""
    names = sorted({name for node in nodes.values() for name in node.parameters} - OF_A_NODE)
    found = []
    for name in names:
        known = {n: each.parameters[name] for n, each in nodes.items() if name in each.parameters}
        if all(each.of_the_server for each in known.values()) and len({e.value for e in known.values()}) > 1:
            found.append(Difference(name, {node: each.shown for node, each in known.items()}))
    return tuple(found)
