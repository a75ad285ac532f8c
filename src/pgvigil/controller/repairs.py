"""Repairs of single nodes beside the cluster's loop: one task a node, stopped when the primary changes."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pgvigil.act.bench import Bench
from pgvigil.act.engine import Outcome, carry_out
from pgvigil.controller import orders
from pgvigil.controller.journal import Journal
from pgvigil.controller.operations import Result
from pgvigil.controller.orders import Order
from pgvigil.controller.rehearsal import rehearse_clone
from pgvigil.model.command import FollowUpstream
from pgvigil.model.step import Act, Rebuild, RebuildMethod, Step, sentence, step_node
from pgvigil.model.units import Instant, NodeName
from pgvigil.sight.watch import ClusterWatch

BACKOFF_S = (2.0, 5.0, 15.0, 60.0, 300.0)
"""Pause before a node is repaired again; longer after each failure, from the start after a success."""
SETTLE_S = 1.0
"""A repair that succeeded needs a moment to be seen."""


@dataclass(slots=True)
class _Work:
    step: Step
    task: "asyncio.Task[None]"
    words: str


class Repairs:
    """Runs repair steps; a node has one at a time."""

    def __init__(self, bench: Bench, journal: Journal, watch: ClusterWatch) -> None:
        self._bench, self._journal, self._watch = bench, journal, watch
        self._work: dict[NodeName, _Work] = {}
        self._not_before: dict[NodeName, Instant] = {}
        self._failures: dict[NodeName, int] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Own the repair tasks until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            await asyncio.Event().wait()

    def take(self, steps: Iterable[Step], *, settled: bool) -> None:
        """Begin the repairs that are wanted now and neither under way nor too soon after a failure."""
        if not settled:
            return
        now = self._bench.clock.now()
        for step in steps:
            node = step_node(step)
            if node not in self._work and now >= self._not_before.get(node, Instant(0.0)):
                self._start(step, None)

    def begin(self, step: Step, order: Order) -> None:
        """Begin a repair that an operator ordered; whatever is under way on that node is stopped first."""
        node = step_node(step)
        if under_way := self._work.pop(node, None):
            under_way.task.cancel()
        self._start(step, order)

    def rehearses(self, step: Act | Step, order: Order) -> bool:
        """Whether it is a clone, which is rehearsed on the nodes themselves; it answers the order then.

        Nothing is changed, and nothing that is under way is disturbed.
        """
        if not (isinstance(step, Rebuild) and step.method is RebuildMethod.CLONE):
            return False
        assert self._group is not None
        order.before = step.upstream

        async def look() -> None:
            try:
                answer = await rehearse_clone(step, self._bench)
            except asyncio.CancelledError:
                order.finish(Result.FAILED, "the rehearsal was interrupted")
                raise
            order.conclude(answer)
            self._watch.news.set()

        self._group.create_task(look())
        return True

    async def stop(self) -> None:
        """Cancel everything and wait until it has ended: the primary is about to change."""
        tasks = [work.task for work in self._work.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=2.0)
        self._work.clear()
        self._not_before.clear()

    def busy(self) -> Mapping[NodeName, str]:
        """Node → what is being done to it, in words."""
        return {name: work.words for name, work in self._work.items()}

    def report(self, node: NodeName, text: str) -> None:
        """Progress of the step under way on that node."""
        if node in self._work:
            self._work[node].words = text

    def _start(self, step: Step, order: Order | None) -> None:
        assert self._group is not None
        node = step_node(step)
        task = self._group.create_task(self._repair(step, order))
        self._work[node] = _Work(step, task, sentence(step))

    async def _repair(self, step: Step, order: Order | None) -> None:
        node = step_node(step)
        try:
            outcome = await carry_out(step, self._bench)
            self._journal.outcome(outcome, self._bench.generation())
            self._pace(node, outcome)
            if order is not None:
                _answer(order, outcome)
        except asyncio.CancelledError:
            if order is not None:
                order.finish(Result.FAILED, f"{sentence(step)} was interrupted", hint="see: pgvigil status")
            raise
        finally:
            current = self._work.get(node)
            if current is not None and current.task is asyncio.current_task():
                del self._work[node]
            self._watch.forget_facts()
            self._watch.wake_host(node)
            self._watch.news.set()

    def _pace(self, node: NodeName, outcome: Outcome) -> None:
        failures = self._failures.get(node, 0) + 1 if outcome.error else 0
        self._failures[node] = failures
        pause = BACKOFF_S[min(failures, len(BACKOFF_S)) - 1] if failures else SETTLE_S
        self._not_before[node] = Instant(self._bench.clock.now() + pause)


def _answer(order: Order, outcome: Outcome) -> None:
    if outcome.error:
        orders.failed(order, outcome.error)
        return
    if isinstance(order.command, FollowUpstream):
        order.reached = f"{order.command.node} is pointed at {order.command.upstream}"
        order.progress(f"{order.reached}; waiting for it to stream")
        return
    facts = ", ".join(f"{key} {value}" for key, value in outcome.facts.items() if value not in ("", None))
    order.finish(Result.DONE, f"{sentence(outcome.step)}: done in {outcome.took_s:.1f} s", detail=facts)
