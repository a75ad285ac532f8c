"""Owns the errands under way: one task each; one that changes something at a time."""

import asyncio
from typing import assert_never

from pgvigil.controller import orders
from pgvigil.controller.errands.change import roll_back, set_parameters
from pgvigil.controller.errands.drill import drill
from pgvigil.controller.errands.ground import Ground
from pgvigil.controller.errands.recordings import fetch_recording, list_recordings
from pgvigil.controller.errands.reload import reload_servers
from pgvigil.controller.errands.restart import restart_servers
from pgvigil.controller.errands.show import show_parameters, show_versions
from pgvigil.controller.operations import Result
from pgvigil.controller.orders import Order
from pgvigil.errors import PgvigilError, Unsafe
from pgvigil.model.command import (
    Drill,
    Errand,
    FetchRecording,
    ListRecordings,
    ReloadServers,
    RestartServers,
    RollBackParameters,
    SetParameters,
    ShowParameters,
    ShowVersions,
)
from pgvigil.model.command import Refused as RefusedCommand

LOOKS = (ShowParameters, ShowVersions, ListRecordings, FetchRecording)
"""Errands that change nothing."""


class Errands:
    """Carries out the commands of `model.command.Errand`."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._group: asyncio.TaskGroup | None = None
        self._changing = ""
        """The errand under way that changes something, in words."""

    async def run(self) -> None:
        """Own the tasks until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            await asyncio.Event().wait()

    def take(self, order: Order, errand: Errand) -> None:
        """Begin an errand; its order gets the outcome. A second one that changes something is refused."""
        if self._group is None:
            refuse(order, Unsafe("the cluster is not guarded yet", hint="try again in a moment"))
            return
        changes = not isinstance(errand, LOOKS) and not order.dry_run
        if changes and self._changing:
            hint = "wait until it is finished: pgvigil events --follow"
            refuse(order, Unsafe(f"{self._changing} is under way", hint=hint))
            return
        if changes:
            self._changing = type(errand).__name__
        self._group.create_task(self._carry_out(order, errand, changes=changes))

    async def _carry_out(self, order: Order, errand: Errand, *, changes: bool) -> None:
        try:
            await self._go(order, errand)
        except PgvigilError as error:
            refuse(order, error)
        except asyncio.CancelledError:
            order.finish(Result.FAILED, "the controller was stopped meanwhile", hint="see: pgvigil status")
            raise
        finally:
            self._changing = "" if changes else self._changing
            self._ground.watch.forget_facts()
            self._ground.watch.news.set()

    async def _go(self, order: Order, errand: Errand) -> None:
        match errand:
            case ShowParameters():
                await show_parameters(self._ground, order, errand)
            case ShowVersions():
                await show_versions(self._ground, order, errand)
            case SetParameters():
                await set_parameters(self._ground, order, errand)
            case RollBackParameters():
                await roll_back(self._ground, order, errand)
            case RestartServers():
                await restart_servers(self._ground, order, errand)
            case ListRecordings():
                await list_recordings(self._ground, order)
            case FetchRecording():
                await fetch_recording(self._ground, order, errand)
            case Drill():
                await drill(self._ground, order, errand)
            case ReloadServers():
                await reload_servers(self._ground, order, errand)
            case _:
                assert_never(errand)


def refuse(order: Order, error: PgvigilError) -> None:
    """End the order with an error: refused if nothing was safe to do, failed otherwise."""
    orders.refuse(order, RefusedCommand(error))
