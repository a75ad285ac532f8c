"""Clusters in every plight, as JSON, for what draws them."""

from dataclasses import replace

from pgvigil.controller.operations import Json
from pgvigil.controller.status import status_json
from pgvigil.model.diagnosis import Diagnosis, Finding, Problem, Urgency
from pgvigil.model.record import SyncSet
from pgvigil.model.shell import SshShell
from pgvigil.model.spec import Protection, WitnessSpec
from pgvigil.model.step import Hold, Plan, Rest
from pgvigil.model.units import Instant, NodeName
from pgvigil.model.vantage import Reach, WitnessLook
from tests.builders import (
    NOW,
    WALL,
    Cluster,
    a_cluster,
    cascade,
    changed_record,
    changed_spec,
    claims_primary,
    crashed,
    lagging,
    receiver_lost,
    vanished,
)


def shape(cluster: Cluster, *findings: Finding, plan: Plan | None = None, **busy: str) -> Json:
    return status_json(
        cluster.spec,
        cluster.record,
        cluster.view,
        Diagnosis(findings),
        plan or Plan(Rest()),
        wall=WALL,
        paused=cluster.record.paused,
        busy={NodeName(node): text for node, text in busy.items()},
    )


def healthy() -> Json:
    return shape(lagging(a_cluster("pg1*@berlin pg2@berlin pg3@paris"), "pg3", 123_456))


def quorum(acks: int, *standbys: str, wanted: int = 1, following: SyncSet | None = None) -> Json:
    """Commits wait for any `acks` of these; `following` is being put in their place."""
    cluster = changed_spec(a_cluster("pg1* pg2 pg3"), protection=Protection.QUORUM, sync_required=wanted)
    now = SyncSet(acks, frozenset(NodeName(name) for name in standbys))
    return shape(changed_record(cluster, sync=now, sync_next=following))


def losing_its_primary() -> Json:
    cluster = vanished(receiver_lost(a_cluster("db-a* db-b db-c", name="billing")), "db-a", for_s=2.2)
    evidence = ("no answer over SQL for 2.2 s", "db-b and db-c have lost their WAL receiver")
    due = Instant(NOW + 0.8)
    finding = Finding(Problem.PRIMARY_LOST, NodeName("db-a"), evidence, Urgency.WAITING, due)
    return shape(cluster, finding, plan=Plan(Hold("wait", "the silence is too short", until=due)))


def rejoining() -> Json:
    cluster = changed_record(a_cluster("pg1* pg2 pg3 pg4", name="shop"), generation=4, paused=True)
    cluster = crashed(cascade(cluster, "pg4", "pg2"), "pg3")
    hold = Hold("cooldown", "3 failovers in 15 minutes", hint="find out why")
    return shape(cluster, plan=Plan(hold, warnings=("no fencing but hope",)), pg3="pg_rewind: 40 %")


def two_primaries() -> Json:
    cluster = claims_primary(changed_record(a_cluster("pg1 pg2*"), generation=2), "pg1")
    evidence = ("answers out of recovery, but pg2 is primary since generation 2",)
    return shape(cluster, Finding(Problem.STALE_PRIMARY, NodeName("pg1"), evidence))


def with_witnesses() -> Json:
    """One that sees both nodes, one that sees one, one that is silent, one not asked yet."""
    cluster = a_cluster("pg1* pg2")
    hosts = tuple(WitnessSpec(name, "gate", SshShell("gate")) for name in ("w1", "w2", "w3", "w4"))
    pg1, pg2 = NodeName("pg1"), NodeName("pg2")
    looks = {
        "w1": WitnessLook(NOW, way="bash", reaches={pg1: Reach.ANSWERS, pg2: Reach.ACCEPTS}),
        "w2": WitnessLook(NOW, way="nc", reaches={pg1: Reach.REFUSED, pg2: Reach.REJECTS}),
        "w3": WitnessLook(detail="the shell on gate does not answer", heard=False),
    }
    return shape(replace(changed_spec(cluster, witnesses=hosts), view=replace(cluster.view, witnesses=looks)))


def every_picture() -> list[Json]:
    return [healthy(), losing_its_primary(), rejoining(), two_primaries(), with_witnesses()]
