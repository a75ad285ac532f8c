"""How our output looks: consoles, symbols, colours and figures.

A symbol always says what a colour says, so nothing is lost without colour (`NO_COLOR`, pipes) or for
eyes that see fewer of them: the colours are Okabe and Ito's. Terminals without UTF-8 get ASCII.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from pgvigil.model import units

GOOD: Final = "#009e73"
NOTE: Final = "#56b4e9"
WARN: Final = "#e69f00"
BAD: Final = "bold #d55e00"
DIM: Final = "dim"
STRONG: Final = "bold"

PIPE_WIDTH: Final = 240
"""Columns when nobody's terminal limits them: all there is, one line a row, for grep."""


@dataclass(frozen=True, slots=True)
class Symbols:
    """The signs we print beside colours."""

    ok: str = "●"
    busy: str = "◐"
    warn: str = "▲"
    bad: str = "✖"
    held: str = "■"
    note: str = "·"
    done: str = "✓"
    arrow: str = "→"
    none: str = "–"


ASCII: Final = Symbols("o", "~", "!", "x", "#", "-", "+", "->", "-")
UNICODE: Final = Symbols()


def make_console(*, stderr: bool = False, wide: bool = False) -> Console:
    """A console on standard output or error, as wide as its terminal; pipes are wider.

    `wide`: let lines run over the terminal's edge instead of folding cells.
    """
    console = Console(stderr=stderr, highlight=False, soft_wrap=False)
    if (wide or not console.is_terminal) and not os.environ.get("COLUMNS", "").isdigit():
        console.width = max(console.width, PIPE_WIDTH)
    return console


def symbols(console: Console) -> Symbols:
    """The signs this console can show."""
    return UNICODE if console.encoding.lower().startswith("utf") else ASCII


def may_ask() -> bool:
    """Whether a person sits at the terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()


bytes_text: Final = partial(units.bytes_text, smallest="B")
"""A size as tables show it."""


def repeated(scheduled: Mapping[str, Any]) -> str:
    """How often something scheduled is done again; empty: it is not."""
    return f", every {units.period_text(every_s)}" if (every_s := scheduled.get("every_s")) else ""


def seconds_text(seconds: float) -> str:
    """A duration as a person says it."""
    if seconds < 0.995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} d {hours % 24} h"


def local_time(iso: str, *, fraction: bool = False) -> str:
    """An instant of ours in the reader's own time zone."""
    at = datetime.fromisoformat(iso).astimezone()
    text = f"{at:%Y-%m-%d %H:%M:%S}"
    return f"{text}.{at.microsecond // 1000:03d}" if fraction else text


HEALTH: Final[Mapping[str, tuple[str, str]]] = {
    "ok": ("ok", GOOD),
    "degraded": ("warn", WARN),
    "changing": ("busy", NOTE),
    "held": ("held", WARN),
    "down": ("bad", BAD),
}
"""Health → the name of its symbol, and its style."""

LEVELS: Final[Mapping[str, tuple[str, str]]] = {
    "info": ("note", NOTE),
    "warning": ("warn", WARN),
    "alert": ("bad", BAD),
}


def state_style(state: str) -> str:
    """The colour of a node's state word: its first character says the same."""
    match state[:1]:
        case "*":
            return f"bold {GOOD}"
        case "!" | "-":
            return BAD
        case "?":
            return WARN
        case _:
            return GOOD if state == "running" else NOTE


def sign(console: Console, table: Mapping[str, tuple[str, str]], key: str) -> Text:
    """The coloured symbol for a word of `HEALTH` or `LEVELS`."""
    name, style = table.get(key, ("note", DIM))
    return Text(getattr(symbols(console), name), style=style)
