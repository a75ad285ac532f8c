"""Bringing single nodes back in line while the primary serves: follow, rejoin, fence strays, tidy slots."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from pgvigil.decide import copying, slots, topology
from pgvigil.decide.situation import (
    Situation,
    below,
    called,
    fed_by_standby,
    host_says,
    is_down,
    points_at,
    streams,
)
from pgvigil.errors import Unsafe, UsageError
from pgvigil.model.command import FollowUpstream, Refused, Rejoin
from pgvigil.model.diagnosis import Diagnosis, Finding, Problem, Urgency
from pgvigil.model.record import ClusterRecord
from pgvigil.model.sighting import ClusterView, HostAnswer, NodeView, Postmaster
from pgvigil.model.spec import Protection
from pgvigil.model.step import (
    Act,
    ClearSignal,
    Fence,
    Follow,
    Nudge,
    Rebuild,
    RebuildMethod,
    Stage,
    Step,
    StopMode,
)
from pgvigil.model.units import NodeName

PATIENCE_S: Final = 60.0
"""So long a standby on the right timeline may try by itself before it is stopped and rebuilt."""


def stale_primaries(situation: Situation, findings: Sequence[Finding]) -> Act | None:
    """Fence the nodes that take writes beside the primary, side by side: a stop may take long.

    None: there is no shell to do it through.
    """
    record, within = situation.record, _within_reach(situation.view, findings)
    if not within:
        return None
    names = [f.node for f in within if f.node]
    deposed = record.deposed | set(names)
    fences = Stage(tuple(Fence(name, record.generation, StopMode.FAST) for name in names))
    changed = replace(record, deposed=deposed) if deposed != record.deposed else None
    reason = f"{', '.join(names)} must not take writes: stop {'it' if len(names) == 1 else 'them'}"
    evidence = tuple(text for finding in within for text in finding.evidence)
    return Act("stale_primary", reason, changed, (fences,), evidence)


def leaves_out(act: Act, view: ClusterView, diagnosis: Diagnosis) -> bool:
    """Whether an old primary that takes writes was seen too late to be fenced beside those of `act`.

    It need not wait until they are, which may take long (seed 4001488). False for any other act.
    """
    if act.rule != "stale_primary":
        return False
    fenced = {step.node for stage in act.stages for step in stage.steps if isinstance(step, Fence)}
    return any(f.node not in fenced for f in _within_reach(view, diagnosis.every(Problem.STALE_PRIMARY)))


def _within_reach(view: ClusterView, findings: Sequence[Finding]) -> list[Finding]:
    return [f for f in findings if f.node and isinstance(view.node(f.node).host, HostAnswer)]


def rejoined(situation: Situation) -> ClusterRecord | None:
    """The record without the nodes that came back in line; None: no change.

    Those are deposed nodes that stream from the present timeline, and nodes that were away at the change
    of primary and stream from the new one. A deposed one that somebody started, and that streams from a
    standby because that was its primary once, is fetched yet (seed 4000956).
    """
    record, primary = situation.record, situation.primary.primary
    if primary is None or not (record.deposed or record.left):
        return None
    fed = {name for name, node in situation.view.nodes.items() if streams(node, primary.timeline)}
    ours = situation.spec.node(record.primary)
    pointed = {
        name for name in fed if (role := situation.view.node(name).standby) and points_at(role.conninfo, ours)
    }
    gone = frozenset(name for name in record.left if name not in situation.view.nodes)
    astray = frozenset(name for name in record.deposed & fed if not _at_home(situation, name))
    deposed, left = record.deposed - fed, (record.left | astray) - pointed - gone - {record.primary}
    return (
        replace(record, deposed=deposed, left=left)
        if (deposed, left) != (record.deposed, record.left)
        else None
    )


def _at_home(situation: Situation, name: NodeName) -> bool:
    """Whether a standby is pointed at the upstream that it would be given now."""
    node = situation.view.node(name)
    upstream = situation.spec.node(topology.upstream_for(situation, node))
    return node.standby is not None and points_at(node.standby.conninfo, upstream)


def repairs(situation: Situation) -> tuple[Step, ...]:
    """What single nodes need, one step a node; empty while the primary does not serve."""
    if situation.primary.primary is None or situation.record.is_paused(situation.wall):
        return ()
    steps = (_repair(situation, node) for node in situation.view.nodes.values())
    return tuple(step for step in steps if step is not None)


def rejoin(situation: Situation, command: Rejoin) -> Step | Refused:
    """The operator's `rejoin`, `clone` and `reinit`: refused for the primary, and for healthy standbys."""
    name, record = command.node, situation.record
    if name not in situation.view.nodes:
        return Refused(UsageError(f"there is no node {name} in {situation.spec.name}"))
    if name == record.primary:
        hint = f"first make another node primary: pgvigil switchover {situation.spec.name}"
        return Refused(Unsafe(f"{name} is the primary", hint=hint))
    if situation.primary.primary is None:
        return Refused(Unsafe(f"the primary {record.primary} does not answer", hint="see: pgvigil status"))
    node = situation.view.node(name)
    if not situation.is_ours(node):
        hint = "correct the configuration, or move its data directory away by hand"
        return Refused(Unsafe(f"{name} belongs to another cluster (other system identifier)", hint=hint))
    if not isinstance(node.host, HostAnswer):
        hint = "pgvigil check says how to repair it"
        return Refused(Unsafe(f"there is no working shell on {name}", hint=hint))
    if streams(node, situation.primary.primary.timeline) and not command.force:
        hint = "nothing to do; --force rebuilds it all the same"
        return Refused(Unsafe(f"{name} is a streaming standby of {record.primary} already", hint=hint))
    source = copying.chosen(situation, name, command.copying)
    if isinstance(source, Refused):
        return source
    return Rebuild(name, record.primary, record.generation, command.method, source)


def follow_upstream(situation: Situation, command: FollowUpstream) -> Step | Refused:
    """The operator's `follow`: only a running standby, never in a circle."""
    for name in (command.node, command.upstream):
        if name not in situation.view.nodes:
            return Refused(UsageError(f"there is no node {name} in {situation.spec.name}"))
    node, upstream = situation.view.node(command.node), situation.view.node(command.upstream)
    if command.node == command.upstream:
        return Refused(UsageError(f"{command.node} cannot follow itself", hint="name another upstream"))
    if command.node == situation.record.primary:
        hint = f"a primary follows nobody; to make it a standby: pgvigil switchover {situation.spec.name}"
        return Refused(Unsafe(f"{command.node} is the primary", hint=hint))
    if node.standby is None:
        hint = f"a stopped node is brought back with: pgvigil rejoin {situation.spec.name} {command.node}"
        return Refused(Unsafe(f"{command.node} is not a running standby", hint=hint))
    if upstream.answer is None:
        return Refused(Unsafe(f"{command.upstream} does not answer", hint="see: pgvigil status"))
    if not (situation.is_ours(node) and situation.is_ours(upstream)):
        return Refused(Unsafe(f"{command.node} and {command.upstream} are not of one cluster"))
    if upstream.primary and upstream.name != situation.record.primary:
        hint = f"the primary is {situation.record.primary}"
        return Refused(Unsafe(f"{command.upstream} takes writes that will be lost", hint=hint))
    if below(situation, upstream, command.node):
        return Refused(Unsafe(f"{command.upstream} streams from {command.node} itself"))
    if reason := topology.unwanted(situation, node, upstream):
        return reason
    return Follow(command.node, command.upstream, situation.record.generation)


def _repair(situation: Situation, node: NodeView) -> Step | None:
    record = situation.record
    if node.name == record.primary:
        if _signal_left(situation, node):
            return ClearSignal(node.name, record.generation)
        return slots.upkeep(situation, node)
    if not situation.is_ours(node) or node.primary:
        return None
    if fence := _unheard_primary(situation, node):
        return fence
    if node.name in record.maintenance:
        return None
    auto = situation.spec.failover.auto_rejoin
    unfinished = node.host_answer is not None and bool(node.host_answer.marker)
    if is_down(node):
        if auto and (node.name in record.deposed or unfinished):
            return _rebuild(situation, node)
        if situation.spec.failover.restart_standbys:
            return Rebuild(node.name, record.primary, record.generation, RebuildMethod.START)
        return None
    finding = situation.diagnosis.find(Problem.STANDBY_DETACHED, node.name)
    ours = situation.spec.node(record.primary)
    if node.name in record.left and node.standby and not points_at(node.standby.conninfo, ours):
        return Follow(node.name, record.primary, record.generation)
    if finding and finding.urgency is Urgency.NOW:
        return _reattach(situation, node)
    if finding and node.standby and node.standby.receiver is None:
        return Nudge(node.name, record.generation)
    if target := topology.back_to(situation, node):
        return Follow(node.name, target, record.generation)
    if _under_another_name(situation, node) or _needed_to_acknowledge(situation, node):
        return Follow(node.name, record.primary, record.generation)
    if node.standby and node.standby.receiver:
        return slots.upkeep(situation, node)
    return None


def _rebuild(situation: Situation, node: NodeView) -> Rebuild:
    """By the mildest way; should that be a copy, then of a node that is there for it."""
    record = situation.record
    source = copying.for_repair(situation, node.name)
    return Rebuild(node.name, record.primary, record.generation, RebuildMethod.AUTO, source)


def _under_another_name(situation: Situation, node: NodeView) -> bool:
    """Whether a standby streams from the primary, but not as itself: with `quorum` it cannot acknowledge.

    So it is where pgvigil takes over what was set up by hand (`walreceiver`, the cluster's name). Its
    connection settings are looked at too: written once with its name, they are not written again.
    """
    role, spec, answer = node.standby, situation.spec.node(node.name), situation.primary.answer
    if situation.spec.protection is not Protection.QUORUM or not spec.may_acknowledge():
        return False
    if role is None or role.receiver is None or answer is None or situation.primary.primary is None:
        return False
    if not streams(node, situation.primary.primary.timeline) or called(role.conninfo) == node.name:
        return False
    names = {sender.application_name for sender in answer.senders}
    if node.name in names or spec.follow_command:
        return False
    nobody = any(
        s.address == spec.host and s.application_name not in situation.view.nodes for s in answer.senders
    )
    return points_at(role.conninfo, situation.spec.node(situation.record.primary)) or (
        nobody and fed_by_standby(situation, node) is None
    )


def _needed_to_acknowledge(situation: Situation, node: NodeView) -> bool:
    """Whether a standby of a standby is needed at the primary: there it acknowledges nothing (`quorum`).

    So it may be after a change of primary in which it could not be pointed at the new one. Where enough
    others acknowledge, it stays where it is.
    """
    spec, answer = situation.spec, situation.primary.answer
    if spec.protection is not Protection.QUORUM or not spec.node(node.name).may_acknowledge():
        return False
    if answer is None or fed_by_standby(situation, node) is None:
        return False
    able = {other.name for other in spec.others(situation.record.primary) if other.may_acknowledge()}
    direct = able & {sender.application_name for sender in answer.senders}
    return len(direct) < spec.sync_required


def _signal_left(situation: Situation, node: NodeView) -> bool:
    """Whether the host saw `standby.signal` after the primary had settled: PostgreSQL removes it itself."""
    host = node.host_answer
    return bool(host and host.standby_signal and situation.view.at - host.at < situation.phase_age_s())


def _unheard_primary(situation: Situation, node: NodeView) -> Step | None:
    """A primary of the past that does not let us in (hung, full, login refused), but runs: others may write.

    Only its host can say so: a server process, and no `standby.signal` that would make it a standby.
    """
    host, record = host_says(node), situation.record
    if node.name not in record.deposed or node.answer or host is None or host.standby_signal or host.marker:
        return None
    match host.postmaster:
        case Postmaster.FROZEN:
            return Fence(node.name, record.generation, StopMode.KILL)
        case Postmaster.RUNNING:
            return Fence(node.name, record.generation, StopMode.IMMEDIATE)
        case _:
            return None


def _reattach(situation: Situation, node: NodeView) -> Step | None:
    """Point it at its upstream; when it is and still does not stream, look closer and rebuild.

    One that never was primary and is on the primary's timeline mostly needs nothing but time (the
    primary was away, or the network between them is): a rebuild would stop it, so that comes late.
    """
    role, record = node.standby, situation.record
    assert role is not None
    strayed = node.name in record.deposed or role.timeline < record.timeline
    target = record.primary if strayed else topology.upstream_for(situation, node)
    if not points_at(role.conninfo, situation.spec.node(target)):
        return Follow(node.name, target, record.generation)
    lost_at = node.receiver_lost_at or situation.view.at
    if not strayed and situation.view.at - lost_at < PATIENCE_S:
        return None
    if situation.spec.failover.auto_rejoin and isinstance(node.host, HostAnswer):
        return _rebuild(situation, node)
    return None
