"""The primary is being stopped or started, or was stopped and may come back."""

from pgvigil.judge.case import COMING_OR_GOING, ORDERLY, Case, fresh_host
from pgvigil.judge.primary_crashed import primary_crashed
from pgvigil.model.diagnosis import Finding, Problem, Urgency
from pgvigil.model.sighting import Farewell, NoAnswer, Postmaster, Refusal, Silence
from pgvigil.model.units import Instant


def primary_restarting(case: Case) -> Finding | None:
    """Orderly stop or start: wait for `restart_grace`, then it counts as stopped (SAFETY §2, row 3).

    Also a primary that came back as a standby: whoever did that, nobody takes writes now.
    """
    primary, sql = case.primary, case.primary.sql
    evidence: tuple[str, ...]
    grace = case.spec.timings.restart_grace.total_seconds()
    if primary.standby is not None and primary.answer is not None:
        return Finding(Problem.PRIMARY_STOPPED, primary.name, ("it answers, but as a standby",))
    if primary_crashed(case):
        return None
    match sql:
        case Refusal(since=since, sqlstate=state, message=message) if state in COMING_OR_GOING:
            evidence = (f"it says: {message or 'the database system cannot accept connections now'}",)
        case NoAnswer(since=since) if reason := _reason(case, sql, since):
            evidence = (reason,)
        case _:
            return None
    due = Instant(since + grace)
    if case.view.at >= due:
        evidence = (*evidence, f"it has not come back within {grace:g} s")
        return Finding(Problem.PRIMARY_STOPPED, primary.name, evidence)
    return Finding(Problem.PRIMARY_RESTARTING, primary.name, evidence, Urgency.WAITING, due)


def _reason(case: Case, sql: NoAnswer, since: Instant) -> str:
    """Why an absent primary counts as stopped in an orderly way; empty if it does not."""
    host = fresh_host(case.primary, since)
    if host is not None and host.postmaster is Postmaster.STOPPED:
        return "its host says that it was stopped"
    if sql.silence in (Silence.REFUSED, Silence.CLOSED):
        if host is not None and host.postmaster is Postmaster.RUNNING and _orderly(sql.farewell):
            return "it ended our session and does not listen; its postmaster is there"
        if host is None and _orderly(sql.farewell) and sql.silence is Silence.REFUSED:
            return "it said that it was being stopped, and nobody listens now"
    return ""


def _orderly(farewell: Farewell | None) -> bool:
    return farewell is not None and farewell.sqlstate in ORDERLY | {"57P02"}
