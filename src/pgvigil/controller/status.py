"""A cluster and its events as JSON, in the shapes of `status_shape`. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, assert_never

from pgvigil.controller.node_status import Scene, node_status
from pgvigil.controller.operations import Json
from pgvigil.controller.status_shape import (
    ClusterStatus,
    DecisionStatus,
    EndpointStatus,
    EventStatus,
    FarStatus,
    FindingStatus,
    Health,
    ScheduledStatus,
    SyncStatus,
    WitnessStatus,
)
from pgvigil.decide.aim import aim
from pgvigil.decide.schedule import command_of, words
from pgvigil.model.diagnosis import Diagnosis, Finding
from pgvigil.model.record import ClusterRecord, Event, Phase, Scheduled
from pgvigil.model.sighting import ClusterView
from pgvigil.model.spec import ClusterSpec, Protection, WitnessSpec
from pgvigil.model.step import Act, Hold, Plan, Rest, sentence
from pgvigil.model.units import Generation, Instant, NodeName
from pgvigil.model.vantage import WitnessLook

NOT_YET: Final = Generation(0)


def status_json(
    spec: ClusterSpec,
    record: ClusterRecord | None,
    view: ClusterView,
    diagnosis: Diagnosis,
    plan: Plan,
    *,
    wall: datetime,
    paused: bool,
    busy: Mapping[NodeName, str],
    verified: Generation = NOT_YET,
    endpoints: Sequence[EndpointStatus] = (),
) -> Json:
    """A `ClusterStatus`. `busy`: what is being done to single nodes now, in words.

    `verified`: the generation whose promotion a step has verified.
    """
    scene = Scene(spec, record, view, wall, busy)
    status = ClusterStatus(
        cluster=spec.name,
        health=_health(scene, diagnosis, plan),
        generation=record.generation if record else 0,
        phase=record.phase if record else Phase.STABLE,
        since=_iso(record.since) if record else None,
        primary=scene.primary,
        candidate=record.candidate if record else None,
        origin=record.origin if record else None,
        timeline=record.timeline if record else None,
        system_id=record.system_id if record else None,
        protection=spec.protection,
        sync=_sync(spec, record),
        automatic=spec.failover.automatic,
        paused=paused,
        paused_until=_iso(record.paused_until) if record and paused else None,
        decision=_decision(plan, view.at),
        repairs=[sentence(step) for step in plan.repairs],
        warnings=list(plan.warnings),
        findings=[_finding(finding, view.at) for finding in diagnosis.findings],
        nodes=[node_status(scene, node) for node in spec.nodes],
        witnesses=[_witness(each, view) for each in spec.witnesses],
        scheduled=[_scheduled(each) for each in record.scheduled] if record else [],
        at=wall.isoformat(),
        standby_cluster=bool(record and record.standby_cluster),
        standby_of=_far(scene),
        serves=aim(spec, record, view, verified).primary if record else None,
        endpoints=list(endpoints),
        controller=None,
    )
    return dict(status)


def _far(scene: Scene) -> FarStatus | None:
    there, far = scene.spec.standby_of, scene.view.far
    if there is None and not (scene.record and scene.record.standby_cluster):
        return None
    heard = far.heard if far else None
    return FarStatus(
        name=there.name if there else None,
        primary=far.primary.name if far and far.primary else None,
        answers=[node.name for node in far.nodes] if far else [],
        timeline=heard.timeline if heard else None,
        lsn=str(heard.end) if heard else None,
        heard_s=round(max(0.0, scene.view.at - heard.at), 3) if heard else None,
    )


def _scheduled(each: Scheduled) -> ScheduledStatus:
    what = words(command_of(each))
    return ScheduledStatus(number=each.number, at=each.at.isoformat(), every_s=each.every_s, what=what)


def _sync(spec: ClusterSpec, record: ClusterRecord | None) -> SyncStatus | None:
    if record is None or record.sync is None:
        return None
    return SyncStatus(
        acks=record.sync.acks,
        standbys=sorted(record.sync.standbys),
        wanted_acks=spec.sync_required,
        changing=record.sync_next is not None,
    )


def event_json(event: Event) -> Json:
    """An `EventStatus`."""
    status = EventStatus(
        number=event.number,
        cluster=event.cluster,
        at=event.at.isoformat(),
        kind=event.kind,
        level=event.level,
        node=event.node,
        generation=event.generation,
        text=event.text,
        evidence=list(event.evidence),
        hint=event.hint,
        data=dict(event.data),
    )
    return dict(status)


def _witness(spec: WitnessSpec, view: ClusterView) -> WitnessStatus:
    look = view.witnesses.get(spec.name, WitnessLook())
    return WitnessStatus(
        name=spec.name,
        host=spec.host,
        way=look.way,
        reaches={name: reach.value for name, reach in look.reaches.items()},
        detail=look.detail,
        last_seen_s=round(max(0.0, view.at - look.at), 3) if look.at is not None else None,
    )


def _health(scene: Scene, diagnosis: Diagnosis, plan: Plan) -> Health:
    if scene.record is not None and scene.record.phase is not Phase.STABLE:
        return Health.CHANGING
    match plan.decision:
        case Act(stages=stages) if stages:
            return Health.CHANGING
        case Hold(until=None):
            return Health.HELD
        case _:
            pass
    if scene.record is not None and scene.record.standby_cluster:
        if scene.primary is None or scene.view.node(scene.primary).standby is None:
            return Health.DOWN
        return Health.DEGRADED if diagnosis.findings or plan.repairs else Health.OK
    if not any(node.name == scene.primary for node in scene.view.primaries()):
        return Health.DOWN
    if diagnosis.findings or plan.repairs or _promises_less(scene.spec, scene.record):
        return Health.DEGRADED
    return Health.OK


def _promises_less(spec: ClusterSpec, record: ClusterRecord | None) -> bool:
    """Whether commits wait for fewer than is wanted, or it is not proved that they wait."""
    if spec.protection is not Protection.QUORUM or record is None:
        return False
    return record.sync is None or record.sync.acks < spec.sync_required or record.sync_next is not None


def _decision(plan: Plan, now: Instant) -> DecisionStatus:
    match plan.decision:
        case Act(rule, reason, _, stages, evidence):
            steps = [sentence(step) for stage in stages for step in stage.steps]
            return _told("act", rule, reason, steps=steps, evidence=evidence)
        case Hold(rule, reason, hint, until, evidence):
            until_s = _seconds(until, now)
            return _told("hold", rule, reason, hint=hint, until_s=until_s, evidence=evidence)
        case Rest():
            return _told("rest", "", "all is well")
        case _:
            assert_never(plan.decision)


def _told(
    kind: str,
    rule: str,
    reason: str,
    *,
    hint: str = "",
    until_s: float | None = None,
    steps: list[str] | None = None,
    evidence: tuple[str, ...] = (),
) -> DecisionStatus:
    return DecisionStatus(
        kind=kind,
        rule=rule,
        reason=reason,
        hint=hint,
        until_s=until_s,
        steps=steps or [],
        evidence=list(evidence),
    )


def _finding(finding: Finding, now: Instant) -> FindingStatus:
    return FindingStatus(
        problem=finding.problem,
        node=finding.node,
        evidence=list(finding.evidence),
        urgency=finding.urgency,
        due_s=_seconds(finding.due, now),
    )


def _seconds(until: Instant | None, now: Instant) -> float | None:
    return round(max(0.0, until - now), 3) if until is not None else None


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
