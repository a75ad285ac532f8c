"""Planned change of primary, and how it is undone (SAFETY §6)."""

from dataclasses import replace
from typing import Final

from pgvigil.decide.election import elect
from pgvigil.decide.failover import SUDDEN, promotion_stages, start
from pgvigil.decide.situation import Situation, is_down
from pgvigil.errors import Unsafe, UsageError
from pgvigil.model.command import Refused, Switchover
from pgvigil.model.diagnosis import Urgency
from pgvigil.model.record import Fenced, Origin, Phase
from pgvigil.model.sighting import NodeView, Primary
from pgvigil.model.step import (
    Act,
    Checkpoint,
    Decision,
    Fence,
    Hold,
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
one, and the switchover is undone: writes have stood still all the time."""


def begin(situation: Situation, command: Switchover) -> Act | Refused:
    """Check everything that can be checked, then checkpoint and stop; nothing is changed by a refusal."""
    record, spec = situation.record, situation.spec
    if refused := _refusal(situation, command):
        return refused
    candidate = command.to or elect(situation).chosen
    assert candidate is not None
    switching = record.moved(
        Phase.SWITCHING,
        generation=record.next_generation(),
        since=situation.wall,
        origin=Origin.SWITCHOVER,
        candidate=candidate,
        fenced=None,
    )
    checkpoint = Stage((Checkpoint(record.primary, switching.generation),), must=False)
    stop = Stage((Stop(record.primary, switching.generation, StopMode.FAST),))
    reason = f"switch {spec.name} over from {record.primary} to {candidate}"
    return Act("switchover", reason, switching, (checkpoint, checkpoint, stop))


def switching(situation: Situation) -> Decision:
    """Phase SWITCHING: the old primary is being stopped; promote when nothing can be lost, else undo."""
    record = situation.record
    assert record.candidate is not None
    if situation.primary.primary:
        stable = record.moved(Phase.STABLE, since=situation.wall, candidate=None)
        return Act("undone", f"the switchover was given up: {record.primary} still serves", stable)
    host = is_down(situation.primary)
    if host is not None and host.control is not None and host.control.shut_down:
        candidate = situation.view.node(record.candidate)
        if candidate.standby and candidate.standby.furthest > host.control.checkpoint:
            return _promote(situation, record.candidate)
        if situation.phase_age_s() < CATCH_UP_WITHIN_S:
            return Hold("catching_up", f"{record.candidate} is receiving the last WAL of {record.primary}")
        return _undo(situation, f"{record.candidate} did not receive the last WAL in time")
    for problem in SUDDEN:
        finding = situation.diagnosis.find(problem, record.primary)
        if finding and finding.urgency is Urgency.NOW and host is None:
            return start(situation, f"switchover_{problem.value}", finding.evidence)
    too_long = situation.phase_age_s() > STOP_WITHIN_S
    if host is not None and too_long:
        return _undo(situation, f"{record.primary} did not stop in time")
    if host is not None and host.control is not None:
        return start(
            situation, "stop_was_unclean", ("the stopped primary did not write its last checkpoint",)
        )
    if too_long:
        stop = Stage((Stop(record.primary, record.generation, StopMode.IMMEDIATE),))
        return Act("stop_takes_too_long", f"end {record.primary} at once, to start it again", None, (stop,))
    return Hold("stopping", f"{record.primary} is being stopped")


def _promote(situation: Situation, candidate: NodeName) -> Act:
    """The old primary is proved stopped and the candidate complete: from here there is only forward."""
    node = situation.view.node(candidate)
    assert node.standby is not None
    old = situation.record.primary
    record = situation.record.moved(
        Phase.PROMOTING,
        primary=candidate,
        deposed=situation.record.deposed | {old},
        at_least=node.standby.furthest,
        fenced=Fenced.STOPPED,
        since=situation.wall,
        candidate=None,
    )
    stages = promotion_stages(replace(situation, record=record), candidate, record.at_least, complete=True)
    fence = Fence(old, record.generation, StopMode.FAST)
    last = replace(stages[-1], steps=(*stages[-1].steps, fence))
    return Act("switch", f"{candidate} has everything; promote it", record, (*stages[:-1], last))


def _undo(situation: Situation, why: str) -> Act:
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
        return Refused(UsageError(f"{command.to} is the primary already"))
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
    election = elect(situation, wanted=command.to)
    if election.chosen is None:
        return Refused(Unsafe("no standby can take over", detail="; ".join(election.rejected)))
    if reason := _not_streaming(situation, situation.view.node(election.chosen)):
        hint = "wait until it streams: pgvigil status --watch"
        return Refused(Unsafe(f"{election.chosen} cannot take over now", detail=reason, hint=hint))
    return None


def _not_streaming(situation: Situation, node: NodeView) -> str:
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
