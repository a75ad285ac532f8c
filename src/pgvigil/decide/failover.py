"""Unplanned change of primary: fence, cut, elect, rescue, promote, follow (SAFETY §4), phase by phase."""

from dataclasses import replace
from functools import partial
from typing import Final

from pgvigil.decide import lossless, overdue
from pgvigil.decide.election import Election, elect, elsewhere
from pgvigil.decide.fencing import cut_steps, fence_steps, is_old, may_not_promote, proof, stray_fences
from pgvigil.decide.promotion import (
    absent,
    not_rescuable,
    promotion_stages,
    stop_again,
    strays_first,
    synchronous,
)
from pgvigil.decide.restart import (
    beginning,
    last_known,
    left_behind,
    looping,
    not_startable_yet,
    restart,
    too_many,
)
from pgvigil.decide.situation import Situation, is_down, points_at
from pgvigil.decide.synchrony import forgotten
from pgvigil.model.diagnosis import Diagnosis, Finding, Problem, Urgency
from pgvigil.model.record import ClusterRecord, Fenced, Origin, Phase
from pgvigil.model.sighting import NodeView, Primary
from pgvigil.model.spec import AfterCrash
from pgvigil.model.step import (
    Act,
    Decision,
    Follow,
    Hold,
    Stage,
    StartPrimary,
    Step,
)
from pgvigil.model.units import Lsn, NodeName

FENCE_WITHIN_S: Final = 2.0
"""An old primary that can acknowledge nothing any more (`quorum`) is given this long to be stopped too."""
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


def is_sudden(diagnosis: Diagnosis, primary: NodeName) -> bool:
    """Whether the primary failed in a way that none of our steps causes."""
    found = (diagnosis.find(problem, primary) for problem in SUDDEN)
    return any(finding is not None and finding.urgency is Urgency.NOW for finding in found)


def begin(situation: Situation, finding: Finding) -> Decision:
    """A verdict on the primary: replace it, restart it in place, or hold with the reason."""
    record, spec, policy = situation.record, situation.spec, situation.spec.failover
    if record.is_paused(situation.wall):
        return Hold("paused", "automatic failover is paused", _resume(situation), evidence=finding.evidence)
    if not policy.automatic:
        hint = f"fail over by hand: pgvigil failover {spec.name}"
        return Hold("not_automatic", "failover.automatic is off", hint, evidence=finding.evidence)
    election = elect(situation)
    restartable = is_down(situation.primary) is not None and finding.problem is Problem.PRIMARY_CRASHED
    if policy.after_crash is AfterCrash.RESTART and (wait := not_startable_yet(situation, finding)):
        return wait
    loops = restartable and policy.max_per and too_many(situation, record.restarts, policy.max_per)
    if restartable and not loops and policy.after_crash is AfterCrash.RESTART:
        return restart(situation, finding.evidence, "after_crash: restart")
    if election.chosen is None:
        if restartable:
            again = restart(situation, finding.evidence, "no standby is fit to be promoted")
            return looping(situation, policy.max_per, election) if loops and policy.max_per else again
        return _nobody(situation, election, finding.evidence)
    if policy.max_per and too_many(situation, record.failovers, policy.max_per):
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
        **beginning(situation),
        fenced=None if record.phase is Phase.STABLE else _outlives(record),
        candidate=wanted,
        forced=forced,
        at_least=record.at_least,
        failovers=record.failovers if asked else (*record.failovers, situation.wall)[-20:],
        primary_lsn=last_known(situation),
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
    if (
        situation.primary.standby
        and record.at_least
        and not overdue.is_passed_over(situation)
        and not _outdone(situation)
    ):
        at, why = situation.primary.standby.furthest, "it was asked to promote already and may do so yet"
        return _promote(situation, record.primary, at, Fenced.IN_RECOVERY, why)
    ground = lossless.ground(situation) if lossless.demanded(situation) else None
    if steps := _fences_and_cuts(situation, ground):
        return Act("fence", f"fence {record.primary}", None, (Stage(steps, must=False),))
    if wait := may_not_promote(situation):
        return wait
    if ground is None and lossless.demanded(situation):
        return Hold("cutting", "not enough standbys are cut off yet", "wait, or see: pgvigil status")
    election = _elected(situation, ground)
    if election.chosen is None and ground and (act := _catch_up(situation, ground)):
        return act
    if election.chosen is None:
        host = is_down(situation.primary)
        if host is not None and not situation.primary.standby:
            return restart(situation, election.rejected, "no standby is fit to be promoted")
        return _nobody(situation, election, ())
    fenced = ground.fenced if ground else proof(situation)
    return _promote(situation, election.chosen, election.at, fenced or Fenced.RISK_ACCEPTED)


def _outdone(situation: Situation) -> bool:
    """Whether the node that was asked to promote was started again since, and a standby has more than it.

    A server that ends forgets what it was asked, unless it had done it: then it is on a newer timeline
    than the others (seed 4000844).
    """
    record, role = situation.record, situation.primary.standby
    began = record.began or situation.wall
    if role is None or not any(at >= began for at in record.restarts):
        return False
    others = (n.standby for n in situation.standbys() if n.name != record.primary)
    return any(o and o.timeline == role.timeline and o.furthest > role.furthest for o in others)


def promoting(situation: Situation) -> Decision:
    """Phase PROMOTING: the record names the new primary; go on until it is verified (SAFETY §4.6–8).

    Who still points at an old primary then was not reached before, by a controller that may have died, and
    would follow it for good when it is back as a standby (seed 2000884); so may who is away (73994200083).
    """
    record, chosen = situation.record, situation.primary
    if chosen.primary:
        if chosen.primary.timeline <= record.timeline:
            reason = f"{chosen.name} is out of recovery but still on timeline {chosen.primary.timeline}"
            return Hold("timeline_unchanged", reason, "look at its log; do not restart anything")
        astray = (_pointed_at(situation, old) for old in record.deposed - {chosen.name})
        left = record.left.union(absent(situation, chosen.name) - record.deposed, *astray)
        stable = settled(situation, timeline=chosen.primary.timeline, left=left)
        reason = f"{chosen.name} takes writes on timeline {chosen.primary.timeline}"
        return Act("promoted", reason, stable, data=_change(situation, chosen.primary))
    if chosen.standby:
        if missing := not_rescuable(situation, chosen.name):
            return _fetch_first(situation, missing)
        stages = promotion_stages(situation, chosen.name, record.at_least)
        if late := overdue.hold(situation):
            return late
        return Act("promote", f"promote {chosen.name}", None, (*strays_first(situation), *stages))
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
        stages = (*strays_first(situation), Stage((step,)))
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
        left=absent(situation, node.name) | _pointed_at(situation, record.primary) - {node.name},
        **forgotten(situation.spec),
    )
    reason = f"{node.name} was promoted by hand; it is the primary now"
    data = (
        ("origin", "adopted"),
        ("timeline", role.timeline),
        ("previous", record.primary),
        ("primary", node.name),
    )
    return Act("adopted", reason, adopted, (), evidence, data)


def _pointed_at(situation: Situation, name: NodeName) -> frozenset[NodeName]:
    """The standbys that would follow that node as soon as it is back, as a standby."""
    if name not in situation.view.nodes:
        return frozenset()
    there = situation.spec.node(name)
    return frozenset(
        node.name for node in situation.standbys() if node.standby and points_at(node.standby.conninfo, there)
    )


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
        "rescue_from": frozenset(),
    }
    return record.moved(Phase.STABLE, **(rest | changes))


def _fetch_first(situation: Situation, missing: tuple[NodeName, ...]) -> Decision:
    """The promotion waits for WAL: whoever has it is stopped again, if it was started meanwhile."""
    names, chosen, spec = ", ".join(missing), situation.record.primary, situation.spec
    if steps := stop_again(situation, missing):
        reason = f"stop {names} again: {chosen} needs its last WAL"
        return Act("fetch_first", reason, None, (Stage(steps, must=False),))
    hint = f"bring back {names}; or accept that commits may be lost: pgvigil failover {spec.name} --force"
    return Hold("not_lossless", f"{chosen} may lack commits of {names}, whose WAL cannot be fetched", hint)


def _promote(
    situation: Situation, chosen: NodeName, at: Lsn, fenced: Fenced, why: str = "it is the furthest"
) -> Act:
    record = situation.record
    record = record.moved(
        Phase.PROMOTING,
        primary=chosen,
        deposed=(record.deposed | {record.primary}) - {chosen},
        at_least=at,
        left=absent(situation, chosen),
        fenced=_outlives(record) or fenced,
        rescue_from=_rescue_from(situation, fenced) - {chosen},
        since=situation.wall,
        origin=Origin.FAILOVER,
    )
    record = synchronous(replace(situation, record=record))
    ahead = replace(situation, record=record)
    stages: tuple[Stage, ...] = ()
    if not not_rescuable(ahead, chosen):
        stages = (*strays_first(ahead), *promotion_stages(ahead, chosen, at))
    return Act("promote", f"promote {chosen}: {why} ({at})", record, stages, (f"fenced: {fenced}",))


def _outlives(record: ClusterRecord) -> Fenced | None:
    """What an earlier turn of the same change did without: the first primary may still live."""
    return record.fenced if record.fenced in (Fenced.RISK_ACCEPTED, Fenced.QUORUM) else None


def _rescue_from(situation: Situation, fenced: Fenced) -> frozenset[NodeName]:
    """Whose WAL must be fetched, with those of earlier turns of the same change of primary."""
    record = situation.record
    by_rescue = lossless.demanded(situation) and fenced is Fenced.STOPPED
    return record.rescue_from | ({record.primary} if by_rescue else frozenset())


def _fences_and_cuts(situation: Situation, ground: lossless.Ground | None) -> tuple[Step, ...]:
    """What is still to be done, or tried, before anybody is chosen."""
    record, age_s = situation.record, situation.phase_age_s()
    revoked = ground is not None and ground.fenced is Fenced.QUORUM
    given_up = (record.forced and age_s >= FORCED_FENCE_S) or (revoked and age_s >= FENCE_WITHIN_S)
    fences = () if given_up or proof(situation) else fence_steps(situation)
    cuts = cut_steps(situation)
    needed = ground is None if lossless.demanded(situation) else age_s < CUT_WITHIN_S
    return (*fences, *cuts) if fences or (cuts and needed) else ()


def _elected(situation: Situation, ground: lossless.Ground | None) -> Election:
    """Who is promoted: with a proof, only somebody it is true of, however far behind the rest he is."""
    record = situation.record
    any_lag = record.forced or ground is not None
    objection = partial(ground.objection, situation) if ground else partial(left_behind, situation)
    election = elect(
        situation, wanted=record.candidate, any_lag=any_lag, forced=record.forced, objection=objection
    )
    if election.chosen is None and record.candidate is not None:
        election = elect(situation, any_lag=any_lag, forced=record.forced, objection=objection)
    return election


def _catch_up(situation: Situation, ground: lossless.Ground) -> Act | None:
    """The standby that has everything may not be promoted: one that may gets the rest from it first."""
    ahead = lossless.furthest(situation)
    chosen = elect(situation, any_lag=True).chosen
    if ground.fenced is not Fenced.QUORUM or ahead is None or chosen is None or chosen == ahead:
        return None
    follow = Follow(chosen, ahead, situation.record.generation)
    reason = f"only {ahead} has everything; {chosen} gets it from there"
    return Act("catch_up", reason, None, (Stage((follow,)),))


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


def _nobody(situation: Situation, election: Election, evidence: tuple[str, ...]) -> Hold:
    cluster = situation.spec.name
    away = sorted(n.name for n in situation.standbys() if elsewhere(situation, n.name))
    hint = f"repair a standby, or accept loss of data: pgvigil failover {cluster} --force"
    if away:
        hint = f"to go to another location: pgvigil failover {cluster} --to {away[0]}"
    return Hold(
        "nobody_fit", "no standby is fit to be promoted", hint, evidence=(*evidence, *election.rejected)
    )


def _resume(situation: Situation) -> str:
    return f"when ready: pgvigil resume {situation.spec.name}"
