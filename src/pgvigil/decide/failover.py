"""Unplanned change of primary: fence, cut, elect, rescue, promote, follow (SAFETY §4), phase by phase."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from pgvigil.decide.election import Election, elect, known_end
from pgvigil.decide.fencing import cut_steps, fence_steps, is_old, may_not_promote, proof, stray_fences
from pgvigil.decide.situation import Situation, fed_by_standby, is_down
from pgvigil.model.diagnosis import Finding, Problem, Urgency
from pgvigil.model.record import ClusterRecord, Fenced, Origin, Phase
from pgvigil.model.sighting import NoAnswer, NodeView, Primary, Refusal
from pgvigil.model.spec import AfterCrash, Rate
from pgvigil.model.step import (
    Act,
    Decision,
    Follow,
    Hold,
    Promote,
    Rescue,
    Stage,
    StartPrimary,
    Step,
)
from pgvigil.model.units import Lsn, NodeName, Timeline

CUT_WITHIN_S: Final = 2.0
"""In async mode cutting only makes comparing exact: after this long we go on with who is cut, or answers."""
FORCED_FENCE_S: Final = 60.0
"""With --force an old primary that cannot be stopped is left alone after this long: a human answers."""
RESTART_WITHIN_S: Final = 60.0
"""How long a primary may take to come back in place while a fit standby waits (S2-10)."""
SUDDEN: Final = (Problem.PRIMARY_CRASHED, Problem.PRIMARY_HUNG, Problem.PRIMARY_LOST)
"""The findings that interrupt whatever is being done: nobody of us can have caused them."""
VERDICTS: Final = (*SUDDEN, Problem.PRIMARY_STOPPED)
"""The findings on which a primary may be replaced without being asked."""


def begin(situation: Situation, finding: Finding) -> Decision:
    """A verdict on the primary: replace it, restart it in place, or hold with the reason."""
    record, spec, policy = situation.record, situation.spec, situation.spec.failover
    if record.is_paused(situation.wall):
        return Hold("paused", "automatic failover is paused", _resume(situation), evidence=finding.evidence)
    if not policy.automatic:
        hint = f"fail over by hand: pgvigil failover {spec.name}"
        return Hold("not_automatic", "failover.automatic is off", hint, evidence=finding.evidence)
    election = elect(situation)
    restartable = is_down(situation.primary) is not None
    if (
        restartable
        and finding.problem is Problem.PRIMARY_CRASHED
        and policy.after_crash is AfterCrash.RESTART
    ):
        return _restart(situation, finding.evidence, "after_crash: restart")
    if election.chosen is None:
        if restartable and finding.problem is Problem.PRIMARY_CRASHED:
            return _restart(situation, finding.evidence, "no standby is fit to be promoted")
        return _nobody(situation, election, finding.evidence)
    if policy.max_per and _too_many(situation, policy.max_per):
        reason = f"there were {policy.max_per.count} failovers in {policy.max_per.within} already"
        hint = f"look at why, then: pgvigil failover {spec.name}"
        return Hold("cool_down", reason, hint, evidence=finding.evidence)
    if wait := may_not_promote(situation):
        return replace(wait, evidence=(*finding.evidence, *wait.evidence))
    return start(situation, finding.problem.value, finding.evidence)


def start(
    situation: Situation,
    rule: str,
    evidence: tuple[str, ...],
    *,
    wanted: NodeName | None = None,
    forced: bool = False,
    asked: bool = False,
) -> Act:
    """Next generation, phase FENCING, and its first steps at once. `asked`: by an operator.

    A position known from before is kept while the change goes on. So is `at_least`, which says that the
    present primary of record was asked to promote and has not been verified.
    """
    record = situation.record
    fencing = record.moved(
        Phase.FENCING,
        generation=record.next_generation(),
        deposed=record.deposed | {record.primary},
        since=situation.wall,
        began=record.began if record.phase is not Phase.STABLE else _silent_since(situation),
        previous=record.previous if record.phase is not Phase.STABLE else record.primary,
        fenced=None,
        candidate=wanted,
        forced=forced,
        at_least=record.at_least,
        failovers=record.failovers if asked else (*record.failovers, situation.wall)[-20:],
        primary_lsn=_last_known(situation),
    )
    ahead = replace(situation, record=fencing)
    steps = (*fence_steps(ahead), *stray_fences(ahead), *cut_steps(ahead))
    return Act(rule, f"{record.primary} is to be replaced", fencing, (Stage(steps, must=False),), evidence)


def fencing(situation: Situation) -> Decision:
    """Phase FENCING: until the old primary can acknowledge nothing more, then choose."""
    record = situation.record
    if situation.primary.primary and not record.forced:
        back = settled(situation)
        return Act("came_back", f"{record.primary} serves again; nothing was promoted", back)
    if by_hand := promoted_by_hand(situation):
        return adopt(situation, by_hand, (f"{record.primary} was being replaced",))
    if situation.primary.standby and record.at_least:
        at, why = situation.primary.standby.furthest, "it was asked to promote already and may do so yet"
        return _promote(situation, record.primary, at, Fenced.IN_RECOVERY, why)
    fenced = proof(situation)
    given_up = record.forced and situation.phase_age_s() >= FORCED_FENCE_S
    fences, cuts = () if fenced or given_up else fence_steps(situation), cut_steps(situation)
    if fences or (cuts and situation.phase_age_s() < CUT_WITHIN_S):
        return Act("fence", f"fence {record.primary}", None, (Stage((*fences, *cuts), must=False),))
    if wait := may_not_promote(situation):
        return wait
    election = elect(situation, wanted=record.candidate, any_lag=record.forced)
    if election.chosen is None and record.candidate is not None:
        election = elect(situation, any_lag=record.forced)
    if election.chosen is None:
        host = is_down(situation.primary)
        if host is not None and not situation.primary.standby:
            return _restart(situation, election.rejected, "no standby is fit to be promoted")
        return _nobody(situation, election, ())
    return _promote(situation, election.chosen, election.at, fenced or Fenced.RISK_ACCEPTED)


def promoting(situation: Situation) -> Decision:
    """Phase PROMOTING: the record names the new primary; go on until it is verified (SAFETY §4.6–8)."""
    record, chosen = situation.record, situation.primary
    if chosen.primary:
        if chosen.primary.timeline <= record.timeline:
            reason = f"{chosen.name} is out of recovery but still on timeline {chosen.primary.timeline}"
            return Hold("timeline_unchanged", reason, "look at its log; do not restart anything")
        stable = settled(situation, timeline=chosen.primary.timeline)
        reason = f"{chosen.name} takes writes on timeline {chosen.primary.timeline}"
        return Act("promoted", reason, stable, data=_change(situation, chosen.primary))
    if chosen.standby:
        stages = promotion_stages(situation, chosen.name, record.at_least)
        return Act("promote", f"promote {chosen.name}", None, (*_strays_first(situation), *stages))
    for problem in VERDICTS:
        finding = situation.diagnosis.find(problem, chosen.name)
        if finding and finding.urgency is Urgency.NOW:
            return start(situation, f"candidate_{problem.value}", finding.evidence)
    return Hold(
        "candidate_silent",
        f"{chosen.name} was to be promoted and does not answer",
        "wait, or see: pgvigil status",
    )


def restarting(situation: Situation) -> Decision:
    """Phase RESTARTING: the primary of record is started where it is."""
    record, primary = situation.record, situation.primary
    if primary.primary:
        return Act("restarted", f"{record.primary} serves again", settled(situation))
    if primary.standby:
        return start(situation, "restarted_as_standby", ("it came back as a standby",))
    if situation.phase_age_s() > RESTART_WITHIN_S and elect(situation).chosen:
        return start(situation, "restart_failed", (f"it did not come back within {RESTART_WITHIN_S:g} s",))
    if is_down(primary):
        step = StartPrimary(record.primary, record.generation)
        stages = (*_strays_first(situation), Stage((step,)))
        return Act("restart", f"start {record.primary}", None, stages)
    return Hold("restarting", f"{record.primary} is being started", "wait, or see its log")


def promoted_by_hand(situation: Situation) -> NodeView | None:
    """The only node out of recovery, if it left our timeline behind without being asked by us.

    An old primary started again has not; neither has a stranger.
    """
    record = situation.record
    claimants = [n for n in situation.view.primaries() if n.name != record.primary and situation.is_ours(n)]
    if len(claimants) != 1 or situation.primary.primary:
        return None
    node = claimants[0]
    return None if is_old(situation, node) else node


def adopt(situation: Situation, node: NodeView, evidence: tuple[str, ...]) -> Act:
    """A human promoted another node while ours does not serve: that one is the primary now."""
    assert node.primary is not None
    record = situation.record
    role = node.primary
    adopted = settled(
        situation,
        generation=record.next_generation(),
        primary=node.name,
        timeline=node.primary.timeline,
        origin=Origin.ADOPTED,
        deposed=(record.deposed | {record.primary}) - {node.name},
    )
    reason = f"{node.name} was promoted by hand; it is the primary now"
    data = (
        ("origin", "adopted"),
        ("timeline", role.timeline),
        ("previous", record.primary),
        ("primary", node.name),
    )
    return Act("adopted", reason, adopted, (), evidence, data)


def settled(situation: Situation, **changes: object) -> ClusterRecord:
    """The record in phase STABLE, with nothing left of the change that ended."""
    record = situation.record
    rest = {
        "deposed": record.deposed - {record.primary},
        "since": situation.wall,
        "candidate": None,
        "forced": False,
        "at_least": Lsn(0),
        "primary_lsn": Lsn(0),
        "began": None,
        "previous": None,
    }
    return record.moved(Phase.STABLE, **(rest | changes))


def promotion_stages(
    situation: Situation, chosen: NodeName, at_least: Lsn, *, complete: bool = False
) -> tuple[Stage, ...]:
    """Rescue what the old primary could not send, promote, point the others at the new primary.

    Beside a rescue the others are pointed at the candidate before it is promoted, which costs no time:
    they stream from it and follow to its new timeline in the same breath. `complete`: the candidate has
    everything already (switchover); then writes do not wait for the others. A standby of a standby stays
    where it is. A candidate further behind than `max_lag` was only chosen for the rescue's sake: without
    it there is no promotion, unless an operator forces it.
    """
    record, timeline = situation.record, _ending(situation, chosen)
    rescues: list[Step] = [
        Rescue(name, chosen, timeline, record.generation)
        for name in sorted(record.deposed - {chosen})
        if not complete and name in situation.view.nodes and _may_have_more(situation, name, timeline)
    ]
    follows = tuple(
        Follow(node.name, chosen, record.generation)
        for node in situation.standbys()
        if node.name != chosen
        and node.name not in record.deposed
        and fed_by_standby(situation, node) in (None, chosen)
    )
    promote = Promote(chosen, record.generation, at_least, timeline)
    lacking = known_end(situation, timeline) - at_least > situation.spec.failover.max_lag_bytes
    must = lacking and not record.forced and bool(rescues)
    first = tuple(rescues) if must or complete else (*rescues, *follows)
    last = follows if must or complete else ()
    stages = (Stage(first, must=must), Stage((promote,)), Stage(last, must=False))
    return tuple(stage for stage in stages if stage.steps)


def _strays_first(situation: Situation) -> tuple[Stage, ...]:
    """Primaries of the past that take writes are stopped before there is a new one, if they can be."""
    strays = stray_fences(situation)
    return (Stage(strays, must=False),) if strays else ()


def absent(situation: Situation, chosen: NodeName) -> frozenset[NodeName]:
    """Who cannot be pointed at the new primary now: to be done when they are back."""
    here = {node.name for node in situation.standbys()}
    return frozenset(situation.view.nodes) - here - {chosen, situation.record.primary}


def _ending(situation: Situation, chosen: NodeName) -> Timeline:
    """The timeline that ends now: the chosen one's.

    It is beyond the record's when the former candidate was promoted, and lost before it was verified.
    """
    role = situation.view.node(chosen).standby
    return max(role.timeline, situation.record.timeline) if role else situation.record.timeline


def _may_have_more(situation: Situation, name: NodeName, timeline: Timeline) -> bool:
    """Whether a dead node may hold WAL that was never sent: it is of the timeline that ends now."""
    host = is_down(situation.view.node(name))
    return host is not None and (host.control is None or host.control.timeline == timeline)


def _promote(
    situation: Situation, chosen: NodeName, at: Lsn, fenced: Fenced, why: str = "it is the furthest"
) -> Act:
    record = situation.record.moved(
        Phase.PROMOTING,
        primary=chosen,
        deposed=(situation.record.deposed | {situation.record.primary}) - {chosen},
        at_least=at,
        left=absent(situation, chosen),
        fenced=fenced,
        since=situation.wall,
        origin=Origin.FAILOVER,
    )
    ahead = replace(situation, record=record)
    stages = (*_strays_first(ahead), *promotion_stages(ahead, chosen, at))
    return Act("promote", f"promote {chosen}: {why} ({at})", record, stages, (f"fenced: {fenced}",))


def _restart(situation: Situation, evidence: tuple[str, ...], why: str) -> Act:
    record = situation.record.moved(
        Phase.RESTARTING, since=situation.wall, primary_lsn=_last_known(situation)
    )
    step = StartPrimary(record.primary, record.generation)
    return Act("restart", f"start {record.primary} where it is: {why}", record, (Stage((step,)),), evidence)


def _last_known(situation: Situation) -> Lsn:
    """The furthest position that the primary of record is known to have had, during this change."""
    last = situation.primary.last
    flushed = last.role.flushed if last and isinstance(last.role, Primary) else Lsn(0)
    return max(situation.record.primary_lsn, flushed)


def _change(situation: Situation, role: Primary) -> tuple[tuple[str, str | int | float | None], ...]:
    """What `history` tells of a change of primary. `lost_bytes` is at least that: what was known of."""
    record = situation.record
    outage = (situation.wall - record.began).total_seconds() if record.began else None
    return (
        ("origin", record.origin.value),
        ("timeline", role.timeline),
        ("previous", record.previous),
        ("primary", record.primary),
        ("outage_s", round(max(outage, 0.0), 3) if outage is not None else None),
        ("lsn", str(record.at_least)),
        ("lost_bytes", max(0, record.primary_lsn - role.flushed)),
    )


def _silent_since(situation: Situation) -> datetime:
    """The wall time at which the primary fell silent; now, if it is not silent."""
    sql = situation.primary.sql
    age = situation.view.at - sql.since if isinstance(sql, NoAnswer | Refusal) else 0.0
    return situation.wall - timedelta(seconds=age)


def _nobody(situation: Situation, election: Election, evidence: tuple[str, ...]) -> Hold:
    hint = f"repair a standby, or accept loss of data: pgvigil failover {situation.spec.name} --force"
    return Hold(
        "nobody_fit", "no standby is fit to be promoted", hint, evidence=(*evidence, *election.rejected)
    )


def _too_many(situation: Situation, rate: Rate) -> bool:
    recent = [at for at in situation.record.failovers if situation.wall - at < rate.within]
    return len(recent) >= rate.count


def _resume(situation: Situation) -> str:
    return f"when ready: pgvigil resume {situation.spec.name}"
