"""All that are told of events outside of pgvigil: programs of the user's, scripts of nodes, people."""

import asyncio
from collections.abc import Mapping, Sequence

from pgvigil.model.notify import TargetSpec
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.units import ClusterName
from pgvigil.ports.callbacks import Callbacks, PrimaryOf
from pgvigil.ports.contract import Clock, Notifier, Tell
from pgvigil.ports.hooks import Hooks
from pgvigil.ports.notify.office import Office


class Telling:
    """Each works beside the others, and beside every recovery."""

    def __init__(self, clock: Clock) -> None:
        self.hooks, self._callbacks, self._office = Hooks(), Callbacks(), Office(clock)

    @property
    def notifiers(self) -> tuple[Notifier, ...]:
        """All of them."""
        return self.hooks, self._callbacks, self._office

    def serve(
        self, clusters: Sequence[ClusterSpec], targets: Mapping[ClusterName, Sequence[TargetSpec]]
    ) -> None:
        """From now on these are told."""
        self.hooks.serve(clusters)
        self._callbacks.serve(clusters)
        self._office.serve(targets)

    def report_to(self, tell: Tell, primary_of: PrimaryOf) -> None:
        """From now on events about what came of it go there, and there is asked who is primary."""
        self._callbacks.report_to(tell, primary_of)
        self._office.report_to(tell)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.hooks.run())
            group.create_task(self._callbacks.run())
            group.create_task(self._office.run())
