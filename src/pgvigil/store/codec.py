"""Values of `model.record` as JSON text and back, by their declared types.

Strict both ways: what is read must have exactly the fields of the value, each of its type. A field that
is added to a value is stored with it from then on; a stored text that lacks it is refused, so such a
change needs a new `SCHEMA_VERSION` in `store.sqlite` and a step that rewrites what is there.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

from pgvigil.errors import Bug, StoreError
from pgvigil.model.units import Lsn

T = TypeVar("T")


def to_json(value: object) -> str:
    """A value as ASCII JSON text, its fields in the order of their declaration. Raises Bug."""
    try:
        return json.dumps(_plain(value), allow_nan=False)
    except (ValueError, TypeError) as why:
        raise Bug(f"a {type(value).__name__} cannot be stored", detail=str(why)) from why


def from_json(kind: type[T], text: str) -> T:
    """The value that `to_json` wrote. Raises StoreError naming the field that is not as it should be."""
    try:
        value: T = _value(kind, json.loads(text, parse_constant=_no_constant), kind.__name__)
    except (ValueError, TypeError, RecursionError) as why:
        raise StoreError(f"the store holds something that is no {kind.__name__}", detail=str(why)) from why
    return value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no value of JSON")


def _plain(value: object) -> object:
    match value:
        case Enum():
            return value.value
        case Lsn():
            return str(value)
        case float() if not math.isfinite(value):
            return None  # JSON has no such number, and an event must not fail the record it is saved with
        case None | bool() | int() | float() | str():
            return value
        case datetime():
            if value.tzinfo is None:
                raise ValueError("a time without a zone")
            return value.astimezone(UTC).isoformat()
        case tuple():
            return [_plain(item) for item in value]
        case frozenset():
            return sorted(str(_plain(item)) for item in value)
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case _ if is_dataclass(value):
            return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        case _:
            raise TypeError(f"{type(value).__name__} has no form in the store")


def _value(kind: Any, plain: Any, where: str) -> Any:  # a type and JSON: both are only known while running
    """`plain` as a value of `kind`. Raises ValueError naming `where`."""
    if isinstance(kind, NewType):
        return _value(kind.__supertype__, plain, where)
    if get_origin(kind) in (Union, UnionType):  # the first is what `NewType | None` makes
        return _one_of(get_args(kind), plain, where)
    match get_origin(kind) or kind:
        case origin if origin is tuple:
            return tuple(_items(get_args(kind)[0], plain, where))
        case origin if origin is frozenset:
            return frozenset(_items(get_args(kind)[0], plain, where))
        case origin if origin is Mapping:
            item = get_args(kind)[1]
            return {
                key: _value(item, value, f"{where}.{key}") for key, value in _object(plain, where).items()
            }
        case _ if is_dataclass(kind):
            return _fields(kind, _object(plain, where), where)
        case _:
            return _scalar(kind, plain, where)


def _one_of(kinds: tuple[Any, ...], plain: Any, where: str) -> Any:
    if plain is None and NoneType in kinds:
        return None
    rest = [kind for kind in kinds if kind is not NoneType]
    if len(rest) == 1:
        return _value(rest[0], plain, where)
    if type(plain) in rest:
        return plain
    raise ValueError(f"{where} may not be a {type(plain).__name__}")


def _items(kind: Any, plain: Any, where: str) -> list[Any]:
    if not isinstance(plain, list):
        raise ValueError(f"{where} is no list")
    return [_value(kind, item, f"{where}[{index}]") for index, item in enumerate(plain)]


def _object(plain: Any, where: str) -> dict[str, Any]:
    if not isinstance(plain, dict):
        raise ValueError(f"{where} is no object")
    return plain


def _fields(kind: Any, plain: dict[str, Any], where: str) -> Any:
    hints = _hints(kind)
    if unknown := sorted(plain.keys() - hints.keys()):
        raise ValueError(f"{where} has unknown fields: {', '.join(unknown)}")
    if missing := sorted(hints.keys() - plain.keys()):
        raise ValueError(f"{where} lacks fields: {', '.join(missing)}")
    return kind(**{name: _value(hint, plain[name], f"{where}.{name}") for name, hint in hints.items()})


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _scalar(kind: Any, plain: Any, where: str) -> Any:
    if kind in (str, int, bool) and type(plain) is kind:
        return plain
    if kind is float and type(plain) in (int, float):
        return float(plain)
    if isinstance(plain, str) and isinstance(kind, type):
        try:
            if issubclass(kind, Enum):
                return kind(plain)
            if kind is Lsn:
                return Lsn.parse(plain)
            if kind is datetime:
                return _time(plain)
        except ValueError as why:
            raise ValueError(f"{where}: {why}") from why
    raise ValueError(f"{where} may not be a {type(plain).__name__}")


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.utcoffset() != timedelta(0):
        raise ValueError("a time that is not in UTC")
    return at
