"""Unplanned change of primary: fence, cut, elect, rescue, promote, follow (SAFETY §4), phase by phase."""

from dataclasses import replace
from typing import Final

from pgvigil.decide.election import Election, elect
from pgvigil.decide.situation import Situation, is_cut, is_down
from pgvigil.model.diagnosis import Finding, Problem, Urgency
from pgvigil.model.record import Fenced, Origin, Phase
from pgvigil.model.sighting import HostAnswer, NoAnswer, Postmaster, Primary, Refusal
from pgvigil.model.spec import AfterCrash, Rate, WhenUnreachable
from pgvigil.model.step import (
    Act,
    Cut,
    Decision,
    Fence,
    Follow,
    Hold,
    Promote,
    Rescue,
    Stage,
    StartPrimary,
    Step,
    StopMode,
)
from pgvigil.model.units import Instant, Lsn, NodeName

CUT_WITHIN_S: Final = 2.0
"""In async mode cutting only makes comparing exact: after this long we go on with who is cut, or answers."""
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
    return start(situation, finding.problem.value, finding.evidence)


def start(
    situation: Situation,
    rule: str,
    evidence: tuple[str, ...],
    *,
    wanted: NodeName | None = None,
    forced: bool = False,
) -> Act:
    """Next generation, phase FENCING, and its first steps at once."""
    record = situation.record
    last = situation.primary.last
    flushed = last.role.flushed if last and isinstance(last.role, Primary) else Lsn(0)
    fencing = record.moved(
        Phase.FENCING,
        generation=record.next_generation(),
        deposed=record.deposed | {record.primary},
        since=situation.wall,
        origin=Origin.FAILOVER,
        fenced=None,
        candidate=wanted,
        forced=forced,
        at_least=Lsn(0),
        failovers=(*record.failovers, situation.wall)[-20:],
        primary_lsn=max(record.primary_lsn if record.phase is Phase.FENCING else Lsn(0), flushed),
    )
    ahead = replace(situation, record=fencing)
    steps = (*_fence_steps(ahead), *_cut_steps(ahead))
    return Act(rule, f"{record.primary} is to be replaced", fencing, (Stage(steps, must=False),), evidence)


def fencing(situation: Situation) -> Decision:
    """Phase FENCING: until the old primary can acknowledge nothing more, then choose."""
    record = situation.record
    if situation.primary.primary and not record.forced:
        stable = record.moved(
            Phase.STABLE, deposed=record.deposed - {record.primary}, since=situation.wall, candidate=None
        )
        return Act("came_back", f"{record.primary} serves again; nothing was promoted", stable)
    fenced = proof(situation)
    steps = (*(() if fenced else _fence_steps(situation)), *_cut_steps(situation))
    waited = situation.phase_age_s() >= CUT_WITHIN_S
    if steps and not (fenced and waited):
        return Act("fence", f"fence {record.primary}", None, (Stage(steps, must=False),))
    if fenced is None and (wait := _may_not_promote_unfenced(situation)):
        return wait
    election = elect(situation, wanted=record.candidate, any_lag=record.forced)
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
        stable = record.moved(
            Phase.STABLE,
            timeline=chosen.primary.timeline,
            since=situation.wall,
            candidate=None,
            forced=False,
            deposed=record.deposed - {chosen.name},
        )
        return Act("promoted", f"{chosen.name} takes writes on timeline {chosen.primary.timeline}", stable)
    if chosen.standby:
        stages = promotion_stages(situation, chosen.name, record.at_least)
        return Act("promote", f"promote {chosen.name}", None, stages)
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
        stable = record.moved(Phase.STABLE, since=situation.wall, deposed=record.deposed - {record.primary})
        return Act("restarted", f"{record.primary} serves again", stable)
    if primary.standby:
        return start(situation, "restarted_as_standby", ("it came back as a standby",))
    if situation.phase_age_s() > RESTART_WITHIN_S and elect(situation).chosen:
        return start(situation, "restart_failed", (f"it did not come back within {RESTART_WITHIN_S:g} s",))
    if is_down(primary):
        step = StartPrimary(record.primary, record.generation)
        return Act("restart", f"start {record.primary}", None, (Stage((step,)),))
    return Hold("restarting", f"{record.primary} is being started", "wait, or see its log")


def proof(situation: Situation) -> Fenced | None:
    """How we know that the old primary can acknowledge nothing more; None: we do not."""
    node = situation.primary
    if node.standby:
        return Fenced.IN_RECOVERY
    host = is_down(node)
    return Fenced.STOPPED if host and host.standby_signal and host.at >= _silent_since(situation) else None


def promotion_stages(
    situation: Situation, chosen: NodeName, at_least: Lsn, *, complete: bool = False
) -> tuple[Stage, ...]:
    """Rescue what the old primary could not send, then promote and point the others at the new one.

    `complete`: the candidate has everything already (switchover). A standby pointed at a node that is
    being promoted streams the rest of the old timeline and follows to the new one.
    """
    record = situation.record
    rescues: list[Step] = [
        Rescue(name, chosen, record.timeline, record.generation)
        for name in sorted(record.deposed - {chosen})
        if not complete and name in situation.view.nodes and is_down(situation.view.node(name))
    ]
    follows = tuple(
        Follow(node.name, chosen, record.generation)
        for node in situation.standbys()
        if node.name != chosen and node.name not in record.deposed
    )
    promote = Promote(chosen, record.generation, at_least, record.timeline)
    before = (Stage(tuple(rescues), must=False),) if rescues else ()
    return (*before, Stage((promote, *follows)))


def _promote(situation: Situation, chosen: NodeName, at: Lsn, fenced: Fenced) -> Act:
    record = situation.record.moved(
        Phase.PROMOTING,
        primary=chosen,
        deposed=situation.record.deposed - {chosen},
        at_least=at,
        fenced=fenced,
        since=situation.wall,
    )
    stages = promotion_stages(replace(situation, record=record), chosen, at)
    return Act(
        "promote", f"{chosen} is the furthest ({at}); promote it", record, stages, (f"fenced: {fenced}",)
    )


def _fence_steps(situation: Situation) -> tuple[Step, ...]:
    """Through the shell, if it answers: kill what is hung, stop what runs, leave `standby.signal`."""
    record, node = situation.record, situation.primary
    if node.standby:
        return ()
    match node.host:
        case HostAnswer(at=at, postmaster=Postmaster.FROZEN) if at >= _silent_since(situation):
            return (Fence(record.primary, record.generation, StopMode.KILL),)
        case HostAnswer(at=at) if at >= _silent_since(situation):
            return (Fence(record.primary, record.generation, StopMode.IMMEDIATE),)
        case _:
            return ()


def _cut_steps(situation: Situation) -> tuple[Step, ...]:
    generation = situation.record.generation
    return tuple(Cut(node.name, generation) for node in situation.standbys() if not is_cut(node))


def _may_not_promote_unfenced(situation: Situation) -> Hold | None:
    """No fence applies: the user's policy decides (DESIGN §4.5). None: the risk is accepted."""
    name = situation.record.primary
    if situation.spec.fencing.unreachable is WhenUnreachable.PROMOTE or situation.record.forced:
        return None
    reason = f"{name} cannot be reached to be fenced (fencing.unreachable: wait)"
    hint = f"make sure that {name} is off, then: pgvigil failover {situation.spec.name} --force"
    return Hold("not_fenced", reason, hint)


def _restart(situation: Situation, evidence: tuple[str, ...], why: str) -> Act:
    record = situation.record.moved(Phase.RESTARTING, since=situation.wall)
    step = StartPrimary(record.primary, record.generation)
    return Act("restart", f"start {record.primary} where it is: {why}", record, (Stage((step,)),), evidence)


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


def _silent_since(situation: Situation) -> Instant:
    """Since when the host's word counts: from the beginning of the silence; always, if there is none."""
    sql = situation.primary.sql
    return sql.since if isinstance(sql, NoAnswer | Refusal) else Instant(0.0)
