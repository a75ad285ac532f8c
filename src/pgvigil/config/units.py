"""Durations, sizes, rates and plain texts as users write them.

A number without its unit is refused: whoever reads the file should see what it means. No message repeats
the text it complains about, for it may be a secret in the wrong place.
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

from pgvigil.model.spec import Rate

LONGEST: Final = timedelta(days=365)
LARGEST: Final = 2**50
"""A pebibyte: beyond that a size is a slip of the finger."""

_MILLISECONDS: Final = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_BYTES: Final = {"B": 1, "kB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}
_QUANTITY: Final = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([A-Za-zµ]+)", re.ASCII)
_RATE: Final = re.compile(r"(\d{1,6})\s+in\s+(\S.*)", re.ASCII)

DURATION_PATTERN: Final = r"^\d+(\.\d+)?\s*(ms|s|min|h|d)$"
SIZE_PATTERN: Final = r"^\d+(\.\d+)?\s*(B|kB|MB|GB|TB)$"
RATE_PATTERN: Final = r"^(\d+\s+in\s+\d+(\.\d+)?\s*(ms|s|min|h|d)|none)$"


@dataclass(frozen=True, slots=True)
class Kind:
    """How the reference page calls what a field takes."""

    name: str


def duration(value: object) -> timedelta:
    """`500ms`, `3s`, `15min`, `1h`, `2d`. Raises ValueError."""
    if isinstance(value, timedelta):
        return value
    milliseconds = _quantity(value, _MILLISECONDS, "a duration", "3s")
    if milliseconds > LONGEST / timedelta(milliseconds=1):
        raise ValueError("is more than a year")
    return timedelta(milliseconds=milliseconds)


def size(value: object) -> int:
    """Bytes in `16MB`, `1GB`: PostgreSQL's units, powers of 1024. Raises ValueError."""
    found = int(_quantity(value, _BYTES, "a size", "16MB"))
    if found > LARGEST:
        raise ValueError("is more than 1024TB")
    return found


def rate(value: object) -> Rate | None:
    """`3 in 15min`; `none` is no limit. Raises ValueError."""
    if isinstance(value, Rate):
        return value
    if value == "none":
        return None
    match = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match:
        raise ValueError("must be a number of times in a duration, for example 3 in 15min; or none")
    count, within = int(match[1]), duration(match[2])
    if count == 0 or not within:
        raise ValueError("never lets anything happen: use automatic: false for that")
    return Rate(count, within)


def _quantity(value: object, units: dict[str, int], what: str, example: str) -> float:
    """A number times its unit."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise ValueError(f"needs a unit ({', '.join(units)}), for example {example}")
    match = _QUANTITY.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match and isinstance(value, str) and re.fullmatch(r"[\d.]{1,20}", value.strip(), re.ASCII):
        raise ValueError(f"needs a unit ({', '.join(units)}), for example {example}")
    if not match:
        raise ValueError(f"must be {what}: a number and its unit ({', '.join(units)}), for example {example}")
    if match[2] not in units:
        raise ValueError(f"has no unit that is known: write one of {', '.join(units)}, for example {example}")
    return float(match[1]) * units[match[2]]


def _positive(value: timedelta) -> timedelta:
    if not value:
        raise ValueError("must be more than 0")
    return value


def duration_text(value: timedelta) -> str:
    """The shortest way to write it: `3s`, not `3000ms`."""
    return _text(value // timedelta(microseconds=1), {u: n * 1000 for u, n in _MILLISECONDS.items()})


def size_text(value: int) -> str:
    """The shortest way to write it: `16MB`."""
    return _text(value, _BYTES)


def rate_text(value: Rate | None) -> str:
    """As `rate` reads it."""
    return f"{value.count} in {duration_text(value.within)}" if value else "none"


def _text(amount: int, units: dict[str, int]) -> str:
    smallest = next(iter(units))
    fitting = [unit for unit, factor in units.items() if amount and amount % factor == 0]
    unit = fitting[-1] if fitting else smallest
    return f"{amount / units[unit]:.15g}{unit}"


def _printable(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    if any(ord(c) < 32 or ord(c) == 127 for c in text):
        raise ValueError("must be one line, without control characters")
    return text


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", text):
        raise ValueError("a name has letters, digits, '.', '_', '-', and at most 63 of them")
    return text


HOST_AT_MOST: Final = 253
"""Of a name in the DNS."""


def _host(text: str) -> str:
    if "/" in text:
        raise ValueError("must be a name or an address; a socket directory or a URL is not one")
    if text.count(":") == 1:
        raise ValueError("must be a name or an address alone; the port is a key of its own (port:)")
    if len(text) > HOST_AT_MOST:
        raise ValueError(f"must have at most {HOST_AT_MOST} characters")
    if re.search(r"[\s,=@'\"\[\]]", text):
        raise ValueError("must be one name or one address, without anything else")
    return text


_DURATION_SCHEMA: Final[dict[str, Any]] = {"type": "string", "pattern": DURATION_PATTERN}
_SIZE_SCHEMA: Final[dict[str, Any]] = {"type": "string", "pattern": SIZE_PATTERN}
_RATE_SCHEMA: Final[dict[str, Any]] = {"type": "string", "pattern": RATE_PATTERN}

DurationOrZero = Annotated[
    timedelta,
    BeforeValidator(duration),
    PlainSerializer(duration_text),
    WithJsonSchema(_DURATION_SCHEMA),
    Kind("duration"),
]
Duration = Annotated[
    timedelta,
    BeforeValidator(duration),
    AfterValidator(_positive),
    PlainSerializer(duration_text),
    WithJsonSchema(_DURATION_SCHEMA),
    Kind("duration"),
]
Size = Annotated[
    int, BeforeValidator(size), PlainSerializer(size_text), WithJsonSchema(_SIZE_SCHEMA), Kind("size")
]
MaybeRate = Annotated[
    Rate | None,
    BeforeValidator(rate),
    PlainSerializer(rate_text),
    WithJsonSchema(_RATE_SCHEMA),
    Kind("rate or `none`"),
]
Text = Annotated[str, AfterValidator(_printable), Kind("text")]
Name = Annotated[str, AfterValidator(_name), Kind("name")]
Host = Annotated[Text, AfterValidator(_host), Kind("host")]
PathText = Annotated[Text, Kind("path")]
