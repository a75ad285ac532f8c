"""The user's own shell lines, with events as JSON on standard input. Broken ones harm nothing."""

import asyncio
import contextlib
import json
import os
import signal
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import structlog

from pgvigil.model.record import Event
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.spec import Hooks as HookSpec

if TYPE_CHECKING:
    from pgvigil.model.units import ClusterName

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
                        log.warning("hook_failed", cluster=event.cluster, line=line, error=error)


async def _run(line: str, spec: HookSpec, event: Event) -> str:
    """One shell line with one event; what went wrong, empty if nothing did."""
    try:
        process = await asyncio.create_subprocess_exec(
            "sh",
            "-c",
            line,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as wrong:
        return str(wrong)
    try:
        async with asyncio.timeout(spec.timeout.total_seconds()):
            _, said = await process.communicate(event_text(event).encode())
    except TimeoutError:
        return f"it took longer than {spec.timeout.total_seconds():g} s"
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    if not process.returncode:
        return ""
    return said.decode(errors="replace").strip()[-300:] or f"exit status {process.returncode}"


def event_text(event: Event) -> str:
    """The event as the one JSON line a program gets."""
    return json.dumps(
        {
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
    )
