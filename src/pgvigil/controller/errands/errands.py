"""Owns the errands under way: one task each; one that changes something at a time."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Final, assert_never

from pgvigil.controller import orders
from pgvigil.controller.errands.change import roll_back, set_parameters
from pgvigil.controller.errands.drill import drill, go_home
from pgvigil.controller.errands.ground import Ground
from pgvigil.controller.errands.recordings import fetch_recording, list_recordings
from pgvigil.controller.errands.reload import reload_servers
from pgvigil.controller.errands.restart import restart_servers
from pgvigil.controller.errands.show import show_parameters, show_versions
from pgvigil.controller.errands.trial import undo_leftover
from pgvigil.controller.operations import Result
from pgvigil.controller.orders import Order
from pgvigil.errors import PgvigilError, StoreError, Unsafe
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
from pgvigil.model.record import Level, Underway

UNDO_AGAIN_S: Final = 10.0
LOOKS = (ShowParameters, ShowVersions, ListRecordings, FetchRecording)
"""Errands that change nothing."""

WORDS: Final[Mapping[type[Errand], str]] = {
    SetParameters: "a change of parameters",
    RollBackParameters: "a change of parameters",
    ReloadServers: "a reload of servers",
    RestartServers: "a restart of servers",
    Drill: "a drill",
}
"""Those that change something, for people."""


class Errands:
    """Carries out the commands of `model.command.Errand`.

    `goes_on`: what an earlier controller left half-way is told, and a drill is ended; else it stays on
    record.
    """

    def __init__(self, ground: Ground, *, goes_on: bool) -> None:
        self._ground, self._goes_on = ground, goes_on
        self._group: asyncio.TaskGroup | None = None
        self._changing = ""
        """The errand under way that changes something, in words."""
        self._under_way = 0

    @property
    def busy(self) -> bool:
        """Whether one is under way or rehearsed for which the hosts' word may be needed."""
        return self._under_way > 0

    async def run(self) -> None:
        """Own the tasks until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group, self._changing, self._under_way = group, "", 0
            await self._take_up()
            if self._goes_on:
                group.create_task(self._tidy())
            await asyncio.Event().wait()

    async def _take_up(self) -> None:
        """What was under way when the last controller ended."""
        record = self._ground.loop.record
        if not self._goes_on or record is None or (left := record.underway) is None:
            return
        self._changing = left.what
        text = f"the controller ended during {left.what}"
        journal, generation = self._ground.journal, record.generation
        journal.tell("command_interrupted", text, Level.ALERT, generation, hint=left.hint)
        try:
            await self._end(left)
            await self._ground.loop.notes.make(None)
        except StoreError as error:
            journal.tell("command_failed", f"{left.what}: {error}", Level.ALERT, generation, hint=error.hint)
        finally:
            self._changing = ""

    async def _end(self, left: Underway) -> None:
        """A drill ends with its first primary; other commands are given again."""
        ground = self._ground
        try:
            told = await go_home(ground, left)
        except StoreError:
            raise
        except PgvigilError as error:
            kind, text, hint, level = (
                "command_failed",
                f"{error.what}: {error.detail}",
                error.hint,
                Level.ALERT,
            )
        else:
            kind, text, hint, level = "drill_ended", told, "", Level.INFO
        if text and ground.loop.record:
            ground.journal.tell(kind, text, level, ground.loop.record.generation, hint=hint)

    async def _tidy(self) -> None:
        """Undo a trial of parameters whose controller has ended, as soon as its nodes answer."""
        told = False
        while await self._is_left():
            if not self._changing:
                self._changing = "undoing an interrupted change of parameters"
                try:
                    await undo_leftover(self._ground)
                    return
                except PgvigilError as later:
                    if record := self._ground.loop.record if not told else None:
                        text = f"an interrupted config set is not undone yet: {later}"
                        self._ground.journal.tell("trial_left", text, Level.WARNING, record.generation)
                        told = True
                finally:
                    self._changing = ""
            await asyncio.sleep(UNDO_AGAIN_S)

    async def _is_left(self) -> bool:
        try:
            return await self._ground.store.trial(self._ground.bench.spec.name) is not None
        except StoreError:
            return True  # the loop tells of the store

    def take(self, order: Order, errand: Errand) -> None:
        """Begin an errand; its order gets the outcome. A second one that changes something is refused."""
        if self._group is None:
            refuse(order, Unsafe("the cluster is not guarded yet", hint="try again in a moment"))
            return
        record = self._ground.loop.record
        if isinstance(errand, Drill) and record is not None and record.standby_cluster:
            hint = f"rehearse changing places: pgvigil promote-site {record.cluster} --planned --dry-run"
            refuse(order, Unsafe(f"{record.cluster} is a standby cluster: nobody writes there", hint=hint))
            return
        changes = not isinstance(errand, LOOKS) and not order.dry_run
        if changes and (why := self._ground.bench.lost()):
            refuse(order, Unsafe(f"nothing is begun: {why}", hint="see: pgvigil status"))
            return
        if changes and self._changing:
            hint = "wait until it is finished: pgvigil events --follow"
            refuse(order, Unsafe(f"{self._changing} is under way", hint=hint))
            return
        if changes:
            self._changing = WORDS[type(errand)]
        self._under_way += not isinstance(errand, LOOKS)
        self._group.create_task(self._carry_out(order, errand, changes=changes))

    async def _carry_out(self, order: Order, errand: Errand, *, changes: bool) -> None:
        try:
            if not isinstance(errand, LOOKS):
                await self._ground.known()
                self._ground.check_ours()
            await self._go(order, errand)
            await self._over(changes=changes)
        except PgvigilError as error:
            await self._over(changes=changes)
            refuse(order, error)
            self._tell_failure(order, errand, changes=changes)
        except asyncio.CancelledError:
            order.finish(Result.FAILED, "the controller was stopped meanwhile", hint="see: pgvigil status")
            raise
        else:
            self._tell_failure(order, errand, changes=changes)
        finally:
            order.finish(Result.FAILED, "the controller failed to do this", hint="its log says where")
            self._under_way -= not isinstance(errand, LOOKS)
            self._ground.watch.forget_facts()
            self._ground.watch.news.set()

    def _tell_failure(self, order: Order, errand: Errand, *, changes: bool) -> None:
        """Whoever gave the command may have gone away meanwhile."""
        record = self._ground.loop.record
        outcome = order.outcome.result() if order.outcome.done() and not order.outcome.cancelled() else None
        if not changes or record is None or outcome is None or outcome.result is not Result.FAILED:
            return
        text = f"{WORDS[type(errand)]}: {outcome.text}{f': {outcome.detail}' if outcome.detail else ''}"
        self._ground.journal.tell("command_failed", text, Level.WARNING, record.generation, hint=outcome.hint)

    async def _over(self, *, changes: bool) -> None:
        """It has ended, however: nothing is left to the next controller, and another may begin at once."""
        self._changing = "" if changes else self._changing
        record = self._ground.loop.record
        if changes and record and record.underway:
            with contextlib.suppress(StoreError):  # then the next one tells of it, which does no harm
                await self._ground.loop.notes.make(None)

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
