"""What an operator may ask of a standby cluster: another leader, other upstreams, copies."""

from dataclasses import replace
from typing import assert_never

from pgvigil.decide import maintenance, repair, schedule
from pgvigil.decide.election import elect
from pgvigil.decide.situation import Situation
from pgvigil.decide.standby_cluster import new_leader
from pgvigil.errors import Unsafe, UsageError
from pgvigil.model.command import (
    CancelScheduled,
    DemoteSite,
    Directive,
    Failover,
    FollowUpstream,
    Maintenance,
    Pause,
    PromoteNode,
    PromoteSite,
    Refused,
    Rejoin,
    RestartPrimary,
    Resume,
    Schedule,
    Switchover,
)
from pgvigil.model.sighting import HostAnswer, NodeView
from pgvigil.model.spec import Protection
from pgvigil.model.step import Act, Copying, Rebuild, Step
from pgvigil.model.units import NodeName


def order(situation: Situation, command: Directive) -> Act | Step | Refused:
    """An operator's command → what to do in a standby cluster, or why not."""
    cluster = situation.spec.name
    match command:
        case Switchover(to=to):
            return _other_leader(situation, to)
        case Failover() | PromoteNode():
            hint = f"to have it take writes: pgvigil promote-site {cluster}"
            detail = "its nodes follow another cluster"
            return Refused(
                Unsafe(f"{cluster} is a standby cluster: none is promoted", detail=detail, hint=hint)
            )
        case Rejoin():
            return _rejoin(situation, command)
        case FollowUpstream():
            return _follow(situation, command)
        case Maintenance():
            return maintenance.change(situation, command)
        case CancelScheduled():
            return schedule.cancel(situation, command)
        case RestartPrimary() | Schedule():
            hint = f"another node leads with: pgvigil switchover {cluster}"
            return Refused(Unsafe(f"{cluster} is a standby cluster: it has no primary", hint=hint))
        case Pause() | Resume() | PromoteSite() | DemoteSite():
            raise AssertionError("ordered in decide.engine")
        case _:
            assert_never(command)


def _other_leader(situation: Situation, to: NodeName | None) -> Act | Refused:
    record, spec = situation.record, situation.spec
    if to is not None and to not in situation.view.nodes:
        return Refused(UsageError(f"there is no node {to} in {spec.name}"))
    if to == record.primary:
        return Refused(UsageError(f"{to} is the leader already"))
    election = elect(
        situation,
        wanted=to,
        any_lag=True,
        forced=True,
        objection=lambda node: "it is the leader" if node.name == record.primary else "",
    )
    if election.chosen is None:
        who = f"{to} cannot lead now" if to else "no other node can lead now"
        hint = f"see: pgvigil status {spec.name}"
        return Refused(Unsafe(who, detail="; ".join(election.rejected), hint=hint))
    return new_leader(situation, election.chosen, "switchover")


def _follow(situation: Situation, command: FollowUpstream) -> Step | Refused:
    """Nobody acknowledges here, so nothing speaks against a cascade. The leader follows the other cluster."""
    if command.node == situation.record.primary:
        hint = f"another leader: pgvigil switchover {situation.spec.name}"
        return Refused(Unsafe(f"{command.node} leads: it streams from the other cluster", hint=hint))
    spec = replace(situation.spec, protection=Protection.ASYNC)
    return repair.follow_upstream(replace(situation, spec=spec), command)


def _rejoin(situation: Situation, command: Rejoin) -> Step | Refused:
    """Of a node that follows from the leader; of the leader from the other cluster's primary."""
    name, record, cluster = command.node, situation.record, situation.spec.name
    if name not in situation.view.nodes:
        return Refused(UsageError(f"there is no node {name} in {cluster}"))
    node, leads = situation.view.node(name), name == record.primary
    if not situation.is_ours(node):
        hint = "correct the configuration, or move its data directory away by hand"
        return Refused(Unsafe(f"{name} belongs to another cluster (other system identifier)", hint=hint))
    if not isinstance(node.host, HostAnswer):
        hint = "pgvigil check says how to repair it"
        return Refused(Unsafe(f"there is no working shell on {name}", hint=hint))
    if _streams(node) and not command.force:
        hint = "nothing to do; --force rebuilds it all the same"
        return Refused(Unsafe(f"{name} streams already", hint=hint))
    upstream = _far_primary(situation) if leads else record.primary
    if upstream is None:
        hint = "it is copied from there; see standby_of in the configuration"
        return Refused(Unsafe("nobody who takes writes answers in the other cluster", hint=hint))
    if not leads and situation.primary.standby is None:
        hint = f"see: pgvigil status {cluster}"
        return Refused(Unsafe(f"the leader {record.primary} does not answer", hint=hint))
    source = command.copying.source
    if source not in (None, upstream):
        above = situation.view.nodes.get(source) if source else None
        if above is None or source == name or not _streams(above):
            hint = f"copy {upstream}: leave --from out"
            return Refused(Unsafe(f"{source} cannot be copied: it does not stream", hint=hint))
    copying = command.copying if source != upstream else replace(command.copying, source=None)
    return _rebuild(command, upstream, situation, copying, cascade=not leads)


def _rebuild(
    command: Rejoin, upstream: NodeName, situation: Situation, copying: Copying, *, cascade: bool
) -> Rebuild:
    generation = situation.record.generation
    return Rebuild(command.node, upstream, generation, command.method, copying, cascade=cascade)


def _far_primary(situation: Situation) -> NodeName | None:
    far = situation.view.far
    return far.primary.name if far and far.primary else None


def _streams(node: NodeView) -> bool:
    role = node.standby
    return bool(role and role.receiver and role.receiver.status == "streaming")
