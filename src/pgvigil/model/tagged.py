"""Values of the core as plain JSON and back, each dataclass with its name: for recordings. Pure.

What has its default is left out, so a recording of before a field was added still reads, and two texts are
the same exactly when the values are.
"""

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

from pgvigil.model.units import Lsn

T = TypeVar("T")
TAG: Final = "is"
"""The key that names a dataclass; none of ours has a field of that name."""

Memo = dict[int, tuple[object, Any]]
"""What was made of a value, by its identity: most of a view is the same as a moment before."""


def to_plain(value: object, memo: Memo | None = None) -> Any:  # JSON
    """A value as what `json` takes. Raises TypeError for a value without a form."""
    if value is None or isinstance(value, bool | float) or type(value) in (int, str):
        return value
    match value:
        case Enum():
            return value.value
        case Lsn():
            return str(value)
        case str() | int():
            return value
        case datetime():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case tuple():
            return [to_plain(item, memo) for item in value]
        case frozenset():
            return sorted(to_plain(item, memo) for item in value)
        case Mapping():
            return {str(key): to_plain(item, memo) for key, item in value.items()}
        case _ if is_dataclass(value):
            return _object(value, memo)
        case _:
            raise TypeError(f"{type(value).__name__} has no form in a recording")


def to_text(value: object) -> str:
    """A value as one line of JSON, the same for the same value."""
    return json.dumps(to_plain(value), ensure_ascii=False, separators=(",", ":"))


def from_plain(kind: type[T] | Any, plain: Any) -> T:  # a type and JSON: known only while running
    """The value that `to_plain` wrote. Raises ValueError that names what does not fit."""
    value: T = _value(kind, plain)
    return value


def _object(value: Any, memo: Memo | None) -> dict[str, Any]:  # a dataclass of any kind
    if memo is not None and (known := memo.get(id(value))):
        return known[1]  # type: ignore[no-any-return]  # what this function made before
    made: dict[str, Any] = {TAG: type(value).__name__}
    kind: Any = type(value)
    for name, default in _defaults(kind):
        held = getattr(value, name)
        if default is MISSING or held != default:
            made[name] = to_plain(held, memo)
    if memo is not None:
        memo[id(value)] = (value, made)  # the value is kept too, so that its identity stays its own
    return made


@cache
def _defaults(kind: Any) -> tuple[tuple[str, object], ...]:
    def default(field: Any) -> object:
        made = field.default_factory is not MISSING
        return field.default_factory() if made else field.default

    return tuple((field.name, default(field)) for field in fields(kind))


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _value(kind: Any, plain: Any) -> Any:
    if isinstance(kind, NewType):
        return _value(kind.__supertype__, plain)
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return _one_of(get_args(kind), plain)
    if origin is tuple:
        kinds = get_args(kind)
        if kinds[-1] is Ellipsis:
            return tuple(_value(kinds[0], item) for item in _list(plain))
        return tuple(_value(each, item) for each, item in zip(kinds, _list(plain), strict=True))
    if origin is frozenset:
        return frozenset(_value(get_args(kind)[0], item) for item in _list(plain))
    if origin is Mapping:
        return {key: _value(get_args(kind)[1], item) for key, item in _dict(plain).items()}
    if is_dataclass(kind):
        return _dataclass(kind, _dict(plain))
    return _scalar(kind, plain)


def _one_of(kinds: tuple[Any, ...], plain: Any) -> Any:
    if plain is None and NoneType in kinds:
        return None
    rest = [kind for kind in kinds if kind is not NoneType]
    if isinstance(plain, dict) and TAG in plain:
        rest = [kind for kind in rest if getattr(kind, "__name__", "") == plain[TAG]]
    if len(rest) == 1:
        return _value(rest[0], plain)
    if type(plain) in rest:
        return plain
    raise ValueError(
        f"{plain.get(TAG) if isinstance(plain, dict) else type(plain).__name__} is not known here"
    )


def _dataclass(kind: Any, given: dict[str, Any]) -> Any:
    if given.get(TAG) != kind.__name__:
        raise ValueError(f"a {kind.__name__} is expected, not {given.get(TAG)}")
    hints = _hints(kind)
    if unknown := sorted(given.keys() - hints.keys() - {TAG}):
        raise ValueError(f"{kind.__name__} has no {', '.join(unknown)}")
    values = {name: _value(hints[name], value) for name, value in given.items() if name != TAG}
    try:
        return kind(**values)
    except TypeError as missing:
        raise ValueError(str(missing)) from missing


def _list(plain: Any) -> list[Any]:
    if not isinstance(plain, list):
        raise ValueError("a list is expected")  # one kind of error for all that does not fit
    return plain


def _dict(plain: Any) -> dict[str, Any]:
    if not isinstance(plain, dict):
        raise ValueError("an object is expected")
    return plain


def _scalar(kind: Any, plain: Any) -> Any:
    if kind is float and type(plain) in (int, float):
        return float(plain)
    if type(plain) is kind:
        return plain
    if kind is timedelta and type(plain) in (int, float):
        return timedelta(seconds=plain)
    if isinstance(plain, str) and isinstance(kind, type):
        if issubclass(kind, Enum):
            return kind(plain)
        if kind is Lsn:
            return Lsn.parse(plain)
        if kind is datetime:
            return datetime.fromisoformat(plain)
    raise ValueError(f"a {getattr(kind, '__name__', kind)} is expected, not a {type(plain).__name__}")
