"""Planned change of primary, and how it is undone (SAFETY §6)."""

from dataclasses import replace
from functools import partial
from typing import Final

from pgvigil.decide.election import elect
from pgvigil.decide.failover import SUDDEN, settled, start
from pgvigil.decide.promotion import absent, promotion_stages, synchronous
from pgvigil.decide.situation import Situation, is_down
from pgvigil.errors import Unsafe, UsageError
from pgvigil.model.command import Refused, Switchover
from pgvigil.model.diagnosis import Problem, Urgency
from pgvigil.model.record import Fenced, Origin, Phase
from pgvigil.model.sighting import HostAnswer, NodeView, Primary
from pgvigil.model.step import (
    Act,
    Checkpoint,
    Decision,
    Fence,
    Hold,
    HoldClients,
    Promote,
    Stage,
    StartPrimary,
    Stop,
    StopMode,
)
from pgvigil.model.units import NodeName

CATCH_UP_WITHIN_S: Final = 10.0
"""How long the candidate may take to receive the shutdown checkpoint before the switchover is undone."""
STOP_WITHIN_S: Final = 15.0
"""A fast stop that takes longer (a standby that does not confirm, a slow disk) is ended by an immediate
one, and the switchover is undone: writes have stood still all the time. Both count from when the
primary let us in no more: checkpointing before the stop may take minutes, and costs nobody anything."""


def begin(situation: Situation, command: Switchover) -> Act | Refused:
    """Check everything that can be checked, then checkpoint and stop; nothing is changed by a refusal."""
    record, spec = situation.record, situation.spec
    if refused := _refusal(situation, command):
        return refused
    candidate = command.to or elect(situation, objection=partial(not_streaming, situation)).chosen
    assert candidate is not None
    switching = record.moved(
        Phase.SWITCHING,
        generation=record.next_generation(),
        since=situation.wall,
        began=situation.wall,
        previous=record.primary,
        candidate=candidate,
        fenced=None,
    )
    checkpoint = Stage((Checkpoint(record.primary, switching.generation),), must=False)
    hold = (Stage((HoldClients(record.primary, switching.generation),)),) if spec.holds_clients else ()
    stop = Stage((Stop(record.primary, switching.generation, StopMode.FAST),))
    reason = f"switch {spec.name} over from {record.primary} to {candidate}"
    return Act("switchover", reason, switching, (checkpoint, checkpoint, *hold, stop))


def switching(situation: Situation) -> Decision:
    """Phase SWITCHING: the old primary is being stopped; promote when nothing can be lost, else undo.

    Without a candidate on record (it was given up, or is not configured any more) only undoing is left.
    """
    record = situation.record
    if situation.primary.primary:
        reason = f"the switchover was given up: {record.primary} still serves"
        return Act("undone", reason, settled(situation))
    if situation.primary.standby:
        return start(situation, "switchover_stopped", ("it came back as a standby",))
    host = is_down(situation.primary)
    if host is None:
        return stopping(situation)
    if record.candidate is None or record.candidate not in situation.view.nodes:
        return undo(situation, "the switchover was given up")
    if host.control is not None and not host.control.shut_down:
        return start(
            situation, "stop_was_unclean", ("the stopped primary did not write its last checkpoint",)
        )
    return _stopped(situation, host, situation.view.node(record.candidate))


def stopping(situation: Situation) -> Decision:
    """The old primary is not proved stopped yet: wait, hurry it, or see that it is lost."""
    record = situation.record
    for problem in SUDDEN:
        finding = situation.diagnosis.find(problem, record.primary)
        expected = problem is Problem.PRIMARY_CRASHED and record.candidate is None
        if finding and finding.urgency is Urgency.NOW and not expected:
            return start(situation, f"switchover_{problem.value}", finding.evidence)
    if situation.silent_s() > STOP_WITHIN_S:
        stop = Stage((Stop(record.primary, record.generation, StopMode.IMMEDIATE),))
        given_up = replace(record, candidate=None) if record.candidate else None
        reason = f"end {record.primary} at once, to start it again"
        return Act("stop_takes_too_long", reason, given_up, (stop,))
    return Hold("stopping", f"{record.primary} is being stopped")


def _stopped(situation: Situation, host: HostAnswer, candidate: NodeView) -> Decision:
    """The old primary is down, cleanly as far as is known: promote once the candidate has all of it."""
    if host.control and candidate.standby and candidate.standby.furthest > host.control.checkpoint:
        return _promote(situation, candidate.name)
    if situation.silent_s() < CATCH_UP_WITHIN_S:
        name = situation.record.primary
        return Hold("catching_up", f"{candidate.name} is receiving the last WAL of {name}")
    if host.control is None:
        return undo(situation, f"the last checkpoint of {situation.record.primary} cannot be read")
    return undo(situation, f"{candidate.name} did not receive the last WAL in time")


def _promote(situation: Situation, candidate: NodeName) -> Act:
    """The old primary is proved stopped and the candidate complete: from here there is only forward.

    A promotion may take long, so the old primary gets its `standby.signal` beside it, not after it:
    whoever starts it meanwhile gets a standby.
    """
    node = situation.view.node(candidate)
    assert node.standby is not None
    old = situation.record.primary
    record = situation.record.moved(
        Phase.PROMOTING,
        primary=candidate,
        deposed=situation.record.deposed | {old},
        at_least=node.standby.furthest,
        left=absent(situation, candidate),
        fenced=Fenced.STOPPED,
        since=situation.wall,
        origin=Origin.SWITCHOVER,
        candidate=None,
    )
    record = synchronous(replace(situation, record=record))
    stages = promotion_stages(replace(situation, record=record), candidate, record.at_least, complete=True)
    fence = Fence(old, record.generation, StopMode.FAST)
    at = next(i for i, stage in enumerate(stages) if any(isinstance(s, Promote) for s in stage.steps))
    beside = replace(stages[at], steps=(*stages[at].steps, fence))
    stages = (*stages[:at], beside, *stages[at + 1 :])
    return Act("switch", f"{candidate} has everything; promote it", record, stages)


def undo(situation: Situation, why: str) -> Act:
    """The stopped primary is started again where it is: nothing was promoted."""
    record = situation.record.moved(Phase.RESTARTING, since=situation.wall, candidate=None)
    step = StartPrimary(record.primary, record.generation)
    return Act("undo", f"{why}; start {record.primary} again", record, (Stage((step,)),))


def _refusal(situation: Situation, command: Switchover) -> Refused | None:
    record, spec = situation.record, situation.spec
    known = {node.name for node in spec.nodes}
    if command.to is not None and command.to not in known:
        return Refused(
            UsageError(
                f"there is no node {command.to} in {spec.name}", hint=f"nodes: {', '.join(sorted(known))}"
            )
        )
    if command.to == record.primary:
        return Refused(UsageError(f"{command.to} is the primary already", hint="name a standby with --to"))
    if not situation.primary.primary:
        hint = f"if it is lost: pgvigil failover {spec.name}"
        return Refused(Unsafe(f"the primary {record.primary} does not answer", hint=hint))
    if situation.primary.host_answer is None:
        return Refused(
            Unsafe(
                f"there is no working shell on {record.primary}",
                detail="without it, it cannot be stopped and proved stopped",
                hint="pgvigil check says how to repair it",
            )
        )
    election = elect(situation, wanted=command.to, objection=partial(not_streaming, situation))
    if election.chosen is None:
        who = f"{command.to} cannot take over now" if command.to else "no standby can take over now"
        hint = "see: pgvigil status"
        return Refused(Unsafe(who, detail="; ".join(election.rejected), hint=hint))
    return None


def not_streaming(situation: Situation, node: NodeView) -> str:
    """Why a candidate is no fit for a planned change; empty if it is."""
    role, primary = node.standby, situation.primary.primary
    if role is None or role.receiver is None or role.receiver.status != "streaming":
        return "it does not stream from the primary"
    assert isinstance(primary, Primary)
    behind = primary.written - role.furthest
    if behind > situation.spec.failover.max_lag_bytes:
        return f"it is {behind} bytes behind, more than max_lag"
    if node.host_answer is None and situation.spec.node(node.name).shell is not None:
        return "its host's shell does not answer"
    return ""
