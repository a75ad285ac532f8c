"""The primary's postmaster is gone while its host lives."""

from pgvigil.judge.case import (
    BUSY,
    ORDERLY,
    POSTMASTER_DEATH,
    Case,
    fresh_host,
    hear_primary,
    lost_upstream,
    others_reach,
)
from pgvigil.model.diagnosis import Finding, Problem
from pgvigil.model.sighting import NoAnswer, Postmaster, Silence

ALIVE = BUSY | ORDERLY


def primary_crashed(case: Case) -> Finding | None:
    """Our session ended, nobody listens, and a second witness agrees: verdict at once.

    The witness is the host's shell (the pid file's process is dead), else a standby that lost its
    receiver or cannot get through. One witness alone is not enough: a firewall that rejects looks the
    same from here (SAFETY §2, rows 4 and 5). Whoever gets through to it, later than its host's word or
    beside the standbys', speaks against it. An orderly stop is not a crash: see `primary_restarting`.
    """
    primary, since = case.primary, case.silent_since()
    sql = primary.sql
    if since is None or not isinstance(sql, NoAnswer):
        return None
    host = fresh_host(primary, since)
    if host is not None:
        if host.postmaster is not Postmaster.CRASHED or others_reach(primary, host.at)[0]:
            return None
        evidence = [_ours(sql), f"its host says the postmaster ({host.pid}) is gone"]
    else:
        if sql.silence is not Silence.REFUSED or _said_goodbye(sql):
            return None
        through, blocked = others_reach(primary, since)
        witnesses = [f"{name} lost its upstream" for name in lost_upstream(case, since)]
        witnesses += [f"{name} cannot get through either" for name in blocked]
        if not witnesses or through or hear_primary(case, since):
            return None
        evidence = [_ours(sql), *witnesses]
    return Finding(Problem.PRIMARY_CRASHED, primary.name, tuple(evidence))


def _ours(sql: NoAnswer) -> str:
    match sql.silence:
        case Silence.REFUSED:
            return "our session ended and a new one is refused"
        case Silence.CLOSED:
            return "our session ended"
        case _:
            return f"our session does not answer ({sql.silence})"


def _said_goodbye(sql: NoAnswer) -> bool:
    """Whether the server told us that it is being stopped."""
    bye = sql.farewell
    return bool(bye and bye.sqlstate in ALIVE and bye.source not in POSTMASTER_DEATH)
