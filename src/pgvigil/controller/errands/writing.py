"""Writing to nodes what may be written there by now: the one way in which a version comes into force."""

from collections.abc import Mapping

from pgvigil.controller.errands.ground import Ground
from pgvigil.controller.errands.reload import reload_server
from pgvigil.controller.orders import Order
from pgvigil.decide.parameter_change import due
from pgvigil.decide.parameters import Wanted
from pgvigil.model.parameter import LIMITED, NodeParameters
from pgvigil.model.units import NodeName


async def write_due(
    ground: Ground, order: Order, nodes: Mapping[NodeName, NodeParameters], wanted: Wanted
) -> None:
    """Write on every node what may be written there by now, and reload it. Raises StepFailed."""
    for name, settings in due(nodes, wanted).items():
        await reload_server(ground, name, settings)
        order.progress(f"{name}: {', '.join(settings)} written and reloaded")


async def wanted_of_limits(ground: Ground) -> Wanted:
    """What the last version says of the parameters that cannot be written everywhere at once."""
    last = await ground.store.versions(ground.bench.spec.name, limit=1)
    return {name: value for name, value in last[-1].settings.items() if name in LIMITED} if last else {}
