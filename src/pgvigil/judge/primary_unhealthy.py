"""The primary lives, or may live, in a way that must never lead to a failover by itself."""

from collections.abc import Iterator

from pgvigil.judge.case import BUSY, COMING_OR_GOING, Case, fresh_host, others_reach
from pgvigil.judge.primary_lost import outnumbered
from pgvigil.model.diagnosis import Finding, Problem, Urgency
from pgvigil.model.sighting import NoAnswer, NodeView, Postmaster, Refusal
from pgvigil.model.units import Instant

GATHERING_S = 1.0
"""After a silence is suspicious, so long for the other vantage points' words before people are told."""


def primary_overloaded(case: Case) -> Finding | None:
    """Full or slow: people are told, nothing is done (SAFETY §2, row 2)."""
    primary, sql = case.primary, case.primary.sql
    match sql:
        case Refusal(sqlstate=state, message=message) if state in BUSY:
            evidence = (f"it says: {message or state}", "so its postmaster is alive")
        case NoAnswer(since=since) if (host := fresh_host(primary, since)) and (
            host.postmaster is Postmaster.RUNNING
        ):
            evidence = (
                f"it does not answer us ({sql.silence}, {case.view.at - since:.1f} s)",
                f"its host says the postmaster ({host.pid}) is alive",
            )
            return _when_it_lasts(case, Problem.PRIMARY_OVERLOADED, since, evidence)
        case _:
            return None
    return Finding(Problem.PRIMARY_OVERLOADED, primary.name, evidence, Urgency.TELL)


def primary_locked_out(case: Case) -> Finding | None:
    """It does not let us in: a broken password or pg_hba.conf is never a reason to fail over."""
    match case.primary.sql:
        case Refusal(sqlstate=state, message=message) if state not in BUSY | COMING_OR_GOING:
            evidence = (f"it says: {message or state} (SQLSTATE {state})", "so its postmaster is alive")
            return Finding(Problem.PRIMARY_LOCKED_OUT, case.primary.name, evidence, Urgency.TELL)
    return None


def primary_unseen(case: Case) -> Finding | None:
    """We cannot reach it, and nothing else explains that: others can, or nobody confirms (row 8)."""
    primary, sql = case.primary, case.primary.sql
    if not isinstance(sql, NoAnswer):
        return None
    through, blocked = others_reach(primary, sql.since)
    evidence = (
        f"it has not answered us for {case.view.at - sql.since:.1f} s ({sql.silence})",
        *(f"{name} reaches it" for name in through),
        *(f"{name} does not" for name in blocked if through),
        *_of_no_use(primary, sql.since),
    )
    if not through and (few := outnumbered(case)):
        evidence = (*evidence, few)
    elif not through and not blocked:
        evidence = (*evidence, "no other vantage point could confirm or deny that it is gone")
    return _when_it_lasts(case, Problem.PRIMARY_UNSEEN, sql.since, evidence)


def _of_no_use(primary: NodeView, since: Instant) -> Iterator[str]:
    """The vantage points that fail to reach it, which proves nothing."""
    for word in primary.witnesses:
        if word.at >= since and not word.reach.through and not word.counts:
            why = "no other node either" if word.others is False else "could not before either"
            yield f"{word.vantage} does not reach it, but {why}: that proves nothing"


def _when_it_lasts(case: Case, problem: Problem, since: Instant, evidence: tuple[str, ...]) -> Finding:
    """Told only when it lasts: in its first moment a silence has not been looked into."""
    due = Instant(since + case.spec.timings.suspect_after.total_seconds() + GATHERING_S)
    if case.view.at < due:
        return Finding(problem, case.primary.name, evidence, Urgency.WAITING, due)
    return Finding(problem, case.primary.name, evidence, Urgency.TELL)
