"""The controller's socket protocol as values: one JSON object a line, each way. Pure.

A request is `{"id": 1, "verb": "order", …}`. Its answer is any number of `{"id": 1, "progress": "…"}`
and `{"id": 1, "item": {…}}`, then one `{"id": 1, "done": {…}}` or `{"id": 1, "error": {…}}`. A connection
takes one request after another. Decoding is strict: what is not known is refused by name, never guessed.

An order belongs to the controller once it is taken: it goes on when its client goes away.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, TypeVar, get_type_hints

from pgvigil.controller.operations import Json
from pgvigil.controller.outcomes import error_from as error_from
from pgvigil.controller.outcomes import error_json as error_json
from pgvigil.controller.outcomes import outcome_from as outcome_from
from pgvigil.controller.outcomes import outcome_json as outcome_json
from pgvigil.errors import UsageError
from pgvigil.model.command import COMMANDS, Command, Role, Schedulable, Schedule
from pgvigil.model.spec import CheckpointPace
from pgvigil.model.step import Copying, RebuildMethod
from pgvigil.model.units import ClusterName, NodeName

PROTOCOL: Final = 1
LINE_MAX: Final = 1024 * 1024
"""Bytes of one line: far above a cluster of a hundred nodes, far below what could hurt the loop."""
WITHIN_MAX_S: Final = 7 * 86400.0
"""The longest time an order may be given: a week covers the slowest copy of a database."""
EVENTS_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Ping:
    """`ping`: whether a controller is there, and which."""


@dataclass(frozen=True, slots=True)
class AskStatus:
    """`status`: an item a cluster."""

    cluster: ClusterName | None = None


@dataclass(frozen=True, slots=True)
class AskEvents:
    """`events`: an item an event, oldest first."""

    cluster: ClusterName | None = None
    limit: int = 100
    after: int = 0


@dataclass(frozen=True, slots=True)
class Order:
    """`order`: carry out a command; done with its outcome."""

    cluster: ClusterName
    command: Command
    dry_run: bool
    within_s: float


@dataclass(frozen=True, slots=True)
class Reload:
    """Read the configuration again."""


Request = Ping | AskStatus | AskEvents | Order | Reload

VERBS: Final[Mapping[str, type[Request]]] = {
    "ping": Ping,
    "status": AskStatus,
    "events": AskEvents,
    "order": Order,
    "reload": Reload,
}


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a word is expected")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false is expected")
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise ValueError("a whole number from 0 is expected")
    return value


def _duration(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= WITHIN_MAX_S:
        raise ValueError(f"seconds above 0 and at most {WITHIN_MAX_S:.0f} are expected")
    return float(value)


K = TypeVar("K", bound=StrEnum)


def _one_of(kind: type[K]) -> Callable[[object], K]:
    def read(value: object) -> K:
        if not isinstance(value, str) or value not in set(kind):
            raise ValueError(f"one of {', '.join(kind)} is expected")
        return kind(value)

    return read


def _copying(value: object) -> Copying:
    if not isinstance(value, dict):
        raise ValueError("an object is expected")
    return _filled(Copying, value, "command.copying.")


def _instant(value: object) -> datetime:
    at = datetime.fromisoformat(_text(value))
    if at.tzinfo is None:
        raise ValueError("a time with its zone is expected")
    return at


def _line(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("a text is expected")
    return value


def _assignments(value: object) -> Mapping[str, str | None]:
    if not isinstance(value, dict) or not all(isinstance(v, str | None) for v in value.values()):
        raise ValueError("an object of texts, or null to reset, is expected")
    return {_text(name): each for name, each in value.items()}


def _words(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError("a list of words is expected")
    return tuple(_text(each) for each in value)


def _or_none(parse: Callable[[object], object]) -> Callable[[object], object]:
    return lambda value: None if value is None else parse(value)


def _command(value: object) -> Command:
    if not isinstance(value, dict):
        raise UsageError("the request is wrong", detail="command: an object is expected")
    given = dict(value)
    kind = given.pop("kind", None)
    if not isinstance(kind, str) or kind not in COMMANDS:
        raise UsageError(
            f"there is no command {kind!r}", detail="command.kind", hint=f"known: {', '.join(COMMANDS)}"
        )
    return _filled(COMMANDS[kind], given, "command.")


def _schedulable(value: object) -> Schedulable:
    command = _command(value)
    if not isinstance(command, Schedulable):
        raise ValueError("this cannot be asked for a later time")
    return command


PARSERS: Final[Mapping[object, Callable[[object], object]]] = {
    NodeName: _text,
    ClusterName: _text,
    NodeName | None: _or_none(_text),
    ClusterName | None: _or_none(_text),
    bool: _flag,
    int: _count,
    float: _duration,
    int | None: _or_none(_count),
    CheckpointPace | None: _or_none(_one_of(CheckpointPace)),
    Copying: _copying,
    RebuildMethod: _one_of(RebuildMethod),
    datetime | None: _or_none(_instant),
    datetime: _instant,
    Schedulable: _schedulable,
    Role | None: _or_none(_one_of(Role)),
    str: _line,
    int | None: _or_none(_count),
    Mapping[str, str | None]: _assignments,
    tuple[str, ...]: _words,
    tuple[NodeName, ...]: _words,
    Command: _command,
}
"""Type of a field → how it is read."""


T = TypeVar("T")


def _filled(kind: type[T], given: Mapping[str, object], where: str = "") -> T:
    """The value made of an object's fields. Raises UsageError that names the first wrong one."""
    hints = get_type_hints(kind)
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]  # all of ours are dataclasses
    if unknown := sorted(given.keys() - known.keys()):
        raise UsageError("the request is wrong", detail=f"{where}{unknown[0]}: unknown")
    values = {}
    for name, value in given.items():
        try:
            values[name] = PARSERS[hints[name]](value)
        except ValueError as wrong:
            raise UsageError("the request is wrong", detail=f"{where}{name}: {wrong}") from wrong
    try:
        return kind(**values)
    except TypeError as missing:
        raise UsageError("the request is wrong", detail=f"{where}{missing}") from missing


def request_number(body: Json) -> int:
    """Take the number off a request, 0 when it has none. Raises UsageError."""
    number = body.pop("id", 0)
    if isinstance(number, bool) or not isinstance(number, int):
        raise UsageError("the request is wrong", detail="id: a whole number is expected")
    return number


def decode_request(body: Json) -> Request:
    """A request without its number. Raises UsageError."""
    given = dict(body)
    verb = given.pop("verb", None)
    if not isinstance(verb, str) or verb not in VERBS:
        raise UsageError(f"there is no verb {verb!r}", detail="verb", hint=f"known: {', '.join(VERBS)}")
    request = _filled(VERBS[verb], given)
    if isinstance(request, AskEvents) and not 0 < request.limit <= EVENTS_MAX:
        raise UsageError("the request is wrong", detail=f"limit: 1 to {EVENTS_MAX} is expected")
    return request


def encode_request(number: int, request: Request) -> bytes:
    """A request as its line."""
    verb = next(name for name, kind in VERBS.items() if isinstance(request, kind))
    body = {"id": number, "verb": verb}
    for field in fields(request):
        value = getattr(request, field.name)
        body[field.name] = encode_command(value) if isinstance(value, Command) else value
    return encode_line(body)


def encode_command(command: Command) -> Json:
    """A command as a tagged object."""
    kind = next(name for name, type_ in COMMANDS.items() if isinstance(command, type_))
    body: Json = {"kind": kind, **asdict(command)}
    if isinstance(command, Schedule):
        body["command"] = encode_command(command.command)
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in body.items()}


def decode_line(line: bytes) -> Json:
    """A line as a JSON object. Raises UsageError."""
    try:
        given = json.loads(line)
    except (ValueError, RecursionError) as wrong:
        raise UsageError("the request is no JSON", detail=str(wrong)) from wrong
    if not isinstance(given, dict):
        raise UsageError("the request is wrong", detail="a JSON object is expected")
    return given


def encode_line(body: Mapping[str, Any]) -> bytes:
    """An object as its line."""
    return json.dumps(body, separators=(",", ":")).encode() + b"\n"
