"""All clusters of one controller: a guarded loop each, nothing shared between them; answers the faces."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

from pgvigil.controller.cluster import ClusterController, guard
from pgvigil.controller.journal import Log
from pgvigil.controller.operations import Json, Outcome, Result
from pgvigil.controller.orders import Order
from pgvigil.controller.status import event_json, status_json
from pgvigil.errors import UsageError
from pgvigil.model.command import Command
from pgvigil.model.units import ClusterName
from pgvigil.ports.contract import Clock, Store


class Fleet:
    """Implements `Operations` for the clusters it guards."""

    def __init__(self, clusters: Sequence[ClusterController], store: Store, clock: Clock, log: Log) -> None:
        self._clusters = {controller.spec.name: controller for controller in clusters}
        self._store, self._clock, self._log = store, clock, log

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Fleet"]:
        """Guard all clusters as long as the context lasts."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(guard(c, self._log)) for c in self._clusters.values()]
            try:
                yield self
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                for controller in self._clusters.values():
                    await controller.journal.flush()

    async def status(self, cluster: ClusterName | None = None) -> list[Json]:
        """See `Operations`."""
        chosen = [self._cluster(cluster)] if cluster else list(self._clusters.values())
        return [self._status(controller) for controller in chosen]

    async def order(
        self,
        cluster: ClusterName,
        command: Command,
        *,
        dry_run: bool,
        within_s: float,
        progress: Callable[[str], None],
    ) -> Outcome:
        """See `Operations`. After `within_s` the command goes on; only the waiting ends."""
        controller = self._cluster(cluster)
        order = Order(command, dry_run, progress, asyncio.get_running_loop().create_future())
        controller.ask(order)
        try:
            return await asyncio.wait_for(asyncio.shield(order.outcome), within_s)
        except TimeoutError:
            text = order.reached or "not finished in its time"
            return Outcome(Result.TIMED_OUT, text, "it may still finish", "see: pgvigil status")

    async def events(self, cluster: ClusterName | None, *, limit: int, after: int = 0) -> list[Json]:
        """See `Operations`."""
        if cluster is not None:
            self._cluster(cluster)
        for controller in self._clusters.values():
            await controller.journal.flush()
        return [event_json(event) for event in await self._store.events(cluster, limit=limit, after=after)]

    def _cluster(self, name: ClusterName) -> ClusterController:
        if name not in self._clusters:
            known = ", ".join(sorted(self._clusters)) or "none"
            raise UsageError(f"there is no cluster {name}", hint=f"clusters: {known}")
        return self._clusters[name]

    def _status(self, controller: ClusterController) -> Json:
        record, wall = controller.record, self._clock.wall()
        return status_json(
            controller.spec,
            record,
            controller.view,
            controller.diagnosis,
            controller.plan,
            wall=wall,
            paused=bool(record and record.is_paused(wall)),
            busy=controller.busy(),
        )
