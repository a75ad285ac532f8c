"""Whom to tell of events, and how: targets, what goes to them, and the words a template may use."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Final

from pgvigil.model.record import Level
from pgvigil.model.spec import Rate

PLACEHOLDERS: Final = frozenset(
    {"at", "cluster", "count", "data", "evidence", "generation", "headline", "hint", "kind", "level"}
    | {"more", "node", "text"}
)
"""What a template may have in braces."""
BRACES: Final = re.compile(r"\{\{|\}\}|\{(\w*)\}|[{}]")
"""Everything with a brace: doubled, a placeholder, or one by itself."""
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES_A_DAY: Final = 24 * 60


class Language(StrEnum):
    """In which language the built-in templates speak; the text of an event is English."""

    EN = "en"
    ZH = "zh"


class Source(StrEnum):
    """Where the URL of a target is found."""

    GIVEN = "url"
    FILE = "url_file"
    COMMAND = "url_command"
    ENVIRONMENT = "url_env"


@dataclass(frozen=True, slots=True)
class Quiet:
    """A time of day, on some days: minutes from midnight. It may go over midnight; its day is the first."""

    start: int
    end: int
    days: frozenset[int] = frozenset(range(7))
    """0: Monday."""

    def covers(self, weekday: int, minute: int) -> bool:
        """Whether that minute of that day (0: Monday) lies in it."""
        if self.start < self.end:
            return weekday in self.days and self.start <= minute < self.end
        late = weekday in self.days and minute >= self.start
        return late or ((weekday - 1) % 7 in self.days and minute < self.end)


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """One place that events go to. Equal ones are one place, with one queue, whatever clusters use it."""

    name: str
    source: Source
    place: str = field(repr=False)
    """The URL, or where it is found. May be a secret: shown nowhere."""
    level: Level | None = Level.WARNING
    """The least level that goes out. None: only what `also` names."""
    also: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    """Patterns of kinds (fnmatch) that go out whatever their level; that never do."""
    quiet: tuple[Quiet, ...] = ()
    timezone: str = ""
    """Of `quiet` and of the times in messages; empty: the controller's own."""
    language: Language = Language.EN
    title: str = ""
    body: str = ""
    """Templates; empty: the built-in ones."""
    repeat_after: timedelta = timedelta(minutes=10)
    """The same condition is told again after this, with how often it was seen."""
    rate: Rate | None = None
    """More messages than this are gathered into one. None: no limit."""


def strange_braces(template: str) -> Iterator[str]:
    """What a template has in braces that is no placeholder."""
    for found in BRACES.finditer(template):
        if found[0] not in ("{{", "}}") and found[1] not in PLACEHOLDERS:
            yield found[0]
