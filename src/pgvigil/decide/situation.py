"""Everything a decision is made from, as one value."""

import re
from dataclasses import dataclass
from datetime import datetime

from pgvigil.model.diagnosis import Diagnosis
from pgvigil.model.record import ClusterRecord
from pgvigil.model.sighting import ClusterView, HostAnswer, NoAnswer, NodeView, Postmaster, Refusal
from pgvigil.model.spec import ClusterSpec, NodeSpec
from pgvigil.model.units import Instant, NodeName

_HOST = re.compile(r"(?:^|\s)host\s*=\s*'?([^'\s]*)'?")
_NAME = re.compile(r"(?:^|\s)application_name\s*=\s*'?([^'\s]*)'?")
_PORT = re.compile(r"(?:^|\s)port\s*=\s*'?(\d+)'?")


@dataclass(frozen=True, slots=True)
class Situation:
    """What is wanted, on record, seen and found at one moment; `wall` is for cool-downs and people."""

    spec: ClusterSpec
    record: ClusterRecord
    view: ClusterView
    diagnosis: Diagnosis
    wall: datetime

    @property
    def primary(self) -> NodeView:
        """The node that the record names."""
        return self.view.node(self.record.primary)

    def standbys(self) -> tuple[NodeView, ...]:
        """All nodes of ours that answer in recovery, the primary of record included if it does."""
        return tuple(node for node in self.view.nodes.values() if node.standby and self.is_ours(node))

    def is_ours(self, node: NodeView) -> bool:
        """Whether a node's data is this cluster's, as far as it has said; a stranger is never touched."""
        known = node.answer or node.last
        return known is None or known.facts.system_id == self.record.system_id

    def phase_age_s(self) -> float:
        """Wall seconds since the phase began; 0 if that is not known or the wall clock went back."""
        since = self.record.since
        return max((self.wall - since).total_seconds(), 0.0) if since else 0.0

    def silent_s(self) -> float:
        """How long the primary has not let us in; 0 while it answers."""
        sql = self.primary.sql
        return max(self.view.at - sql.since, 0.0) if isinstance(sql, NoAnswer | Refusal) else 0.0


def host_says(node: NodeView) -> HostAnswer | None:
    """The host's word, if it is not older than the node's silence (a word that old proves nothing)."""
    host, sql = node.host_answer, node.sql
    since = sql.since if isinstance(sql, NoAnswer | Refusal) else Instant(float("-inf"))
    return host if host and host.at >= since else None


def is_down(node: NodeView) -> HostAnswer | None:
    """The host's fresh word, if it is that no server process of this node lives, and none spoke since."""
    host, sql = host_says(node), node.sql
    if host is None or node.answer is not None or host.strays:
        return None
    if isinstance(sql, Refusal) and sql.at > host.at:
        return None
    return host if host.postmaster in (Postmaster.CRASHED, Postmaster.STOPPED) else None


def is_cut(node: NodeView) -> bool:
    """Whether a standby has no upstream and no receiver: it acknowledges nothing to anybody."""
    role = node.standby
    return role is not None and role.receiver is None and not role.conninfo


def points_at(conninfo: str, node: NodeSpec) -> bool:
    """Whether a `primary_conninfo` leads to that node."""
    host, port = _HOST.search(conninfo), _PORT.search(conninfo)
    return bool(host and host[1] == node.host and (int(port[1]) if port else 5432) == node.port)


def called(conninfo: str) -> str:
    """The application_name that a `primary_conninfo` gives; empty: none."""
    name = _NAME.search(conninfo)
    return name[1] if name else ""


def keyword(conninfo: str, name: str) -> str:
    """The value of a keyword in a connection string; empty: it is not there."""
    found = re.search(rf"(?:^|\s){name}\s*=\s*'?([^'\s]*)'?", conninfo)
    return found[1] if found else ""


def streams(node: NodeView, timeline: int) -> bool:
    """Whether a standby streams that timeline."""
    role = node.standby
    return bool(
        role and role.receiver and role.receiver.status == "streaming" and role.receiver.timeline == timeline
    )


def below(situation: Situation, node: NodeView, ancestor: NodeName) -> bool:
    """Whether `node` gets its WAL, directly or not, from `ancestor`."""
    for _ in situation.spec.nodes:
        role = node.standby
        if role is None:
            return False
        upstream = next((n for n in situation.spec.nodes if points_at(role.conninfo, n)), None)
        if upstream is None:
            return False
        if upstream.name == ancestor:
            return True
        node = situation.view.node(upstream.name)
    return False


def fed_by_standby(situation: Situation, node: NodeView) -> NodeName | None:
    """The other standby that answers and that this one streams from; None: the primary, or nobody."""
    role = node.standby
    if role is None or role.receiver is None:
        return None
    for other in situation.standbys():
        spec = situation.spec.node(other.name)
        if other is not node and (spec.host, spec.port) == (role.receiver.host, role.receiver.port):
            return other.name
    return None
