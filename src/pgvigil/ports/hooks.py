"""The user's own shell lines, with events as JSON on standard input. Broken ones harm nothing."""

import asyncio
import json
from collections import deque
from collections.abc import Sequence
from typing import Final

import structlog

from pgvigil.errors import Unreachable
from pgvigil.model.record import Event
from pgvigil.model.shell import LocalShell, ShellSpec
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.spec import Hooks as HookSpec
from pgvigil.model.units import ClusterName  # noqa: TC001  # as everywhere else
from pgvigil.ports.shell import make_shell

WAITING_AT_MOST: Final = 1_000
"""Events that wait for a slow program; the oldest are dropped beyond that."""
log = structlog.get_logger()


class Hooks:
    """A `Notifier` that runs each cluster's lines of `hooks.on_event`, one event after another.

    Also asks the lines of `hooks.before_failover`: the user's own rules.
    """

    def __init__(self) -> None:
        self._specs: dict[ClusterName, HookSpec] = {}
        self._waiting: deque[Event] = deque(maxlen=WAITING_AT_MOST)
        self._news = asyncio.Event()

    def serve(self, clusters: Sequence[ClusterSpec]) -> None:
        """From now on these clusters' lines are the ones to run."""
        self._specs = {spec.name: spec.hooks for spec in clusters}

    def tell(self, event: Event) -> None:
        """Queue the event for its cluster's lines, if it has any."""
        if (spec := self._specs.get(event.cluster)) and spec.on_event:
            self._waiting.append(event)
            self._news.set()

    async def objection(self, event: Event) -> str:
        """Why a line of `before_failover` objects to what the event announces; empty: none does."""
        spec = self._specs.get(event.cluster, HookSpec())
        objections = await asyncio.gather(*(_run(line, spec, event) for line in spec.before_failover))
        return "; ".join(filter(None, objections))

    async def run(self) -> None:
        """Run lines until cancelled. A failure is logged, and nothing else follows from it."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                event = self._waiting.popleft()
                spec = self._specs.get(event.cluster, HookSpec())
                for line in spec.on_event:
                    if error := await _run(line, spec, event):
                        program = line.split(maxsplit=1)[0]  # an argument may be a secret
                        log.warning("hook_failed", cluster=event.cluster, program=program, error=error)


async def _run(line: str, spec: HookSpec, event: Event) -> str:
    """One shell line with one event."""
    told = json.dumps(event_fields(event))
    return await run_line(LocalShell(), "localhost", line, told, within_s=spec.timeout.total_seconds())


async def run_line(spec: ShellSpec, host: str, line: str, told: str, *, within_s: float) -> str:
    """One line of the user's, with `told` as its input, ended in time; what went wrong, empty if nothing."""
    shell = make_shell(spec, host=host)
    try:
        output = await shell.run(line, stdin=told.encode(), within_s=within_s)
    except Unreachable as lost:
        return str(lost)
    finally:
        shell.close()
    return (output.complaint[-300:] or f"exit status {output.status}") if output.status else ""


def event_fields(event: Event) -> dict[str, object]:
    """The event as a program gets it, in JSON."""
    return {
        "cluster": event.cluster,
        "at": event.at.isoformat(),
        "kind": event.kind,
        "level": event.level,
        "node": event.node,
        "generation": event.generation,
        "text": event.text,
        "evidence": list(event.evidence),
        "hint": event.hint,
        "data": dict(event.data),
    }
