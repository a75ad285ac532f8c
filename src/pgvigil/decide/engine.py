"""Diagnosis, record and command → one decision about the primary, and repairs beside it. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from pgvigil.decide import (
    demote_site,
    failover,
    fencing,
    maintenance,
    overdue,
    promote_site,
    promotion,
    repair,
    restart,
    schedule,
    site_orders,
    standby_cluster,
    switchover,
    synchrony,
)
from pgvigil.decide.election import elect
from pgvigil.decide.situation import Situation
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
from pgvigil.model.diagnosis import Diagnosis, Finding, Problem, Urgency
from pgvigil.model.record import ClusterRecord, Phase
from pgvigil.model.sighting import ClusterView
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.step import Act, Decision, Hold, Plan, Rest, Stage, Step
from pgvigil.model.units import Generation

Reaction = Callable[[Situation, Finding], Decision]


@dataclass(frozen=True, slots=True)
class Holding:
    """Nothing is done, under the problem's name; `hint`: what a human can do."""

    hint: str

    def __call__(self, _: Situation, finding: Finding) -> Hold:
        """The hold, with the finding's evidence, until the finding is due."""
        where = f" ({finding.node})" if finding.node else ""
        reason = finding.problem.value.replace("_", " ") + where
        return Hold(finding.problem.value, reason, self.hint, finding.due, finding.evidence)


def _adopt(situation: Situation, finding: Finding) -> Decision:
    """A human promoted another node while ours does not run: that one is the primary now."""
    assert finding.node is not None
    return failover.adopt(situation, situation.view.node(finding.node), finding.evidence)


FOREIGN: Final = (
    "if the configuration names the wrong server, correct it; if this is a new cluster under an old name, "
    "give it another name, or forget the record: docs/operate/store.md"
)
_foreign = Holding(FOREIGN)


REACTIONS: Final[Mapping[Problem, Reaction]] = {
    Problem.PRIMARY_REPLACED: _adopt,
    Problem.SITE_NOT_STANDBY: Holding(
        "make it a standby cluster: pgvigil demote-site; or correct standby_of"
    ),
    Problem.PRIMARY_CRASHED: failover.begin,
    Problem.PRIMARY_HUNG: failover.begin,
    Problem.PRIMARY_LOST: failover.begin,
    Problem.PRIMARY_STOPPED: failover.begin,
    Problem.PRIMARY_RESTARTING: Holding("it may be back in a moment"),
    Problem.CONTROLLER_ISOLATED: Holding("look at this controller's own network"),
    Problem.CONTROLLER_LATE: Holding("this controller's machine is overloaded"),
    Problem.PRIMARY_LOCKED_OUT: Holding("repair the login (password, pg_hba.conf): pgvigil check"),
    Problem.PRIMARY_OVERLOADED: Holding("look at its sessions and load; it is never failed over for that"),
    Problem.PRIMARY_UNSEEN: Holding("if it is really gone: pgvigil failover --force"),
    Problem.PRIMARY_UNKNOWN: Holding("leave exactly one primary running; pgvigil takes it from there"),
}
"""What follows from a problem of the primary. Problems of other nodes are repaired in `decide.repair`;
a stranger among them is left alone and hinders nothing."""

PHASES: Final[Mapping[Phase, Callable[[Situation], Decision]]] = {
    Phase.FENCING: failover.fencing,
    Phase.PROMOTING: failover.promoting,
    Phase.RESTARTING: failover.restarting,
    Phase.SWITCHING: lambda situation: demote_site.leaving(situation) or switchover.switching(situation),
}
"""A change that has begun is finished, or undone, before anything else is looked at."""


FORCEABLE: Final = frozenset({Phase.FENCING, Phase.RESTARTING, Phase.PROMOTING})
"""Changes that may come to a halt for want of proof or of a fit standby: an operator may take them on."""


def first_record(spec: ClusterSpec, view: ClusterView, diagnosis: Diagnosis) -> ClusterRecord | Hold:
    """Take over a running cluster: exactly one primary must answer (SAFETY §2, last row)."""
    if spec.standby_of is not None and not view.primaries():
        return standby_cluster.first_record(spec, view)
    if finding := diagnosis.find(Problem.PRIMARY_UNKNOWN):
        hint = "leave exactly one primary running; pgvigil takes it from there"
        return Hold(
            "primary_unknown", "it is not clear which node is the primary", hint, None, finding.evidence
        )
    primary = view.primaries()[0]
    assert primary.answer is not None
    assert primary.primary is not None
    return ClusterRecord(
        cluster=spec.name,
        generation=Generation(1),
        phase=Phase.STABLE,
        primary=primary.name,
        system_id=primary.answer.facts.system_id,
        timeline=primary.primary.timeline,
    )


def taken_over(first: ClusterRecord) -> Act:
    """What makes a first record durable."""
    what = "leads this standby cluster" if first.standby_cluster else "is the primary"
    return Act("taken_over", f"{first.primary} {what}; the cluster is guarded from now on", first)


def decide(situation: Situation) -> Plan:
    """What is to be done now. The same situation always gives the same plan."""
    record = situation.record
    if record.primary not in situation.view.nodes:
        hint = "add it again, or remove the cluster from the state: see docs/operate/store.md"
        return Plan(Hold("primary_not_configured", f"{record.primary} is not in the configuration", hint))
    if foreign := situation.diagnosis.find(Problem.SYSTEM_FOREIGN, record.primary):
        return Plan(_foreign(situation, foreign))
    if record.phase is not Phase.STABLE:
        return Plan(PHASES[record.phase](situation))
    if record.standby_cluster:
        return standby_cluster.decide(situation)
    decision, repairs = _stable(situation), repair.repairs(situation)
    if not isinstance(decision, Act):
        later = maintenance.pause_over(situation) or schedule.turn(situation, decision, repairs)
        decision = later or decision
    return Plan(decision, repairs)


def _stable(situation: Situation) -> Decision:
    if situation.primary.primary is not None:
        return _serving(situation)
    decision = _silent(situation)
    return decision if isinstance(decision, Act) else _fence_old(situation) or decision


def _silent(situation: Situation) -> Decision:
    """The primary does not serve: what its first finding that counts leads to."""
    by_hand = failover.promoted_by_hand(situation)
    for finding in situation.diagnosis.findings:
        if by_hand and finding.problem in failover.VERDICTS and finding.urgency is Urgency.NOW:
            return failover.adopt(situation, by_hand, finding.evidence)
        reaction = REACTIONS.get(finding.problem)
        if reaction and (
            finding.urgency is not Urgency.WAITING or finding.problem is Problem.PRIMARY_RESTARTING
        ):
            return reaction(situation, finding)
    waiting = [
        f for f in situation.diagnosis.findings if f.urgency is Urgency.WAITING and f.problem in REACTIONS
    ]
    silent = f"{situation.record.primary} does not answer"
    if waiting:
        first = next((f for f in waiting if f.node == situation.record.primary), waiting[0])
        if first.problem in (Problem.PRIMARY_UNSEEN, Problem.PRIMARY_OVERLOADED):
            return Hold("primary_silent", silent, "wait for evidence", first.due, first.evidence)
        reason = f"{first.problem.value.replace('_', ' ')} is not proved yet"
        return Hold(first.problem.value, reason, "", first.due, first.evidence)
    return Hold("primary_silent", silent, "wait for evidence")


def _fence_old(situation: Situation) -> Act | None:
    """Stop a primary of the past also while the present one is silent; a newer one may be a human's."""
    if situation.record.is_paused(situation.wall):
        return None
    stale = situation.diagnosis.every(Problem.STALE_PRIMARY)
    old = [f for f in stale if f.node and fencing.is_old(situation, situation.view.node(f.node))]
    return repair.stale_primaries(situation, old)


def _serving(situation: Situation) -> Decision:
    """The primary serves: strays are fenced, returned nodes struck from the list of the deposed."""
    record = situation.record
    stale = situation.diagnosis.every(Problem.STALE_PRIMARY)
    names = ", ".join(str(finding.node) for finding in stale)
    if stale and record.is_paused(situation.wall):
        return Hold("paused", f"{names} is a second primary", "stop it by hand, or pgvigil resume")
    if act := repair.stale_primaries(situation, stale):
        return act
    kept = synchrony.upkeep(situation)
    if isinstance(kept, Act):
        return kept
    if stale:
        hint = f"stop {names} by hand now: it takes writes that will be lost"
        return Hold("stale_primary", f"{names} is a second primary and has no working shell", hint)
    if changed := repair.rejoined(situation):
        back = ", ".join(sorted((record.deposed - changed.deposed) | (record.left - changed.left)))
        return Act("rejoined", f"{back} is a streaming standby again", changed)
    if over := maintenance.ended(situation):
        return over
    assert situation.primary.primary is not None
    if situation.primary.primary.timeline > record.timeline:
        changed = replace(record, timeline=situation.primary.primary.timeline)
        return Act("timeline", f"{record.primary} is on timeline {changed.timeline} now", changed)
    return kept or Rest()


def order(situation: Situation, command: Directive) -> Act | Step | Refused:
    """An operator's command → what to do, or why not. Commands on single nodes give one step."""
    record = situation.record
    match command:
        case Pause(until=until):
            return Act(
                "pause", "automatic actions are paused", replace(record, paused=True, paused_until=until)
            )
        case Resume():
            return Act("resume", "automatic actions again", replace(record, paused=False, paused_until=None))
        case _ if record.primary not in situation.view.nodes:
            return Refused(Unsafe(f"{record.primary} is not in the configuration", hint="add it again"))
        case _ if situation.diagnosis.find(Problem.SYSTEM_FOREIGN, record.primary):
            return Refused(Unsafe(f"{record.primary} belongs to another cluster", hint=FOREIGN))
        case Failover(force=True) if record.phase in FORCEABLE:
            return _force_on(situation, command)
        case _ if record.phase is not Phase.STABLE:
            hint = "wait until it is finished: pgvigil status --watch"
            return Refused(Unsafe(f"a change is under way ({record.phase})", hint=hint))
        case PromoteSite():
            return promote_site.begin(situation, command)
        case DemoteSite():
            return demote_site.begin(situation)
        case _ if record.standby_cluster:
            return site_orders.order(situation, command)
        case RestartPrimary():
            return restart.in_place(situation)
        case Switchover():
            return switchover.begin(situation, command)
        case Failover():
            return _failover(situation, command)
        case Rejoin():
            return repair.rejoin(situation, command)
        case FollowUpstream():
            return repair.follow_upstream(situation, command)
        case PromoteNode(node=node):
            return _promote_node(situation, node)
        case Maintenance():
            return maintenance.change(situation, command)
        case Schedule():
            return schedule.add(situation, command)
        case CancelScheduled():
            return schedule.cancel(situation, command)


def _failover(situation: Situation, command: Failover) -> Act | Refused:
    record, spec = situation.record, situation.spec
    if command.to is not None and command.to not in situation.view.nodes:
        return Refused(UsageError(f"there is no node {command.to} in {spec.name}"))
    if situation.primary.primary and not command.force:
        hint = f"a planned change loses nothing: pgvigil switchover {spec.name}"
        return Refused(Unsafe(f"the primary {record.primary} serves", hint=hint))
    if (by_hand := failover.promoted_by_hand(situation)) and not command.force:
        hint = "it is adopted as soon as the old primary is proved gone; or stop it"
        return Refused(Unsafe(f"{by_hand.name} was promoted by hand and takes writes", hint=hint))
    proven = any(
        (finding := situation.diagnosis.find(problem)) and finding.urgency is Urgency.NOW
        for problem in failover.VERDICTS
    )
    if not proven and not command.force:
        detail = "; ".join(text for f in situation.diagnosis.findings for text in f.evidence)
        hint = f"make sure that {record.primary} is off, then add --force"
        return Refused(Unsafe(f"it is not proved that {record.primary} is gone", detail=detail, hint=hint))
    election = elect(situation, wanted=command.to, any_lag=command.force, forced=command.force)
    if election.chosen is None:
        return Refused(Unsafe("no standby is fit to be promoted", detail="; ".join(election.rejected)))
    if not command.force and (wait := fencing.may_not_promote(situation)):
        return Refused(Unsafe(wait.reason, hint=wait.hint))
    evidence = ("an operator asked for it", *(("loss of data was accepted",) if command.force else ()))
    return failover.start(situation, "command", evidence, wanted=command.to, forced=command.force, asked=True)


def _force_on(situation: Situation, command: Failover) -> Act | Refused:
    """An operator takes on a failover that has come to a halt, and accepts what may be lost."""
    record = situation.record
    late = overdue.is_overdue(situation)
    waits = promotion.not_rescuable(situation, record.primary) and not situation.primary.primary
    if (
        situation.primary.answer is not None
        and record.phase is not Phase.FENCING
        and not overdue.may_pass_over(situation, command.to)
        and not waits
    ):
        another = f"name another standby: pgvigil failover {record.cluster} --to NODE --force"
        hint = another if late else "wait until it is finished: pgvigil status --watch"
        return Refused(Unsafe(f"{record.primary} answers; the change goes on by itself", hint=hint))
    election = elect(situation, wanted=command.to, any_lag=True, forced=True)
    if election.chosen is None:
        return Refused(Unsafe("no standby is fit to be promoted", detail="; ".join(election.rejected)))
    evidence = ("an operator asked for it", "loss of data was accepted")
    if record.phase is Phase.FENCING:
        forced = replace(record, forced=True, candidate=command.to)
        return Act("command", f"{record.primary} is to be replaced by force", forced, (), evidence)
    return failover.start(situation, "command", evidence, wanted=command.to, forced=True, asked=True)


def _promote_node(situation: Situation, node: str) -> Act | Refused:
    """`promote` of one node is a failover to it, with all of a failover's conditions."""
    view = next((view for view in situation.view.nodes.values() if view.name == node), None)
    if view is None:
        return Refused(UsageError(f"there is no node {node} in {situation.spec.name}"))
    if view.standby is None:
        detail = "it answers as a primary" if view.primary else "it does not answer"
        return Refused(
            Unsafe(f"{node} is not in recovery", detail=detail, hint="only a standby can be promoted")
        )
    return _failover(situation, Failover(view.name))


def single_step(step: Step, reason: str) -> Act:
    """An operator's step on one node as an act of its own."""
    return Act("command", reason, None, (Stage((step,)),))
