"""A cluster that follows another one: who leads it, who streams from whom. Nobody is ever promoted here.

No leader can acknowledge anything, so one that is lost is replaced without fencing; one that returns follows
the new one. Only an operator ends this (`decide.promote_site`).
"""

from dataclasses import replace
from typing import Final

from pgvigil.decide import fencing, maintenance, repair, slots
from pgvigil.decide.election import elect
from pgvigil.decide.situation import (
    Situation,
    below,
    host_says,
    is_down,
    keyword,
    points_at,
)
from pgvigil.model.diagnosis import Finding, Problem, Urgency
from pgvigil.model.record import ClusterRecord, Origin, Phase
from pgvigil.model.sighting import ClusterView, HostAnswer, NodeView
from pgvigil.model.spec import ClusterSpec, FollowedCluster
from pgvigil.model.step import (
    Act,
    Cut,
    Decision,
    Fence,
    Follow,
    Hold,
    Nudge,
    Plan,
    Rebuild,
    RebuildMethod,
    Rest,
    Stage,
    Step,
    StopMode,
)
from pgvigil.model.units import Generation, NodeName

STREAMING: Final = frozenset({"streaming", ""})
"""Of a WAL receiver; empty: our login may not see it."""
STRAYED_S: Final = 5.0
"""So long a node may try by itself to follow to a newer timeline before it is rebuilt; no longer when it
tried in vain a moment ago, for one whose history parted connects again and again."""
DEAF_S: Final = 5.0
"""So long the leader's receiver may hear nothing from a node that is not the primary there any more."""


def first_record(spec: ClusterSpec, view: ClusterView) -> ClusterRecord | Hold:
    """Take over a standby cluster: every node answers in recovery, or provably cannot write.

    The leader is who streams from outside; of several, or of none, the furthest.
    """
    doubtful = [node.name for node in view.nodes.values() if not (node.standby or _cannot_write(node))]
    standbys = [node for node in view.nodes.values() if node.standby]
    if doubtful or not standbys:
        reason = "it is not clear that no node of this standby cluster takes writes"
        hint = "have every node answer in recovery, or have its host show standby.signal"
        who = ", ".join(doubtful) or "no node answers"
        return Hold("standby_cluster_unclear", reason, hint, None, (f"not known of: {who}",))
    leader = max(standbys, key=lambda node: (_from_outside(spec, node), *_reach(node), node.name))
    assert leader.answer is not None
    assert leader.standby is not None
    return ClusterRecord(
        cluster=spec.name,
        generation=Generation(1),
        phase=Phase.STABLE,
        primary=leader.name,
        system_id=leader.answer.facts.system_id,
        timeline=leader.standby.timeline,
        standby_cluster=True,
    )


def decide(situation: Situation) -> Plan:
    """What is to be done in a standby cluster in phase STABLE."""
    steps = repairs(situation)
    decision = _decision(situation)
    if not isinstance(decision, Act):
        decision = maintenance.pause_over(situation) or decision
    return Plan(decision, steps)


def _decision(situation: Situation) -> Decision:
    record, spec = situation.record, situation.spec
    if stale := situation.diagnosis.find(Problem.STALE_PRIMARY):
        return _writes(situation, stale)
    if lost := situation.diagnosis.find(Problem.LEADER_LOST):
        if lost.urgency is Urgency.NOW:
            return _replace_leader(situation, lost)
        return Hold("leader_lost", f"{record.primary} is not proved lost yet", "", lost.due, lost.evidence)
    if silent := situation.diagnosis.find(Problem.LEADER_SILENT):
        hint = f"another one can lead: pgvigil switchover {spec.name}"
        reason = f"the leader {record.primary} does not answer"
        return Hold("leader_silent", reason, hint, silent.due, silent.evidence)
    if problem := next((f for f in situation.diagnosis.findings if f.problem in OURS), None):
        hint = "look at this controller's own machine and network"
        return Hold("leader_silent", "our own network or loop is in doubt", hint, None, problem.evidence)
    if situation.primary.answer is None:
        return Hold("leader_silent", f"the leader {record.primary} does not answer", "wait for evidence")
    if changed := _learnt(situation):
        return changed
    if spec.standby_of is None:
        hint = f"put standby_of into the file again; or end it: pgvigil promote-site {spec.name}"
        reason = "this is a standby cluster, and the file does not say of which"
        return Hold("standby_of_missing", reason, hint)
    return Rest()


OURS: Final = frozenset({Problem.CONTROLLER_ISOLATED, Problem.CONTROLLER_LATE})


def _writes(situation: Situation, finding: Finding) -> Decision:
    """A node that takes writes in a standby cluster: stopped if it is a primary of the past, else told.

    Who was promoted by hand may be all that serves: what becomes of it is for people to say.
    """
    assert finding.node is not None
    name, record = finding.node, situation.record
    node, cluster = situation.view.node(name), situation.spec.name
    paused = record.is_paused(situation.wall)
    old = name in record.deposed or (name != record.primary and fencing.is_old(situation, node))
    if old and host_says(node) and not paused:
        fence = Stage((Fence(name, record.generation, StopMode.FAST),))
        return Act("stale_primary", f"{name} must not take writes: stop it", None, (fence,), finding.evidence)
    hint = (
        f"have it count: pgvigil promote-site {cluster} --to {name} --force; or stop it, and then: "
        f"pgvigil clone {cluster} {name}"
    )
    reason = f"{name} takes writes in a standby cluster, and nobody asked it to through pgvigil"
    return Hold("standby_cluster_writes", reason, hint, None, finding.evidence)


def _replace_leader(situation: Situation, finding: Finding) -> Decision:
    record = situation.record
    if record.is_paused(situation.wall):
        hint = f"when ready: pgvigil resume {situation.spec.name}"
        return Hold("paused", "automatic actions are paused", hint, evidence=finding.evidence)
    election = elect(situation, any_lag=True, forced=True)
    if election.chosen is None:
        hint = f"bring back {record.primary}, or another node; see: pgvigil status {situation.spec.name}"
        evidence = (*finding.evidence, *election.rejected)
        return Hold("nobody_leads", "no node is fit to lead this standby cluster", hint, evidence=evidence)
    return new_leader(situation, election.chosen, "leader_lost", finding.evidence)


def new_leader(situation: Situation, name: NodeName, rule: str, evidence: tuple[str, ...] = ()) -> Act:
    """Another node leads from now on: on record, then pointed at the other cluster, and the rest at it."""
    record = situation.record
    changed = replace(
        record,
        generation=record.next_generation(),
        primary=name,
        origin=Origin.FAILOVER if evidence else Origin.SWITCHOVER,
        since=situation.wall,
    )
    ahead = replace(situation, record=changed)
    there = situation.spec.standby_of
    first: tuple[Step, ...] = (Follow(name, there.upstream, changed.generation),) if there else ()
    others = tuple(
        Follow(node.name, name, changed.generation)
        for node in situation.standbys()
        if node.name not in (name, *record.maintenance)
        and _target(ahead, node) == name
        and not points_at(node.standby.conninfo if node.standby else "", situation.spec.node(name))
    )
    stages = tuple(Stage(steps, must=False) for steps in (first, others) if steps)
    reason = f"{name} leads this standby cluster in the place of {record.primary}"
    return Act(rule, reason, changed, stages, evidence)


def _learnt(situation: Situation) -> Act | None:
    """Timelines of the other cluster that arrived here, and old primaries that stream again."""
    record, role = situation.record, situation.primary.standby
    if over := maintenance.ended(situation):
        return over
    back = {
        name
        for name in record.deposed
        if (node := situation.view.nodes.get(name)) and node.standby and node.standby.receiver
    }
    if back:
        changed = replace(record, deposed=record.deposed - back)
        return Act("rejoined", f"{', '.join(sorted(back))} is a streaming standby again", changed)
    if role is not None and role.timeline > record.timeline:
        changed = replace(record, timeline=role.timeline)
        return Act("timeline", f"{record.primary} is on timeline {role.timeline} now", changed)
    return None


def repairs(situation: Situation) -> tuple[Step, ...]:
    """What single nodes need, one step a node."""
    if situation.record.is_paused(situation.wall):
        return ()
    steps = (_repair(situation, node) for node in situation.view.nodes.values())
    return tuple(step for step in steps if step is not None)


def _repair(situation: Situation, node: NodeView) -> Step | None:
    record, role = situation.record, node.standby
    if not situation.is_ours(node) or node.primary or node.name in record.maintenance:
        return None
    if is_down(node):
        return _start(situation, node)
    if role is None:
        return None
    if node.name == record.primary:
        return _lead(situation, node)
    target = _target(situation, node)
    if not points_at(role.conninfo, situation.spec.node(target)):
        return Follow(node.name, target, record.generation)
    if role.receiver is None or role.receiver.status not in STREAMING:
        return _bring_back(situation, node, record.primary)
    return slots.upkeep(situation, node)


def _bring_back(situation: Situation, node: NodeView, upstream: NodeName) -> Step | None:
    """A node that is pointed right and does not stream tries again; one whose history parted is rebuilt.

    That is told by its upstream's timeline being newer, and by time.
    """
    role, record = node.standby, situation.record
    assert role is not None
    silent_s = situation.view.at - (node.receiver_lost_at or situation.view.at)
    patience_s = repair.PATIENCE_S
    if role.timeline < _timeline_of(situation, upstream):
        missed = node.missed.get(role.conninfo)
        lately = missed is not None and situation.view.at - missed.at < repair.PATIENCE_S
        patience_s = 0.0 if lately else STRAYED_S
    if silent_s < patience_s or not isinstance(node.host, HostAnswer) or not _serves(situation, upstream):
        return Nudge(node.name, record.generation) if role.receiver is None else None
    if not situation.spec.failover.auto_rejoin:
        return None
    cascade = upstream in situation.view.nodes
    return Rebuild(node.name, upstream, record.generation, RebuildMethod.AUTO, cascade=cascade)


def _timeline_of(situation: Situation, upstream: NodeName) -> int:
    far = situation.view.far.primary if situation.view.far else None
    if upstream in situation.view.nodes:
        role = situation.view.node(upstream).standby
        return role.timeline if role else 0
    return far.timeline if far else 0


def _serves(situation: Situation, upstream: NodeName) -> bool:
    """Whether a node can be rebuilt from there: it takes writes in the other cluster, or leads this one."""
    if upstream not in situation.view.nodes:
        return True  # named because it was seen to take writes
    role = situation.view.node(upstream).standby
    return role is not None and role.receiver is not None and role.receiver.status in STREAMING


def _lead(situation: Situation, node: NodeView) -> Step | None:
    """The leader streams from whoever is primary of the other cluster."""
    there, role, record = situation.spec.standby_of, node.standby, situation.record
    assert role is not None
    if there is None:
        return None
    if not leads_there(role.conninfo, there):
        return Follow(node.name, there.upstream, record.generation)
    far = situation.view.far.primary if situation.view.far else None
    if role.receiver is None or role.receiver.status not in STREAMING:
        return _bring_back(situation, node, far.name) if far else Nudge(node.name, record.generation)
    if far is not None and role.receiver.silent_s is not None and role.receiver.silent_s > DEAF_S:
        now = next(n for n in there.nodes if n.name == far.name)
        if (role.receiver.host, role.receiver.port) != (now.host, now.port):
            return Cut(node.name, record.generation)  # it is pointed there again right after
    return slots.upkeep(situation, node)


def _start(situation: Situation, node: NodeView) -> Step | None:
    """A node that is down: started again where that is wanted, finished where a rebuild was begun.

    A primary of the past waits until its upstream is on a newer timeline than it was: before, nothing could
    tell whether their histories parted.
    """
    record, policy, host = situation.record, situation.spec.failover, is_down(node)
    far = situation.view.far.primary if situation.view.far else None
    upstream = record.primary if node.name != record.primary else far.name if far else None
    if host is None or upstream is None or not _serves(situation, upstream):
        return None
    cascade = upstream == record.primary
    if policy.auto_rejoin and (node.name in record.deposed or host.marker):
        old = host.control is not None and not host.control.in_recovery
        if old and host.control and host.control.timeline >= _timeline_of(situation, upstream):
            return None
        return Rebuild(node.name, upstream, record.generation, RebuildMethod.AUTO, cascade=cascade)
    if policy.restart_standbys:
        return Rebuild(node.name, upstream, record.generation, RebuildMethod.START, cascade=cascade)
    return None


def _target(situation: Situation, node: NodeView) -> NodeName:
    """From whom a node that does not lead streams: the leader, or another node that it was pointed at."""
    record, spec, role = situation.record, situation.spec, node.standby
    wanted = spec.node(node.name).upstream
    pointed = next((n.name for n in spec.others(node.name) if role and points_at(role.conninfo, n)), None)
    for name in (wanted, pointed):
        above = situation.view.nodes.get(name) if name else None
        if above is None or above.name in (node.name, record.primary) or above.name in record.maintenance:
            continue
        streams = above.standby is not None and above.standby.receiver is not None
        in_line = below(situation, above, record.primary) and not below(situation, above, node.name)
        if streams and in_line:
            return above.name
    return record.primary


def leads_there(conninfo: str, there: FollowedCluster) -> bool:
    """Whether a `primary_conninfo` leads to all nodes of that cluster."""
    return (keyword(conninfo, "host"), keyword(conninfo, "port")) == (there.host, there.port)


def _from_outside(spec: ClusterSpec, node: NodeView) -> bool:
    role = node.standby
    inside = role is not None and any(points_at(role.conninfo, other) for other in spec.nodes)
    return bool(role and role.receiver and not inside)


def _reach(node: NodeView) -> tuple[int, int]:
    role = node.standby
    return (role.timeline, role.furthest) if role else (0, 0)


def _cannot_write(node: NodeView) -> bool:
    """Whether its host proves that it cannot come up as a primary."""
    host = is_down(node)
    return host is not None and (host.standby_signal or not host.data_dir_ok)
