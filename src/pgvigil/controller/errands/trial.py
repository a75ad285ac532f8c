"""What was tried on a server and has not become a version: found again by whoever comes next, and undone.

A note of the lines is durable before the first of them is written, and is forgotten in the same write that
makes the version durable. So a controller may die anywhere in between.
"""

from collections.abc import Mapping

from pgvigil.act.settings import alter_system
from pgvigil.controller.errands.ground import Ground
from pgvigil.controller.errands.reload import reload_server
from pgvigil.controller.orders import Order
from pgvigil.decide.parameter_change import written
from pgvigil.errors import PgvigilError, StepFailed
from pgvigil.model.parameter import NodeParameters, Trial, TriedLine
from pgvigil.model.record import Level
from pgvigil.model.units import NodeName
from pgvigil.ports.contract import QueryFailed
from pgvigil.sight.probe import without_secrets


async def undo_leftover(ground: Ground) -> None:
    """Undo what an earlier controller was trying when it ended, if anything, and tell of it.

    Raises Unsafe during a change of primary, StepFailed while one of its nodes gives no answer, StoreError.
    """
    cluster = ground.bench.spec.name
    if (trial := await ground.store.trial(cluster)) is None:
        return
    generation = ground.settled().generation
    if undone := await undo(ground, trial):
        what = ", ".join(f"{line.node}: {line.name} = {line.after or 'reset'}" for line in undone)
        text = f"undone, for a controller ended while {trial.who} had it tried: {what}"
        ground.journal.tell("trial_undone", without_secrets(text), Level.WARNING, generation)


async def undo(ground: Ground, trial: Trial) -> tuple[TriedLine, ...]:
    """Take back those of the lines that still stand as they were tried; returns them. Raises StepFailed."""
    configured = [line for line in trial.lines if line.node in ground.bench.nodes]
    nodes, silent = await ground.parameters()
    if missing := sorted({line.node for line in configured} & silent.keys()):
        raise StepFailed(f"{missing[0]} does not tell its parameters", detail=silent[missing[0]])
    there = [line for line in configured if written(nodes[line.node], line.name, line.after)]
    undone = tuple(line for line in reversed(there) if line.before != line.after)
    for line in undone:
        await _take_back(ground, nodes, line)
    await ground.store.note_trial(trial.cluster, None)
    return undone


async def _take_back(ground: Ground, nodes: Mapping[NodeName, NodeParameters], line: TriedLine) -> None:
    """Nobody loads it anew, unless somebody loaded what was tried."""
    known = nodes[line.node].parameters.get(line.name)
    loaded = known is not None and line.after in (known.value, known.shown)
    try:
        if loaded:
            await reload_server(ground, line.node, {line.name: line.before})
        else:
            await alter_system(ground.bench, line.node, {line.name: line.before})
    except QueryFailed as refused:
        raise StepFailed(f"{line.name} on {line.node} is not undone", detail=str(refused)) from refused


async def take_back(ground: Ground, order: Order) -> None:
    """Undo what this controller has just tried in vain; what cannot be undone now is left to the next one."""
    try:
        if trial := await ground.store.trial(ground.bench.spec.name):
            await undo(ground, trial)
    except PgvigilError as failed:
        order.progress(f"what was tried is not undone yet: {failed}")
