"""What clients connect to, and where it is to lead: endpoints as the user wants them, and their aim."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum, auto

from pgvigil.model.shell import ShellSpec
from pgvigil.model.units import Generation, NodeName


@dataclass(frozen=True, slots=True)
class Haproxy:
    """A HAProxy, steered through its Runtime API."""

    name: str
    address: str
    """Path of its `stats socket`, or `host:port` of one over TCP."""
    backend: str
    """The proxy whose servers, named as the nodes, take clients that write."""


@dataclass(frozen=True, slots=True)
class Pgbouncer:
    """A PgBouncer, steered through its console and a file that it includes."""

    name: str
    conninfo: tuple[tuple[str, str], ...]
    """libpq's keywords of the console: host, port, user and the like; never a password."""
    databases: tuple[tuple[str, str], ...]
    """Its databases that are to lead to the primary, each with what else stands in its line."""
    file: str
    """Path, on its host, of the included file; all of it is ours."""
    shell: ShellSpec
    pause_timeout: timedelta
    """How long transactions may run on when clients are to be held; then the switchover is given up."""


class VipRole(StrEnum):
    """Whose host has an address."""

    PRIMARY = auto()
    STANDBY = auto()


@dataclass(frozen=True, slots=True)
class Vip:
    """An address that is on one node's host at a time."""

    name: str
    address: str
    """With its prefix length, such as 10.0.0.100/24."""
    interfaces: tuple[tuple[NodeName, str], ...]
    """Of each node: where it is added."""
    role: VipRole = VipRole.PRIMARY
    sudo: bool = False
    """`sudo -n` is put in front of what changes anything."""

    @property
    def bare(self) -> str:
        """The address alone."""
        return self.address.partition("/")[0]

    def interface_of(self, node: NodeName) -> str:
        """Where that node's host has it. Raises KeyError."""
        return dict(self.interfaces)[node]


EndpointSpec = Haproxy | Pgbouncer | Vip


@dataclass(frozen=True, slots=True)
class Aim:
    """Where clients belong at one moment. The newest aim counts, and each says everything."""

    generation: Generation
    primary: NodeName | None
    """Who takes writes, verified; None: nobody, and clients that write are kept off all nodes."""
    standbys: tuple[NodeName, ...] = ()
    """Who is fit for reading, in the order of the configuration."""
    held: bool = False
    """The primary is being changed: whoever has been made to wait goes on waiting."""

    def concerns_writes(self, before: "Aim | None") -> bool:
        """Whether it says more than another choice of standbys."""
        if before is None:
            return True
        return (self.generation, self.primary, self.held) != (before.generation, before.primary, before.held)
