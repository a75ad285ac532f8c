"""Commands that go to the controller which guards the cluster; `api.letters` is where they arrive.

The letter with a command is taken once or never (`ports.contract.Mailbox`). While nobody has taken it, it is
withdrawn before anything else is said of it; once it is taken, only its taker knows what came of it, and
when that one is gone the answer is that nobody knows. Nothing is ever sent a second time after it was taken.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Final

from pgvigil.controller.journal import Log
from pgvigil.controller.operations import Giver, Outcome, Result
from pgvigil.controller.outcomes import error_from, outcome_from, outcome_json
from pgvigil.errors import Bug, StoreError, Unsafe, UsageError
from pgvigil.model.command import Command
from pgvigil.model.letter import LETTER_MAX, Answer, Letter, Way
from pgvigil.model.tagged import from_plain, to_plain
from pgvigil.model.units import ClusterName
from pgvigil.ports.contract import Mailbox

LOOK_S: Final = 0.1
"""While an answer is waited for."""
TAKEN_WITHIN_S: Final = 5.0
"""A controller that lives takes a letter in a moment."""
SPARE_S: Final = 6.0
"""So much longer than the command's own time its taker's word on it is waited for."""
LINES_KEPT: Final = 200
LINE_MAX: Final = 2_000
"""Of progress that its reader has not seen yet, and of one line of it."""
UNKNOWN: Final = "it is not known whether the command was carried out"
UNKNOWN_HINT: Final = (
    "look before it is given again: pgvigil status, and pgvigil events (ordered, order_ended)"
)


@dataclass(slots=True)
class Lines:
    """Progress of a command, for a reader that looks now and then."""

    count: int = 0
    kept: list[str] = field(default_factory=list)

    def add(self, line: str) -> None:
        """Another one; the oldest make room."""
        self.count += 1
        self.kept = [*self.kept, line[:LINE_MAX]][-LINES_KEPT:]

    def news(self, seen: int) -> list[str]:
        """Those after the first so many."""
        return self.kept[-(self.count - seen) :] if self.count > seen else []


class Forwarding:
    """One controller's way to the others."""

    def __init__(self, mailbox: Mailbox, name: str, log: Log) -> None:
        """`name`: this controller's."""
        self._mailbox, self._name, self._log = mailbox, name, log

    async def order(
        self,
        cluster: ClusterName,
        command: Command,
        *,
        dry_run: bool,
        within_s: float,
        progress: Callable[[str], None],
        by: Giver,
    ) -> Outcome:
        """Have it carried out by who guards the cluster.

        Raises what that one raised, Unsafe if nobody took it, StoreError.
        """
        giver = Giver(by.who, f"{by.whence}, through {self._name}")
        text = Asked(command, dry_run, within_s, giver).text()
        if len(text) > LETTER_MAX:
            raise UsageError(
                f"this is too long to be handed to the controller that guards {cluster}",
                detail=f"{len(text):,} characters; at most {LETTER_MAX:,}",
                hint="give the command there; who that is says: pgvigil status",
            )
        loop = asyncio.get_running_loop()
        began = loop.time()
        take_until, until = began + min(TAKEN_WITHIN_S, within_s), began + within_s + SPARE_S
        while True:
            letter = await self._posted(cluster, text, take_until)
            progress(f"{letter.to} guards {cluster}: the command was handed to it")
            if answer := await self._followed(letter, take_until, until, progress):
                return _read(answer)
            if loop.time() >= take_until:
                raise Unsafe(
                    f"{letter.to}, which guards {cluster}, did not take the command",
                    detail="nothing was done",
                    hint="see pgvigil status; when it does not live, another takes the cluster over",
                )

    async def _posted(self, cluster: ClusterName, text: str, until: float) -> Letter:
        """A letter to who guards the cluster, as soon as somebody does. Raises Unsafe, StoreError."""
        while (letter := await self._mailbox.post(cluster, text)) is None:
            if asyncio.get_running_loop().time() >= until:
                raise Unsafe(
                    f"{cluster} goes from one controller to another at this moment",
                    detail="nothing was done",
                    hint="it is taken within the lease's time; then give the command again",
                )
            await asyncio.sleep(LOOK_S)
        return letter

    async def _followed(
        self, letter: Letter, take_until: float, until: float, progress: Callable[[str], None]
    ) -> Answer | None:
        """The last word on a letter; None: nobody took it, and nobody will."""
        seen, reached, loop = 0, Way.WAITS, asyncio.get_running_loop()
        while True:
            answer, trouble = await self._looked(letter)
            match answer.way if answer else None:
                case Way.ANSWERED if answer:
                    _told(answer, seen, progress)
                    await self._tidied(letter)
                    return answer
                case Way.TAKEN if answer and answer.text:
                    seen = _told(answer, seen, progress)
                case Way.GONE:
                    return Answer(Way.ANSWERED, _unknown(f"{letter.to} lost its lease, or ended, meanwhile"))
                case _:
                    pass
            reached = answer.way if answer else reached
            late = loop.time() >= (until if reached is Way.TAKEN else take_until)
            if (late or reached is Way.STRAYS) and reached is not Way.TAKEN:
                try:
                    if await self._mailbox.withdraw(letter):
                        return None
                except StoreError as error:
                    trouble = str(error)
            if loop.time() >= until or (late and trouble):
                return Answer(Way.ANSWERED, _unknown(trouble or f"{letter.to} gave no answer in time"))
            await asyncio.sleep(LOOK_S)

    async def _looked(self, letter: Letter) -> tuple[Answer | None, str]:
        """How far it has come, or why that is not known."""
        try:
            return await self._mailbox.answer(letter), ""
        except StoreError as error:
            return None, str(error)

    async def _tidied(self, letter: Letter) -> None:
        try:
            await self._mailbox.discard(letter)
        except StoreError as error:  # its taker removes it later
            self._log.info("letter_left", number=letter.number, error=str(error))


@dataclass(frozen=True, slots=True)
class Asked:
    """What a letter asks."""

    command: Command
    dry_run: bool
    within_s: float
    by: Giver

    def text(self) -> str:
        """As a letter's text."""
        return json.dumps(
            {
                "command": to_plain(self.command),
                "dry_run": self.dry_run,
                "within_s": self.within_s,
                "by": asdict(self.by),
            }
        )

    @classmethod
    def of(cls, text: str) -> "Asked":
        """Raises UsageError."""
        try:
            fields = json.loads(text)
            command: Command = from_plain(Command, fields["command"])
            return cls(command, bool(fields["dry_run"]), float(fields["within_s"]), Giver(**fields["by"]))
        except (ValueError, KeyError, TypeError) as wrong:
            raise UsageError(
                "the controller that guards the cluster does not understand this command",
                detail=str(wrong),
                hint="let all controllers be of one version",
            ) from wrong


def _told(answer: Answer, seen: int, progress: Callable[[str], None]) -> int:
    """Hand on the lines that are new; how many there have been."""
    body = json.loads(answer.text)
    lines = Lines(body.get("count", 0), body.get("lines", []))
    for line in lines.news(seen):
        progress(line)
    return lines.count


def _read(answer: Answer) -> Outcome:
    """The outcome that was told. Raises what was raised there."""
    body = json.loads(answer.text)
    match body:
        case {"outcome": dict(outcome)}:
            return outcome_from(outcome)
        case {"error": dict(error)}:
            raise error_from(error)
        case _:
            raise Bug("the answer of another controller is no outcome", detail=answer.text[:200])


def _unknown(why: str) -> str:
    outcome = Outcome(Result.FAILED, UNKNOWN, why, UNKNOWN_HINT)
    return json.dumps({"outcome": outcome_json(outcome)})
