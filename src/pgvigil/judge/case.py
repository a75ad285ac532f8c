"""What every problem is judged from, with the few questions most of them ask."""

from dataclasses import dataclass

from pgvigil.model.record import ClusterRecord
from pgvigil.model.sighting import (
    ClusterView,
    HostAnswer,
    NoAnswer,
    NodeView,
    Postmaster,
    Reach,
    Receiver,
    Refusal,
)
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.units import Instant, NodeName

ORDERLY = frozenset({"57P01"})
"""SQLSTATE of a session ended by an administrator (manual: appendix A)."""
BUSY = frozenset({"53300", "57014", "53200", "53400"})
"""Too many connections, statement timeout, out of memory: alive, and overloaded."""
COMING_OR_GOING = frozenset({"57P03"})
"""Cannot connect now: starting up, shutting down, or recovering."""
POSTMASTER_DEATH = frozenset({"secure_read", "WaitLatchOrSocket", "WaitEventSetWaitBlock"})
"""Server functions that end a session because the postmaster died, although they too say 57P01."""


@dataclass(frozen=True, slots=True)
class Case:
    """One cluster at one moment: what is wanted, what is on record, what is seen."""

    spec: ClusterSpec
    record: ClusterRecord
    view: ClusterView

    @property
    def primary(self) -> NodeView:
        """The node that the record names as primary."""
        return self.view.node(self.record.primary)

    def standbys(self) -> tuple[NodeView, ...]:
        """All other nodes that answer in recovery."""
        return tuple(
            node for node in self.view.nodes.values() if node.standby and node.name != self.record.primary
        )

    def silent_since(self) -> Instant | None:
        """When the primary's present silence began; None while it speaks."""
        sql = self.primary.sql
        return sql.since if isinstance(sql, NoAnswer | Refusal) else None


def fresh_host(node: NodeView, since: Instant) -> HostAnswer | None:
    """What the host said, if it said it after `since`."""
    host = node.host_answer
    return host if host and host.at >= since else None


def postmaster_is(node: NodeView, since: Instant, *states: Postmaster) -> bool:
    """Whether the host said after `since` that its postmaster is in one of these states."""
    host = fresh_host(node, since)
    return host is not None and host.postmaster in states


def lost_upstream(standby: NodeView, since: Instant) -> bool:
    """Whether a standby that answered after `since` has no WAL receiver, though it is meant to have one."""
    answer, role = standby.answer, standby.standby
    return bool(answer and role and answer.at >= since and role.receiver is None and role.conninfo)


def hears_upstream(receiver: Receiver | None, silent_for_s: float) -> bool:
    """Whether a receiver got a message from its upstream since the silence began."""
    return receiver is not None and receiver.silent_s is not None and receiver.silent_s < silent_for_s


def others_reach(primary: NodeView, since: Instant) -> tuple[list[NodeName], list[NodeName]]:
    """The vantage points that tried after `since`: those that got through, and those that did not."""
    fresh = [w for w in primary.witnesses if w.at >= since]
    through = [NodeName(w.vantage) for w in fresh if w.reach is not Reach.NO_REPLY]
    blocked = [NodeName(w.vantage) for w in fresh if w.reach is Reach.NO_REPLY]
    return through, blocked
