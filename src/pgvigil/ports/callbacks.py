"""The user's scripts with Patroni's arguments: action, role, cluster. A slow one delays only itself.

A call follows from an event, when that has happened; nobody waits for it. Source of actions and arguments:
Patroni's manual, "callbacks".
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from pgvigil.model.record import Event, Level
from pgvigil.model.shell import LocalShell
from pgvigil.model.spec import Callback, CallbackAction, ClusterSpec
from pgvigil.model.units import ClusterName, NodeName
from pgvigil.ports.contract import Tell
from pgvigil.ports.hooks import event_fields, run_line
from pgvigil.ports.host import quoted

WAITING_AT_MOST: Final = 100
"""Calls that wait for a slow script; the oldest are dropped beyond that, and that is logged."""
AGAIN_S: Final = (1.0, 5.0, 15.0, 60.0)
"""Pause before the next attempt of the same call; the last one goes on."""
PRIMARY: Final = "primary"
STANDBY: Final = "replica"  # Patroni's word, for scripts that there are
_OF_STEPS: Final = {
    "fence": (CallbackAction.ON_STOP, PRIMARY),
    "stop": (CallbackAction.ON_STOP, PRIMARY),
    "startprimary": (CallbackAction.ON_START, PRIMARY),
    "rebuild": (CallbackAction.ON_ROLE_CHANGE, STANDBY),
    "restartserver": (CallbackAction.ON_RESTART, ""),
}
"""Outcomes of steps, which have a node and how long they took; role empty: whatever it is."""

log = structlog.get_logger()
PrimaryOf = Callable[[ClusterName], NodeName | None]


@dataclass(frozen=True, slots=True)
class Call:
    """One run of a script."""

    action: CallbackAction
    role: str
    node: NodeName
    event: Event


@dataclass(frozen=True, slots=True)
class _Line:
    """One script of one cluster: its calls run one after another."""

    cluster: ClusterName
    callback: Callback


def calls(event: Event, primary: NodeName | None) -> Iterator[Call]:
    """What the event means for single nodes. `primary`: who it is on record."""

    def role(node: NodeName) -> str:
        return PRIMARY if node == primary else STANDBY

    match event.kind:
        case "promoted" | "adopted":
            if node := NodeName(str(event.data.get("primary") or primary or "")):
                yield Call(CallbackAction.ON_ROLE_CHANGE, PRIMARY, node, event)
        case "reloaded":
            for name in filter(None, str(event.data.get("nodes", "")).split(", ")):
                yield Call(CallbackAction.ON_RELOAD, role(NodeName(name)), NodeName(name), event)
        case kind if kind in _OF_STEPS and event.node and "took_s" in event.data:
            action, told = _OF_STEPS[kind]
            yield Call(action, told or role(event.node), event.node, event)
        case _:
            return


def _nobody(_: ClusterName) -> NodeName | None:
    """Nobody has said yet who is primary."""
    return None


class Callbacks:
    """A `Notifier` that runs the lines of `hooks.callbacks`."""

    def __init__(self) -> None:
        self._tell: Tell | None = None
        self._primary_of: PrimaryOf = _nobody
        self._specs: dict[ClusterName, ClusterSpec] = {}
        self._waiting: dict[_Line, deque[Call]] = {}
        self._news = asyncio.Event()

    def serve(self, clusters: Sequence[ClusterSpec]) -> None:
        """From now on these clusters' scripts are the ones to run; calls that wait are still made."""
        self._specs = {spec.name: spec for spec in clusters}

    def report_to(self, tell: Tell, primary_of: PrimaryOf) -> None:
        """From now on failures are told there, and there is asked who is primary."""
        self._tell, self._primary_of = tell, primary_of

    def tell(self, event: Event) -> None:
        """Queue the calls that the event means."""
        spec = self._specs.get(event.cluster)
        if spec is None or not spec.hooks.callbacks:
            return
        for call in calls(event, self._primary_of(event.cluster)):
            for callback in spec.hooks.callbacks:
                if call.action in callback.actions:
                    self._queue(_Line(spec.name, callback), call)

    def _queue(self, line: _Line, call: Call) -> None:
        waiting = self._waiting.setdefault(line, deque())
        if len(waiting) >= WAITING_AT_MOST:
            left_out = waiting.popleft()
            log.warning("callback_dropped", cluster=line.cluster, action=left_out.action, node=left_out.node)
        waiting.append(call)
        self._news.set()

    async def run(self) -> None:
        """Run scripts until cancelled: those of one line one after another, lines side by side."""
        busy: set[_Line] = set()
        async with asyncio.TaskGroup() as group:
            while True:
                await self._news.wait()
                self._news.clear()
                for line in self._waiting.keys() - busy:
                    busy.add(line)
                    group.create_task(self._empty(line, busy))

    async def _empty(self, line: _Line, busy: set[_Line]) -> None:
        """Make all calls that wait for a line."""
        waiting = self._waiting[line]
        while waiting:
            await self._make(line, waiting.popleft())
        del self._waiting[line]  # no await since the last look: nothing was added
        busy.discard(line)

    async def _make(self, line: _Line, call: Call) -> None:
        """One call, as often as it takes and may be tried, unless a newer one replaces it."""
        callback, error = line.callback, ""
        for attempt in range(callback.attempts):
            if attempt:
                await asyncio.sleep(AGAIN_S[min(attempt, len(AGAIN_S)) - 1])
                if self._is_overtaken(line, call):
                    return
            if (spec := self._specs.get(line.cluster)) is None:
                return
            error = await run_call(spec, callback, call)
            if not error:
                return
            log.warning(
                "callback_not_done", cluster=line.cluster, node=call.node, action=call.action, error=error
            )
        program = callback.command.split(maxsplit=1)[0]  # an argument may be a secret
        text = f"{program} {call.action} {call.role} for {call.node} did not succeed: {error}"
        hint = "databases are not concerned; run it by hand if it matters"
        if self._tell:
            self._tell(line.cluster, "callback_failed", text, Level.WARNING, hint=hint, target=program)

    def _is_overtaken(self, line: _Line, call: Call) -> bool:
        """Whether the same node has a newer call, or another is primary by now: this one is history."""
        newer = [each for each in self._waiting[line] if each.action is call.action]
        if any(each.node == call.node for each in newer):
            return True
        if call.action is not CallbackAction.ON_ROLE_CHANGE or call.role != PRIMARY:
            return False
        return self._primary_of(line.cluster) != call.node


async def run_call(spec: ClusterSpec, callback: Callback, call: Call) -> str:
    """Run a script once; what went wrong, empty if nothing did. It is ended in time."""
    node = next((each for each in spec.nodes if each.name == call.node), None)
    if node is None or (callback.on_node and node.shell is None):
        return f"{call.node} has no shell" if node else ""  # it was dropped meanwhile
    where = node.shell if callback.on_node and node.shell else LocalShell()
    body = {"action": call.action.value, "role": call.role, "cluster": spec.name, "node": call.node}
    told = json.dumps(body | {"event": event_fields(call.event)})
    line = f"{callback.command} {call.action.value} {call.role} {quoted(spec.name)}"
    return await run_line(where, node.host, line, told, within_s=callback.timeout.total_seconds())
