"""Which promotion loses no acknowledged commit (`quorum`, SAFETY §3); if none, what is missing."""

from dataclasses import dataclass

from pgvigil.decide.quorum import cuts_needed, revoked, weaker
from pgvigil.decide.situation import Situation, fed_by_standby, host_says, is_cut, is_down, points_at
from pgvigil.model.record import ClusterRecord, Fenced, SyncSet
from pgvigil.model.sighting import NodeView
from pgvigil.model.spec import Protection
from pgvigil.model.step import Hold
from pgvigil.model.units import Lsn, NodeName, Timeline

NOTHING = (Timeline(0), Lsn(0))


@dataclass(frozen=True, slots=True)
class Ground:
    """Why nothing that was acknowledged will be missing, and what the candidate must have for it."""

    fenced: Fenced
    floor: tuple[Timeline, Lsn] = NOTHING
    """Timeline and position that it must have reached."""
    only: NodeName | None = None
    """Only this node is sure to have everything."""
    rescue: bool = False
    """Only together with the WAL that is still on the old primary."""

    def objection(self, situation: Situation, node: NodeView) -> str:
        """Why promoting this standby could lose something; empty: it could not."""
        role = node.standby
        assert role is not None
        if self.only is not None:
            return "" if node.name == self.only else f"only {self.only} is sure to have every commit"
        if self.rescue:
            return _cannot_take(situation, node)
        if (role.timeline, role.furthest) < self.floor:
            return "it lacks WAL that may have been acknowledged"
        return ""


def _cannot_take(situation: Situation, node: NodeView) -> str:
    """Why the stopped primary's WAL cannot be carried to this standby; empty: it can.

    A candidate that was promoted, and lost before it was verified, went on to a timeline of its own.
    """
    if not situation.spec.node(node.name).shell:
        return "no shell there to carry WAL to"
    host, role = is_down(situation.primary), node.standby
    if host and host.control and role and role.timeline != host.control.timeline:
        return f"it is on timeline {role.timeline}, the WAL that it needs on {host.control.timeline}"
    return ""


def demanded(situation: Situation) -> bool:
    """Whether a promotion must be proved to lose nothing; an operator may waive that."""
    return situation.spec.protection is Protection.QUORUM and not situation.record.forced


def ground(situation: Situation) -> Ground | None:
    """What proves now that a promotion loses nothing; None: not yet, or not at all.

    Revocation comes first: it needs neither the old primary nor its host.
    """
    in_force, compared = set_in_force(situation.record), _compared(situation)
    if in_force and revoked(in_force, compared.keys()):
        floor = max((compared[name] for name in in_force.standbys & compared.keys()), default=NOTHING)
        return Ground(Fenced.QUORUM, floor)
    if situation.primary.standby:
        return Ground(Fenced.IN_RECOVERY, only=situation.record.primary)
    host = is_down(situation.primary)
    if host and host.standby_signal and _rescue_allowed(situation):
        return Ground(Fenced.STOPPED, rescue=True)
    return None


def may_not_promote(situation: Situation) -> Hold | None:
    """Why no promotion can be proved to lose nothing, before any standby is cut; None: one may be."""
    if ground(situation) or _can_be_revoked(situation):
        return None
    if host_says(situation.primary) and _rescue_allowed(situation):
        return None
    return unproved(situation)


def unproved(situation: Situation) -> Hold:
    """What is missing for the proof, and what an operator can do."""
    primary, spec = situation.record.primary, situation.spec
    in_force = set_in_force(situation.record)
    if in_force is None or not in_force.acks:
        reason = f"{primary} acknowledged commits without any standby, and its WAL cannot be fetched"
        evidence: tuple[str, ...] = ()
        missing = str(primary)
    elif not in_force.can_acknowledge:
        reason = "commits were waiting, and it is not known who has those that were acknowledged before"
        evidence = ()
        missing = str(primary)
    else:
        needed, here = cuts_needed(in_force), _present(situation, in_force)
        reason = (
            f"a standby may lack acknowledged commits: {in_force} acknowledged, {needed} of them must be "
            f"cut off and compared, and {len(here)} can be"
        )
        absent = sorted(in_force.standbys - here)
        evidence = tuple(f"{name}: {_why_absent(situation, name)}" for name in absent)
        missing = " or ".join([*absent, primary])
    hint = f"bring back {missing}; or accept that commits may be lost: pgvigil failover {spec.name} --force"
    return Hold("not_lossless", reason, hint, evidence=evidence)


def set_in_force(record: ClusterRecord) -> SyncSet | None:
    """The set under which the primary of record may acknowledge; None: nothing is known of one."""
    return weaker(record.sync, record.sync_next) if record.sync else None


def severed(situation: Situation, node: NodeView) -> bool:
    """Whether a standby can acknowledge nothing to the old primary: it is cut, or follows another standby."""
    if is_cut(node):
        return True
    role = node.standby
    if role is None:
        return False
    upstream = next((other for other in situation.spec.nodes if points_at(role.conninfo, other)), None)
    if upstream is None or upstream.name == situation.record.primary:
        return False
    if situation.view.node(upstream.name).standby is None:
        return False
    return role.receiver is None or fed_by_standby(situation, node) == upstream.name


def furthest(situation: Situation) -> NodeName | None:
    """The node that has the most of all that are cut off and can be compared."""
    compared = _compared(situation)
    return max(compared, key=lambda name: (compared[name], name)) if compared else None


def _compared(situation: Situation) -> dict[NodeName, tuple[Timeline, Lsn]]:
    """How far each standby is that is severed: nothing that it acknowledged is beyond that.

    One that has not streamed since its start may have more in its WAL than it has replayed: it proves
    nothing. One that never reached the present timeline acknowledged nothing on it.
    """
    known = situation.record.timeline
    return {
        node.name: (role.timeline, role.furthest) if role.timeline >= known else NOTHING
        for node in situation.standbys()
        if (role := node.standby)
        and node.name != situation.record.primary
        and role.received is not None
        and severed(situation, node)
    }


def _can_be_revoked(situation: Situation) -> bool:
    in_force = set_in_force(situation.record)
    return in_force is not None and revoked(in_force, _present(situation, in_force))


def _present(situation: Situation, in_force: SyncSet) -> frozenset[NodeName]:
    """The standbys of the set that can be cut now, and compared then."""
    return in_force.standbys & {
        node.name
        for node in situation.standbys()
        if node.standby and node.standby.received is not None and node.name != situation.record.primary
    }


def _rescue_allowed(situation: Situation) -> bool:
    return situation.spec.failover.rescue_max_bytes > 0


def _why_absent(situation: Situation, name: NodeName) -> str:
    node = situation.view.nodes.get(name)
    if node is None:
        return "it is not in the configuration any more"
    if node.standby is None:
        return "it is a primary" if node.primary else "it does not answer"
    return "it has not streamed since its start; how much it acknowledged before is not known"
