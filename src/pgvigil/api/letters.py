"""The face towards other controllers: commands that they hand over are carried out here, each once.

A letter is taken before it is carried out. Of one whose taking was in doubt it is said that nothing was
done, and nothing is. What comes of the others is told as soon as etcd takes it, and removed when nobody
fetches it. What a letter asks can disturb this controller as little as what comes over the socket.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import structlog

from pgvigil.controller.forwarding import Asked, Lines
from pgvigil.controller.operations import Giver, Outcome
from pgvigil.controller.outcomes import error_json, outcome_json
from pgvigil.errors import Bug, PgvigilError, StoreError, Unsafe
from pgvigil.model.command import Command
from pgvigil.model.letter import ANSWER_MAX, Letter
from pgvigil.model.units import ClusterName
from pgvigil.ports.contract import Mailbox

LOOK_S: Final = 0.25
"""Between two looks for letters."""
TELL_S: Final = 0.1
"""Between two looks for progress."""
AT_ONCE: Final = 32
"""So many commands of others run at once; more wait in their letters."""

log = structlog.get_logger()


class Carry(Protocol):
    """Carries a command out on a cluster of this controller's, as `Operations.order`."""

    def __call__(
        self,
        cluster: ClusterName,
        command: Command,
        *,
        dry_run: bool,
        within_s: float,
        progress: Callable[[str], None],
        by: Giver | None,
    ) -> Awaitable[Outcome]:
        """Raises PgvigilError."""
        ...


class Letters:
    """One controller's letter box, emptied as long as `attend` runs."""

    def __init__(self, mailbox: Mailbox, name: str, carry: Carry) -> None:
        """`name`: this controller's."""
        self._mailbox, self._name, self._carry = mailbox, name, carry
        self._running: dict[str, asyncio.Task[None]] = {}
        self._doubtful: list[Letter] = []

    async def attend(self) -> None:
        """Carry out what the others hand over, until cancelled; what runs then ends unanswered."""
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    await self._clear()
                    for letter in await self._mailbox.waiting():
                        if len(self._running) < AT_ONCE:
                            await self._take(letter, group)
                except StoreError:
                    await asyncio.sleep(LOOK_S)  # who watches the lease tells of it
                await asyncio.sleep(LOOK_S)

    async def _clear(self) -> None:
        """Of what may have been taken, and was not begun, that is said. Raises StoreError."""
        while self._doubtful:
            text = json.dumps({"error": error_json(self._not_begun())})
            await self._mailbox.reject(self._doubtful[0], text)
            self._doubtful.pop(0)

    async def _take(self, letter: Letter, group: asyncio.TaskGroup) -> None:
        try:
            taken = await self._mailbox.take(letter)
        except StoreError:
            self._doubtful.append(letter)
            raise
        if not taken:
            self._doubtful.append(letter)
        else:
            task = group.create_task(self._carry_out(letter), name=f"command of {letter.sender}")
            self._running[letter.number] = task
            task.add_done_callback(lambda _: self._running.pop(letter.number, None))
            log.info("command_taken", cluster=letter.cluster, sender=letter.sender)

    async def _carry_out(self, letter: Letter) -> None:
        lines = Lines()
        work = asyncio.ensure_future(self._outcome(letter, lines))
        told = 0
        try:
            while not work.done():
                await asyncio.wait({work}, timeout=TELL_S)
                if not work.done() and lines.count > told:
                    told = await self._tell_lines(letter, lines, told)
        finally:
            work.cancel()
        await self._tell_last(letter, work.result())

    async def _outcome(self, letter: Letter, lines: Lines) -> dict[str, Any]:
        try:
            asked = Asked.of(letter.text)
            outcome = await self._carry(
                letter.cluster, asked.command, dry_run=asked.dry_run, within_s=asked.within_s,
                progress=lines.add, by=asked.by,
            )  # fmt: skip
        except PgvigilError as error:
            return {"error": error_json(error), "lines": lines.kept, "count": lines.count}
        except Exception as wrong:  # the API's edge: the other one gets an answer, the log its trace
            log.exception("command_failed", cluster=letter.cluster, sender=letter.sender)
            return {"error": error_json(Bug("the controller failed to answer", detail=repr(wrong)))}
        return {"outcome": outcome_json(outcome), "lines": lines.kept, "count": lines.count}

    async def _tell_lines(self, letter: Letter, lines: Lines, told: int) -> int:
        """Progress; without an answer of etcd it is told with what comes next."""
        count = lines.count
        try:
            text = json.dumps({"lines": lines.kept, "count": count})
            await self._mailbox.tell(letter, text, last=False)
        except StoreError:
            return told
        return count

    async def _tell_last(self, letter: Letter, body: dict[str, Any]) -> None:
        """What came of it, as soon as etcd takes it, and gone again when nobody fetches it."""
        text = json.dumps(body)
        if len(text) > ANSWER_MAX:
            too_long = Unsafe(
                "the answer is too long to be handed over",
                detail=f"{len(text):,} characters; at most {ANSWER_MAX:,}",
                hint=f"ask on the host of {self._name}",
            )
            text = json.dumps({"error": error_json(too_long)})
        while True:
            try:
                await self._mailbox.tell(letter, text, last=True)
                break
            except StoreError:
                await asyncio.sleep(LOOK_S)
        self._running.pop(letter.number, None)  # what waits to be fetched takes nobody's place
        while True:
            try:
                return await self._mailbox.expire(letter)
            except StoreError:
                await asyncio.sleep(LOOK_S)

    def _not_begun(self) -> PgvigilError:
        return Unsafe(
            f"etcd did not answer when {self._name} took the command",
            detail="nothing was done",
            hint="give it again when etcd answers",
        )
