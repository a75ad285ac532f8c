import pytest

from pgvigil.judge.engine import diagnose
from pgvigil.model.diagnosis import Problem, Urgency
from pgvigil.model.guard import GuardLook, GuardState
from pgvigil.model.units import Instant
from tests.builders import NOW, a_cluster, seen


@pytest.mark.parametrize("state", list(GuardState))
def test_a_guard_that_would_not_act_is_told_of(state: GuardState) -> None:
    cluster = seen(a_cluster(), "pg2", guard=GuardLook(state, Instant(NOW + 5), NOW))
    findings = diagnose(cluster.spec, cluster.record, cluster.view).every(Problem.GUARD_MISSING)
    told = state not in (GuardState.ALIVE, GuardState.UNKNOWN)
    assert [(f.node, f.urgency) for f in findings] == ([("pg2", Urgency.TELL)] if told else [])
