"""What an operator may ask of a cluster, as values."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum, auto
from typing import Final, get_args

from pgvigil.errors import PgvigilError
from pgvigil.model.step import Copying, RebuildMethod
from pgvigil.model.units import NodeName


@dataclass(frozen=True, slots=True)
class Switchover:
    """Planned change of primary. Without `to` the best standby is chosen."""

    to: NodeName | None = None


@dataclass(frozen=True, slots=True)
class Failover:
    """Change of primary although the primary may be lost. `force` accepts loss of data."""

    to: NodeName | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class Rejoin:
    """Make a node a standby of the present primary. `force`: even if it looks healthy."""

    node: NodeName
    method: RebuildMethod = RebuildMethod.AUTO
    force: bool = False
    copying: Copying = field(default_factory=Copying)


@dataclass(frozen=True, slots=True)
class FollowUpstream:
    """`follow`: point a running standby at another upstream."""

    node: NodeName
    upstream: NodeName


@dataclass(frozen=True, slots=True)
class PromoteNode:
    """`promote`: refused unless it is safe."""

    node: NodeName


@dataclass(frozen=True, slots=True)
class Pause:
    """No automatic actions until `until`, or until resumed."""

    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Resume:
    """Automatic actions again."""


@dataclass(frozen=True, slots=True)
class Maintenance:
    """A standby is taken out of what is automatic (`on`), or belongs to it again."""

    node: NodeName
    on: bool


@dataclass(frozen=True, slots=True)
class ShowParameters:
    """`config show`: these parameters; none named: those that were set, that wait, or that differ."""

    names: tuple[str, ...] = ()
    every: bool = False


@dataclass(frozen=True, slots=True)
class ReloadServers:
    """`config reload`: have these servers read their configuration files again; none named: all."""

    nodes: tuple[NodeName, ...] = ()


@dataclass(frozen=True, slots=True)
class RestartPrimary:
    """Restart the primary where it is, without a change of primary."""


class Role(StrEnum):
    """What a node is at this moment."""

    PRIMARY = auto()
    STANDBY = auto()


@dataclass(frozen=True, slots=True)
class RestartServers:
    """`restart`: one after another. All conditions count together; without any it is every node.

    The primary is restarted by a switchover, or `in_place`.
    """

    nodes: tuple[NodeName, ...] = ()
    pending: bool = False
    """Only those on which a parameter waits for a restart."""
    role: Role | None = None
    in_place: bool = False
    below_version: int | None = None
    """Only those whose running server is older than this `server_version_num`."""


@dataclass(frozen=True, slots=True)
class SetParameters:
    """`config set`: on all nodes. None: RESET. The version that is kept says who wanted it."""

    changes: Mapping[str, str | None]
    who: str
    comment: str = ""
    restart: bool = False
    """Restart at once whoever has to be restarted for it."""
    in_place: bool = False


@dataclass(frozen=True, slots=True)
class RollBackParameters:
    """`config rollback`: what was wanted in that version; without a number, in the one before the last."""

    who: str
    version: int | None = None
    restart: bool = False
    in_place: bool = False


@dataclass(frozen=True, slots=True)
class ShowVersions:
    """`config history`: the newest versions of the parameters."""

    limit: int = 20


@dataclass(frozen=True, slots=True)
class Drill:
    """`drill`: switch over, and back again, and measure. Without `to` the best standby is chosen."""

    to: NodeName | None = None


@dataclass(frozen=True, slots=True)
class PromoteSite:
    """`promote-site`: end a standby cluster. `force`: although the other cluster may live."""

    to: NodeName | None = None
    force: bool = False
    handed_over: int | None = None
    """The WAL position of the other cluster's last checkpoint: it was made a standby cluster in good order.

    That its nodes answer hinders nothing, and who has not received that checkpoint is not promoted.
    """


@dataclass(frozen=True, slots=True)
class DemoteSite:
    """`demote-site`: make the cluster a standby cluster of the one that `standby_of` names."""


Schedulable = Switchover | RestartServers | Drill
"""What may be asked for a later time."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Do it then, if the cluster is healthy; more than a minute late it is not done."""

    at: datetime
    command: Schedulable
    every_s: int | None = None
    """And again so many seconds after each of its times, until that is cancelled."""


@dataclass(frozen=True, slots=True)
class CancelScheduled:
    """`schedule cancel`: what stands under that number is not done."""

    number: int


Directive = (
    Switchover
    | Failover
    | Rejoin
    | FollowUpstream
    | PromoteNode
    | Pause
    | Resume
    | Maintenance
    | PromoteSite
    | DemoteSite
    | RestartPrimary
    | Schedule
    | CancelScheduled
)
"""Decided about by the loop, with the record in hand."""


@dataclass(frozen=True, slots=True)
class ListRecordings:
    """`recording list`: what is kept of what was seen and decided."""


@dataclass(frozen=True, slots=True)
class FetchRecording:
    """`explain`, `recording export`: an event, and the recording of its moment."""

    event: int


Errand = (
    ShowParameters
    | ShowVersions
    | SetParameters
    | RollBackParameters
    | ReloadServers
    | RestartServers
    | ListRecordings
    | FetchRecording
    | Drill
)
"""Goes over several nodes, one after another, beside the loop."""

Command = Directive | Errand


COMMANDS: Final[Mapping[str, type[Command]]] = {
    "switchover": Switchover,
    "failover": Failover,
    "rejoin": Rejoin,
    "follow": FollowUpstream,
    "promote": PromoteNode,
    "pause": Pause,
    "resume": Resume,
    "show_parameters": ShowParameters,
    "reload_servers": ReloadServers,
    "maintenance": Maintenance,
    "show_versions": ShowVersions,
    "set_parameters": SetParameters,
    "roll_back_parameters": RollBackParameters,
    "restart_servers": RestartServers,
    "restart_primary": RestartPrimary,
    "list_recordings": ListRecordings,
    "fetch_recording": FetchRecording,
    "drill": Drill,
    "schedule": Schedule,
    "cancel_scheduled": CancelScheduled,
    "promote_site": PromoteSite,
    "demote_site": DemoteSite,
}
"""Name → command, on the wire, over HTTP (with dashes) and in events."""
assert set(COMMANDS.values()) == set(get_args(Command)), "every command has its tag"

WORDS_MAX: Final = 200
"""Characters of a command that an event keeps."""

Reading = ShowParameters | ShowVersions | ListRecordings | FetchRecording
"""Changes nothing and is no news."""


def name_of(command: "Command") -> str:
    """A command's name with dashes, as in the path of HTTP."""
    return next(tag for tag, kind in COMMANDS.items() if isinstance(command, kind)).replace("_", "-")


def words_of(command: "Command") -> str:
    """A command with what it is about and how: what may be kept, for values of parameters can be secrets."""
    return " ".join([name_of(command), *_about(command)])[:WORDS_MAX]


def _about(command: "Command") -> Iterator[str]:
    for each in fields(command):
        value = getattr(command, each.name)
        if value == each.default or each.name in ("who", "comment", "copying"):
            continue
        match value:
            case int() if each.name == "handed_over":
                yield "handed-over"
            case bool():
                yield each.name.replace("_", "-") if value else "off"
            case Mapping() | tuple():
                yield from map(str, value)
            case datetime():
                yield value.isoformat()
            case Switchover() | RestartServers() | Drill():
                yield words_of(value)
            case _:
                yield str(value)


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a command is not carried out."""

    error: PgvigilError
