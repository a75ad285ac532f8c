"""Where clients belong now: a function of record and view, so that a controller that was restarted agrees."""

from pgvigil.model.endpoint import Aim
from pgvigil.model.record import ClusterRecord, Phase
from pgvigil.model.sighting import ClusterView
from pgvigil.model.spec import ClusterSpec, Tag
from pgvigil.model.units import Generation, NodeName


def aim(
    spec: ClusterSpec, record: ClusterRecord, view: ClusterView, verified: Generation = Generation(0)
) -> Aim:
    """`verified`: the generation whose promotion a step has verified, before any look could show it."""
    primary = _primary(record, view, verified)
    fit = tuple(
        node.name for node in spec.nodes if node.name != primary and _reads(spec, record, view, node.name)
    )
    changing = record.phase is not Phase.STABLE
    return Aim(record.generation, primary, fit, held=changing and not _promoted(record, view, verified))


def _primary(record: ClusterRecord, view: ClusterView, verified: Generation) -> NodeName | None:
    """The primary of record while it is the primary; nobody from its verdict on until the next is verified.

    Until it is stopped for a switchover, and while it is started again, clients stay where they are.
    """
    if record.phase is Phase.FENCING or (record.standby_cluster and record.phase is not Phase.PROMOTING):
        return None
    if record.phase is Phase.PROMOTING and not _promoted(record, view, verified):
        return None
    return record.primary


def _promoted(record: ClusterRecord, view: ClusterView, verified: Generation) -> bool:
    """Whether the candidate takes writes on a new timeline, as a step said, or as it was seen."""
    if record.phase is not Phase.PROMOTING:
        return False
    node = view.nodes.get(record.primary)
    seen = node is not None and node.primary is not None and node.primary.timeline > record.timeline
    return seen or verified == record.generation


def _reads(spec: ClusterSpec, record: ClusterRecord, view: ClusterView, name: NodeName) -> bool:
    """A standby that answers, nobody works on, and the user lets take reads."""
    if Tag.NO_LOAD_BALANCE in spec.node(name).tags or name in record.maintenance:
        return False
    node = view.nodes.get(name)
    return node is not None and node.standby is not None
