"""The tables of the core are complete: nothing can be named that leads nowhere."""

from typing import get_args

import pytest

from pgvigil.act.engine import EFFECTS
from pgvigil.decide.engine import FORCEABLE, PHASES, REACTIONS
from pgvigil.decide.failover import SUDDEN, VERDICTS
from pgvigil.model.diagnosis import Problem
from pgvigil.model.record import TRANSITIONS, Phase, SyncSet, phase_diagram
from pgvigil.model.step import (
    AdvanceSlots,
    Checkpoint,
    ClearSignal,
    Cut,
    DropSlots,
    Fence,
    FenceByCommand,
    Follow,
    HoldClients,
    MakeSlots,
    Nudge,
    Promote,
    Rebuild,
    RebuildMethod,
    Rescue,
    RestartServer,
    SetSync,
    StartPrimary,
    Step,
    Stop,
    StopMode,
    sentence,
    step_node,
)
from pgvigil.model.units import Generation, Lsn, NodeName, Timeline

BESIDE_THE_PRIMARY = {
    Problem.SYSTEM_FOREIGN: "left alone; where the primary should be, everything is held",
    Problem.STALE_PRIMARY: "stopped at once, by the decision itself",
    Problem.STANDBY_DOWN: "rebuilt if it was a primary or a rebuild was begun, else told",
    Problem.STANDBY_DETACHED: "pointed at the primary, or rebuilt",
    Problem.STANDBY_LAGGING: "told",
    Problem.SLOT_HOLDS_WAL: "only told: whether a standby is worth its WAL is for people to say",
    Problem.LEADER_LOST: "another node leads; decide.standby_cluster",
    Problem.LEADER_SILENT: "held; decide.standby_cluster",
    Problem.SITE_DETACHED: "told; the leader's way is kept right beside it",
    Problem.GUARD_MISSING: "only told: people put guards on nodes, and take them away",
}
"""Problems without a row in REACTIONS, and what is done about them."""

A, G = NodeName("pg1"), Generation(3)
STEPS: tuple[Step, ...] = (
    Fence(A, G, StopMode.IMMEDIATE),
    ClearSignal(A, G),
    Nudge(A, G),
    FenceByCommand(NodeName("pg1"), Generation(2)),
    Cut(A, G),
    Rescue(A, NodeName("pg2"), Timeline(1), G),
    Promote(A, G, Lsn(1), Timeline(1)),
    Follow(A, NodeName("pg2"), G),
    SetSync(A, G, SyncSet(1, frozenset({A}))),
    Checkpoint(A, G),
    HoldClients(A, G),
    Stop(A, G, StopMode.FAST),
    StartPrimary(A, G),
    RestartServer(A, G, primary=False),
    Rebuild(A, NodeName("pg2"), G, RebuildMethod.AUTO),
    Rebuild(A, NodeName("pg2"), G, RebuildMethod.CLONE),
    DropSlots(A, ("pg2",), G),
    MakeSlots(A, ("pg2",), G),
    AdvanceSlots(A, (("pg2", Lsn(1)),), G),
)


@pytest.mark.parametrize("problem", Problem)
def test_every_problem_leads_to_something(problem: Problem) -> None:
    assert (problem in REACTIONS) is not (problem in BESIDE_THE_PRIMARY)


def test_a_verdict_is_a_problem_with_a_reaction() -> None:
    assert set(SUDDEN) < set(VERDICTS) < set(REACTIONS)


def test_every_step_has_an_effect_and_nothing_else_has() -> None:
    assert set(get_args(Step)) == set(EFFECTS) == {type(step) for step in STEPS}
    assert all(effect.within_s > 0 for effect in EFFECTS.values())


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
def test_every_step_is_a_sentence_and_names_its_node(step: Step) -> None:
    assert step_node(step) in sentence(step)
    assert len(sentence(step).split()) >= 3


def test_every_phase_leads_back_to_stable() -> None:
    reach = {Phase.STABLE}
    while grown := {a for a, b in TRANSITIONS if b in reach} - reach:
        reach |= grown
    assert reach == set(Phase)


def test_every_phase_can_be_entered_from_stable() -> None:
    reach = {Phase.STABLE}
    while grown := {b for a, b in TRANSITIONS if a in reach} - reach:
        reach |= grown
    assert reach == set(Phase)


def test_every_phase_but_stable_has_a_handler() -> None:
    assert set(PHASES) == set(Phase) - {Phase.STABLE}


def test_what_may_be_forced_on_leads_to_fencing() -> None:
    assert all((phase, Phase.FENCING) in TRANSITIONS for phase in FORCEABLE - {Phase.FENCING})


def test_the_diagram_shows_every_move_between_two_phases_with_its_reason() -> None:
    lines = phase_diagram().splitlines()
    assert lines[0] == "stateDiagram-v2"
    moves = {f"  {a.name} --> {b.name}: {why}" for (a, b), why in TRANSITIONS.items() if a is not b}
    assert set(lines[1:]) == moves
