"""Who gave which command, when, from where, and what came of it: kept as events like all that happens."""

from typing import Final

from pgvigil.controller.journal import Journal
from pgvigil.controller.operations import Giver, Outcome, Result
from pgvigil.model.command import Command, words_of
from pgvigil.model.record import Level
from pgvigil.model.units import Generation

TEXT_MAX: Final = 500
"""Characters of an outcome that its event keeps."""


def ordered(journal: Journal, generation: Generation, command: Command, by: Giver) -> None:
    """Somebody gave a command, and the controller takes it."""
    what = words_of(command)
    data = {"by": by.who, "from": by.whence, "command": what}
    journal.tell("ordered", f"{by.who} asked for: {what}", Level.INFO, generation, data=data)


def ended(journal: Journal, generation: Generation, command: Command, by: Giver, outcome: Outcome) -> None:
    """What came of a command; refused is an outcome, too."""
    what = words_of(command)
    text = f"{what}, asked for by {by.who}: {outcome.result.replace('_', ' ')}: {outcome.text}"[:TEXT_MAX]
    data = {"by": by.who, "from": by.whence, "command": what, "result": outcome.result.value}
    level = Level.WARNING if outcome.result is Result.FAILED else Level.INFO
    journal.tell("order_ended", text, level, generation, data=data)


def denied(
    journal: Journal, generation: Generation, command: str, by: Giver, why: str, *, untold: int
) -> None:
    """Somebody who may not do so wanted to give a command. `untold`: as often since it was told last."""
    text = f"{by.whence} was not let in to give the command {command}: {why}"
    text += f"; {untold} more of this kind were refused before" if untold else ""
    data: dict[str, str | int | float | None] = {
        "by": by.who,
        "from": by.whence,
        "command": command,
        "result": "denied",
        "untold": untold,
    }
    hint = "when nobody of yours did this, see to it that this address does not reach the controller"
    journal.tell("order_denied", text, Level.WARNING, generation, hint=hint, data=data)
