"""Step → effect: looks at the node once more, then acts, within a deadline. Knows no cluster logic."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pgvigil.act import endpoints, fence, rebuild, replication, rescue, slots, synchrony
from pgvigil.act.bench import Bench, Confirmed
from pgvigil.errors import PgvigilError, StepFailed
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
    Rescue,
    RestartServer,
    SetSync,
    Stage,
    StartPrimary,
    Step,
    Stop,
)

Facts = Mapping[str, str | int | float | None]


@dataclass(frozen=True, slots=True)
class Effect:
    """How a kind of step is confirmed and carried out, and how long it may take in all."""

    confirm: Callable[[Any, Bench], Awaitable[None]]
    carry_out: Callable[[Any, Bench], Awaitable[Facts]]
    within_s: float


EFFECTS: Final[Mapping[type[Any], Effect]] = {
    Fence: Effect(fence.confirm_fence, fence.fence, 45.0),
    FenceByCommand: Effect(fence.confirm_fence, fence.fence_by_command, 600.0),
    Cut: Effect(replication.confirm_cut, replication.cut, 2.5),
    Rescue: Effect(rescue.confirm_rescue, rescue.rescue, 60.0),
    Promote: Effect(replication.confirm_promote, replication.promote, 90.0),
    Follow: Effect(replication.confirm_follow, replication.follow, 5.0),
    SetSync: Effect(synchrony.confirm_set_sync, synchrony.set_sync, 8.0),
    Checkpoint: Effect(replication.confirm_checkpoint, replication.checkpoint, 310.0),
    HoldClients: Effect(endpoints.confirm_hold, endpoints.hold_clients, 60.0),
    Stop: Effect(fence.confirm_stop, fence.stop_primary, 16.0),
    StartPrimary: Effect(replication.confirm_start, replication.start_primary, 3600.0),
    RestartServer: Effect(replication.confirm_restart, replication.restart_server, 2 * 3600.0),
    Rebuild: Effect(rebuild.confirm_rebuild, rebuild.rebuild, 24 * 3600.0),
    Nudge: Effect(replication.confirm_nudge, replication.nudge, 5.0),
    ClearSignal: Effect(fence.confirm_clear, fence.clear_signal, 10.0),
    DropSlots: Effect(replication.confirm_drop_slots, replication.drop_slots, 10.0),
    MakeSlots: Effect(slots.confirm_make_slots, slots.make_slots, 10.0),
    AdvanceSlots: Effect(slots.confirm_advance_slots, slots.advance_slots, 10.0),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a step. `error` None: it reached its goal."""

    step: Step
    began_s: float
    took_s: float
    facts: Facts = field(default_factory=dict)
    error: PgvigilError | None = None


async def carry_out(step: Step, bench: Bench) -> Outcome:
    """One step: confirm, act, report. Never raises but for cancellation and bugs."""
    effect, begun = EFFECTS[type(step)], bench.clock.now()
    error: PgvigilError | None = None
    facts: Facts = {}
    try:
        async with asyncio.timeout(effect.within_s):
            await effect.confirm(step, bench)
            facts = await effect.carry_out(Confirmed(step), bench)
    except TimeoutError:
        error = StepFailed("the step did not end in its time", detail=f"{effect.within_s:g} s")
    except PgvigilError as failure:
        error = failure
    return Outcome(step, begun, bench.clock.now() - begun, facts, error)


async def run_stages(stages: tuple[Stage, ...], bench: Bench, on_outcome: Callable[[Outcome], None]) -> bool:
    """The stages in order, the steps of one side by side. False: a stage that had to succeed did not.

    Cancelled: steps under way are cancelled with it; each says in its docstring what that leaves.
    """

    async def told(step: Step) -> Outcome:
        outcome = await carry_out(step, bench)
        on_outcome(outcome)
        return outcome

    for stage in stages:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(told(step)) for step in stage.steps]
        if stage.must and any(task.result().error for task in tasks):
            return False
    return True
