"""When the loop wakes by itself, and whether all is calm."""

from dataclasses import replace

import pytest

from pgvigil.controller.due import TICK_S, is_calm, needs_hosts, sleep_s
from pgvigil.model.diagnosis import Diagnosis, Finding, Problem, Urgency
from pgvigil.model.record import Phase
from pgvigil.model.step import Act, ClearSignal, Hold, Plan, Rest, Stage
from pgvigil.model.units import Instant
from tests.builders import NOW, a_cluster

RECORD = a_cluster().record
DETACHED = Finding(Problem.STANDBY_DETACHED, None, (), Urgency.WAITING, Instant(NOW + 0.4))


def test_it_sleeps_until_something_is_due_and_no_longer_than_a_tick() -> None:
    assert sleep_s(Diagnosis(), Rest(), NOW) == TICK_S
    assert sleep_s(Diagnosis((DETACHED,)), Rest(), NOW) == pytest.approx(0.4)
    assert 0 < sleep_s(Diagnosis((DETACHED,)), Rest(), Instant(NOW + 5)) < 0.01


def test_it_is_calm_when_nothing_is_found_and_nothing_is_to_be_done() -> None:
    assert is_calm(RECORD, Plan(Rest()), Diagnosis())
    assert not is_calm(replace(RECORD, phase=Phase.FENCING), Plan(Rest()), Diagnosis())
    assert not is_calm(RECORD, Plan(Hold("paused", "somebody said so")), Diagnosis())
    assert not is_calm(RECORD, Plan(Act("any", "for a reason")), Diagnosis())
    assert not is_calm(RECORD, Plan(Rest()), Diagnosis((DETACHED,)))


def test_hosts_are_needed_where_something_is_wrong_with_a_node_or_to_be_done_to_one() -> None:
    step = ClearSignal(RECORD.primary, RECORD.generation)
    assert not needs_hosts(RECORD, Plan(Rest()), Diagnosis())
    assert not needs_hosts(RECORD, Plan(Act("learnt", "only the record changes")), Diagnosis())
    late = Diagnosis((Finding(Problem.CONTROLLER_LATE, None, ()),))
    assert not needs_hosts(RECORD, Plan(Rest()), late), "a slow controller opens no shells for that"
    lagging = Diagnosis((Finding(Problem.STANDBY_LAGGING, RECORD.primary, (), Urgency.TELL),))
    assert needs_hosts(RECORD, Plan(Rest()), lagging)
    assert needs_hosts(RECORD, Plan(Act("any", "for a reason", None, (Stage((step,)),))), Diagnosis())
    assert needs_hosts(RECORD, Plan(Rest(), (step,)), Diagnosis())
    assert needs_hosts(replace(RECORD, phase=Phase.FENCING), Plan(Rest()), Diagnosis())
