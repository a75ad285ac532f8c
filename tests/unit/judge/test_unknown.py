"""A cluster without a record: SAFETY §2, last row."""

from dataclasses import replace

import pytest

from pgvigil.judge.engine import diagnose_unknown
from pgvigil.model.diagnosis import Problem
from pgvigil.model.units import NodeName, SystemId
from tests.builders import Cluster, a_cluster, claims_primary, said, silent

C = a_cluster("pg1* pg2 pg3")


@pytest.mark.parametrize(
    ("cluster", "known"),
    [
        pytest.param(C, True, id="one primary"),
        pytest.param(silent(C, "pg2"), True, id="one primary and a silent standby"),
        pytest.param(silent(C, "pg1"), False, id="none"),
        pytest.param(claims_primary(C, "pg2"), False, id="two"),
    ],
)
def test_a_cluster_is_taken_over_only_with_exactly_one_primary(cluster: Cluster, known: bool) -> None:
    assert bool(diagnose_unknown(cluster.view).find(Problem.PRIMARY_UNKNOWN)) is not known


def test_a_stranger_is_told_of_from_the_first_look() -> None:
    answer = C.view.node(NodeName("pg3")).answer
    assert answer
    cluster = said(C, "pg3", facts=replace(answer.facts, system_id=SystemId("1")))
    assert [f.node for f in diagnose_unknown(cluster.view).findings] == ["pg3"]
