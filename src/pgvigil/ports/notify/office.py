"""The `Notifier` that sends messages to people. Telling it takes microseconds; all else happens beside."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

import structlog

from pgvigil.model.notify import TargetSpec
from pgvigil.model.record import Event, Level
from pgvigil.model.units import ClusterName
from pgvigil.ports.contract import Clock, Tell
from pgvigil.ports.notify.mailbox import Item, Mailbox
from pgvigil.ports.notify.sending import Sent, send
from pgvigil.ports.notify.wording import Message, message

EVERY_S: Final = 0.25
"""How often it is looked whose time has come, while anything waits."""
AT_ONCE: Final = 2
"""Programs that send at the same time."""

log = structlog.get_logger()


class Office:
    """Messages of all clusters to all targets."""

    def __init__(self, clock: Clock, sender: Callable[[TargetSpec, Message], Awaitable[Sent]] = send) -> None:
        self._clock, self._sender = clock, sender
        self._routes: dict[ClusterName, tuple[Mailbox, ...]] = {}
        self._mailboxes: dict[TargetSpec, Mailbox] = {}
        self._busy: set[TargetSpec] = set()
        self._news = asyncio.Event()
        self._tell: Tell | None = None

    def serve(self, targets: Mapping[ClusterName, Sequence[TargetSpec]]) -> None:
        """From now on these clusters' targets are told. What waits for one that stays is kept."""
        before = self._mailboxes
        wanted = dict.fromkeys(target for each in targets.values() for target in each)
        self._mailboxes = {target: before.get(target) or Mailbox(target) for target in wanted}
        self._routes = {
            name: tuple(self._mailboxes[target] for target in each) for name, each in targets.items()
        }

    def report_to(self, tell: Tell) -> None:
        """From now on events about messages go there."""
        self._tell = tell

    def tell(self, event: Event) -> None:
        """Queue the event for those who want it."""
        for mailbox in self._routes.get(event.cluster, ()):
            mailbox.take(event, self._clock.now())
        self._news.set()

    async def run(self) -> None:
        """Send what is due, until cancelled. What waits then is lost; the events themselves are kept."""
        places = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            while True:
                if all(mailbox.idle for mailbox in self._mailboxes.values()):
                    self._news.clear()
                    await self._news.wait()
                for target, mailbox in self._mailboxes.items():
                    if target not in self._busy and (items := mailbox.due(self._clock.now(), self._wall())):
                        self._busy.add(target)
                        group.create_task(self._deliver(mailbox, items, places))
                await asyncio.sleep(EVERY_S)

    def _wall(self) -> datetime:
        return self._clock.wall()

    async def _deliver(self, mailbox: Mailbox, items: list[Item], places: asyncio.Semaphore) -> None:
        """One try; a failure is told once, and so is the first success after it."""
        target = mailbox.target
        try:
            async with places:
                sent = await self._sender(target, message(items, target, mailbox.local, mailbox.dropped))
        finally:
            self._busy.discard(target)
        failed_before, now = mailbox.failures, self._clock.now()
        if sent.ok:
            mailbox.delivered(items, now)
            log.info("notified", target=target.name, events=len(items), took_s=round(sent.took_s, 3))
        else:
            mailbox.failed(now)
            log.warning("not_notified", target=target.name, failures=mailbox.failures, error=sent.detail)
        if sent.ok == bool(failed_before) and self._tell:
            self._say(items[-1].event.cluster, target.name, sent)

    def _say(self, cluster: ClusterName, name: str, sent: Sent) -> None:
        assert self._tell
        if sent.ok:
            self._tell(
                cluster, "notify_works", f"messages reach {name} again", Level.INFO, hint="", target=name
            )
        else:
            text = f"messages do not reach {name}: {sent.detail}; they are gathered and tried again"
            hint = f"see: pgvigil notify test {name}"
            self._tell(cluster, "notify_failed", text, Level.WARNING, hint=hint, target=name)
