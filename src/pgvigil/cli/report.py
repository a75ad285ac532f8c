"""What commands say at their end: outcomes, errors, checks, events and changes of primary."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from pgvigil.cli.tables import Column, Shape, fitting_table, hanging
from pgvigil.cli.theme import (
    BAD,
    DIM,
    GOOD,
    LEVELS,
    NOTE,
    STRONG,
    WARN,
    bytes_text,
    local_time,
    seconds_text,
    sign,
    symbols,
)
from pgvigil.controller.history import changes_of_primary
from pgvigil.controller.operations import Outcome, Result
from pgvigil.errors import PgvigilError, Unsafe
from pgvigil.model.check import CheckItem, CheckLevel

EXIT_CODES: Final = {
    Result.DONE: 0,
    Result.PLANNED: 0,
    Result.FAILED: 1,
    Result.WRONG: 2,
    Result.REFUSED: 3,
    Result.TIMED_OUT: 4,
}


def error_view(error: PgvigilError) -> RenderableType:
    """What, detail and hint, as psql shows the server's errors; what is unsafe is told as refused."""
    label = "REFUSED" if isinstance(error, Unsafe) else "ERROR"
    return _message(label, BAD, error.what, error.detail, error.hint)


WORD_AT_MOST: Final = 300
"""Longer ones are somebody's mistake, and would fill the screen."""


def shortened(text: str) -> str:
    """The text, with the middle of words that are much too long left out."""
    if len(text) <= WORD_AT_MOST:
        return text
    return re.sub(
        rf"\S{{{WORD_AT_MOST},}}", lambda found: f"{found[0][:60]}…({len(found[0])} characters)", text
    )


def _message(label: str, style: str, what: str, detail: str, hint: str) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(f"{label}:", style=style), Text(shortened(what)))
    if detail:
        grid.add_row(Text("DETAIL:", style=DIM), Text(shortened(detail)))
    if hint:
        grid.add_row(Text("HINT:", style=NOTE), Text(shortened(hint)))
    return grid


def outcome_view(console: Console, outcome: Outcome) -> RenderableType:
    """How a command ended; a dry run shows its steps."""
    match outcome.result:
        case Result.DONE:
            label, style = symbols(console).done, f"bold {GOOD}"
        case Result.PLANNED:
            label, style = "PLAN", NOTE
        case Result.REFUSED:
            label, style = "REFUSED", BAD
        case Result.WRONG:
            label, style = "ERROR", BAD
        case Result.TIMED_OUT:
            label, style = "TIMED OUT", BAD
        case _:
            label, style = "FAILED", BAD
    if outcome.result is Result.DONE:
        title = Text.assemble((f"{label} ", style), outcome.text)
        more = [Text(f"  {outcome.detail}", style=DIM)] if outcome.detail else []
        hint = [Text.assemble(("  HINT:  ", NOTE), outcome.hint)] if outcome.hint else []
        return Group(title, *more, *hint)
    message = _message(label, style, outcome.text, outcome.detail, outcome.hint)
    if outcome.result is Result.PLANNED:
        return Group(message, plan_view(outcome.plan))
    return message


def plan_view(steps: Sequence[str]) -> RenderableType:
    """Steps with their numbers."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(justify="right", style=DIM, min_width=4)
    grid.add_column(overflow="fold")
    for number, step in enumerate(steps or ("nothing to do",), 1):
        grid.add_row(f"{number}." if steps else "", Text(step))
    return grid


def checks_view(console: Console, items: Iterable[CheckItem]) -> RenderableType:
    """Every item with its symbol; under it how to mend it."""
    signs = symbols(console)
    marks = {
        CheckLevel.OK: Text(signs.done, style=GOOD),
        CheckLevel.ADVICE: Text(signs.note, style=NOTE),
        CheckLevel.WARNING: Text(signs.warn, style=WARN),
        CheckLevel.ERROR: Text(signs.bad, style=BAD),
    }
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    place = ""
    counts = dict.fromkeys(CheckLevel, 0)
    for item in items:
        counts[item.level] += 1
        shown = "" if item.place == place else item.place
        place = item.place
        grid.add_row(marks[item.level], Text(f"{shown} ", style=STRONG), Text(item.what))
        if item.fix:
            grid.add_row("", "", Text.assemble((f"{signs.arrow} ", NOTE), (item.fix, NOTE)))
    return Group(grid, Text(""), _summary(counts))


def _summary(counts: dict[CheckLevel, int]) -> Text:
    bad, warn = counts[CheckLevel.ERROR], counts[CheckLevel.WARNING]
    if bad:
        return Text(f"not ready: {_count(bad, 'error')}, {_count(warn, 'warning')}", style=BAD)
    if warn:
        return Text(f"ready, with {_count(warn, 'warning')}", style=WARN)
    return Text("ready", style=GOOD)


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def event_view(console: Console, event: Shape) -> RenderableType:
    """One event in a line, with its evidence and hint below."""
    place = f"{event['cluster']}/{event['node']}" if event["node"] else event["cluster"]
    mark = Text.assemble(
        (local_time(event["at"], fraction=True), DIM), " ", sign(console, LEVELS, event["level"])
    )
    number = (f"#{event['number']}  ", DIM) if event["number"] else ""
    line = Text.assemble((place, STRONG), "  ", number, (event["kind"], NOTE), "  ", event["text"])
    note = symbols(console).note
    more = [Text(f"{note} {sentence}", style=DIM) for sentence in event["evidence"]]
    hint = [Text.assemble(("HINT:  ", NOTE), event["hint"])] if event["hint"] else []
    return hanging(mark, Group(line, *more, *hint))


def _lost(event: Shape) -> Text:
    size, transactions = event["data"].get("lost_bytes"), event["data"].get("lost_transactions")
    if size is None and transactions is None:
        return Text("")
    if not size and not transactions:
        return Text("nothing", style=GOOD)
    told = [bytes_text(int(size))] if size is not None else []
    told += [_count(int(transactions), "transaction")] if transactions is not None else []
    return Text(", ".join(told), style=WARN)


def _outage(event: Shape) -> str:
    outage = event["data"].get("outage_s")
    return "" if outage is None else seconds_text(float(outage))


def _datum(event: Shape, key: str) -> str:
    value = event["data"].get(key)
    return "" if value is None else str(value)


HISTORY: Final = (
    Column("Gen", lambda e: str(e["generation"]), justify="right"),
    Column("When", lambda e: local_time(e["at"])),
    Column("Primary", lambda e: Text(_datum(e, "primary") or e["node"] or "", style=STRONG)),
    Column("After", lambda e: _datum(e, "previous")),
    Column("TL", lambda e: _datum(e, "timeline"), justify="right"),
    Column("Origin", lambda e: _datum(e, "origin").replace("_", " ")),
    Column("By", lambda e: _datum(e, "by"), drop=3),
    Column("Outage", _outage, justify="right"),
    Column("Lost", _lost),
    Column("LSN", lambda e: _datum(e, "lsn"), drop=1, justify="right"),
    Column("Why", lambda e: e["text"], drop=2, folds=True),
)


def history_view(console: Console, events: Sequence[Shape]) -> RenderableType:
    """Every change of primary, newest last."""
    changes = changes_of_primary(events)
    if not changes:
        return Text("no change of primary has been recorded", style=DIM)
    return fitting_table(console, HISTORY, changes)
