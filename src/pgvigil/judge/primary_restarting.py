"""The primary is being stopped or started, or was stopped and may come back."""

from pgvigil.judge.case import (
    COMING_OR_GOING,
    ORDERLY,
    Case,
    fresh_host,
    hear_primary,
    lost_upstream,
    others_reach,
    postmaster_is,
)
from pgvigil.judge.primary_crashed import primary_crashed
from pgvigil.model.diagnosis import Finding, Problem, Urgency
from pgvigil.model.sighting import Farewell, NoAnswer, Postmaster, Refusal, Silence
from pgvigil.model.units import Instant, NodeName

STOPPED = "its host says that it was stopped"


def primary_restarting(case: Case) -> Finding | None:
    """Orderly stop or start: wait for `restart_grace`, then it counts as stopped (SAFETY §2, row 3).

    Also a primary that came back as a standby: whoever did that, nobody takes writes now. As long as
    somebody else is served by it, it has not stopped, whatever it told us.
    """
    primary, sql = case.primary, case.primary.sql
    if primary.standby is not None and primary.answer is not None:
        return Finding(Problem.PRIMARY_STOPPED, primary.name, ("it answers, but as a standby",))
    if primary_crashed(case):
        return None
    match sql:
        case Refusal(since=since, sqlstate=state, message=message) if state in COMING_OR_GOING:
            said = f"it says: {message or 'the database system cannot accept connections now'}"
            if served := _served(case, since):
                evidence = (said, f"it still serves {', '.join(served)}")
                return Finding(Problem.PRIMARY_RESTARTING, primary.name, evidence, Urgency.WAITING)
            return _after_grace(case, since, said)
        case NoAnswer(since=since) if reason := _reason(case, sql, since):
            return None if _served(case, since) else _after_grace(case, since, reason)
        case _:
            return None


def _after_grace(case: Case, since: Instant, said: str) -> Finding | None:
    """Waiting as long as it may come back, then a verdict. None: our word alone is not enough for one."""
    primary, grace = case.primary, case.spec.timings.restart_grace.total_seconds()
    due = Instant(since + grace)
    if case.view.at < due or case.distrusted:
        return Finding(Problem.PRIMARY_RESTARTING, primary.name, (said,), Urgency.WAITING, due)
    proof = _proof(case, since)
    if not proof:
        return None
    evidence = tuple(dict.fromkeys((said, *proof, f"it has not come back within {grace:g} s")))
    return Finding(Problem.PRIMARY_STOPPED, primary.name, evidence)


def _proof(case: Case, since: Instant) -> tuple[str, ...]:
    """Why its absence is more than what we see from here: its own word, its host's, or a witness's."""
    if isinstance(case.primary.sql, Refusal):
        return ("it lets nobody in",)
    if postmaster_is(case.primary, since, Postmaster.STOPPED):
        return (STOPPED,)
    blocked = others_reach(case.primary, since)[1]
    return (
        *(f"{name} lost its upstream" for name in lost_upstream(case, since)),
        *(f"{name} cannot get through either" for name in blocked),
    )


def _served(case: Case, since: Instant) -> list[NodeName]:
    """Who is served by it since the silence began."""
    return [*others_reach(case.primary, since, accepts_only=True)[0], *hear_primary(case, since)]


def _reason(case: Case, sql: NoAnswer, since: Instant) -> str:
    """Why an absent primary counts as stopped in an orderly way; empty if it does not."""
    host = fresh_host(case.primary, since)
    if host is not None and host.postmaster is Postmaster.STOPPED:
        return STOPPED
    if sql.silence in (Silence.REFUSED, Silence.CLOSED):
        if host is not None and host.postmaster is Postmaster.RUNNING and _orderly(sql.farewell):
            return "it ended our session and does not listen; its postmaster is there"
        if host is None and _orderly(sql.farewell) and sql.silence is Silence.REFUSED:
            return "it said that it was being stopped, and nobody listens now"
    return ""


def _orderly(farewell: Farewell | None) -> bool:
    return farewell is not None and farewell.sqlstate in ORDERLY | {"57P02"}
