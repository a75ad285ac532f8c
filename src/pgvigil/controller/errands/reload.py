"""`config reload`: have servers read their configuration files again."""

import asyncio
from collections.abc import Mapping
from typing import Final

from pgvigil.act.settings import set_and_reload
from pgvigil.controller.errands.ground import Ground
from pgvigil.controller.operations import Result
from pgvigil.controller.orders import Order
from pgvigil.errors import PgvigilError, StepFailed, UsageError
from pgvigil.model.command import ReloadServers
from pgvigil.model.record import Level
from pgvigil.model.units import NodeName

LOOK_EVERY_S: Final = 0.01
RELOADED_LOOKS: Final = 500


async def reload_servers(ground: Ground, order: Order, errand: ReloadServers) -> None:
    """SIGHUP's work over SQL, or by a node's own command; says what only a restart will bring.

    A silent node is told.
    """
    names = chosen(ground, errand.nodes)
    plan = tuple(f"reload {name}" for name in names)
    if order.dry_run:
        order.finish(Result.PLANNED, "have PostgreSQL read its configuration files again", plan=plan)
        return
    failed: dict[NodeName, str] = {}
    for name in names:
        try:
            await reload_server(ground, name, {})
        except PgvigilError as error:
            failed[name] = str(error)
    nodes, _ = await ground.parameters()
    told = [
        f"{name}: waits for a restart: {', '.join(sorted(nodes[name].pending))}"
        for name in names
        if name in nodes and nodes[name].pending
    ]
    told += [f"{name}: {mistake}" for name in names if name in nodes for mistake in nodes[name].mistakes]
    done = [name for name in names if name not in failed]
    record = ground.loop.record
    if done and record:
        text = f"{', '.join(done)}: configuration files read again"
        ground.journal.tell("reloaded", text, Level.INFO, record.generation, data={"nodes": ", ".join(done)})
    detail = "; ".join([*told, *(f"{name}: {why}" for name, why in failed.items())])
    if failed:
        order.finish(Result.FAILED, f"not reloaded: {', '.join(failed)}", detail=detail, plan=plan)
        return
    hint = "pgvigil restart --pending" if any(nodes[n].pending for n in names if n in nodes) else ""
    order.finish(Result.DONE, f"reloaded: {', '.join(done)}", detail=detail, hint=hint, plan=plan)


async def reload_server(ground: Ground, name: NodeName, settings: Mapping[str, str | None]) -> None:
    """Write these, if any, and return when the server has read its files. Raises StepFailed.

    A session reads them after the postmaster, so whoever connects from then on sees them too.
    """
    loaded = "select pg_conf_load_time() as at"
    (before,) = await ground.bench.sql(name, loaded)
    await set_and_reload(ground.bench, name, settings)
    for _ in range(RELOADED_LOOKS):
        (now,) = await ground.bench.sql(name, loaded)
        if now["at"] != before["at"]:
            return
        await asyncio.sleep(LOOK_EVERY_S)
    raise StepFailed(f"{name} does not read its configuration files", hint="see its server log")


def chosen(ground: Ground, names: tuple[NodeName, ...]) -> tuple[NodeName, ...]:
    """The nodes named, or all of them. Raises UsageError."""
    known = tuple(ground.bench.nodes)
    for name in names:
        if name not in known:
            raise UsageError(f"there is no node {name}", hint=f"nodes: {', '.join(known)}")
    return tuple(dict.fromkeys(names)) or known
