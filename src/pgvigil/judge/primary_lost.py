"""The primary's whole host is gone, for everybody who could see it."""

from pgvigil.judge.case import Case, fresh_host, hear_primary, lost_upstream, others_reach
from pgvigil.model.diagnosis import Finding, Problem, Urgency
from pgvigil.model.sighting import HostSilent, NoAnswer, Silence
from pgvigil.model.units import Instant, NodeName

GONE = frozenset({Silence.OVERDUE, Silence.TIMED_OUT, Silence.MUTE})


def primary_lost(case: Case) -> Finding | None:
    """Neither we nor its shell nor any standby reaches it: verdict after `unreachable_after`.

    At least one other vantage point must have tried since the silence began, and none may have got
    through (SAFETY §2, rows 6 and 8); nor may most of them be out of our sight, for those may see it well
    (I6). It rests on silence alone: where our own network or loop is in
    doubt, nothing is concluded, and the silence counts only from when that doubt ended. What was lost in
    a hiccup is repeated by TCP at its leisure: so the last word has a connect begun after the wait. A
    connect that got through, however slowly, says that the host lives: the wait begins anew.
    """
    primary, sql, since = case.primary, case.primary.sql, case.silent_since()
    if case.distrusted or since is None or not isinstance(sql, NoAnswer) or sql.silence not in GONE:
        return None
    if fresh_host(primary, since) or (isinstance(primary.host, HostSilent) and primary.host.refused):
        return None
    timings = case.spec.timings
    wait = timings.unreachable_after
    if sql.silence is Silence.MUTE:
        wait = max(wait, timings.hung_after)
    due = Instant(_counted_from(case, since, sql.silence) + wait.total_seconds())
    confirmed, contradicted = _vantage_points(case, since)
    if contradicted or outnumbered(case):
        return None
    silent_for = case.view.at - since
    evidence = (
        f"it has not answered for {silent_for:.1f} s ({sql.silence})",
        *_host(case, since),
        *confirmed,
    )
    if case.view.at < due:
        if not confirmed and silent_for >= wait.total_seconds():
            return None  # nobody confirms, and that for long: `primary_unseen` tells people
        return Finding(Problem.PRIMARY_LOST, primary.name, evidence, Urgency.WAITING, due)
    if not confirmed or not _host_asked(case, since):
        return None
    if sql.silence is Silence.MUTE:
        return Finding(Problem.PRIMARY_LOST, primary.name, evidence)
    touch = primary.touch
    if touch is None or touch.at < due:
        return Finding(Problem.PRIMARY_LOST, primary.name, evidence, Urgency.WAITING)
    return None if touch.reached else Finding(Problem.PRIMARY_LOST, primary.name, evidence)


def _counted_from(case: Case, since: Instant, silence: Silence) -> float:
    """From when on nobody got through: neither we to the server, or by TCP to its host, nor anybody else.

    Nor were we out of sight of most places since: they come back one by one, and are asked a little later.
    One failure of somebody who has just got through may be a slow moment of his.
    """
    touch = case.primary.touch
    reached = [word.reached_at for word in case.primary.witnesses if word.reached_at is not None]
    if touch and touch.reached_at is not None and silence is not Silence.MUTE:
        reached.append(touch.reached_at)
    return max(since, case.view.sound_since, _outnumbered_until(case), *reached)


def _vantage_points(case: Case, since: Instant) -> tuple[list[str], list[NodeName]]:
    """What other places say: sentences that confirm the loss, and the places that contradict it."""
    through, blocked = others_reach(case.primary, since)
    confirmed = [f"{name} cannot reach it either" for name in blocked]
    confirmed += [f"{name} lost its upstream" for name in lost_upstream(case, since)]
    return confirmed, [*through, *(name for name in hear_primary(case, since) if name not in blocked)]


def outnumbered(case: Case) -> str:
    """Why we may be the ones who are cut off: more vantage points are silent to us than speak; else empty.

    We count as one ourselves; the primary's own host is none.
    """
    nodes = [node for node in case.view.nodes.values() if node.name != case.record.primary]
    silent = [str(node.name) for node in nodes if not node.speaks]
    silent += [name for name, look in case.view.witnesses.items() if not look.heard]
    places = len(nodes) + len(case.view.witnesses) + 1
    if len(silent) * 2 <= places:
        return ""
    names = ", ".join(sorted(silent))
    return f"{names} cannot be reached from here either: they may see it well, and we be the ones cut off"


def _outnumbered_until(case: Case) -> Instant:
    """When more places than half were last silent to us at once; long ago if they never were."""
    nodes = [node for node in case.view.nodes.values() if node.name != case.record.primary]
    unheard = sorted((node.unheard_at for node in nodes if node.unheard_at is not None), reverse=True)
    enough = (len(nodes) + len(case.view.witnesses) + 1) // 2
    return unheard[enough] if len(unheard) > enough else Instant(0.0)


def _host_asked(case: Case, since: Instant) -> bool:
    """Whether the host's shell, if there is one, was asked in vain since the silence began."""
    host = case.primary.host
    if case.spec.node(case.record.primary).shell is None:
        return True
    return isinstance(host, HostSilent) and host.at >= since


def _host(case: Case, since: Instant) -> tuple[str, ...]:
    host = case.primary.host
    if isinstance(host, HostSilent) and host.at >= since:
        return ("its host's shell does not answer",)
    return ()
