"""The user's own programs, told of every event as JSON on standard input. Slow or broken ones delay nothing."""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Sequence
from typing import Final

import structlog

from pgvigil.model.record import Event
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.spec import Hooks as HookSpec
from pgvigil.model.units import ClusterName

WAITING_AT_MOST: Final = 1_000
"""Events that wait for a slow program; the oldest are dropped beyond that."""
log = structlog.get_logger()


class Hooks:
    """A `Notifier` that runs each cluster's `hooks.on_event` program, one event after another."""

    def __init__(self) -> None:
        self._specs: dict[ClusterName, HookSpec] = {}
        self._waiting: deque[Event] = deque(maxlen=WAITING_AT_MOST)
        self._news = asyncio.Event()

    def serve(self, clusters: Sequence[ClusterSpec]) -> None:
        """From now on these clusters' programs are the ones to run."""
        self._specs = {spec.name: spec.hooks for spec in clusters if spec.hooks.on_event}

    def tell(self, event: Event) -> None:
        """Queue the event for its cluster's program, if it has one."""
        if event.cluster in self._specs:
            self._waiting.append(event)
            self._news.set()

    async def run(self) -> None:
        """Run programs until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                event = self._waiting.popleft()
                if spec := self._specs.get(event.cluster):
                    await _run(spec, event)


async def _run(spec: HookSpec, event: Event) -> None:
    """One program with one event. Its failure is logged, and nothing else follows from it."""
    try:
        process = await asyncio.create_subprocess_exec(
            *spec.on_event,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as wrong:
        log.warning("hook_failed", cluster=event.cluster, program=spec.on_event[0], error=str(wrong))
        return
    try:
        async with asyncio.timeout(spec.timeout.total_seconds()):
            _, said = await process.communicate(event_text(event).encode())
    except TimeoutError:
        log.warning("hook_failed", cluster=event.cluster, program=spec.on_event[0], error="it took too long")
    else:
        if process.returncode:
            error = said.decode(errors="replace").strip()[-300:] or f"exit status {process.returncode}"
            log.warning("hook_failed", cluster=event.cluster, program=spec.on_event[0], error=error)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()


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
