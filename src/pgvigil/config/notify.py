"""The `notify` section: where messages go, which events, when, and in which words."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from pgvigil.config.section import Section, local_path
from pgvigil.config.units import DurationOrZero, Kind, MaybeRate, Name, PathText, Text
from pgvigil.model.notify import (
    DAYS,
    MINUTES_A_DAY,
    PLACEHOLDERS,
    Language,
    Quiet,
    Source,
    TargetSpec,
    strange_braces,
)
from pgvigil.model.record import Level
from pgvigil.model.spec import Rate

OFF: Final = "none"
_LEVELS: Final = (*(level.value for level in Level), OFF)
_QUIET: Final = re.compile(r"(?:([a-z,-]+)\s+)?(\d\d):(\d\d)\s*-\s*(\d\d):(\d\d)", re.ASCII)
_QUIET_EXAMPLE: Final = "for example 22:00-07:00 or sat,sun 00:00-24:00"


def _level(value: Any) -> Level | None:  # what YAML had there
    if isinstance(value, Level):
        return value
    if value not in _LEVELS:
        raise ValueError(f"must be one of {', '.join(_LEVELS)}")
    return None if value == OFF else Level(value)


def _quiet(value: Any) -> Quiet:  # what YAML had there
    """`22:00-07:00`, with days before it: `sat,sun`, `mon-fri`."""
    if isinstance(value, Quiet):
        return value
    match = _QUIET.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    if not match:
        raise ValueError(f"must be a time of day, with days before it if wanted, {_QUIET_EXAMPLE}")
    start, end = (int(match[i]) * 60 + int(match[i + 1]) for i in (2, 4))
    wrong = any(int(match[i]) > 59 for i in (3, 5)) or start >= MINUTES_A_DAY or end > MINUTES_A_DAY
    if wrong or start == end:
        raise ValueError(f"is no time of day that begins and ends, {_QUIET_EXAMPLE}")
    return Quiet(start, end, frozenset(_days(match[1])) if match[1] else frozenset(range(7)))


def _days(text: str) -> Iterator[int]:
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            raise ValueError(f"has a day that is none of {', '.join(DAYS)}")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        yield from (day % 7 for day in range(begin, end + 1 if end >= begin else end + 8))


def _quiet_text(value: Quiet) -> str:
    days = "" if len(value.days) == 7 else ",".join(DAYS[day] for day in sorted(value.days)) + " "
    times = (f"{minutes // 60:02}:{minutes % 60:02}" for minutes in (value.start, value.end))
    return days + "-".join(times)


def _one_or_more(value: Any) -> Any:  # what YAML had there
    return [value] if isinstance(value, str) else value


def _template(text: str) -> str:
    if wrong := sorted(set(strange_braces(text))):
        known = ", ".join(sorted(PLACEHOLDERS))
        raise ValueError(f"has {' '.join(wrong)}; in braces may stand: {known}; a brace itself is doubled")
    if any(ord(c) < 32 and c != "\n" for c in text):
        raise ValueError("must not have control characters")
    return text


def _timezone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("is no time zone that this machine knows, such as Asia/Shanghai") from None
    return text


def _variable(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text, re.ASCII):
        raise ValueError("must be the name of an environment variable")
    return text


def _pattern(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9_*?]+", text):
        raise ValueError("must be a kind of event, or a pattern of kinds such as found_*")
    return text


LevelOrNone = Annotated[
    Level | None,
    BeforeValidator(_level),
    PlainSerializer(lambda level: level or OFF),
    WithJsonSchema({"enum": list(_LEVELS)}),
    Kind(", ".join(f"`{level}`" for level in _LEVELS)),
]
QuietTime = Annotated[
    Quiet, BeforeValidator(_quiet), PlainSerializer(_quiet_text), WithJsonSchema({"type": "string"})
]
QuietTimes = Annotated[
    tuple[QuietTime, ...],
    BeforeValidator(_one_or_more),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
    Kind("time of day, or list of them"),
]
Kinds = Annotated[
    tuple[Annotated[Text, AfterValidator(_pattern)], ...],
    BeforeValidator(_one_or_more),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
    Kind("kind of event or pattern, or list of them"),
]
Template = Annotated[str, AfterValidator(_template), Kind("text with placeholders")]


class TellingSection(Section):
    """What `notify` says for all of its targets, and each target for itself."""

    level: LevelOrNone = Field(
        default=Level.WARNING,
        description="The least level that goes out. The end of a change of primary counts like its begin "
        "(`alert`). `none`: only what `also` names.",
    )
    also: Kinds = Field(default=(), description="Kinds of events that go out whatever their level.")
    never: Kinds = Field(default=(), description="Kinds of events that never go out.")
    quiet: QuietTimes = Field(
        default=(),
        description="Times of day at which only `alert` goes out, such as `22:00-07:00` or `sat,sun "
        "00:00-24:00`. The rest is gathered and sent afterwards as one message.",
    )
    timezone: Annotated[Text, AfterValidator(_timezone), Kind("time zone")] | None = Field(
        default=None, description="Of `quiet` and of times in messages. Without it: the controller's own."
    )
    language: Language = Field(default=Language.EN, description="Of the built-in templates.")
    title: Template | None = Field(default=None, description="Title of a message, in place of the built-in.")
    body: Template | None = Field(
        default=None,
        description="Body, in place of the built-in. A line of which every placeholder is empty is left out.",
    )
    repeat_after: DurationOrZero = Field(
        default=timedelta(minutes=10),
        description="The same condition is told again only after this, with how often it was seen. `0s`: "
        "each time.",
    )
    rate: MaybeRate = Field(
        default=Rate(20, timedelta(minutes=10)),
        description="So many messages at most; what is more is gathered and sent as one.",
    )


class TargetSection(TellingSection):
    """One place that messages go to: an address in the form of an Apprise URL. In short: only its `url`.

    The URL is read anew for each message, and shown nowhere. What `notify` says holds unless it is said here.
    """

    url: Text | None = Field(
        default=None, description="The URL itself. One with a secret in it belongs in one of the next three."
    )
    url_file: PathText | None = Field(default=None, description="File whose first line is the URL.")
    url_command: Text | None = Field(
        default=None, description="Shell line that prints the URL; ended after 10 s."
    )
    url_env: Annotated[Text, AfterValidator(_variable), Kind("name")] | None = Field(
        default=None, description="Environment variable of the controller that has the URL."
    )

    def over(self, below: Self) -> Self:
        """This target with what it leaves out taken from `below`; of the ways to a URL it has its own."""
        ways = {source.value for source in Source}
        if ways & self.model_fields_set:
            below = below.model_copy(update=dict.fromkeys(ways))
        return super().over(below)

    def sources(self) -> list[tuple[Source, str]]:
        """The ways to its URL that are given; there should be one."""
        return [(source, value) for source in Source if (value := getattr(self, source.value)) is not None]

    def spec(self, name: str, notify: "NotifySection", folder: Path) -> TargetSpec:
        """The same with what `notify` says below it. Relative paths begin at `folder`."""

        def said(key: str) -> Any:  # of many types; TargetSpec's are checked by the fields above
            return getattr(self if key in self.model_fields_set else notify, key)

        ((source, place),) = self.sources()  # config.relations has refused anything else
        return TargetSpec(
            name=name,
            source=source,
            place=local_path(place, folder) if source is Source.FILE else place,
            level=said("level"),
            also=said("also"),
            never=said("never"),
            quiet=said("quiet"),
            timezone=said("timezone") or "",
            language=said("language"),
            title=said("title") or "",
            body=said("body") or "",
            repeat_after=said("repeat_after"),
            rate=said("rate"),
        )


def _target(value: Any) -> Any:  # what YAML had there
    """The short form of a target: only its URL."""
    return {"url": value} if isinstance(value, str) else value


TargetValue = Annotated[
    TargetSection,
    BeforeValidator(_target, json_schema_input_type=str | TargetSection),
    Kind("URL or mapping, see below"),
]


class NotifySection(TellingSection):
    """Messages to people: mail, chat, webhooks. A target that is slow or down delays nothing."""

    targets: dict[Name, TargetValue] = Field(
        default={},
        description="Where messages go, by name. A cluster's own are laid over those of `defaults`; "
        "`level: none` takes one away.",
    )

    def over(self, below: Self) -> Self:
        """As every section, but for targets: those of one name are laid over each other."""
        merged = super().over(below)
        targets = dict(below.targets)
        for name, mine in self.targets.items():
            targets[name] = mine.over(targets[name]) if name in targets else mine
        return merged.model_copy(update={"targets": targets})

    def specs(self, folder: Path) -> tuple[TargetSpec, ...]:
        """Its targets, as those who send know them."""
        return tuple(target.spec(name, self, folder) for name, target in self.targets.items())
