"""Slots that hold back so much WAL that the disk may fill."""

from dataclasses import replace

import pytest

from pgvigil.judge.engine import diagnose
from pgvigil.model.diagnosis import Problem, Urgency
from pgvigil.model.sighting import Slot
from pgvigil.model.units import Instant, Lsn, NodeName
from tests.builders import Cluster, a_cluster, on_host, said

FAR = Lsn(2**42)
C = a_cluster("pg1* pg2", at=FAR)
GB = 2**30


def holding(held: int | None, *, node: str = "pg1", limit: str = "-1", **fields: object) -> Cluster:
    answer = C.view.node(NodeName(node)).answer
    assert answer
    slot = Slot("pg3", True, active=False, restart=Lsn(FAR - (held or 0)), wal_status="extended", held=held)
    slot = replace(slot, **fields)  # type: ignore[arg-type]  # the slot's own fields
    settings = {**answer.facts.settings, "max_slot_wal_keep_size": limit}
    return said(C, node, facts=replace(answer.facts, slots=(slot,), settings=settings))


def told(cluster: Cluster) -> list[str]:
    found = diagnose(cluster.spec, cluster.record, cluster.view).every(Problem.SLOT_HOLDS_WAL)
    assert all(finding.urgency is Urgency.TELL for finding in found)
    return [f"{finding.node}: {text}" for finding in found for text in finding.evidence]


IDLE, BUSY = "pg1: slot pg3, used by nobody now, holds ", "pg1: slot pg3, in use, holds "
GONE = "pg1: slot pg3 is broken: the WAL it was to hold is gone"
ROOM = "only 1.0 GB are free on its disk"
BEYOND = "more than max_slot_wal_keep_size; the next checkpoint may remove it"


@pytest.mark.parametrize(
    ("cluster", "says"),
    [
        (holding(4 * GB), IDLE + "4.0 GB of WAL: more than replication.slot_warning (4.0 GB)"),
        (holding(8 * GB, active=True), BUSY + "8.0 GB of WAL: more than replication.slot_warning (4.0 GB)"),
        (holding(GB, limit="1GB"), IDLE + "1.0 GB of WAL: max_slot_wal_keep_size is 1.0 GB"),
        (on_host(holding(2 * GB), "pg1", wal_free_bytes=GB), IDLE + f"2.0 GB of WAL: {ROOM}"),
        (
            on_host(holding(2 * GB), "pg1", wal_free_bytes=GB, at=Instant(C.view.at - 600)),
            IDLE + "2.0 GB of WAL: only 1.0 GB were free on its disk 10 min ago",
        ),
        (holding(GB, wal_status="unreserved", limit="900MB"), IDLE + f"1.0 GB of WAL: {BEYOND}"),
        (holding(None, wal_status="lost", restart=None), GONE),
        (holding(0, invalid="rows_removed", physical=False), f"{GONE} (rows_removed)"),
    ],
)
def test_what_is_told_of_a_slot(cluster: Cluster, says: str) -> None:
    assert told(cluster) == [says]


@pytest.mark.parametrize(
    "cluster",
    [
        pytest.param(C, id="all is well"),
        pytest.param(holding(4 * GB - 1), id="less than the warning"),
        pytest.param(holding(GB, limit="2GB"), id="far from PostgreSQL's own limit"),
        pytest.param(on_host(holding(GB), "pg1", wal_free_bytes=GB), id="as much again has room"),
        pytest.param(holding(None, restart=None), id="never used"),
    ],
)
def test_what_is_usual_is_not_told(cluster: Cluster) -> None:
    assert told(cluster) == []


def test_standbys_are_looked_at_too() -> None:
    (text,) = told(holding(4 * GB, node="pg2"))
    assert text.startswith("pg2: slot pg3, used by nobody now, holds 4.0 GB")
