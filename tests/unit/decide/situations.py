"""Situations for the tests of deciding: judge a built cluster, then decide on it."""

from datetime import datetime

from pgvigil.decide.engine import decide
from pgvigil.decide.engine import order as ordered
from pgvigil.decide.situation import Situation
from pgvigil.judge.engine import diagnose
from pgvigil.model.command import Directive, Refused
from pgvigil.model.record import ClusterRecord
from pgvigil.model.step import Act, Decision, Plan, Step, sentence
from tests.builders import WALL, Cluster


def situation(cluster: Cluster, wall: datetime = WALL) -> Situation:
    diagnosis = diagnose(cluster.spec, cluster.record, cluster.view)
    return Situation(cluster.spec, cluster.record, cluster.view, diagnosis, wall)


def planned(cluster: Cluster) -> Plan:
    return decide(situation(cluster))


def decided(cluster: Cluster) -> Decision:
    return planned(cluster).decision


def acted(cluster: Cluster) -> Act:
    """The act that is decided on; fails on anything else."""
    decision = decided(cluster)
    assert isinstance(decision, Act), decision
    return decision


def recorded(cluster: Cluster) -> ClusterRecord:
    """The record of the act that is decided on."""
    record = acted(cluster).record
    assert record is not None
    return record


def rule(cluster: Cluster) -> str:
    """The rule that decided; `rest` if there was nothing to decide."""
    return getattr(decided(cluster), "rule", "rest")


def words(act: Act) -> list[str]:
    """The act's steps, stage by stage."""
    return ["; ".join(sentence(step) for step in stage.steps) for stage in act.stages]


def kinds(act: Act) -> list[list[str]]:
    """The act's kinds of steps with their nodes, stage by stage."""
    return [[short(step) for step in stage.steps] for stage in act.stages]


def short(step: Step) -> str:
    """A step in two words."""
    return f"{type(step).__name__} {getattr(step, 'target', None) or getattr(step, 'node', '')}"


def repairs(cluster: Cluster) -> list[str]:
    """The repairs beside the decision, in two words each."""
    return [short(step) for step in planned(cluster).repairs]


def answer(cluster: Cluster, command: Directive) -> Act | Step | Refused:
    return ordered(situation(cluster), command)


def refusal(cluster: Cluster, command: Directive) -> str:
    """Why a command is refused, with its detail; fails if it is not."""
    refused = answer(cluster, command)
    assert isinstance(refused, Refused), refused
    assert refused.error.hint
    return f"{refused.error.what} ({refused.error.detail})"


def obeyed(cluster: Cluster, command: Directive) -> Act:
    """The act that a command leads to; fails if it is refused."""
    act = answer(cluster, command)
    assert isinstance(act, Act), act
    return act
