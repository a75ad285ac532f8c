"""pgvigil.yaml as users write it (DESIGN §6): strict, every key described, turned into `model.spec`.

The description of a field is the only place where a setting is explained; the reference page and the JSON
Schema are made from it. What is true between keys stands in `config.relations`.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StrictBool, StrictInt

from pgvigil.config.access import (
    ControlValue,
    Port,
    PostgresSection,
    ReplicationSection,
    ShellSection,
    ShellValue,
)
from pgvigil.config.cloning import CloneSection
from pgvigil.config.endpoint import EndpointsValue
from pgvigil.config.http import HttpSection
from pgvigil.config.notify import NotifySection
from pgvigil.config.policy import FailoverSection, FencingSection, HooksSection, ProbeSection
from pgvigil.config.section import Section
from pgvigil.config.site import StandbyOfValue
from pgvigil.config.store import StoreSection
from pgvigil.config.units import Host, Kind, Name, PathText, Text
from pgvigil.model.shell import KEPT
from pgvigil.model.spec import ClusterSpec, NodeSpec, PgCtl, Protection, Tag, WitnessSpec
from pgvigil.model.units import ClusterName, NodeName


class NodeSection(Section):
    """One PostgreSQL server. In short: only its host."""

    host: Host = Field(description="Name or address of its host.")
    port: Port | None = Field(default=None, description="Short for `postgres: {port: …}`.")
    control: ControlValue = Field(default=None, description="Short for `postgres: {control: …}`.")
    priority: Annotated[StrictInt, Field(ge=0, le=1_000_000), Kind("number")] = Field(
        default=100,
        description="Of two standbys that are equally far the one with the higher number is promoted. "
        "0: never this one.",
    )
    location: Text | None = Field(
        default=None,
        description="Where it stands, such as a data centre. Of two equal standbys the nearer is promoted; "
        "one at another location only as `failover.across_locations` allows.",
    )
    upstream: Text | None = Field(
        default=None,
        description="Node from which it is to stream while it is a standby, for cascading. While that one is "
        "not well it streams from the primary. Without it: from the primary, or where `pgvigil follow` "
        "pointed it.",
    )
    tags: frozenset[Tag] = Field(default=frozenset(), description="Wishes for this node.")
    postgres: PostgresSection = Field(
        default=PostgresSection(), description="What differs from the cluster's `postgres`."
    )
    shell: ShellValue = Field(default=None, description="What differs from the cluster's `shell`.")

    def server(self, cluster: "SharedSection") -> PostgresSection:
        """Its login and places, with those of the cluster below."""
        short = {"port": self.port, "control": self.control}
        given = {name: value for name, value in short.items() if value is not None}
        return self.postgres.over(cluster.postgres).model_copy(update=given)

    def way_in(self, cluster: "SharedSection") -> ShellValue:
        """Its shell, with that of the cluster below."""
        if self.shell is None or cluster.shell is None:
            return self.shell or cluster.shell
        return self.shell.over(cluster.shell)

    def spec(self, name: str, cluster: "SharedSection", folder: Path) -> NodeSpec:
        """The same, as the core knows it."""
        postgres, shell = self.server(cluster), self.way_in(cluster)
        return NodeSpec(
            name=NodeName(name),
            host=self.host,
            port=postgres.port,
            conninfo=postgres.conninfo(folder),
            password_command=postgres.password_command or "",
            data_dir=postgres.data_dir or "",
            bin_dir=postgres.bin_dir or "",
            config_file=postgres.config_file or "",
            wal_dir=postgres.wal_dir or "",
            control=postgres.control.spec() if postgres.control else PgCtl(),
            promote_command=postgres.promote_command or "",
            follow_command=postgres.follow_command or "",
            shell=shell.spec(name, self.host, folder) if shell else None,
            priority=self.priority,
            location=self.location or "",
            tags=self.tags,
            upstream=NodeName(self.upstream) if self.upstream else None,
        )


class WitnessSection(Section):
    """A host without PostgreSQL that helps to tell a dead primary from a network split. In short: its host.

    It needs a shell and one of bash, python3, perl, nc, pg_isready; nothing is installed there.
    """

    host: Host = Field(description="Name or address of that host.")
    shell: ShellValue = Field(
        default=None, description="What differs from the cluster's `shell`. Any account will do."
    )

    def way_in(self, cluster: "SharedSection") -> ShellSection:
        """Its shell, with that of the cluster below."""
        if self.shell is None or cluster.shell is None:
            return self.shell or cluster.shell or ShellSection()
        return self.shell.over(cluster.shell)

    def spec(self, name: str, cluster: "SharedSection", folder: Path) -> WitnessSpec:
        """The same, as the core knows it."""
        shell = self.way_in(cluster).spec(name, self.host, folder)
        assert shell is not None  # config.relations has refused it
        return WitnessSpec(name, self.host, shell)


def _node(value: Any) -> Any:  # what YAML had there
    """The short form of a node or witness: only its host."""
    return {"host": value} if isinstance(value, str) else value


NodeValue = Annotated[
    NodeSection,
    BeforeValidator(_node, json_schema_input_type=str | NodeSection),
    Kind("host or mapping, see below"),
]
WitnessValue = Annotated[
    WitnessSection,
    BeforeValidator(_node, json_schema_input_type=str | WitnessSection),
    Kind("host or mapping, see below"),
]
Targets = Annotated[tuple[Text, ...], Kind("list of `host` or `host:port`")]


class SharedSection(Section):
    """What `defaults` may set for all clusters, and each cluster for itself."""

    postgres: PostgresSection = Field(
        default=PostgresSection(), description="How pgvigil logs in, and where servers keep their things."
    )
    replication: ReplicationSection = Field(
        default=ReplicationSection(), description="How standbys log in at the node they stream from."
    )
    shell: ShellValue = Field(
        default=None, description="A way to run commands on the nodes' hosts. Without it there is none."
    )
    protection: Protection = Field(
        default=Protection.ASYNC,
        description="What is promised of acknowledged commits. `async`: nothing; your own "
        "synchronous_standby_names is left as it is. `quorum`: none is lost and no two nodes acknowledge; "
        "pgvigil sets synchronous_standby_names.",
    )
    sync_required: Annotated[StrictInt, Field(ge=1, le=100), Kind("number")] = Field(
        default=1,
        description="With `protection: quorum`: so many standbys must have a commit before it is "
        "acknowledged.",
    )
    degrade: StrictBool = Field(
        default=True,
        description="With `protection: quorum`: wait for fewer standbys when fewer are left, if need be for "
        "none, and for more when they are back. `false`: commits wait instead.",
    )
    probe: ProbeSection = Field(default=ProbeSection(), description="How often and how patiently to look.")
    failover: FailoverSection = Field(
        default=FailoverSection(), description="When a standby is promoted without anybody asking, and which."
    )
    fencing: FencingSection = Field(
        default=FencingSection(), description="How an old primary is kept from acknowledging."
    )
    reference_targets: Targets = Field(
        default=(),
        description="What must answer for the controller's own network to count as fine, such as a gateway: "
        "`host` is asked by ping, `host:port` over TCP.",
    )
    witnesses: dict[Name, WitnessValue] = Field(
        default={},
        description="More places from which to look at the primary: hosts with a shell and without "
        "PostgreSQL, by name. A cluster's own replace those of `defaults`.",
    )
    hooks: HooksSection = Field(
        default=HooksSection(), description="Programs of yours that are told of events."
    )
    notify: NotifySection = Field(default=NotifySection(), description="Messages to people.")
    endpoints: EndpointsValue = Field(
        default=(),
        description="What clients connect to: it is moved to a new primary as soon as that is verified, and "
        "never delays it.",
    )
    clone: CloneSection = Field(default=CloneSection(), description="How copies of nodes are made.")
    keep_old_data: StrictBool = Field(
        default=False,
        description="Keep for good the data directory that a clone replaced. `false`: only until the new "
        "standby streams.",
    )


class ClusterSection(SharedSection):
    """One primary and its standbys."""

    nodes: dict[Name, NodeValue] = Field(min_length=1, description="The cluster's servers, by name.")
    standby_of: StandbyOfValue = Field(
        default=None,
        description="Another cluster, which this one follows as a standby cluster: it takes no writes until "
        "`pgvigil promote-site`. A cluster that has a primary of its own is not made one by this key alone.",
    )

    def spec(self, name: str, folder: Path) -> ClusterSpec:
        """The same, as the core knows it, but for `standby_of`. Relative paths begin at `folder`."""
        return ClusterSpec(
            name=ClusterName(name),
            nodes=tuple(node.spec(each, self, folder) for each, node in self.nodes.items()),
            protection=self.protection,
            replication=self.replication.spec(self.postgres.user),
            timings=self.failover.timings(self.probe),
            failover=self.failover.spec(),
            fencing=self.fencing.spec(),
            references=self.reference_targets,
            hooks=self.hooks.spec(),
            sync_required=self.sync_required,
            degrade=self.degrade,
            keep_old_data=self.keep_old_data,
            cloning=self.clone.spec(),
            endpoints=tuple(each.spec(name, self.nodes, folder) for each in self.endpoints),
            witnesses=tuple(each.spec(name, self, folder) for name, each in self.witnesses.items()),
        )


class LogFormat(StrEnum):
    """How a line of the log looks."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """What is left out of the log: everything below."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogSection(Section):
    """The controller's log, on standard error."""

    format: LogFormat = Field(default=LogFormat.TEXT, description="For people, or one JSON object a line.")
    level: LogLevel = Field(default=LogLevel.INFO, description="What is less than this is left out.")


class ShellsSection(Section):
    """Shells of all clusters together, as one controller holds them open."""

    kept: Annotated[StrictInt, Field(ge=0, le=100_000), Kind("number")] = Field(
        default=KEPT,
        description="So many hosts' shells (SSH connections) stay open. Those of the other hosts are opened "
        "when they are needed, and now and then for a look; a host with a guard keeps its own in any case.",
    )


class FileSection(Section):
    """The keys at the top. Only `clusters` must be there."""

    clusters: dict[Name, ClusterSection] = Field(min_length=1, description="What to watch, by name.")
    defaults: SharedSection = Field(
        default=SharedSection(), description="Anything of a cluster but its nodes, for all clusters."
    )
    state_dir: PathText | None = Field(
        default=None,
        description="Where pgvigil keeps its record. Without it: $STATE_DIRECTORY (systemd), else "
        "$XDG_STATE_HOME/pgvigil, else ~/.local/state/pgvigil.",
    )
    socket: PathText | None = Field(
        default=None,
        description="Unix socket on which the controller takes commands. Without it: STATE_DIR/pgvigil.sock.",
    )
    reference_targets: Targets = Field(
        default=(), description="Short for `defaults: {reference_targets: …}`."
    )
    hooks: HooksSection = Field(default=HooksSection(), description="Short for `defaults: {hooks: …}`.")
    notify: NotifySection = Field(default=NotifySection(), description="Short for `defaults: {notify: …}`.")
    http: HttpSection = Field(default=HttpSection(), description="The HTTP face of the controller.")
    store: StoreSection = Field(
        default=StoreSection(), description="Where state is kept, and whether several controllers share it."
    )
    shells: ShellsSection = Field(
        default=ShellsSection(), description="How many shells are kept open: for large fleets."
    )
    log: LogSection = Field(default=LogSection(), description="The controller's log.")

    def merged(self) -> dict[str, ClusterSection]:
        """Every cluster with the defaults laid below it."""
        short = {name: getattr(self, name) for name in ("reference_targets", "hooks", "notify")}
        given = {name: value for name, value in short.items() if name in self.model_fields_set}
        below = self.defaults.over(SharedSection(**given))
        return {name: cluster.over(_as_cluster(below)) for name, cluster in self.clusters.items()}


def _as_cluster(defaults: SharedSection) -> ClusterSection:
    """Defaults in the shape of a cluster without nodes, to be laid below one."""
    values = {name: getattr(defaults, name) for name in defaults.model_fields_set}
    return ClusterSection.model_construct(_fields_set=set(values), nodes={}, **values)
