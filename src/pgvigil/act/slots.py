"""Physical slots that no standby reads from now: made before they are needed, moved on with the standbys."""

from typing import Final

from pgvigil.act.bench import Bench, Confirmed
from pgvigil.errors import StepFailed
from pgvigil.model.step import AdvanceSlots, MakeSlots
from pgvigil.ports.contract import QueryFailed

DUPLICATE: Final = "42710"
IN_USE: Final = "55006"
CREATE: Final = "select pg_create_physical_replication_slot($1, true)"
ADVANCE: Final = (
    "select pg_replication_slot_advance(slot_name, $2::pg_lsn) from pg_replication_slots "
    "where slot_name = $1 and slot_type = 'physical' and not active and restart_lsn < $2::pg_lsn"
)
"""On a standby a physical slot goes no further than what that has replayed (manual: 9.28.6)."""


async def confirm_make_slots(step: MakeSlots, bench: Bench) -> None:
    """Raises WorldChanged if the record moved on."""
    bench.still(step.generation)


async def make_slots(confirmed: Confirmed[MakeSlots], bench: Bench) -> dict[str, str]:
    """Create the slots that are missing; each holds WAL from the node's last checkpoint on."""
    step = confirmed.step
    for slot in step.slots:
        try:
            await bench.sql(step.node, CREATE, (slot,))
        except QueryFailed as refused:
            if refused.sqlstate != DUPLICATE:
                what, hint = f"no slot {slot} on {step.node}", "replication.spare_slots: never does without"
                raise StepFailed(what, detail=str(refused), hint=hint) from refused
    return {"slots": ", ".join(step.slots)}


async def confirm_advance_slots(step: AdvanceSlots, bench: Bench) -> None:
    """Raises WorldChanged if the record moved on."""
    bench.still(step.generation)


async def advance_slots(confirmed: Confirmed[AdvanceSlots], bench: Bench) -> dict[str, str]:
    """Let go of the WAL that the slots' standbys have. One that is being read from moves by itself."""
    step = confirmed.step
    for slot, to in step.slots:
        try:
            await bench.sql(step.node, ADVANCE, (slot, str(to)))
        except QueryFailed as refused:
            if refused.sqlstate != IN_USE:
                raise StepFailed(f"slot {slot} on {step.node} stays", detail=str(refused)) from refused
    return {}
