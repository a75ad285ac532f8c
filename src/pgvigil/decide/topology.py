"""From whom a standby ought to stream: the tree that is configured, and what stands in for it.

Moves are rare on purpose. A standby is moved when it has lost its upstream, and back only to the upstream
that is configured for it, when that one has been well for a while; longer after each time that failed.
"""

from datetime import timedelta
from typing import Final

from pgvigil.decide.situation import Situation, below, fed_by_standby, points_at, streams
from pgvigil.errors import PgvigilError, Unsafe
from pgvigil.model.command import Refused
from pgvigil.model.sighting import Missed, NodeView
from pgvigil.model.spec import Protection
from pgvigil.model.units import NodeName

RETURN_AT_MOST: Final = timedelta(hours=1)
"""The longest pause before the configured upstream is tried again."""


def upstream_for(situation: Situation, node: NodeView) -> NodeName:
    """Where a standby that has no upstream now is pointed: one that is fit, else the primary.

    The one that is configured for it comes first, then the primary; but a standby at its own location
    before a primary at another.
    """
    spec, primary = situation.spec.node(node.name), situation.record.primary
    if _acknowledges(situation, node.name):
        return primary
    there = situation.spec.node(primary).location
    near = [n.name for n in situation.spec.others(node.name) if n.location == spec.location != there]
    wanted = [spec.upstream] if spec.upstream else []
    candidates: list[NodeName] = wanted + (sorted(near) if spec.location and there else [])
    for name in candidates:
        if name == primary:
            break
        if _fit(situation, node, name) and not _missed(situation, node, name):
            return name
    return primary


def back_to(situation: Situation, node: NodeView) -> NodeName | None:
    """The configured upstream of a standby that streams from elsewhere, if it can go there now."""
    record, upstream = situation.record, situation.spec.node(node.name).upstream
    role, primary = node.standby, situation.primary.primary
    if upstream is None or role is None or primary is None or node.name in record.deposed | record.left:
        return None
    if not streams(node, primary.timeline) or points_at(role.conninfo, situation.spec.node(upstream)):
        return None
    if upstream == node.name or _acknowledges(situation, node.name):
        return None
    if miss := _missed(situation, node, upstream):
        wait = min(situation.spec.replication.return_after * 2 ** (miss.times - 1), RETURN_AT_MOST)
        if situation.view.at - miss.at < wait.total_seconds():
            return None
    if upstream == record.primary:
        return upstream
    since = situation.view.node(upstream).streams_since
    steady = since is not None and (
        situation.view.at - since >= situation.spec.replication.return_after.total_seconds()
    )
    return upstream if steady and _fit(situation, node, upstream) else None


def unwanted(situation: Situation, node: NodeView, upstream: NodeView) -> Refused | None:
    """Why an operator's `follow` would not last, or would not work; None: nothing speaks against it."""
    primary, cluster = situation.primary.primary, situation.spec.name
    configured = situation.spec.node(node.name).upstream
    error: PgvigilError | None = None
    if configured is not None and configured != upstream.name:
        hint = f"change nodes.{node.name}.upstream there, then: pgvigil reload {cluster}"
        error = Unsafe(
            f"the configuration has {node.name} stream from {configured}; it would go back there", hint=hint
        )
    elif upstream.standby and primary and not streams(upstream, primary.timeline):
        hint = f"see: pgvigil status {cluster}"
        error = Unsafe(f"{upstream.name} does not stream itself: {node.name} would get nothing", hint=hint)
    elif upstream.standby and _acknowledges(situation, node.name) and not _spare(situation, node):
        hint = "a standby of a standby acknowledges nothing; lower sync_required, or add a standby"
        error = Unsafe(f"commits wait for {node.name}: it must stream from the primary", hint=hint)
    return Refused(error) if error else None


def _fit(situation: Situation, node: NodeView, name: NodeName) -> bool:
    """Whether a standby can feed another: in line with the primary, and not fed by that one itself."""
    upstream, record = situation.view.nodes.get(name), situation.record
    primary = situation.primary.primary
    return bool(
        upstream
        and primary
        and name not in record.deposed | record.left | record.maintenance
        and situation.is_ours(upstream)
        and streams(upstream, primary.timeline)
        and not below(situation, upstream, node.name)
    )


def _missed(situation: Situation, node: NodeView, upstream: NodeName) -> Missed | None:
    """What is known of its vain attempts at that upstream."""
    target = situation.spec.node(upstream)
    missed = [miss for conninfo, miss in node.missed.items() if points_at(conninfo, target)]
    return max(missed, key=lambda miss: miss.at, default=None)


def _acknowledges(situation: Situation, name: NodeName) -> bool:
    """Whether commits may wait for it (`quorum`): it streams from the primary, unless a human moved it."""
    spec = situation.spec
    return spec.protection is Protection.QUORUM and spec.node(name).may_acknowledge()


def _spare(situation: Situation, node: NodeView) -> bool:
    """Whether enough others that stream from the primary can acknowledge."""
    spec = situation.spec
    others = [
        other
        for other in situation.standbys()
        if other is not node and spec.node(other.name).may_acknowledge()
    ]
    direct = [o for o in others if o.standby and o.standby.receiver and not fed_by_standby(situation, o)]
    return len(direct) >= spec.sync_required
