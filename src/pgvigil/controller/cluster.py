"""The loop of one cluster: observe → judge → decide → record → act. It owns time, and nothing else does.

Woken by every sighting, command and due instant, it compares what is with what ought to be and takes the
next steps. Killed at any instruction and started again it goes on from the durable record and a fresh look.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from pgvigil.act.bench import Bench
from pgvigil.act.engine import Outcome as StepOutcome
from pgvigil.act.engine import run_stages
from pgvigil.controller import due, orders
from pgvigil.controller.endpoints import Endpoints
from pgvigil.controller.errands import Errands, Ground
from pgvigil.controller.hesitation import Hesitation
from pgvigil.controller.journal import Journal, Log
from pgvigil.controller.mode import Mode
from pgvigil.controller.objection import Objections
from pgvigil.controller.orders import Order
from pgvigil.controller.places import known_paths, remembered
from pgvigil.controller.recorder import Recorder
from pgvigil.controller.repairs import Repairs
from pgvigil.controller.tenure import Tenure
from pgvigil.controller.underway import Notes
from pgvigil.controller.unwritten import Unwritten
from pgvigil.decide import engine as decide
from pgvigil.decide.aim import aim
from pgvigil.decide.failover import is_sudden
from pgvigil.decide.repair import leaves_out
from pgvigil.decide.situation import Situation
from pgvigil.decide.synchrony import confirmed
from pgvigil.errors import StoreError
from pgvigil.judge.engine import diagnose, diagnose_unknown
from pgvigil.model.command import Errand, Refused, Schedule
from pgvigil.model.diagnosis import Diagnosis
from pgvigil.model.record import ClusterRecord, Fenced, Paths, Phase
from pgvigil.model.sighting import ClusterView, Unseen
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.step import Act, FenceByCommand, Hold, Plan, Promote, Rest, SetSync, Step
from pgvigil.model.units import Generation, NodeName
from pgvigil.ports.contract import Advisor, Clock, Endpoint, Lease, NodePorts, Peers, Pinger, Shell, Store
from pgvigil.sight.own_loop import OwnLoop
from pgvigil.sight.shells import Shells
from pgvigil.sight.watch import ClusterWatch

LOOK_S = 0.3
"""How long to wait for fresh looks after steps, before deciding anew on what there is."""
FIRST_LOOK_S = 3.0
UNSEEN: Final = Hold("looking", "not every node has been looked at yet")


class ClusterController:
    """Guards one cluster, or less, by its mode."""

    def __init__(
        self,
        spec: ClusterSpec,
        nodes: Mapping[NodeName, NodePorts],
        pinger: Pinger,
        clock: Clock,
        store: Store,
        journal: Journal,
        log: Log,
        *,
        mode: Mode = Mode.GUARD,
        own_shell: Shell,
        advisor: Advisor | None = None,
        witnesses: Mapping[str, Shell] | None = None,
        far: Mapping[NodeName, NodePorts] | None = None,
        endpoints: Sequence[Endpoint] = (),
        lease: Lease | None = None,
        own_loop: OwnLoop | None = None,
        shells: Shells | None = None,
        peers: Peers | None = None,
    ) -> None:
        self.spec, self.journal, self._mode = spec, journal, mode
        self._clock, self._store, self._log = clock, store, log
        self.record: ClusterRecord | None = None
        self._witnesses = witnesses or {}
        self._tenure = Tenure(None if mode is Mode.LOOK else lease, spec.name, acts=mode is not Mode.LOOK)
        self.watch = ClusterWatch(
            spec, nodes, pinger, clock, self.paths, self._witnesses,
            grants=self._tenure.acts, far=far, own_loop=own_loop, shells=shells, peers=peers,
        )  # fmt: skip
        self.endpoints, self.verified = Endpoints(endpoints, journal, clock, self._tenure), Generation(0)
        steps = (self.endpoints.hold, self._tenure.objection)
        ours = (self._generation, own_shell, self._report, far or {}, *steps)
        self._bench = Bench(spec, nodes, self.watch.learnt_paths, clock, *ours)
        self._done: Step | None = None
        self._repairs = Repairs(self._bench, journal, self.watch)
        self.recorder = Recorder(spec, store, log)
        self._orders: list[Order] = []
        self.notes = Notes(store, self.watch.news)
        ground = Ground(self._bench, journal, store, self.watch, self._repairs, self)
        self._errands = Errands(ground, goes_on=mode is Mode.GUARD)
        self._objections, self._unwritten = Objections(advisor, clock), Unwritten()
        self._taken: Order | None = None
        self._hesitation = Hesitation()
        self.view: ClusterView = self.watch.view()
        self.diagnosis, self.plan = Diagnosis(), Plan(UNSEEN)
        self.first_look = asyncio.Event()
        """Set when every node has been looked at, or has had the time for it."""

    async def run(self) -> None:
        """Guard until cancelled. The store's failure ends it; databases run on untouched."""
        self.record = await self._store.load(self.spec.name)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.journal.run())
                group.create_task(self.endpoints.run())
                group.create_task(self.watch.run())
                group.create_task(self._repairs.run())
                group.create_task(self.recorder.run())
                group.create_task(self._errands.run())
                await self.watch.look(within_s=FIRST_LOOK_S)
                while True:
                    await self._tick()
                    if self.record or not self._unseen():
                        self.first_look.set()
        finally:
            self._bench.close()
            self.endpoints.close()
            for shell in self._witnesses.values():
                shell.close()

    def ask(self, order: Order) -> None:
        """Hand in a command; its future gets the outcome."""
        if isinstance(order.command, Errand):
            self._errands.take(order, order.command)
        else:
            self._orders.append(order)
            self.watch.news.set()

    def settled(self) -> bool:
        """Whether nothing is under way: another controller may take its place without loss."""
        stable = self.record is None or (self.record.phase is Phase.STABLE and not self.record.underway)
        return stable and not self._orders and not self.busy()

    def busy(self) -> Mapping[NodeName, str]:
        """What is being done to single nodes now, in words."""
        return self._repairs.busy()

    def paths(self, name: NodeName) -> Paths:
        """Where a node keeps its data and programs, as configured, else as remembered."""
        return known_paths(self.spec, self.record, name)

    async def _tick(self) -> None:
        """One turn of the picture: view, diagnosis, decision, record, steps."""
        self.watch.news.clear()
        self.view = self.watch.view()
        held = await self._tenure.hold(lambda: self._store.load(self.spec.name))
        if isinstance(held, Hold):
            await self._stand_by(held)
        elif (record := held or self.record) is None:
            await self._take_over()
        else:
            self.record = await self.notes.written(record)
            self._point()
            self.watch.suspect = self.record.primary
            self.diagnosis = diagnose(self.spec, self.record, self.view)
            self.journal.notice(self.view, self.diagnosis, self.record.generation)
            self.plan = self._plan(self._situation(self.record))
            if self._mode is not Mode.LOOK:
                await self._carry_out(self.plan)
            picture = self.record, self.plan, self.diagnosis
            busy = bool(self._orders or self._errands.busy or self._repairs.busy())
            self.watch.calm = due.is_calm(*picture) and not busy
            self.watch.need_hosts(busy or due.needs_hosts(*picture))
        await self._wait()

    async def _stand_by(self, hold: Hold) -> None:
        """Watch and tell, and begin nothing: another controller may be at work. Repairs are ended."""
        if self.record is not None:
            self.watch.suspect = self.record.primary
            self.diagnosis = diagnose(self.spec, self.record, self.view)
            self.journal.notice(self.view, self.diagnosis, self.record.generation)
        await self._repairs.stop()
        self._held(hold)
        orders.interrupt(self._orders, hold)

    def _plan(self, situation: Situation) -> Plan:
        if act := self._ordered(situation):
            return Plan(act)
        idle = situation.record.phase is Phase.STABLE and not self._pending_change()
        if self._mode is Mode.ORDERS and idle:
            return Plan(Rest())
        plan = decide.decide(situation)
        if self._mode is not Mode.GUARD and due.is_scheduled(plan.decision, situation.record):
            return replace(plan, decision=Rest())  # a running controller's work
        self.recorder.note(situation, plan)
        if isinstance(plan.decision, Rest) and situation.record != self.record:
            act = Act("learnt", "where the nodes keep their data and programs", situation.record)
            return replace(plan, decision=act)
        return plan

    async def _carry_out(self, plan: Plan) -> None:
        assert self.record is not None
        match plan.decision:
            case Act() as act if hold := await self._objections.against(
                act, self.record, partial(self.journal.announce, act, self.record.generation)
            ):
                self._held(hold)
            case Act() as act:
                await self._act(act)
            case Hold() as hold:
                self.journal.held(hold, self.record.generation)
            case Rest():
                self.journal.rested()
        settled = self.record.phase is Phase.STABLE
        self._repairs.take(plan.repairs if settled else (), settled=settled)
        for order in tuple(self._orders):
            orders.follow_up(order, self.spec, self.record, self.view)
            if order.outcome.done():
                self._orders.remove(order)

    async def _act(self, act: Act) -> None:
        """Record first, then the stages; then a fresh look, the only way an outcome comes back."""
        assert self.record is not None
        await self._hesitation.before(act)
        if hold := self._unwritten.holds(act, self._clock.now()):
            self._held(hold)
            return
        try:
            saved = await self.journal.decided(act, self.record.generation)
        except StoreError as error:
            await self._not_saved(act, error)
            return
        self._answer_taken()
        if saved is not None:
            self._unwritten.saved()
            due.begin(act, self.record, saved, self._errands, self.journal)
            if saved.generation != self.record.generation or saved.phase is not Phase.STABLE:
                await self._repairs.stop()
            self.record = saved
            self._point()
            self.watch.suspect = saved.primary
        if act.stages:
            await self._run_stages(act)
            await self._note_done()
            self.watch.forget_facts()
            await self.watch.look(within_s=LOOK_S)
        self.watch.news.set()

    async def _not_saved(self, act: Act, error: StoreError) -> None:
        """Hold; and see what is stored, for it may be what somebody else wrote, or our own after all."""
        self._answer_taken(error)
        self._held(self._unwritten.failed(error, act, self.record, self._clock.now()))
        with contextlib.suppress(StoreError):
            stored = await self._store.load(self.spec.name)
            if stored and self.record and stored.revision != self.record.revision:
                self.record = stored

    def _held(self, hold: Hold) -> None:
        self.plan = replace(self.plan, decision=hold)
        self.journal.held(hold, self._generation())

    def _answer_taken(self, error: StoreError | None = None) -> None:
        """What becomes of a command, now that what it asks is on record, or cannot be put there."""
        order, self._taken = self._taken, None
        orders.recorded(order, error)

    async def _run_stages(self, act: Act) -> None:
        """The stages, interrupted by what the decision did not know."""
        assert self.record is not None
        known = is_sudden(diagnose(self.spec, self.record, self.watch.view()), self.record.primary)
        look_s = self._tenure.look_s
        self._tenure.begin()
        work = asyncio.ensure_future(run_stages(act.stages, self._bench, self._outcome))
        try:
            while not work.done():
                self.watch.news.clear()
                news = asyncio.ensure_future(self.watch.news.wait())
                await asyncio.wait({work, news}, timeout=look_s, return_when=asyncio.FIRST_COMPLETED)
                news.cancel()
                if not work.done() and (self._tenure.objection() or self._interrupts(act, known=known)):
                    break
        finally:
            work.cancel()
            await asyncio.wait({work})
        if not work.cancelled():
            work.result()

    async def _note_done(self) -> None:
        """What only a step can tell, and no look shows again, goes into the record."""
        assert self.record is not None
        done, self._done = self._done, None
        with contextlib.suppress(StoreError):  # what comes next says so, and is held
            match done:
                case FenceByCommand() if self.record.phase is Phase.FENCING:
                    self.record = replace(self.record, fenced=Fenced.COMMAND)  # true all the same
                    self.record = await self._store.save(self.record)
                case SetSync() as step if changed := confirmed(self.record, step):
                    self.record = await self._store.save(changed)
                    self.journal.synchronous(changed)

    def _interrupts(self, act: Act, *, known: bool) -> bool:
        """The primary fails in a way not `known` before, or these steps leave an old one out."""
        assert self.record is not None
        view = self.watch.view()
        diagnosis = diagnose(self.spec, self.record, view)
        return leaves_out(act, view, diagnosis) or (not known and is_sudden(diagnosis, self.record.primary))

    async def _take_over(self) -> None:
        """No record yet: take the cluster over if it is clear who its primary is."""
        self.diagnosis = diagnose_unknown(self.view, standby_cluster=self.spec.standby_of is not None)
        self.journal.notice(self.view, self.diagnosis, Generation(0))
        if self._unseen():
            self.plan = Plan(UNSEEN)
            return
        first = decide.first_record(self.spec, self.view, self.diagnosis)
        if isinstance(first, Hold):
            self.plan = Plan(first)
            self.journal.held(first, Generation(0))
            orders.interrupt(self._orders, first)
            return
        act = decide.taken_over(first)
        if hold := self._unwritten.holds(act, self._clock.now()):
            self.plan = Plan(hold)
            return
        self.plan = Plan(Hold("looking", "what was found is being put on record"))
        try:
            self.record = await self.journal.decided(act, first.generation)
        except StoreError as error:
            hold = self._unwritten.failed(error, act, None, self._clock.now())
            self._held(hold)
            orders.interrupt(self._orders, hold)
            return
        self.watch.news.set()

    def _unseen(self) -> bool:
        return any(isinstance(node.sql, Unseen) for node in self.view.nodes.values())

    def _ordered(self, situation: Situation) -> Act | None:
        """Take the next command that has not been begun: an act of its own, or a repair of one node."""
        if self._orders and not self.watch.knows_hosts:
            return None  # they are looked at first: a command may rest on what they said long ago
        for order in tuple(self._orders):
            if order.before is not None or order.outcome.done():
                continue
            assert not isinstance(order.command, Errand), "errands go beside the loop"
            if self._mode is Mode.ORDERS and isinstance(order.command, Schedule):
                orders.refuse(order, due.NOBODY)
                continue
            answer = decide.order(situation, order.command)
            if not order.dry_run:
                self.recorder.note(situation, answer, order.command)
            if isinstance(answer, Refused):
                orders.refuse(order, answer)
            elif order.dry_run:
                if not self._repairs.rehearses(answer, order):
                    orders.planned(order, answer)
            elif not isinstance(answer, Act):
                order.before = situation.record.primary
                self._repairs.begin(answer, order)
            else:
                order.before, order.begun = situation.record.primary, answer.reason
                order.progress(answer.reason)
                self._taken = order
                return orders.signed(answer, order)
        return None

    def _pending_change(self) -> bool:
        return any(order.reached and not order.outcome.done() for order in self._orders)

    async def _wait(self) -> None:
        """Until there is news, or the next instant at which something may become a verdict."""
        now, slowdown = self._clock.now(), self.watch.slowdown
        await self.watch.news.within(due.sleep_s(self.diagnosis, self.plan.decision, now, slowdown))

    def _situation(self, record: ClusterRecord) -> Situation:
        record = remembered(record, {name: self.watch.learnt_paths(name) for name in self.view.nodes})
        return Situation(self.spec, record, self.view, self.diagnosis, self._clock.wall())

    def _generation(self) -> Generation:
        return self.record.generation if self.record else Generation(0)

    def _report(self, node: NodeName, text: str) -> None:
        self._repairs.report(node, text)
        for order in self._orders:
            order.progress(f"{node}: {text}")

    def _point(self) -> None:
        """Tell the endpoints where clients belong: on news of the record, of a look, of a promotion."""
        if self._mode is not Mode.LOOK and self.record and not self._tenure.objection():
            self.endpoints.point(aim(self.spec, self.record, self.view, self.verified))

    def _outcome(self, outcome: StepOutcome) -> None:
        self._tenure.note(outcome)
        if isinstance(outcome.step, Promote) and outcome.error is None:
            self.verified = outcome.step.generation
            self._point()
        self.journal.outcome(outcome, self._generation())
        if isinstance(outcome.step, FenceByCommand | SetSync) and outcome.error is None:
            self._done = outcome.step
        orders.tell(self._orders, outcome)
