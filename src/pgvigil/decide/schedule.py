"""What was asked for a later time: done if the cluster is healthy then, never a minute late. Pure."""

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from pgvigil.decide import switchover
from pgvigil.decide.situation import Situation
from pgvigil.errors import Unsafe, UsageError
from pgvigil.model.command import (
    CancelScheduled,
    Drill,
    Refused,
    RestartServers,
    Schedulable,
    Schedule,
    Switchover,
)
from pgvigil.model.record import ClusterRecord, Scheduled
from pgvigil.model.step import Act, Decision, Rest, Step
from pgvigil.model.tagged import from_plain, to_text
from pgvigil.model.units import period_text, version_text

LATE: Final = timedelta(minutes=1)
"""So long after its time it may still be begun: the cluster may just be busy with something else."""
ABSENT: Final = timedelta(seconds=5)
"""Found so much later than that: nobody could decide about it at its time."""
AT_MOST: Final = 100
EVERY_AT_LEAST: Final = timedelta(hours=1)
"""What is repeated interrupts people's work; one has to be over before the next, too."""
EVERY_AT_MOST: Final = timedelta(days=365)


def add(situation: Situation, command: Schedule) -> Act | Refused:
    """Put it on record. Refused for a time that is over, and for nodes that there are not."""
    record = situation.record
    if command.at <= situation.wall:
        return Refused(UsageError("that time is over", hint="see: date; the controller's clock counts"))
    if unknown := sorted(_nodes(command.command) - situation.view.nodes.keys()):
        return Refused(UsageError(f"there is no node {unknown[0]} in {situation.spec.name}"))
    if not EVERY_AT_LEAST <= timedelta(seconds=command.every_s or 86_400) <= EVERY_AT_MOST:
        return Refused(UsageError("it can be repeated every hour at most, and once a year at least"))
    if len(record.scheduled) >= AT_MOST:
        hint = f"pgvigil schedule cancel {record.cluster} NUMBER"
        return Refused(Unsafe(f"{AT_MOST} things are scheduled already", hint=hint))
    number = 1 + max((each.number for each in record.scheduled), default=record.revision)
    one = Scheduled(number, command.at, to_text(command.command), command.every_s)
    reason = f"number {number}: {words(command.command)}, at {_time(command.at)}{_again(one)}"
    return Act("scheduled", reason, replace(record, scheduled=in_order((*record.scheduled, one))))


def cancel(situation: Situation, command: CancelScheduled) -> Act | Refused:
    """Strike one off the record."""
    one = next((each for each in situation.record.scheduled if each.number == command.number), None)
    if one is None:
        hint = f"see: pgvigil schedule list {situation.spec.name}"
        return Refused(UsageError(f"nothing is scheduled under number {command.number}", hint=hint))
    reason = f"number {one.number} is cancelled: {words(command_of(one))}, at {_time(one.at)}{_again(one)}"
    return Act("schedule_cancelled", reason, without(situation.record, one))


def turn(situation: Situation, decision: Decision, repairs: tuple[Step, ...]) -> Act | None:
    """What a hold or a rest gives way to: one whose time has come, or is over; None: nothing of that.

    An errand (a drill, a restart) is only struck off here, or put off to its next time: the controller begins
    what is gone from the record under `schedule_due`.
    """
    due = next((each for each in situation.record.scheduled if each.at <= situation.wall), None)
    if due is None:
        return None
    why_not = obstacle(situation, decision, repairs)
    if situation.wall - due.at > LATE:
        return _missed(situation, due, why_not)
    return None if why_not else _begin(situation, due)


def obstacle(situation: Situation, decision: Decision, repairs: tuple[Step, ...]) -> str:
    """Why a healthy cluster's work is not begun now; empty: it is healthy."""
    if situation.record.is_paused(situation.wall):
        return "it is paused"
    if not isinstance(decision, Rest):
        return decision.reason
    if situation.diagnosis.findings:
        first = situation.diagnosis.findings[0]
        return f"{first.problem.value.replace('_', ' ')}" + (f" ({first.node})" if first.node else "")
    return "a node is being repaired" if repairs else ""


def without(record: ClusterRecord, one: Scheduled) -> ClusterRecord:
    """The record when it is not scheduled any more."""
    return replace(record, scheduled=tuple(each for each in record.scheduled if each != one))


def past(record: ClusterRecord, one: Scheduled, wall: datetime) -> ClusterRecord:
    """The record when its time is over: it is not scheduled any more, or for its next time after `wall`."""
    record = without(record, one)
    if one.every_s is None:
        return record
    again = replace(one, at=next_time(one, wall))
    return replace(record, scheduled=in_order((*record.scheduled, again)))


def next_time(one: Scheduled, wall: datetime) -> datetime:
    """The first of its times after `wall`; what fell into the time before is passed over."""
    period = timedelta(seconds=one.every_s or 0)
    return one.at + period * ((wall - one.at) // period + 1)


def in_order(scheduled: Iterable[Scheduled]) -> tuple[Scheduled, ...]:
    """Soonest first."""
    return tuple(sorted(scheduled, key=lambda each: (each.at, each.number)))


def command_of(one: Scheduled) -> Schedulable:
    """What is to be done."""
    command: Schedulable = from_plain(Schedulable, json.loads(one.command))
    return command


def words(command: Schedulable) -> str:
    """What is to be done, for people."""
    match command:
        case Switchover(to=to):
            return f"switch over to {to or 'the best standby'}"
        case Drill(to=to):
            return f"a drill with {to or 'the best standby'}"
        case RestartServers():
            which = ", ".join(command.nodes) or "every server"
            wish = " that waits for it" if command.pending else ""
            role = f" ({command.role} only)" if command.role else ""
            older = f" older than {version_text(command.below_version)}" if command.below_version else ""
            return f"restart {which}{older}{wish}{role}" + (", in place" if command.in_place else "")


def _begin(situation: Situation, due: Scheduled) -> Act | None:
    record, command = past(situation.record, due, situation.wall), command_of(due)
    evidence = (f"scheduled under number {due.number} for {_time(due.at)}{_again(due)}",)
    if not isinstance(command, Switchover):
        return Act("schedule_due", f"its time has come: {words(command)}", record, (), evidence)
    act = switchover.begin(replace(situation, record=record), command)
    return None if isinstance(act, Refused) else replace(act, evidence=(*act.evidence, *evidence))


def _missed(situation: Situation, due: Scheduled, why_not: str) -> Act:
    command = command_of(due)
    late = situation.wall - due.at
    if late > LATE + ABSENT:
        why = "no controller could decide about it then"
    elif not why_not and isinstance(command, Switchover):
        refused = switchover.begin(situation, command)
        why = str(refused.error) if isinstance(refused, Refused) else "its time is over"
    else:
        why = why_not or "its time is over"
    text = f"not done: {words(command)}, scheduled for {_time(due.at)}: {why}"
    if due.every_s:
        text += f"; its next time is {_time(next_time(due, situation.wall))}"
    return Act("schedule_missed", text, past(situation.record, due, situation.wall), (), (why,))


def _nodes(command: Schedulable) -> set[str]:
    match command:
        case Switchover(to=to) | Drill(to=to):
            return {to} if to else set()
        case RestartServers(nodes=nodes):
            return set(nodes)


def _again(one: Scheduled) -> str:
    return f", and every {period_text(one.every_s)} after it" if one.every_s else ""


def _time(at: datetime) -> str:
    return at.isoformat(sep=" ", timespec="seconds")
