"""What the deciding core was given and what it decided, moment by moment around an event. Pure.

A recording has no secrets: commands of the user's, logins and what a shell complained of are left out, and
of connection strings only what the core reads. It is deciding on what is left that is compared in a replay.
"""

import json
import re
import zlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, assert_never

from pgvigil.errors import UsageError
from pgvigil.model.command import Directive, Refused
from pgvigil.model.endpoint import EndpointSpec, Haproxy, Pgbouncer, Vip
from pgvigil.model.record import ClusterRecord
from pgvigil.model.shell import CommandShell, LocalShell, ShellSpec, SshShell
from pgvigil.model.sighting import Answer, ClusterView, HostSilent, NodeView, Standby
from pgvigil.model.spec import ClusterSpec, FollowedCluster, Hooks, NodeSpec, OwnCommands, PgCtl
from pgvigil.model.step import Act, Plan, Step
from pgvigil.model.tagged import Memo, from_plain, to_plain, to_text
from pgvigil.model.units import ClusterName

FORMAT: Final = 1
LARGEST: Final = 256 * 2**20
"""Bytes that a recording may have when it is unpacked."""
HIDDEN: Final = "(not recorded)"
SETTINGS: Final = frozenset(
    {"recovery_min_apply_delay", "max_slot_wal_keep_size", "max_replication_slots", "wal_segment_size"}
)
"""Those of a server's settings that the core reads."""
READ: Final = ("host", "port", "application_name")
"""Keywords of `primary_conninfo` that the core reads."""

LAST_TICK: Final = timedelta(seconds=10)
"""What the last tick of a recording led to may be told this much later."""

Decided = Plan | Act | Step | Refused
Hidden = dict[int, tuple[Answer, Answer]]
"""Answers by their identity, and what may be recorded of them."""


@dataclass(frozen=True, slots=True)
class Tick:
    """One deciding, as it happens."""

    wall: datetime
    record: ClusterRecord
    view: ClusterView
    decided: Decided
    command: Directive | None = None
    """The operator's command that was decided about; None: the cluster itself."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A recording that has not been packed yet."""

    spec: ClusterSpec
    ticks: tuple[Tick, ...]
    changed_primary: bool
    """Whether the primary was changed in it: such recordings are kept longest."""

    @property
    def began(self) -> datetime:
        """When its first tick was."""
        return self.ticks[0].wall

    @property
    def ended(self) -> datetime:
        """When its last tick was."""
        return self.ticks[-1].wall


@dataclass(frozen=True, slots=True)
class Kept:
    """A recording in the store, from outside."""

    number: int
    cluster: ClusterName
    began: datetime
    ended: datetime
    ticks: int
    size: int
    changed_primary: bool


@dataclass(frozen=True, slots=True)
class Frame:
    """One deciding, as it was recorded."""

    wall: datetime
    record: ClusterRecord
    view: ClusterView
    command: Directive | None
    decided: str
    """`told` of what was decided then."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Decidings of one cluster, oldest first."""

    spec: ClusterSpec
    frames: tuple[Frame, ...]


def around(began: datetime, ended: datetime, at: datetime) -> timedelta:
    """How much a recording has of the time before a moment and after it, whichever is less."""
    return min(at - began, ended - at)


def told(decided: Decided) -> str:
    """What was decided as a line of text: the same text means the same decision."""
    if isinstance(decided, Refused):
        error = decided.error
        return to_text({"refused": error.what, "detail": error.detail, "hint": error.hint})
    return to_text(decided)


def packed(draft: Draft) -> bytes:
    """A recording as a file, without secrets."""
    memo: Memo = {}
    hidden: Hidden = {}
    frames: list[Any] = []
    for tick in draft.ticks:
        nodes = {name: _hide(node, hidden) for name, node in tick.view.nodes.items()}
        frames.append(
            {
                "wall": to_plain(tick.wall),
                "record": to_plain(tick.record, memo),
                "view": to_plain(replace(tick.view, nodes=nodes), memo),
                "command": to_plain(tick.command),
                "decided": told(tick.decided),
            }
        )
    return _squeezed(to_plain(without_secrets(draft.spec)), frames)


def repacked(recording: Recording) -> bytes:
    """A recording that was unpacked, as a file again."""
    frames = [
        {
            "wall": to_plain(frame.wall),
            "record": to_plain(frame.record),
            "view": to_plain(frame.view),
            "command": to_plain(frame.command),
            "decided": frame.decided,
        }
        for frame in recording.frames
    ]
    return _squeezed(to_plain(recording.spec), frames)


def unpacked(body: bytes) -> Recording:
    """The recording in a file. Raises UsageError."""
    try:
        opened = zlib.decompressobj(wbits=31)
        text = opened.decompress(body, LARGEST)
        if opened.unconsumed_tail or not opened.eof:
            raise ValueError("it is cut off, or too large")
        whole = json.loads(text)
        if whole["pgvigil_recording"] != FORMAT:
            raise ValueError(f"format {whole['pgvigil_recording']}, this pgvigil knows {FORMAT}")
        frames = tuple(
            Frame(
                from_plain(datetime, each["wall"]),
                from_plain(ClusterRecord, each["record"]),
                from_plain(ClusterView, each["view"]),
                from_plain(Directive | None, each["command"]),
                str(each["decided"]),
            )
            for each in whole["frames"]
        )
        return Recording(from_plain(ClusterSpec, whole["spec"]), frames)
    except (ValueError, TypeError, KeyError, RecursionError, zlib.error) as why:
        raise UsageError(
            "this is no recording that can be read",
            detail=str(why),
            hint="make one with: pgvigil recording export EVENT FILE",
        ) from why


def without_secrets(spec: ClusterSpec) -> ClusterSpec:
    """The specification with only what the core decides on; that there is a command stays to be seen."""
    return replace(
        spec,
        nodes=tuple(_node(node) for node in spec.nodes),
        replication=replace(spec.replication, conninfo=()),
        fencing=replace(spec.fencing, command=HIDDEN if spec.fencing.command else ""),
        hooks=Hooks(),
        endpoints=tuple(_endpoint(each) for each in spec.endpoints),
        witnesses=tuple(replace(each, shell=_shell(each.shell)) for each in spec.witnesses),
        standby_of=_followed(spec.standby_of) if spec.standby_of else None,
    )


def _endpoint(endpoint: EndpointSpec) -> EndpointSpec:
    match endpoint:
        case Haproxy():
            return replace(endpoint, address=HIDDEN)
        case Pgbouncer(shell=shell):
            return replace(endpoint, conninfo=(), databases=(), file=HIDDEN, shell=_shell(shell))
        case Vip():
            return endpoint
        case _:
            assert_never(endpoint)


def _squeezed(spec: Any, frames: list[Any]) -> bytes:
    whole = {"pgvigil_recording": FORMAT, "spec": spec, "frames": frames}
    squeeze = zlib.compressobj(9, wbits=31)
    text = json.dumps(whole, ensure_ascii=False, separators=(",", ":"))
    return squeeze.compress(text.encode()) + squeeze.flush()


def _node(node: NodeSpec) -> NodeSpec:
    return replace(
        node,
        conninfo=(),
        password_command="",
        promote_command=HIDDEN if node.promote_command else "",
        follow_command=HIDDEN if node.follow_command else "",
        control=PgCtl() if isinstance(node.control, OwnCommands | PgCtl) else node.control,
        shell=_shell(node.shell) if node.shell else None,
    )


def _followed(cluster: FollowedCluster) -> FollowedCluster:
    return replace(cluster, nodes=tuple(_node(node) for node in cluster.nodes), conninfo=())


def _shell(shell: ShellSpec) -> ShellSpec:
    match shell:
        case SshShell(host=host):
            return SshShell(host)
        case CommandShell():
            return CommandShell((HIDDEN,))
        case LocalShell():
            return LocalShell()


def _hide(node: NodeView, known: Hidden) -> NodeView:
    host = node.host
    if isinstance(host, HostSilent):
        host = replace(host, detail="")
    sql = _hide_once(node.sql, known) if isinstance(node.sql, Answer) else node.sql
    last = _hide_once(node.last, known) if node.last else None
    return replace(node, sql=sql, host=host, last=last)


def _hide_once(answer: Answer, known: Hidden) -> Answer:
    """The same answer is in many views."""
    if id(answer) not in known:
        known[id(answer)] = (answer, _answer(answer))
    return known[id(answer)][1]


def _answer(answer: Answer) -> Answer:
    settings = {k: v for k, v in answer.facts.settings.items() if k in SETTINGS}
    facts = replace(answer.facts, settings=settings, pending=())
    role = answer.role
    if isinstance(role, Standby):
        role = replace(role, conninfo=_conninfo(role.conninfo))
    return replace(answer, facts=facts, role=role)


def _conninfo(text: str) -> str:
    """What the core reads of it, so that it reads the same; something remains of what is not empty."""
    found = ((key, re.search(rf"(?:^|\s){key}\s*=\s*'?([^'\s]*)'?", text)) for key in READ)
    kept = " ".join(f"{key}={value[1]}" for key, value in found if value)
    return kept or (HIDDEN if text else "")
