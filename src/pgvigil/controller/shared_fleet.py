"""One controller's share of a fleet that several controllers guard, and its answers about all of it.

Looks at who is there every moment: takes the free clusters that are its own by the hash of names, gives one
at a time up that is another's, and restarts the loop of a cluster whose lock it had lost meanwhile, so that
everything is read anew. While etcd does not answer nothing of that happens; the loops themselves hold.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final

from pgvigil.controller.fleet import Fleet
from pgvigil.controller.forwarding import Forwarding
from pgvigil.controller.journal import Log
from pgvigil.controller.operations import NOBODY_NAMED, Giver, Json, Outcome
from pgvigil.controller.reconfigured import compare
from pgvigil.controller.status import event_json
from pgvigil.errors import StoreError, Unsafe, UsageError
from pgvigil.model.command import Command
from pgvigil.model.roster import Census, moves
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.step import Hold
from pgvigil.model.units import ClusterName, Instant
from pgvigil.ports.contract import Clock, Mailbox, Roster, Store

POLL_S: Final = 1.0
"""Between two looks; less with a short lease."""
ESSENTIAL: Final = (
    "health",
    "phase",
    "primary",
    "generation",
    "paused",
    "decision",
    "findings",
    "sync",
    "serves",
)
"""What of a status is news for the other controllers; the rest changes all the time."""
OF_A_NODE: Final = ("state", "role", "upstream", "sync")


class SharedFleet:
    """Implements `Operations` for all configured clusters, and guards those that are this controller's."""

    def __init__(
        self,
        fleet: Fleet,
        roster: Roster,
        store: Store,
        clock: Clock,
        log: Log,
        others: Forwarding,
        *,
        poll_s: float,
        settle_s: float,
    ) -> None:
        """`poll_s`: between two looks; `settle_s`: how long another is there before it is given anything."""
        self._fleet, self._roster, self._store, self._clock, self._log = fleet, roster, store, clock, log
        self._others = others
        self._poll_s, self._settle_s = poll_s, settle_s
        self._specs: dict[ClusterName, ClusterSpec] = {}
        self._census = Census({}, {})
        self._guarded: dict[ClusterName, ClusterSpec] = {}
        self._told: dict[ClusterName, str] = {}
        self._heard: Mapping[ClusterName, str] = {}
        """How the clusters of others are, as of the last look."""
        self._free: dict[ClusterName, Instant] = {}
        """Clusters that nobody guards, and since when."""
        self._taken_late: set[ClusterName] = set()
        """Clusters that whose they are did not take: they are not given back."""
        self._trouble = ""
        self._one_at_a_time = asyncio.Lock()
        self.looked = asyncio.Event()
        """Set when this controller has its share for the first time."""

    @contextlib.asynccontextmanager
    async def running(self, specs: Sequence[ClusterSpec]) -> AsyncIterator["SharedFleet"]:
        """Guard this controller's share of these clusters as long as the context lasts."""
        async with self._fleet.running(()):
            await self.serve(specs)
            async with asyncio.TaskGroup() as group:
                looking = group.create_task(self.run(), name="share")
                try:
                    yield self
                finally:
                    looking.cancel()

    async def serve(self, specs: Sequence[ClusterSpec]) -> str:
        """These are configured from now on. Returns what changed, as a sentence. Raises StoreError."""
        async with self._one_at_a_time:
            before = self._specs
            self._specs = {spec.name: spec for spec in specs}
            await self._roster.announce(list(self._specs))
            for cluster in self._roster.held() - self._specs.keys():
                await self._guard(self._roster.held() & self._specs.keys())
                await self._roster.release(cluster)
            await self._guard(self._roster.held())
            return compare(before, self._specs).sentence

    async def run(self) -> None:
        """Keep the share as it ought to be, until cancelled."""
        while True:
            try:
                async with self._one_at_a_time:
                    await self._share()
            except StoreError as error:
                if not self._trouble:
                    self._log.warning("etcd_unreachable", error=str(error), hint=error.hint)
                self._trouble, self._heard = str(error), {}  # it may be wrong by now
            else:
                if self._trouble:
                    self._log.info("etcd_answers_again")
                self._trouble = ""
                self.looked.set()
            await asyncio.sleep(self._poll_s)

    async def _share(self) -> None:
        """One look, and what follows from it. Raises StoreError."""
        self._census = census = await self._roster.look()
        await self._guard(self._roster.held())  # those that were lost end before they are taken again
        me, configured = self._roster.name, list(self._specs)
        now = self._clock.now()
        self._free = {c: self._free.get(c, now) for c in configured if c not in census.owners}
        overdue = {c for c, since in self._free.items() if now - since >= self._settle_s}
        wanted = moves(me, configured, census, settled_s=self._settle_s, overdue=overdue)
        for cluster in wanted.claim:
            if await self._roster.claim(cluster):
                self._taken_late |= {cluster} & overdue
                self._log.info("guarding", cluster=cluster, controller=me)
        await self._guard(self._roster.held())
        for cluster in wanted.release:
            mine = cluster in self._guarded and cluster not in self._taken_late
            if mine and self._fleet.settled(cluster):
                await self._guard(self._guarded.keys() - {cluster})
                await self._roster.release(cluster)
                self._log.info("given_up", cluster=cluster, controller=me)
                break  # one at a time
        await self._publish()
        self._heard = await self._roster.published() if self._specs.keys() - self._guarded.keys() else {}

    async def _guard(self, clusters: "frozenset[ClusterName] | set[ClusterName]") -> None:
        wanted = {name: spec for name, spec in self._specs.items() if name in clusters}
        if wanted != self._guarded:
            await self._fleet.guard(list(wanted.values()))
            for gone in self._guarded.keys() - wanted.keys():
                self._told.pop(gone, None)
            self._guarded = wanted

    async def _publish(self) -> None:
        """Tell the others what is news in our clusters."""
        for status in await self._fleet.status():
            cluster = ClusterName(status["cluster"])
            news = json.dumps([_essence(status), [_of_node(node) for node in status["nodes"]]])
            if self._told.get(cluster) != news:
                await self._roster.publish(cluster, json.dumps(status))
                self._told[cluster] = news

    async def status(self, cluster: ClusterName | None = None) -> list[Json]:
        """See `Operations`. Of clusters that another controller guards: what that one told last."""
        if cluster is not None and cluster not in self._specs:
            raise self._unknown(cluster)
        chosen = [cluster] if cluster else list(self._specs)
        return [await self._status(name) for name in chosen]

    async def _status(self, name: ClusterName) -> Json:
        if name in self._guarded:
            (status,) = await self._fleet.status(name)
            return {**status, "controller": self._roster.name}
        owner = self._census.owners.get(name)
        if name in self._heard:
            return {**json.loads(self._heard[name]), "controller": owner}
        if self._trouble:
            reason = f"what becomes of {name} is not known here: {self._trouble}"
        else:
            reason = f"{owner} has begun to guard {name}" if owner else f"no controller guards {name} yet"
        hint = "it is taken within the lease's time; see docs/operate/several-controllers.md"
        status = self._fleet.unguarded(self._specs[name], Hold("not_guarded", reason, hint))
        return {**status, "controller": owner}

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
        """See `Operations`. What another controller guards is handed to that one. Raises PgvigilError."""
        if cluster not in self._specs:
            raise self._unknown(cluster)
        if cluster in self._guarded:
            return await self._fleet.order(
                cluster, command, dry_run=dry_run, within_s=within_s, progress=progress, by=by
            )
        if self._trouble:
            raise Unsafe(
                f"while etcd does not answer no command is handed to who guards {cluster}",
                detail=self._trouble,
                hint="give it again when etcd answers, or on the host of that controller",
            )
        return await self._others.order(
            cluster, command, dry_run=dry_run, within_s=within_s, progress=progress, by=by or NOBODY_NAMED
        )

    async def order_here(
        self,
        cluster: ClusterName,
        command: Command,
        *,
        dry_run: bool,
        within_s: float,
        progress: Callable[[str], None],
        by: Giver | None,
    ) -> Outcome:
        """Carry out what another controller handed over; it goes no further. Raises PgvigilError."""
        if cluster not in self._guarded:
            raise Unsafe(
                f"{self._roster.name} does not guard {cluster} at this moment",
                detail="nothing was done",
                hint="give the command again",
            )
        return await self._fleet.order(
            cluster, command, dry_run=dry_run, within_s=within_s, progress=progress, by=by
        )

    def denied(self, cluster: ClusterName, command: str, by: Giver, why: str, untold: int) -> None:
        """Keep that somebody was not let in to give a command. Raises UsageError."""
        if cluster in self._guarded:
            self._fleet.denied(cluster, command, by, why, untold)
        else:
            name = self.spec(cluster).name
            self._log.warning("denied", cluster=name, command=command, by=by.who, whence=by.whence, why=why)

    def spec(self, cluster: ClusterName) -> ClusterSpec:
        """The settings of a cluster as they are in force. Raises UsageError."""
        if cluster not in self._specs:
            raise self._unknown(cluster)
        return self._specs[cluster]

    async def events(self, cluster: ClusterName | None, *, limit: int, after: int = 0) -> list[Json]:
        """See `Operations`. All controllers' events are in one store."""
        if cluster is not None and cluster not in self._specs:
            raise self._unknown(cluster)
        if cluster is None or cluster in self._guarded:
            return await self._fleet.events(cluster, limit=limit, after=after)
        return [event_json(event) for event in await self._store.events(cluster, limit=limit, after=after)]

    def _unknown(self, cluster: ClusterName) -> UsageError:
        return UsageError(f"there is no cluster {cluster!r}", detail=f"known: {', '.join(self._specs)}")


def share(
    fleet: Fleet,
    roster: Roster,
    store: Store,
    clock: Clock,
    log: Log,
    mailbox: Mailbox,
    *,
    lease_s: float,
) -> SharedFleet:
    """This controller's share of the fleet, looked after often enough for a lease of that time."""
    others, poll_s = Forwarding(mailbox, roster.name, log), min(POLL_S, lease_s / 6)
    return SharedFleet(fleet, roster, store, clock, log, others, poll_s=poll_s, settle_s=2 * lease_s)


def _essence(status: Json) -> Json:
    essence = {name: status[name] for name in ESSENTIAL}
    essence["decision"] = [status["decision"]["kind"], status["decision"]["rule"]]
    essence["findings"] = [[found["problem"], found["node"]] for found in status["findings"]]
    return essence


def _of_node(node: Json) -> list[object]:
    return [node["name"], *(node.get(name) for name in OF_A_NODE)]
