"""Commands on their way: from being asked to their outcome."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pgvigil.act.engine import Outcome as StepOutcome
from pgvigil.controller.operations import Json, Outcome, Result
from pgvigil.errors import PgvigilError, StoreError, Unsafe, UsageError
from pgvigil.model.command import (
    Command,
    DemoteSite,
    Failover,
    FollowUpstream,
    PromoteNode,
    PromoteSite,
    Refused,
    Switchover,
)
from pgvigil.model.record import ClusterRecord, Phase
from pgvigil.model.sighting import ClusterView, NodeView, Unseen
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.step import Act, Hold, Step, sentence
from pgvigil.model.units import NodeName


@dataclass(slots=True, eq=False)
class Order:
    """One command of an operator, and where its outcome goes."""

    command: Command
    dry_run: bool
    progress: Callable[[str], None]
    outcome: asyncio.Future[Outcome]
    by: str = ""
    """Who gave it, in words."""
    before: NodeName | None = None
    """The primary when the command was begun; None: not begun yet."""
    begun: str = ""
    """What is done for it, in words."""
    reached: str = ""
    """The change of primary is done; waiting for the other nodes to settle."""
    told: set[str] = field(default_factory=set)

    def finish(
        self,
        result: Result,
        text: str,
        *,
        detail: str = "",
        hint: str = "",
        plan: tuple[str, ...] = (),
        data: Json | None = None,
    ) -> None:
        """Give the outcome, once."""
        self.conclude(Outcome(result, text, detail, hint, plan, data or {}))

    def conclude(self, outcome: Outcome) -> None:
        """The same, with an outcome that is ready."""
        if not self.outcome.done():
            self.outcome.set_result(outcome)


def refuse(order: Order, refused: Refused) -> None:
    """The outcome of a command that is not carried out."""
    error = refused.error
    match error:
        case UsageError():
            result = Result.WRONG
        case Unsafe():
            result = Result.REFUSED
        case _:
            result = Result.FAILED
    order.finish(result, error.what, detail=error.detail, hint=error.hint)


def interrupt(orders: list[Order], hold: Hold) -> None:
    """All commands end, for nothing can be begun or gone on with; a change of primary itself may go on."""
    for order in orders:
        result = Result.FAILED if order.begun else Result.REFUSED
        text = f"interrupted; {hold.reason}" if order.begun else hold.reason
        order.finish(result, text, detail="; ".join(hold.evidence), hint=hold.hint)
    orders.clear()


def planned(order: Order, what: Act | Step) -> None:
    """The outcome of a rehearsal."""
    if isinstance(what, Act):
        steps = tuple(sentence(step) for stage in what.stages for step in stage.steps)
        steps = tuple(dict.fromkeys(steps))
        plan = (*steps, *_afterwards(order.command)) or (what.reason,)
        told = "; ".join(what.evidence) if isinstance(order.command, PromoteSite | DemoteSite) else ""
        order.finish(Result.PLANNED, what.reason, detail=told, plan=plan)
    else:
        order.finish(Result.PLANNED, sentence(what), plan=(sentence(what),))


def failed(order: Order, error: PgvigilError) -> None:
    """The outcome of a step that did not reach its goal."""
    order.finish(Result.FAILED, error.what, detail=error.detail, hint=error.hint)


def signed(act: Act, order: Order) -> Act:
    """What is done for a command, with whose command it was: its event says so."""
    return replace(act, data=(*act.data, ("by", order.by))) if order.by else act


def changes_primary(command: Command) -> bool:
    """Whether the command is done only when a change of primary has settled."""
    return isinstance(command, Switchover | Failover | PromoteNode | PromoteSite | DemoteSite)


def follow_up(order: Order, spec: ClusterSpec, record: ClusterRecord, view: ClusterView) -> None:
    """Look whether what takes longer than its steps is finished, and give its outcome then."""
    if isinstance(order.command, FollowUpstream):
        _follow_up_follow(order, order.command, spec, view)
    elif isinstance(order.command, DemoteSite) or record.standby_cluster:
        _follow_up_site(order, record, view)
    elif changes_primary(order.command):
        _follow_up_change(order, record, view)


def _follow_up_follow(order: Order, command: FollowUpstream, spec: ClusterSpec, view: ClusterView) -> None:
    """A standby that was pointed at an upstream is done when it streams from there."""
    node, upstream = view.nodes.get(command.node), spec.node(command.upstream)
    receiver = node.standby.receiver if node and node.standby else None
    if order.outcome.done() or not order.reached or receiver is None or receiver.status != "streaming":
        return
    if (receiver.host, receiver.port) == (upstream.host, upstream.port):
        text = f"{command.node} streams from {command.upstream} on timeline {receiver.timeline}"
        order.finish(Result.DONE, text)


def _follow_up_change(order: Order, record: ClusterRecord, view: ClusterView) -> None:
    """A change of primary is done when all other nodes stream from the new one."""
    if order.outcome.done() or order.before is None or record.phase is not Phase.STABLE:
        return
    primary = view.nodes.get(record.primary, NodeView(record.primary, Unseen(record.primary)))
    if record.primary == order.before and not isinstance(order.command, PromoteSite):
        if primary.primary:
            order.finish(
                Result.FAILED,
                f"{order.before} is still the primary",
                detail="the change was undone; nothing was lost",
                hint="pgvigil events says why",
            )
        return
    if primary.primary is None:
        return
    order.reached = f"{record.primary} is the primary now (timeline {record.timeline})"
    waiting = [
        node.name
        for node in view.nodes.values()
        if node.name not in (record.primary, *record.maintenance)
        and not (node.standby and node.standby.receiver)
    ]
    if not waiting:
        order.finish(Result.DONE, f"{order.reached}; every other node streams from it")
    elif (text := f"waiting for {', '.join(waiting)} to stream") not in order.told:
        order.told.add(text)
        order.progress(f"{order.reached}; {text}")


def _follow_up_site(order: Order, record: ClusterRecord, view: ClusterView) -> None:
    """Of a standby cluster: a new leader streams, and the others from it; or a cluster has become one."""
    if order.outcome.done() or order.before is None or record.phase is not Phase.STABLE:
        return
    if not record.standby_cluster:
        text, hint = f"{record.primary} is still the primary", "pgvigil events says why"
        if isinstance(order.command, DemoteSite) and view.node(record.primary).primary:
            order.finish(Result.FAILED, text, detail="nothing was changed; nothing was lost", hint=hint)
        return
    if isinstance(order.command, DemoteSite):
        text, last = "it is a standby cluster now; nobody in it takes writes", record.primary_lsn
        order.finish(Result.DONE, text, data={"last_checkpoint": str(last)} if last else None)
        return
    waiting = [
        node.name
        for node in view.nodes.values()
        if node.name not in record.maintenance and not (node.standby and node.standby.receiver)
    ]
    order.reached = f"{record.primary} leads the standby cluster now"
    if not waiting:
        order.finish(Result.DONE, f"{order.reached}; every other node streams from it")
    elif (text := f"waiting for {', '.join(waiting)} to stream") not in order.told:
        order.told.add(text)
        order.progress(f"{order.reached}; {text}")


def _afterwards(command: Command) -> tuple[str, ...]:
    if isinstance(command, Switchover):
        return (
            "promote the candidate when it has received everything; start the old primary as its standby",
            "point every other standby at the new primary",
        )
    return ()


def recorded(order: Order | None, error: StoreError | None) -> None:
    """What becomes of a command, now that what it asks is on record, or could not be put there."""
    if order is None:
        return
    if error is not None:
        failed(order, error)
    elif not changes_primary(order.command):
        order.finish(Result.DONE, order.begun)


def tell(waiting: list[Order], outcome: StepOutcome) -> None:
    """How a step ended, to whoever waits."""
    result = f"failed: {outcome.error}" if outcome.error else f"{outcome.took_s:.2f} s"
    for order in waiting:
        order.progress(f"{sentence(outcome.step)} … {result}")
