"""All clusters of one controller: a guarded loop each, nothing shared between them; answers the faces."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from pgvigil.controller import audit
from pgvigil.controller.cluster import ClusterController
from pgvigil.controller.journal import Log
from pgvigil.controller.operations import NOBODY_NAMED, Giver, Json, Outcome, Result
from pgvigil.controller.orders import Order
from pgvigil.controller.reconfigured import compare
from pgvigil.controller.snapshot import Snapshot
from pgvigil.controller.starts import AT_ONCE, Starts
from pgvigil.controller.status import event_json, status_json
from pgvigil.errors import Unreachable, UsageError
from pgvigil.model.command import Command, Reading
from pgvigil.model.record import Event, Level
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.step import Hold, Plan
from pgvigil.model.units import ClusterName, Generation, NodeName
from pgvigil.ports.contract import Clock, Store
from pgvigil.sight.bell import heard
from pgvigil.sight.own_loop import OwnLoop

MADE_AT_ONCE = 4
"""So many statuses are made before the loop has its turn: about 2 ms."""
READ_AT_ONCE = 500
"""So many events, likewise."""
READERS_MAX = 64
"""So many may wait for events; they are read one after another, for a record that is saved must not wait."""


@dataclass(slots=True)
class _Guarded:
    controller: ClusterController
    task: "asyncio.Task[None]"
    snapshot: Snapshot = field(default_factory=Snapshot)


class Fleet:
    """Implements `Operations` for the clusters it guards. `make` gives a cluster its controller."""

    def __init__(
        self,
        make: Callable[[ClusterSpec], ClusterController],
        store: Store,
        clock: Clock,
        log: Log,
        here: Giver = NOBODY_NAMED,
        *,
        own_loop: OwnLoop | None = None,
    ) -> None:
        self._make, self._store, self._clock, self._log = make, store, clock, log
        self._here, self._own_loop, self._starts = here, own_loop, Starts(own_loop)
        self._reading, self._readers = asyncio.Lock(), 0
        self._clusters: dict[ClusterName, _Guarded] = {}
        self._group: asyncio.TaskGroup | None = None
        self._one_at_a_time = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def running(self, specs: Sequence[ClusterSpec]) -> AsyncIterator["Fleet"]:
        """Guard these clusters as long as the context lasts."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            measuring = group.create_task(self._own_loop.run()) if self._own_loop else None
            try:
                await self.guard(specs)
                yield self
            finally:
                await self.guard(())
                if measuring:
                    measuring.cancel()

    async def guard(self, specs: Sequence[ClusterSpec]) -> str:
        """Guard just these from now on; a cluster whose settings did not change is not disturbed.

        A change of primary that was begun in a cluster that is stopped here is finished when it is guarded
        again. One call at a time: two loops for one cluster would be one too many. Returns what changed, as a
        sentence.
        """
        async with self._one_at_a_time:
            return await self._guard(specs)

    async def _guard(self, specs: Sequence[ClusterSpec]) -> str:
        wanted = {spec.name: spec for spec in specs}
        known = {name: guarded.controller.spec for name, guarded in self._clusters.items()}
        new = compare(known, wanted)
        ending = [self._clusters[name] for name in (*new.removed, *new.changed)]
        for guarded in ending:
            guarded.task.cancel()  # all at once: a large fleet ends together
        for guarded in ending:
            await self._stopped(guarded)
        for name in new.removed:
            del self._clusters[name]
        for place, name in enumerate((*new.added, *new.changed)):
            self._start(wanted[name], self._starts if place >= AT_ONCE else None)
        if self._own_loop:
            self._own_loop.clusters = len(self._clusters)
        return new.sentence

    def _start(self, spec: ClusterSpec, starts: Starts | None) -> None:
        assert self._group is not None
        controller = self._make(spec)
        task = self._group.create_task(guard(controller, self._log, starts), name=f"cluster {spec.name}")
        self._clusters[spec.name] = _Guarded(controller, task)

    async def _stopped(self, guarded: _Guarded) -> None:
        """It stays known until another takes its place, so that its status can be asked all the time."""
        await asyncio.wait({guarded.task})
        await guarded.controller.journal.flush()

    @property
    def names(self) -> frozenset[ClusterName]:
        """The clusters that are guarded here now."""
        return frozenset(self._clusters)

    async def looked(self) -> None:
        """Until every cluster has been looked at once, and taken over if that is possible."""
        for guarded in tuple(self._clusters.values()):
            await guarded.controller.first_look.wait()

    async def looked_at(self, cluster: ClusterName, *, within_s: float) -> None:
        """Until that cluster has been looked at, if its controller was just started; or time is over."""
        guarded = self._clusters.get(cluster)
        if guarded and not guarded.controller.first_look.is_set():
            await heard(guarded.controller.first_look, within_s)

    async def endpoints_settled(self, *, within_s: float) -> None:
        """Until the endpoints of all clusters lead where they ought to, or the time is over."""
        waits = (g.controller.endpoints.settled(within_s=within_s) for g in self._clusters.values())
        await asyncio.gather(*waits)

    def listen(self, cluster: ClusterName, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Call `listener` with every event of that cluster from now on; returns how to stop that."""
        return self._cluster(cluster).journal.listen(listener)

    def spec(self, cluster: ClusterName) -> ClusterSpec:
        """The settings of a cluster as they are in force. Raises UsageError."""
        return self._cluster(cluster).spec

    async def status(self, cluster: ClusterName | None = None) -> list[Json]:
        """See `Operations`."""
        if cluster:
            self._cluster(cluster)
        chosen = [self._clusters[cluster]] if cluster else list(self._clusters.values())
        found, made = [], 0
        for guarded in chosen:
            status, fresh = self._status(guarded.controller, guarded.snapshot)
            found.append(status)
            made += fresh
            if fresh and made % MADE_AT_ONCE == 0:
                await asyncio.sleep(0)  # a fleet is not made in one go: probes come between
        return found

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
        """See `Operations`. After `within_s` the command goes on; only the waiting ends."""
        try:
            async with asyncio.timeout(within_s):
                controller, giver = await self._guarded(cluster), by or self._here
        except TimeoutError:
            text = f"{cluster} is just being given up or begun anew here"
            return Outcome(Result.TIMED_OUT, text, "nothing was done", "give the command again")
        order = Order(command, dry_run, progress, asyncio.get_running_loop().create_future(), giver.who)
        if not dry_run and not isinstance(command, Reading):
            audit.ordered(controller.journal, _generation(controller), command, giver)
            order.outcome.add_done_callback(partial(_ended, controller, command, giver))
        controller.ask(order)
        try:
            return await asyncio.wait_for(asyncio.shield(order.outcome), within_s)
        except TimeoutError:
            text = order.reached or "not finished in its time"
            return Outcome(Result.TIMED_OUT, text, "it may still finish", "see: pgvigil status")

    def late_s(self) -> float:
        """By how many seconds in all this process's own loop ran late since it guards."""
        return self._own_loop.total_s if self._own_loop else 0.0

    def slowdown(self) -> float:
        """How many times longer than configured a calm cluster waits to be looked at now."""
        return self._own_loop.slowdown if self._own_loop else 1.0

    def settled(self, cluster: ClusterName) -> bool:
        """Whether nothing is under way there, so that another controller may guard it from now on."""
        return self._cluster(cluster).settled()

    def unguarded(self, spec: ClusterSpec, hold: Hold) -> Json:
        """The status of a cluster that is not guarded here: nothing is known, and the hold says why."""
        controller = self._make(spec)
        controller.plan = Plan(hold)
        return self._status(controller, Snapshot())[0]

    def denied(self, cluster: ClusterName, command: str, by: Giver, why: str, untold: int) -> None:
        """Keep that somebody was not let in to give a command. Raises UsageError."""
        controller = self._cluster(cluster)
        audit.denied(controller.journal, _generation(controller), command, by, why, untold=untold)

    def noted(
        self, cluster: ClusterName, kind: str, text: str, level: Level, *, hint: str, target: str
    ) -> None:
        """Keep and tell what came of telling a target, a program. A cluster that is gone has none."""
        if guarded := self._clusters.get(cluster):
            record, journal = guarded.controller.record, guarded.controller.journal
            generation = record.generation if record else Generation(0)
            journal.tell(kind, text, level, generation, hint=hint, data={"target": target})

    def primary_of(self, cluster: ClusterName) -> NodeName | None:
        """Who is primary on record; None: nobody yet."""
        guarded = self._clusters.get(cluster)
        return guarded.controller.record.primary if guarded and guarded.controller.record else None

    async def events(self, cluster: ClusterName | None, *, limit: int, after: int = 0) -> list[Json]:
        """See `Operations`. Raises Unreachable when too many are read already."""
        if cluster is not None:
            self._cluster(cluster)
        if self._readers >= READERS_MAX:
            raise Unreachable("too many ask for events at once", hint="ask again later")
        self._readers += 1
        try:
            async with self._reading:
                for guarded in list(self._clusters.values()):
                    await guarded.controller.journal.flush()
                events = await self._store.events(cluster, limit=limit, after=after)
        finally:
            self._readers -= 1
        found = []
        for event in events:
            found.append(event_json(event))
            if len(found) % READ_AT_ONCE == 0:
                await asyncio.sleep(0)
        return found

    async def _guarded(self, name: ClusterName) -> ClusterController:
        """The controller that takes commands; not one that another is just taking the place of."""
        while (guarded := self._clusters.get(name)) and guarded.task.cancelling():  # noqa: ASYNC110  # short
            await asyncio.sleep(0.01)
        return self._cluster(name)

    def _cluster(self, name: ClusterName) -> ClusterController:
        if name not in self._clusters:
            known = ", ".join(sorted(self._clusters)) or "none"
            raise UsageError(f"there is no cluster {name}", hint=f"clusters: {known}")
        return self._clusters[name].controller

    def _status(self, controller: ClusterController, snapshot: Snapshot) -> tuple[Json, bool]:
        """A cluster's status as of now, and whether it was not known before."""
        record, wall, plan, trouble = (
            controller.record, self._clock.wall(), controller.plan, controller.journal.trouble,
        )  # fmt: skip
        paused, busy = bool(record and record.is_paused(wall)), dict(controller.busy())
        spec, view, diagnosis = controller.spec, controller.view, controller.diagnosis

        verified, endpoints = controller.verified, controller.endpoints.status()

        def make() -> Json:
            told = plan
            if trouble:
                told = replace(plan, warnings=(*plan.warnings, f"the state cannot be written: {trouble}"))
            return status_json(
                spec, record, view, diagnosis, told,
                wall=wall, paused=paused, busy=busy, verified=verified, endpoints=endpoints,
            )  # fmt: skip

        known = (spec, record, view, diagnosis, plan, trouble, paused, busy, verified, endpoints)
        return snapshot.of(known, make)


def _generation(controller: ClusterController) -> Generation:
    return controller.record.generation if controller.record else Generation(0)


def _ended(
    controller: ClusterController, command: Command, by: Giver, outcome: "asyncio.Future[Outcome]"
) -> None:
    if not outcome.cancelled():
        audit.ended(controller.journal, _generation(controller), command, by, outcome.result())


def tell_slowdown(log: Log, slowdown: float) -> None:
    """Log that the process has more to do than it can."""
    text = "this process cannot keep up: while a cluster is well, its nodes are looked at less often"
    hint = "give it a core of its own, raise probe.interval, or share the clusters among several controllers"
    log.warning("controller_slow", slowdown=round(slowdown, 1), text=text, hint=hint)


def tell_late(log: Log, late_s: float) -> None:
    """Log that the process's own loop ran late."""
    text = "this process ran late itself; while it does, no verdict rests on silence"
    log.warning("controller_late", late_s=round(late_s, 1), text=text)


async def guard(controller: ClusterController, log: Log, starts: Starts | None = None) -> None:
    """Run a cluster's loop for ever, when its turn has come; an error holds it, alerts, and it goes on."""
    if starts:
        controller.plan = Plan(Hold("looking", "a large fleet is begun over seconds; its turn comes"))
        await starts.turn()
    pause = 1.0
    while True:
        try:
            await controller.run()
        except* Exception as group:  # the loop's edge: nothing may stop a guard for good
            error = group.exceptions[0]
            log.warning("held", cluster=controller.spec.name, error=str(error), exc_info=error)
            hint = getattr(error, "hint", "")
            controller.plan = Plan(Hold("loop_failed", str(error), hint))
            controller.journal.tell("loop_failed", f"held: {error}", Level.ALERT, Generation(0), hint=hint)
            await asyncio.sleep(pause)
        pause = min(pause * 2, 30.0)
