"""Everything a decision is made from, as one value."""

import re
from dataclasses import dataclass
from datetime import datetime

from pgvigil.model.diagnosis import Diagnosis
from pgvigil.model.record import ClusterRecord
from pgvigil.model.sighting import ClusterView, HostAnswer, NodeView, Postmaster
from pgvigil.model.spec import ClusterSpec, NodeSpec

_HOST = re.compile(r"(?:^|\s)host\s*=\s*'?([^'\s]*)'?")
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
        """All nodes that answer in recovery, the primary of record included if it does."""
        return tuple(node for node in self.view.nodes.values() if node.standby)

    def phase_age_s(self) -> float:
        """Wall seconds since the phase began; 0 if that is not known or the wall clock went back."""
        since = self.record.since
        return max((self.wall - since).total_seconds(), 0.0) if since else 0.0


def is_down(node: NodeView) -> HostAnswer | None:
    """The host's answer, if it says that no server process of this node lives."""
    host = node.host_answer
    if host is None or node.answer is not None or host.strays:
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
