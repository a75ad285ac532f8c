"""When the loop has something to do: what was scheduled, and whether all is calm until then."""

import asyncio
from typing import Final

from pgvigil.controller.errands import Errands
from pgvigil.controller.journal import Journal
from pgvigil.controller.operations import Outcome, Result
from pgvigil.controller.orders import Order
from pgvigil.decide.schedule import command_of, words
from pgvigil.errors import Unsafe
from pgvigil.model.command import Errand, Refused
from pgvigil.model.diagnosis import Diagnosis
from pgvigil.model.record import ClusterRecord, Level, Phase
from pgvigil.model.step import Act, Decision, Plan, Rest
from pgvigil.model.units import Instant

TICK_S: Final = 1.0
"""The longest sleep: for what only grows old (grace periods, cool-downs)."""
NOBODY: Final = Refused(
    Unsafe(
        "no controller runs that would do it then",
        detail="this command does its work itself, and ends",
        hint="start one: pgvigil run",
    )
)


def sleep_s(diagnosis: Diagnosis, decision: Decision, now: Instant, slowdown: float = 1.0) -> float:
    """Until when to sleep without news: the next instant at which something may become a verdict.

    `slowdown`: by how much looks come less often now, where all is calm.
    """
    instants = (diagnosis.due, getattr(decision, "until", None))
    return max(min([TICK_S * slowdown, *(at - now for at in instants if at is not None)]), 0.001)


def is_scheduled(decision: Decision, record: ClusterRecord) -> bool:
    """Whether a decision is about what was asked for a later time."""
    changed = decision.record if isinstance(decision, Act) else None
    return changed is not None and changed.scheduled != record.scheduled


def is_calm(record: ClusterRecord, plan: Plan, diagnosis: Diagnosis) -> bool:
    """Whether nothing is found and nothing is to be done: only what changes the picture is news then."""
    nothing = not plan.repairs and not diagnosis.findings and isinstance(plan.decision, Rest)
    return nothing and record.phase is Phase.STABLE


def needs_hosts(record: ClusterRecord, plan: Plan, diagnosis: Diagnosis) -> bool:
    """Whether something is wrong with a node or to be done to one, so that its host's word may be needed."""
    busy = bool(plan.repairs) or (isinstance(plan.decision, Act) and bool(plan.decision.stages))
    found = any(finding.node is not None for finding in diagnosis.findings)
    return busy or found or record.phase is not Phase.STABLE


def begin(act: Act, before: ClusterRecord, saved: ClusterRecord, errands: Errands, journal: Journal) -> None:
    """Begin the errand whose time has come: it is durable by now that it is not to be begun again."""
    if act.rule != "schedule_due":
        return
    for one in before.scheduled:
        command = command_of(one)
        if one not in saved.scheduled and isinstance(command, Errand):
            future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
            what = words(command)

            def ended(done: asyncio.Future[Outcome], what: str = what) -> None:
                _told(done, what, journal, saved)

            future.add_done_callback(ended)
            errands.take(Order(command, False, lambda _: None, future), command)


def _told(done: asyncio.Future[Outcome], what: str, journal: Journal, record: ClusterRecord) -> None:
    """What came of it: nobody else waits for its outcome."""
    if done.cancelled():
        return
    outcome = done.result()
    if outcome.result is Result.DONE:
        text = f"{what} (scheduled) is done: {outcome.text}"
        journal.tell("schedule_done", text, Level.INFO, record.generation)
    else:
        said = f"{outcome.text}: {outcome.detail}" if outcome.detail else outcome.text
        text = f"{what} (scheduled) did not succeed: {said}"
        journal.tell("schedule_failed", text, Level.ALERT, record.generation, hint=outcome.hint)
