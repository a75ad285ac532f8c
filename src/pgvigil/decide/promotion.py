"""How a chosen standby is made primary: strays, rescue, promote, follow, in the order that loses nothing."""

from dataclasses import replace

from pgvigil.decide.election import known_end
from pgvigil.decide.fencing import stray_fences
from pgvigil.decide.situation import Situation, fed_by_standby, is_cut, is_down, points_at
from pgvigil.decide.synchrony import after_promotion
from pgvigil.model.record import ALONE, ClusterRecord, Fenced, Origin
from pgvigil.model.step import Fence, Follow, Promote, Rescue, SetSync, Stage, Step, StopMode
from pgvigil.model.units import Lsn, NodeName, Timeline


def promotion_stages(
    situation: Situation, chosen: NodeName, at_least: Lsn, *, complete: bool = False
) -> tuple[Stage, ...]:
    """Rescue what the old primary could not send, promote, point the others at the new primary.

    The others are pointed at the candidate before it is promoted, which costs no time: they stream from it
    and follow to its new timeline in the same breath. But not while WAL is carried to it: a WAL sender that
    has the segment open would send them zeros out of the old file. `complete`: the candidate has
    everything already (switchover); then writes do not wait for the others, unless commits wait for them
    (`quorum`). A standby of a standby stays where it is. A candidate that was only chosen for the rescue's
    sake (further behind than `max_lag`, or `quorum` without proof) is not promoted without it, unless an
    operator forces it.
    """
    record, timeline = situation.record, _ending(situation, chosen)
    rescues: list[Step] = [
        Rescue(name, chosen, timeline, record.generation)
        for name in sorted((record.deposed | _stopped_first(situation)) - {chosen})
        if not complete and name in situation.view.nodes and _may_have_more(situation, name, timeline)
    ]
    follows = tuple(Follow(name, chosen, record.generation) for name in sorted(followers(situation, chosen)))
    promote = Promote(chosen, record.generation, at_least, timeline, record.sync_next)
    must = rescue_demanded(situation) or (
        _lacking(situation, timeline, at_least) and not record.forced and bool(rescues)
    )
    late = must or (complete and not (record.sync_next and record.sync_next.acks))
    first, last = ((), follows) if late else (follows, ())
    sync = (SetSync(chosen, record.generation, record.sync_next),) if record.sync_next else ()
    carry = Stage((*sync, *rescues), must=must)
    stages = (carry, Stage(first, must=False), Stage((promote,)), Stage(last, must=False))
    return tuple(stage for stage in stages if stage.steps)


def rescue_demanded(situation: Situation) -> bool:
    """Whether only the rescued WAL makes this promotion lose nothing (`quorum`, no proof by revocation)."""
    return bool(situation.record.rescue_from) and not situation.record.forced


def not_rescuable(situation: Situation, chosen: NodeName) -> tuple[NodeName, ...]:
    """Whose WAL is needed for that, and cannot be fetched now: it runs again, or nobody knows."""
    if not rescue_demanded(situation):
        return ()
    timeline, nodes = _ending(situation, chosen), situation.view.nodes
    needed = sorted(situation.record.rescue_from)
    return tuple(n for n in needed if n not in nodes or not _has_or_had(situation, n, timeline))


def _has_or_had(situation: Situation, name: NodeName, timeline: Timeline) -> bool:
    """Whether its WAL can be fetched, or was: nobody went on to a newer timeline without it."""
    host = is_down(situation.view.node(name))
    return host is not None and (host.control is None or host.control.timeline <= timeline)


def stop_again(situation: Situation, names: tuple[NodeName, ...]) -> tuple[Step, ...]:
    """Somebody started those nodes, as standbys: their WAL can be fetched when they have stopped."""
    generation = situation.record.generation
    return tuple(
        Fence(name, generation, StopMode.FAST)
        for name in names
        if (node := situation.view.nodes.get(name)) and node.host_answer and not is_down(node)
    )


def followers(situation: Situation, chosen: NodeName) -> frozenset[NodeName]:
    """Who is pointed at the new primary: all standbys that answer, but those that follow one of them."""
    return frozenset(
        node.name
        for node in situation.standbys()
        if node.name != chosen
        and node.name not in situation.record.deposed
        and fed_by_standby(situation, node) in (None, chosen)
    )


def synchronous(situation: Situation) -> ClusterRecord:
    """The record of a promotion with the set that the new primary waits for from its first commit on.

    It gets that setting before it takes writes; nothing is promised until it was seen to be in force
    there, and the standbys to have all that was acknowledged before.
    """
    record = situation.record
    sure = frozenset(n for n in followers(situation, record.primary) if _not_ahead(situation, n))
    to = after_promotion(situation.spec, record.primary, sure)
    return record if to is None else replace(record, sync=ALONE, sync_next=to)


def _not_ahead(situation: Situation, name: NodeName) -> bool:
    """Whether a standby has no more than the candidate, and gets no more from elsewhere.

    In a switchover nobody can have more than the stopped primary sent, and the candidate has all of that.
    """
    node, record = situation.view.node(name), situation.record
    role = node.standby
    if role is None or role.received is None or role.furthest > record.at_least:
        return False
    fed_by_it = points_at(role.conninfo, situation.spec.node(record.primary))
    return record.origin is Origin.SWITCHOVER or is_cut(node) or fed_by_it


def _lacking(situation: Situation, timeline: Timeline, at_least: Lsn) -> bool:
    """Whether it lacks more than `max_lag`; that nothing acknowledged is in it is a better proof."""
    if situation.record.fenced is Fenced.QUORUM:
        return False
    return known_end(situation, timeline) - at_least > situation.spec.failover.max_lag_bytes


def strays_first(situation: Situation) -> tuple[Stage, ...]:
    """Primaries of the past that take writes are stopped before there is a new one, if they can be."""
    strays = stray_fences(situation)
    return (Stage(strays, must=False),) if strays else ()


def absent(situation: Situation, chosen: NodeName) -> frozenset[NodeName]:
    """Who cannot be pointed at the new primary now: to be done when they are back.

    A deposed node that answers as a standby is one of them: before it has streamed again nobody knows
    whether it fits.
    """
    here = {node.name for node in situation.standbys() if node.name not in situation.record.deposed}
    return frozenset(situation.view.nodes) - here - {chosen, situation.record.primary}


def _ending(situation: Situation, chosen: NodeName) -> Timeline:
    """The timeline that ends now: the chosen one's.

    It is beyond the record's when the former candidate was promoted, and lost before it was verified.
    """
    role = situation.view.node(chosen).standby
    return max(role.timeline, situation.record.timeline) if role else situation.record.timeline


def _stopped_first(situation: Situation) -> frozenset[NodeName]:
    """The old primaries that `strays_first` stops: what they took since somebody started them is not lost."""
    return frozenset(step.node for step in stray_fences(situation))


def _may_have_more(situation: Situation, name: NodeName, timeline: Timeline) -> bool:
    """Whether a node that is dead, or will be, may hold WAL that was never sent: of the ending timeline."""
    node = situation.view.node(name)
    if node.primary:
        return node.primary.timeline == timeline and name in _stopped_first(situation)
    host = is_down(node)
    return host is not None and (host.control is None or host.control.timeline == timeline)
