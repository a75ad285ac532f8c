"""Having clients wait at the endpoints while the primary is changed on purpose (SAFETY §6.3)."""

from pgvigil.act.bench import Bench, Confirmed
from pgvigil.errors import WorldChanged
from pgvigil.model.step import HoldClients


async def confirm_hold(step: HoldClients, bench: Bench) -> None:
    """The primary still serves, so that what its clients have begun can end. Raises WorldChanged."""
    bench.still(step.generation)
    if await bench.in_recovery(step.node):
        raise WorldChanged(f"{step.node} is in recovery")


async def hold_clients(_: Confirmed[HoldClients], bench: Bench) -> dict[str, str]:
    """On return clients wait everywhere they can be made to. Raises StepFailed: nothing may be stopped then.

    Cancelled or failed: who waits already is let go as soon as it is decided that the primary serves on.
    """
    await bench.hold_clients()
    return {}
