"""A controller without clusters behind it: answers what a test gives it, and keeps what it was asked."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from pgvigil.controller.operations import Giver, Json, Outcome, Result
from pgvigil.errors import PgvigilError
from pgvigil.model.command import Command
from pgvigil.model.units import ClusterName

DONE = Outcome(Result.DONE, "pg2 is primary of orders")


@dataclass
class FakeOperations:
    """Implements `Operations`."""

    clusters: list[Json] = field(default_factory=list)
    told: list[Json] = field(default_factory=list)
    outcome: Outcome | PgvigilError | Exception = DONE
    lines: tuple[str, ...] = ("stopping pg1", "promoting pg2")
    orders: list[tuple[ClusterName, Command, bool, float]] = field(default_factory=list)
    givers: list[Giver | None] = field(default_factory=list)
    pause_s: float = 0.0
    finished: asyncio.Event = field(default_factory=asyncio.Event)

    async def status(self, cluster: ClusterName | None = None) -> list[Json]:
        return [c for c in self.clusters if cluster in (None, c["cluster"])]

    async def order(
        self,
        cluster: ClusterName,
        command: Command,
        *,
        dry_run: bool,
        within_s: float,
        progress: Callable[[str], None],
        by: Giver | None = None,
    ) -> Outcome:
        self.givers.append(by)
        self.orders.append((cluster, command, dry_run, within_s))
        for line in self.lines:
            progress(line)
            await asyncio.sleep(self.pause_s)
        self.finished.set()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    async def events(self, cluster: ClusterName | None, *, limit: int, after: int = 0) -> list[Json]:
        chosen = [e for e in self.told if cluster in (None, e["cluster"]) and e["number"] > after]
        return chosen[-limit:]
