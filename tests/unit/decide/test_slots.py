"""Physical slots that nobody reads from now: made, moved on and dropped by themselves."""

from dataclasses import replace

import pytest

from pgvigil.decide.slots import REMOVED_IDLE_S
from pgvigil.model.record import Paths
from pgvigil.model.sighting import Slot
from pgvigil.model.spec import SpareSlots, Tag, slot_name
from pgvigil.model.step import AdvanceSlots, DropSlots, MakeSlots, Step
from pgvigil.model.units import SEGMENT_BYTES, Instant, Lsn, NodeName
from tests.builders import (
    HERE,
    NOW,
    Cluster,
    a_cluster,
    cascade,
    changed_node,
    changed_record,
    changed_spec,
    crashed,
    in_role,
    receiver_lost,
    said,
    seen,
)
from tests.unit.decide.situations import planned

BARE = a_cluster("pg1* pg2 pg3")
PG1, PG2, PG3 = NodeName("pg1"), NodeName("pg2"), NodeName("pg3")
OLD = Lsn(HERE - SEGMENT_BYTES)
LATE = Lsn(HERE - SEGMENT_BYTES + 1)


def with_facts(cluster: Cluster, node: str, **settings: str) -> Cluster:
    answer = cluster.view.node(NodeName(node)).answer
    assert answer
    facts = replace(answer.facts, settings={**answer.facts.settings, **settings})
    return said(cluster, node, facts=facts)


def limited(cluster: Cluster, *nodes: str) -> Cluster:
    """PostgreSQL limits what slots hold on these nodes (on all, when none are named)."""
    for node in nodes or tuple(cluster.view.nodes):
        cluster = with_facts(cluster, node, max_slot_wal_keep_size="20GB")
    return cluster


def holding(cluster: Cluster, node: str, at: Lsn = HERE, *owners: str, **fields: object) -> Cluster:
    """That node has slots of these owners (of all others, when none are named) beside those in use."""
    answer = cluster.view.node(NodeName(node)).answer
    assert answer
    names = owners or tuple(slot_name(n.name) for n in cluster.spec.others(NodeName(node)))
    slots = {slot.name: slot for slot in answer.facts.slots}
    for name in names:
        slot = Slot(name, physical=True, active=False, restart=at, wal_status="reserved")
        slots[name] = replace(slot, **fields)  # type: ignore[arg-type]  # the slot's own fields
    return said(cluster, node, facts=replace(answer.facts, slots=tuple(slots.values())))


def provided(cluster: Cluster, at: Lsn = HERE) -> Cluster:
    """Every standby has a slot for every other node."""
    for node in cluster.view.nodes.values():
        if node.standby:
            cluster = holding(cluster, node.name, at)
    return cluster


def wanted(cluster: Cluster, spare: SpareSlots) -> Cluster:
    return changed_spec(cluster, replication=replace(cluster.spec.replication, spare_slots=spare))


C = limited(BARE)
G = C.record.generation
TAGGED = frozenset({Tag.NEVER_PROMOTE})
FORGOTTEN = changed_record(C, paths={**C.record.paths, NodeName("pg9"): Paths()})


def idle(cluster: Cluster, node: str, slot: str, for_s: float) -> Cluster:
    return seen(cluster, node, idle_slots={slot: Instant(NOW - for_s)})


@pytest.mark.parametrize(
    ("cluster", "steps"),
    [
        pytest.param(BARE, [], id="nothing limits slots: no spare ones"),
        pytest.param(C, [MakeSlots(PG2, ("pg1", "pg3"), G), MakeSlots(PG3, ("pg1", "pg2"), G)], id="limited"),
        pytest.param(
            limited(BARE, "pg3"), [MakeSlots(PG3, ("pg1", "pg2"), G)], id="only where it is limited"
        ),
        pytest.param(wanted(C, SpareSlots.NEVER), [], id="never"),
        pytest.param(
            wanted(BARE, SpareSlots.ALWAYS),
            [MakeSlots(PG2, ("pg1", "pg3"), G), MakeSlots(PG3, ("pg1", "pg2"), G)],
            id="always",
        ),
        pytest.param(
            changed_spec(C, replication=replace(C.spec.replication, slots=False)), [], id="no slots at all"
        ),
        pytest.param(
            changed_node(C, "pg2", tags=TAGGED), [MakeSlots(PG3, ("pg1", "pg2"), G)], id="never a primary"
        ),
        pytest.param(
            with_facts(provided(C), "pg2", recovery_min_apply_delay="1h"),
            [DropSlots(PG2, ("pg1", "pg3"), G)],
            id="nor on a delayed standby, which is never promoted",
        ),
        pytest.param(
            with_facts(C, "pg2", max_replication_slots="1"), [MakeSlots(PG3, ("pg1", "pg2"), G)], id="no room"
        ),
        pytest.param(crashed(provided(C), "pg3"), [], id="what is there stays while its standby is away"),
        pytest.param(
            crashed(C, "pg3"), [MakeSlots(PG2, ("pg1",), G)], id="none is made for a standby that is away"
        ),
        pytest.param(changed_record(C, paused=True), [], id="nothing while paused"),
    ],
)
def test_spare_slots_are_made(cluster: Cluster, steps: list[Step]) -> None:
    assert list(planned(cluster).repairs) == steps


@pytest.mark.parametrize(
    ("cluster", "steps"),
    [
        pytest.param(provided(C), [], id="they are where they ought to be"),
        pytest.param(provided(C, LATE), [], id="less than a segment"),
        pytest.param(
            provided(C, OLD),
            [
                AdvanceSlots(n, tuple((o, HERE) for o in others), G)
                for n, others in ((PG2, ("pg1", "pg3")), (PG3, ("pg1", "pg2")))
            ],
            id="a segment behind",
        ),
        pytest.param(
            in_role(provided(C, OLD), "pg2", replayed=LATE),
            [AdvanceSlots(PG3, (("pg1", HERE), ("pg2", HERE)), G)],
            id="no further than the node has replayed itself",
        ),
        pytest.param(
            in_role(provided(C, OLD), "pg3", received=LATE, replayed=LATE),
            [AdvanceSlots(PG2, (("pg1", HERE),), G)],
            id="no further than its standby",
        ),
        pytest.param(
            receiver_lost(provided(C, OLD), ["pg3"]),
            [AdvanceSlots(PG2, (("pg1", HERE),), G)],
            id="not while nobody knows what its standby will need",
        ),
        pytest.param(
            changed_record(provided(C, OLD), left=frozenset({PG3})),
            [AdvanceSlots(PG2, (("pg1", HERE),), G), AdvanceSlots(PG3, (("pg1", HERE), ("pg2", HERE)), G)],
            id="nor for one that was away at the change of primary",
        ),
        pytest.param(
            holding(provided(cascade(C, "pg3", "pg2")), "pg1", OLD, "pg3"),
            [AdvanceSlots(PG1, (("pg3", HERE),), G)],
            id="on the primary, of a standby of a standby",
        ),
        pytest.param(
            with_facts(provided(C, Lsn(HERE - 2**20)), "pg2", wal_segment_size="1MB"),
            [AdvanceSlots(PG2, (("pg1", HERE), ("pg3", HERE)), G)],
            id="small segments",
        ),
    ],
)
def test_spare_slots_move_on_with_their_standbys(cluster: Cluster, steps: list[Step]) -> None:
    assert [step for step in planned(cluster).repairs if isinstance(step, AdvanceSlots)] == steps


@pytest.mark.parametrize(
    ("cluster", "steps"),
    [
        pytest.param(
            holding(cascade(BARE, "pg3", "pg2"), "pg1", HERE, "pg3"),
            [DropSlots(PG1, ("pg3",), G)],
            id="the primary's, of who streams from a standby now",
        ),
        pytest.param(
            crashed(holding(cascade(BARE, "pg3", "pg2"), "pg1", HERE, "pg3"), "pg3"),
            [],
            id="but not of who is away",
        ),
        pytest.param(holding(provided(C), "pg2", HERE, "pg2"), [DropSlots(PG2, ("pg2",), G)], id="its own"),
        pytest.param(
            holding(provided(C), "pg2", HERE, "pg3", wal_status="lost"),
            [DropSlots(PG2, ("pg3",), G)],
            id="a broken one, to be made anew",
        ),
        pytest.param(
            holding(C, "pg1", OLD, "pg3", wal_status="lost"),
            [MakeSlots(PG2, ("pg1", "pg3"), G), MakeSlots(PG3, ("pg1", "pg2"), G)],
            id="a broken one on the primary is for people to see",
        ),
        pytest.param(
            idle(holding(provided(FORGOTTEN), "pg2", OLD, "pg9"), "pg2", "pg9", REMOVED_IDLE_S),
            [DropSlots(PG2, ("pg9",), G)],
            id="of a node that was removed",
        ),
        pytest.param(
            idle(holding(provided(FORGOTTEN), "pg2", OLD, "pg9"), "pg2", "pg9", REMOVED_IDLE_S - 1),
            [],
            id="which may still be used by it",
        ),
        pytest.param(holding(provided(FORGOTTEN), "pg2", OLD, "pg9", active=True), [], id="and is in use"),
        pytest.param(
            idle(holding(provided(C), "pg2", OLD, "pg9"), "pg2", "pg9", 9999),
            [],
            id="of a node never heard of",
        ),
    ],
)
def test_slots_that_nobody_will_use_are_dropped(cluster: Cluster, steps: list[Step]) -> None:
    assert list(planned(cluster).repairs) == steps
