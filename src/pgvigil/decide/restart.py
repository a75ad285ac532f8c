"""Starting a crashed primary where it is: when, how often, and when nothing else saves its last WAL."""

from datetime import datetime, timedelta
from typing import Final

from pgvigil.decide.election import Election
from pgvigil.decide.situation import Situation, host_says, is_down
from pgvigil.errors import Unsafe
from pgvigil.model.command import Refused
from pgvigil.model.diagnosis import Finding, Problem
from pgvigil.model.record import Phase
from pgvigil.model.sighting import HostAnswer, HostSilent, NoAnswer, NodeView, Primary, Refusal
from pgvigil.model.spec import Rate
from pgvigil.model.step import Act, Hold, RestartServer, Stage, StartPrimary
from pgvigil.model.units import Instant, Lsn

RESTARTS_AT_MOST: Final = 3
"""A candidate that alone has what it acknowledged is started again, before somebody else is promoted."""


def restart(situation: Situation, evidence: tuple[str, ...], why: str) -> Act:
    """Phase RESTARTING, and its step at once; when is noted, for whoever counts."""
    record = situation.record.moved(
        Phase.RESTARTING,
        since=situation.wall,
        **beginning(situation),
        restarts=(*situation.record.restarts, situation.wall)[-20:],
        primary_lsn=last_known(situation),
    )
    step = StartPrimary(record.primary, record.generation)
    return Act("restart", f"start {record.primary} where it is: {why}", record, (Stage((step,)),), evidence)


def in_place(situation: Situation) -> Act | Refused:
    """An operator wants the primary restarted where it is: phase RESTARTING, so that nobody replaces it."""
    record = situation.record
    if not situation.primary.primary:
        return Refused(Unsafe(f"the primary {record.primary} does not answer", hint="see: pgvigil status"))
    if situation.primary.host_answer is None:
        detail = "without it nobody could start it again"
        hint = "pgvigil check says how to repair it"
        return Refused(Unsafe(f"there is no working shell on {record.primary}", detail=detail, hint=hint))
    changed = record.moved(
        Phase.RESTARTING, since=situation.wall, began=situation.wall, previous=record.primary
    )
    step = RestartServer(record.primary, record.generation, primary=True)
    reason = f"restart the primary {record.primary} in place"
    return Act("restart_in_place", reason, changed, (Stage((step,)),), ("an operator asked for it",))


def not_startable_yet(situation: Situation, finding: Finding) -> Hold | None:
    """A crashed primary that is to be started where it is: its host has not said yet whether it can be."""
    if finding.problem is not Problem.PRIMARY_CRASHED:
        return None
    host = host_says(situation.primary)
    return _host_unheard(situation, finding) if host is None else _processes_left(situation, finding, host)


def _host_unheard(situation: Situation, finding: Finding) -> Hold | None:
    """Standbys tell of a crash before the host does; it has the time of one look, unless it is silent."""
    left_s = situation.spec.timings.shell_timeout.total_seconds() - situation.silent_s()
    shell = situation.spec.node(situation.record.primary).shell
    if shell is None or isinstance(situation.primary.host, HostSilent) or left_s <= 0:
        return None
    reason = f"{situation.record.primary} crashed; whether it can be started again its host is being asked"
    until = Instant(situation.view.at + left_s)
    return Hold(
        "host_unheard", reason, "wait; a host that does not answer is not waited for", until, finding.evidence
    )


def _processes_left(situation: Situation, finding: Finding, host: HostAnswer) -> Hold | None:
    """It cannot be started while a process of it lives; mostly they end soon."""
    grace_s = situation.spec.timings.restart_grace.total_seconds()
    if not host.strays or situation.silent_s() > grace_s:
        return None
    reason = f"{situation.record.primary} crashed, and {len(host.strays)} of its processes have not ended yet"
    hint = f"wait; it is replaced after {grace_s:g} s, else started again"
    return Hold("processes_left", reason, hint, evidence=finding.evidence)


def left_behind(situation: Situation, node: NodeView) -> str:
    """Why a standby lacks what cannot be carried to it: its candidate was promoted, and took writes alone.

    Then the candidate is started again where it is, so many times in a change of primary.
    """
    record, host, role = situation.record, is_down(situation.primary), node.standby
    if record.forced or host is None or host.control is None:
        return ""
    began = record.began or situation.wall
    if sum(at >= began for at in record.restarts) >= RESTARTS_AT_MOST:
        return ""
    timeline = host.control.timeline
    if role is None or role.timeline >= timeline:
        return ""
    return f"it is on timeline {role.timeline}, and {record.primary} may have taken writes on {timeline}"


def looping(situation: Situation, rate: Rate, election: Election) -> Hold:
    """It crashes whenever it is started, and nobody can take its place: wait until that was long ago."""
    name = situation.record.primary
    reason = f"{name} crashed again after {rate.count} starts in {rate.within}, and no standby is fit"
    hint = f"read its log, then start it by hand; or repair a standby: pgvigil check {situation.spec.name}"
    return Hold("restart_loop", reason, hint, evidence=election.rejected)


def too_many(situation: Situation, times: tuple[datetime, ...], rate: Rate) -> bool:
    """Whether that happened as often as the rate allows, up to now."""
    return len([at for at in times if situation.wall - at < rate.within]) >= rate.count


def last_known(situation: Situation) -> Lsn:
    """The furthest position that the primary of record is known to have had, during this change."""
    last = situation.primary.last
    flushed = last.role.flushed if last and isinstance(last.role, Primary) else Lsn(0)
    return max(situation.record.primary_lsn, flushed)


def beginning(situation: Situation) -> dict[str, object]:
    """When a change of primary began, and whose place it is about: noted at its first turn, then kept."""
    record = situation.record
    if record.phase is not Phase.STABLE:
        return {"began": record.began, "previous": record.previous}
    return {"began": _silent_since(situation), "previous": record.primary}


def _silent_since(situation: Situation) -> datetime:
    """The wall time at which the primary fell silent; now, if it is not silent."""
    sql = situation.primary.sql
    age = situation.view.at - sql.since if isinstance(sql, NoAnswer | Refusal) else 0.0
    return situation.wall - timedelta(seconds=age)
