"""What every problem is judged from, with the few questions most of them ask."""

import re
from dataclasses import dataclass

from pgvigil.model.record import ClusterRecord
from pgvigil.model.sighting import ClusterView, HostAnswer, NoAnswer, NodeView, Postmaster, Refusal
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.units import Instant, NodeName
from pgvigil.model.vantage import Reach

ORDERLY = frozenset({"57P01"})
"""SQLSTATE of a session ended by an administrator (manual: appendix A)."""
BUSY = frozenset({"53300", "57014", "53200", "53400"})
"""Too many connections, statement timeout, out of memory: alive, and overloaded."""
COMING_OR_GOING = frozenset({"57P03"})
"""Cannot connect now: starting up, shutting down, or recovering."""
POSTMASTER_DEATH = frozenset({"secure_read", "WaitLatchOrSocket", "WaitEventSetWaitBlock"})
"""Server functions that end a session because the postmaster died, although they too say 57P01."""


_HOST = re.compile(r"(?:^|\s)host\s*=\s*'?([^'\s]*)'?")
_PORT = re.compile(r"(?:^|\s)port\s*=\s*'?(\d+)'?")


@dataclass(frozen=True, slots=True)
class Case:
    """One cluster at one moment: what is wanted, what is on record, what is seen."""

    spec: ClusterSpec
    record: ClusterRecord
    view: ClusterView
    distrusted: bool = False
    """Our own network or loop is in doubt: silence and the passing of time prove nothing."""

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


def lost_upstream(case: Case, since: Instant) -> list[NodeName]:
    """The standbys that say, after `since`, that their WAL receiver ended about when the silence began.

    One that had none while the primary still answered proves nothing, nor does one that streams from
    another standby. A probe interval is allowed between the moment it was seen there and seen here.
    """
    well = min(since, case.primary.last.at) if case.primary.last else since
    early = Instant(well - case.spec.timings.probe_interval.total_seconds())
    return [
        node.name
        for node in case.standbys()
        if (answer := node.answer)
        and (role := node.standby)
        and role.receiver is None
        and role.conninfo
        and answer.at >= since
        and (node.receiver_lost_at is None or node.receiver_lost_at >= early)
        and not _fed_by_another(case, node)
    ]


def hear_primary(case: Case, since: Instant) -> list[NodeName]:
    """The standbys that heard from the primary in the second half of the silence.

    What was on its way when the silence began is no sign of life, so a message counts only as long as
    it is nearer to the standby's own look than to that beginning. A standby of another standby hears
    only that one.
    """
    return [
        node.name
        for node in case.standbys()
        if (answer := node.answer)
        and (role := node.standby)
        and role.receiver is not None
        and role.receiver.silent_s is not None
        and role.receiver.silent_s < (answer.at - since) / 2
        and not _fed_by_another(case, node)
    ]


def fed_by(case: Case, node: NodeView) -> NodeName | None:
    """The configured node that a standby streams from, or is pointed at; None: none that we know."""
    role = node.standby
    if role is None:
        return None
    if role.receiver is not None:
        address = (role.receiver.host, role.receiver.port)
    else:
        host, port = _HOST.search(role.conninfo), _PORT.search(role.conninfo)
        address = (host[1] if host else "", int(port[1]) if port else 5432)
    return next((n.name for n in case.spec.nodes if (n.host, n.port) == address), None)


def _fed_by_another(case: Case, node: NodeView) -> bool:
    return fed_by(case, node) not in (None, case.record.primary)


def others_reach(
    primary: NodeView, since: Instant, *, accepts_only: bool = False
) -> tuple[list[NodeName], list[NodeName]]:
    """The vantage points that tried after `since`: those that got through, and those that did not.

    A failure of one that is cut off itself, or could not get through before either, is none.
    `accepts_only`: to be turned away by a server that starts or stops is not getting through.
    """
    fresh = [w for w in primary.witnesses if w.at >= since]
    through = [w for w in fresh if (w.reach is Reach.ACCEPTS if accepts_only else w.reach.through)]
    blocked = [w for w in fresh if not w.reach.through and w.counts]
    return [NodeName(w.vantage) for w in through], [NodeName(w.vantage) for w in blocked]
