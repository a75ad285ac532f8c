"""A standby is down, does not stream from where it should, or is too far behind."""

from collections.abc import Iterator

from pgvigil.judge.case import Case, fed_by
from pgvigil.model.diagnosis import Finding, Problem, Urgency
from pgvigil.model.sighting import (
    Answer,
    HostAnswer,
    NoAnswer,
    NodeView,
    Postmaster,
    Receiver,
    Refusal,
    SenderState,
    Standby,
    Unseen,
)
from pgvigil.model.units import Instant

SETTLE_S = 6.0
"""A standby pointed at the right upstream retries by itself every `wal_retrieve_retry_interval` (5 s)."""

STREAMING = frozenset({"streaming", ""})
"""Of a WAL receiver; empty: our login may not see it. One that has more than its upstream's history is
`waiting` for ever: it got through, and finds that its timeline has ended before its own WAL does."""


def standby_problems(case: Case) -> tuple[Finding, ...]:
    """Findings on every node but the primary of record and those that run as primary by mistake.

    None on a node under maintenance: whoever works on it knows.
    """
    found: list[Finding] = []
    for node in case.view.nodes.values():
        if node.name in case.record.maintenance:
            continue
        if node.name != case.record.primary and not node.primary:
            found.extend(_problems(case, node))
    return tuple(found)


def _problems(case: Case, node: NodeView) -> Iterator[Finding]:
    match node.sql:
        case Answer(role=Standby() as role):
            yield from _detached(case, node, role)
        case NoAnswer() | Refusal():
            yield _down(case, node)
        case Unseen() | Answer():
            return


def _down(case: Case, node: NodeView) -> Finding:
    """A standby that does not answer. NOW when its host says that nothing runs there: it can be rebuilt."""
    sql = node.sql
    assert isinstance(sql, NoAnswer | Refusal)
    said = sql.message if isinstance(sql, Refusal) else str(sql.silence)
    evidence: tuple[str, ...] = (f"it does not answer ({said})",)
    match node.host:
        case HostAnswer(at=at, postmaster=Postmaster.STOPPED | Postmaster.CRASHED as state) if (
            at >= sql.since
        ):
            evidence = (*evidence, f"its host says that its server is not there ({state})")
            return Finding(Problem.STANDBY_DOWN, node.name, evidence)
        case HostAnswer(at=at, postmaster=state) if at >= sql.since:
            evidence = (*evidence, f"its host says that its postmaster is there ({state})")
    return Finding(Problem.STANDBY_DOWN, node.name, evidence, Urgency.TELL)


def _detached(case: Case, node: NodeView, role: Standby) -> Iterator[Finding]:
    """Not streaming at all, or streaming from a node that is not in line with the primary."""
    receiver, primary = role.receiver, case.primary.primary
    if receiver is None or receiver.status not in STREAMING:
        if receiver is None and not role.conninfo:
            yield Finding(Problem.STANDBY_DETACHED, node.name, ("it is not pointed at any upstream",))
            return
        since = node.receiver_lost_at or case.view.at
        due = Instant(since + SETTLE_S)
        late = case.view.at >= due
        text = f"it has not streamed for {case.view.at - since:.0f} s"
        text += f" (its WAL receiver is {receiver.status})" if receiver else ""
        urgency = Urgency.NOW if late else Urgency.WAITING
        yield Finding(Problem.STANDBY_DETACHED, node.name, (text,), urgency, None if late else due)
        return
    if primary and receiver.status == "streaming" and receiver.timeline < primary.timeline:
        if not _seen_by_primary(case, node, receiver) and not _fed_by_standby(case, node):
            yield _on_old_timeline(case, node, receiver)
        return
    if primary:
        lag = primary.written - role.furthest
        if lag > case.spec.failover.max_lag_bytes:
            text = f"it is {lag} bytes behind"
            yield Finding(Problem.STANDBY_LAGGING, node.name, (text,), Urgency.TELL)


def _on_old_timeline(case: Case, node: NodeView, receiver: Receiver) -> Finding:
    """A standby of the primary itself changes to the new timeline when it hears of it: wait for that."""
    assert case.primary.primary is not None
    text = f"it streams timeline {receiver.timeline}, the primary is on {case.primary.primary.timeline}"
    patience_s = SETTLE_S - (receiver.silent_s or 0.0)
    if fed_by(case, node) == case.primary.name and patience_s > 0:
        due = Instant(case.view.at + patience_s)
        return Finding(Problem.STANDBY_DETACHED, node.name, (text,), Urgency.WAITING, due)
    return Finding(Problem.STANDBY_DETACHED, node.name, (text,))


def _fed_by_standby(case: Case, node: NodeView) -> bool:
    """Whether another standby that answers sends to it: it follows that one to the new timeline."""
    upstream = fed_by(case, node)
    return any(standby.name == upstream for standby in case.standbys() if standby is not node)


def _seen_by_primary(case: Case, node: NodeView, receiver: Receiver) -> bool:
    """Whether the primary itself sends to this standby: then the older timeline is only its last look."""
    answer = case.primary.answer
    return bool(answer) and any(
        sender.application_name == node.name and sender.state is SenderState.STREAMING
        for sender in (answer.senders if answer else ())
    )
