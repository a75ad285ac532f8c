"""One node as `status` shows it: its state word, and how far it is. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from pgvigil.controller.status_shape import (
    BackupStatus,
    NodeStatus,
    ReceiverStatus,
    Reported,
    SenderStatus,
    SlotStatus,
    State,
)
from pgvigil.model.record import ClusterRecord, Phase
from pgvigil.model.sighting import (
    Answer,
    Backup,
    ClusterView,
    HostAnswer,
    HostSilent,
    NoAnswer,
    NodeView,
    NoShell,
    Postmaster,
    Primary,
    Receiver,
    Refusal,
    Sender,
    Silence,
    Slot,
    Standby,
    Unseen,
)
from pgvigil.model.spec import ClusterSpec, NodeSpec, slot_name
from pgvigil.model.units import Lsn, NodeName, Timeline, version_text

STARTING = "57P03"
"""SQLSTATE of a server that takes no connections now: starting, stopping or recovering."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a node's status is made from beside the node itself."""

    spec: ClusterSpec
    record: ClusterRecord | None
    view: ClusterView
    wall: datetime
    busy: Mapping[NodeName, str]

    @property
    def primary(self) -> NodeName | None:
        """The primary of record; without a record the only node that answers out of recovery."""
        if self.record is not None:
            return self.record.primary
        claims = self.view.primaries()
        return claims[0].name if len(claims) == 1 else None

    @property
    def follows(self) -> bool:
        """Whether it is a standby cluster: its primary of record is a leader in recovery."""
        return self.record is not None and self.record.standby_cluster


def node_status(scene: Scene, node: NodeSpec) -> NodeStatus:
    """All that is known of one node."""
    view = scene.view.nodes.get(node.name) or NodeView(node.name, Unseen(node.name))
    last = view.answer or view.last
    role = last.role if last else None
    receiver = view.standby.receiver if view.standby else None
    upstream, sender = (None, None) if view.primary else _upstream_end(scene, node, receiver)
    slot = _slot(scene, node, upstream, receiver)
    received, replayed = _lag(scene, view.standby, sender if upstream == scene.primary else None)
    return NodeStatus(
        name=node.name,
        host=node.host,
        port=node.port,
        role=_role(view),
        state=_state(scene, view),
        progress=scene.busy.get(node.name, ""),
        reported_state=_reported(scene, view),
        goal_state=_goal(scene, node.name),
        connection=_connection(view),
        timeline=role.timeline if role else None,
        lsn=str(_position(role)) if role else None,
        lag_bytes=received,
        replay_lag_bytes=replayed,
        lag_s=_lag_s(replayed, sender),
        upstream=upstream,
        sync_state=sender.sync_state if sender else None,
        sender=_sender_status(upstream or "", sender) if sender else None,
        receiver=_receiver_status(receiver) if receiver else None,
        slot=slot,
        slots=[slot_status(each) for each in last.facts.slots] if last else [],
        backups=[_backup(each) for each in view.answer.backups] if view.answer else [],
        wanted_upstream=node.upstream,
        apply_delay_s=last.facts.apply_delay_s if last else 0.0,
        priority=node.priority,
        location=node.location,
        tags=sorted(node.tags),
        maintenance=bool(scene.record and node.name in scene.record.maintenance),
        conninfo=conninfo_text(node),
        postmaster=view.host_answer.postmaster if view.host_answer else None,
        guard=view.guard.state if view.guard else None,
        guard_doing=view.guard.doing if view.guard else "",
        detail=_detail(view),
        last_seen_s=round(scene.view.at - last.at, 3) if last else None,
        probe_s=round(last.took_s, 4) if last else None,
        host_seen_s=round(scene.view.at - view.host_answer.at, 3) if view.host_answer else None,
        clock_skew_s=_clock_skew(scene, view.host_answer),
        pending_restart=list(last.facts.pending) if last else [],
        server_version=version_text(last.facts.server_version) if last else None,
        system_id=last.facts.system_id if last else None,
    )


def _backup(backup: Backup) -> BackupStatus:
    rate = int(backup.sent_bytes / backup.seconds) if backup.seconds >= 1.0 and backup.sent_bytes else None
    left = max(0, backup.total_bytes - backup.sent_bytes) // rate if rate and backup.total_bytes else None
    return BackupStatus(
        to=" ".join(filter(None, [backup.address or "its own host", f"({backup.application_name})"])),
        phase=backup.phase,
        sent_bytes=backup.sent_bytes,
        total_bytes=backup.total_bytes,
        rate_bytes=rate,
        left_s=left,
    )


def _state(scene: Scene, view: NodeView) -> State:
    if view.primary and scene.follows:
        return State.SECOND_PRIMARY
    if view.primary:
        return State.PRIMARY if view.name == scene.primary else State.SECOND_PRIMARY
    if view.standby and view.name == scene.primary and scene.follows:
        return State.LEADER
    if view.standby:
        return State.NOT_PROMOTED if view.name == scene.primary else State.RUNNING
    match _reported(scene, view):
        case Reported.REBUILDING:
            return State.REJOINING
        case Reported.STARTING:
            return State.STARTING
        case Reported.NO_LOGIN:
            return State.NO_LOGIN
        case Reported.STOPPED | Reported.CRASHED:
            return State.FAILED
        case Reported.HUNG:
            return State.HUNG
        case Reported.UNSEEN:
            return State.UNSEEN
        case Reported.SILENT:
            refused = isinstance(view.sql, NoAnswer) and view.sql.silence is Silence.REFUSED
            return State.FAILED if refused else State.UNREACHABLE
        case _:
            return State.UNREACHABLE


def _reported(scene: Scene, view: NodeView) -> Reported:
    rebuilding = view.name in scene.busy
    match view.sql:
        case Answer(role=Primary()):
            return Reported.PRIMARY
        case Answer():
            return Reported.STANDBY
        case _ if rebuilding:
            return Reported.REBUILDING
        case Refusal(sqlstate=sqlstate):
            return Reported.STARTING if sqlstate == STARTING else Reported.NO_LOGIN
        case NoAnswer(silence=silence):
            return _silent(view, mute=silence is Silence.MUTE)
        case Unseen():
            return Reported.UNSEEN
        case _:
            assert_never(view.sql)


def _silent(view: NodeView, *, mute: bool) -> Reported:
    match view.host:
        case HostAnswer(postmaster=Postmaster.CRASHED):
            return Reported.CRASHED
        case HostAnswer(postmaster=Postmaster.STOPPED):
            return Reported.STOPPED
        case HostAnswer(postmaster=Postmaster.FROZEN):
            return Reported.HUNG
        case _:
            return Reported.HUNG if mute else Reported.SILENT


def _role(view: NodeView) -> str:
    if view.primary:
        return "primary"
    return "standby" if view.standby else "unknown"


def _goal(scene: Scene, node: NodeName) -> str:
    record = scene.record
    if record is None:
        return "primary" if node == scene.primary else "standby"
    if record.standby_cluster:
        return "standby"
    match record.phase:
        case Phase.STABLE | Phase.RESTARTING:
            return "primary" if node == record.primary else "standby"
        case Phase.FENCING:
            return "stopped" if node == record.primary else "standby"
        case Phase.SWITCHING:
            if node == record.candidate:
                return "primary"
            return "stopped" if node == record.primary else "standby"
        case Phase.PROMOTING:
            return "primary" if node == (record.candidate or record.primary) else "standby"
        case _:
            assert_never(record.phase)


def _connection(view: NodeView) -> str:
    if view.primary:
        return "read-write"
    return "read-only" if view.standby else "none"


def _position(role: Primary | Standby) -> Lsn:
    return role.flushed if isinstance(role, Primary) else role.furthest


def _lag(scene: Scene, standby: Standby | None, sender: Sender | None) -> tuple[int | None, int | None]:
    """Bytes not received and bytes not replayed, against the primary's last known position.

    The nodes were looked at in different moments; a direct standby's sender was read together with the
    primary's position. What either end proves to be there is there, so the further one counts.
    """
    there = scene.view.nodes.get(scene.primary) if scene.primary else None
    last = (there.answer or there.last) if there else None
    end = _end(scene, last.role if last else None)
    if standby is None or end is None:
        return None, None
    received = max(standby.furthest, (sender and sender.flushed) or Lsn(0))
    replayed = max(standby.replayed or Lsn(0), (sender and sender.replayed) or Lsn(0))
    return max(0, end - received), max(0, end - replayed)


def _end(scene: Scene, role: Primary | Standby | None) -> Lsn | None:
    """The position against which lag is told: in a standby cluster what was last heard of the other one."""
    if scene.follows:
        heard = scene.view.far.heard if scene.view.far else None
        return heard.end if heard else None
    return role.flushed if isinstance(role, Primary) else None


def _lag_s(replay_lag: int | None, sender: Sender | None) -> float | None:
    if replay_lag == 0:
        return 0.0
    return sender.replay_lag_s if sender else None


def _upstream_end(
    scene: Scene, node: NodeSpec, receiver: Receiver | None
) -> tuple[str | None, Sender | None]:
    """The name of a standby's upstream and the sender there, from whichever end can be seen."""
    if receiver is not None:
        there = scene.spec.standby_of
        known = (*scene.spec.nodes, *(there.nodes if there else ()))
        upstream = next((other for other in known if _is_at(other, receiver)), None)
        if upstream is None:
            return f"{receiver.host}:{receiver.port}", None
        return upstream.name, _sender_of(scene, node, upstream.name)
    for other in scene.spec.others(node.name):
        if sender := _sender_of(scene, node, other.name):
            return other.name, sender
    return None, None


def _is_at(node: NodeSpec, receiver: Receiver) -> bool:
    addresses = {node.host, dict(node.conninfo).get("hostaddr", node.host)}
    return receiver.host in addresses and receiver.port == node.port


def _sender_of(scene: Scene, node: NodeSpec, upstream: NodeName) -> Sender | None:
    """By name; else by address, when the address can only mean this node."""
    there = scene.view.nodes.get(upstream)
    senders = there.answer.senders if there and there.answer else ()
    names = {node.name, slot_name(node.name)}
    if named := [sender for sender in senders if sender.application_name in names]:
        return named[0]
    if any(other.host == node.host for other in scene.spec.others(node.name)):
        return None
    return next((sender for sender in senders if sender.address == node.host), None)


def slot_status(slot: Slot) -> SlotStatus:
    """A replication slot as `status` shows it."""
    return SlotStatus(
        name=slot.name,
        active=slot.active,
        wal_status=slot.wal_status,
        held_bytes=slot.held,
        physical=slot.physical,
        failover=slot.failover,
        synced=slot.synced,
    )


def _slot(scene: Scene, node: NodeSpec, upstream: str | None, receiver: Receiver | None) -> SlotStatus | None:
    there = scene.view.nodes.get(NodeName(upstream)) if upstream else None
    name = receiver.slot if receiver else slot_name(node.name)
    if there is None or there.answer is None:
        return None
    found = (slot for slot in there.answer.facts.slots if slot.name == name)
    return next((slot_status(slot) for slot in found), None)


def _sender_status(upstream: str, sender: Sender) -> SenderStatus:
    return SenderStatus(
        upstream=upstream,
        application_name=sender.application_name,
        address=sender.address,
        state=sender.state,
        sent_lsn=str(sender.sent) if sender.sent is not None else None,
        flushed_lsn=str(sender.flushed) if sender.flushed is not None else None,
        replayed_lsn=str(sender.replayed) if sender.replayed is not None else None,
        sync_state=sender.sync_state,
        replay_lag_s=sender.replay_lag_s,
    )


def _receiver_status(receiver: Receiver) -> ReceiverStatus:
    return ReceiverStatus(
        status=receiver.status,
        host=receiver.host,
        port=receiver.port,
        slot=receiver.slot,
        timeline=Timeline(receiver.timeline),
        silent_s=receiver.silent_s,
    )


def conninfo_text(node: NodeSpec) -> str:
    """The node's libpq connection string, without any password."""
    pairs = [("host", node.host), ("port", str(node.port)), *node.conninfo]
    return " ".join(f"{key}={_quoted(value)}" for key, value in pairs if "password" not in key)


def _quoted(value: str) -> str:
    if value and not any(c.isspace() or c in "'\\" for c in value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _detail(view: NodeView) -> str:
    said = []
    match view.sql:
        case Refusal(sqlstate=sqlstate, message=message):
            said.append(f"{message} (SQLSTATE {sqlstate})" if message else f"SQLSTATE {sqlstate}")
        case NoAnswer(silence=silence):
            said.append(SILENCES[silence])
        case Answer() | Unseen():
            pass
    match view.host:
        case HostSilent(refused=True, detail=detail):
            said.append(f"shell: {detail or 'its host does not let us in'}")
        case HostSilent(detail=detail):
            said.append(f"shell: {detail or 'no answer'}")
        case HostAnswer() | NoShell():
            pass
    return "; ".join(said)


SILENCES: Mapping[Silence, str] = {
    Silence.CLOSED: "the session has ended",
    Silence.OVERDUE: "the session does not answer",
    Silence.REFUSED: "connection refused: nobody listens",
    Silence.TIMED_OUT: "no answer from the host",
    Silence.MUTE: "connects, but the server says nothing",
    Silence.NO_ADDRESS: "the host's name cannot be resolved",
}


def _clock_skew(scene: Scene, host: HostAnswer | None) -> float | None:
    if host is None or host.clock_s is None:
        return None
    then = scene.wall.timestamp() - (scene.view.at - host.at)
    return round(host.clock_s - then, 1)
