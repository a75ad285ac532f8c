"""What to say about a key or a value that is not as it should be: short, helpful, without the value."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Annotated, Any, Final, get_args, get_origin

from pydantic_core import ErrorDetails

from pgvigil.config.schema import FileSection
from pgvigil.config.section import Section

WAYS_TO_LOG_IN: Final = (
    "no password is kept in this file. Ways out: passfile (a ~/.pgpass, mode 0600), service (libpq's "
    "service file), password_command (a program that prints it), $PGPASSWORD in pgvigil's environment, or a "
    "client certificate (sslcert, sslkey)"
)
WAYS_FOR_STANDBYS: Final = (
    "no password is kept in this file. Way out: passfile, a path on the nodes to a password file of mode "
    "0600 that belongs to PostgreSQL's user there; or a client certificate (sslcert, sslkey)"
)

_REFUSED: Final[dict[str, str]] = {
    "password": WAYS_TO_LOG_IN,
    "sslpassword": "no password is kept in this file: use a key without one, readable by its owner alone",
    "passphrase": "no password is kept in this file: use ssh-agent, or a key without one",
    "hostaddr": "a node has one address: its host:",
    "target_session_attrs": "pgvigil talks to each node, whatever its role: leave it out",
    "load_balance_hosts": "pgvigil talks to each node, whatever its role: leave it out",
    "connect_timeout": "is probe.connect_timeout",
    "application_name": "is given by pgvigil",
    "replication": "is no keyword here: leave it out",
    "etcd": "is store: {kind: etcd, endpoints: […]}, at the top of the file",
}


def complaint(error: ErrorDetails) -> str:
    """What is wrong, for a person."""
    place, context = error["loc"], error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            return unknown_key(tuple(str(part) for part in place))
        case "missing":
            return "is missing"
        case "value_error":
            return str(context["error"])
        case "model_type" | "dict_type" | "model_attributes_type":
            return "must be a mapping: key: value"
        case "tuple_type" | "list_type" | "frozen_set_type" | "set_type":
            return "must be a list: [one, another]"
        case "string_type":
            return "must be text; put it in quotes"
        case "bool_type":
            return "must be true or false"
        case "int_type" | "int_from_float":
            return "must be a whole number"
        case "enum":
            return f"must be {str(context['expected']).replace(chr(39), '')}"
        case "too_short":
            return "must not be empty"
        case _:
            return error["msg"].replace("Input should", "must").replace("must be be", "must be")


def unknown_key(place: tuple[str, ...]) -> str:
    """What to do about the key at the end of `place`."""
    key = place[-1]
    if key == "password" and "replication" in place:
        return WAYS_FOR_STANDBYS
    section = section_at(place[:-1])
    known = list(section.model_fields) if section else []
    if key in _REFUSED:
        return _REFUSED[key]
    if near := get_close_matches(key.lower().replace("-", "_"), known, n=1, cutoff=0.75):
        return f"unknown key; did you mean {near[0]}?"
    if homes := sorted({home for home, name in _all_keys(FileSection, ()) if name == key}):
        return f"unknown key here; it belongs {' or '.join(homes)}"
    if near := get_close_matches(key.lower().replace("-", "_"), known, n=1):
        return f"unknown key; did you mean {near[0]}?"
    return f"unknown key; known here: {', '.join(known)}"


def section_at(place: tuple[str, ...]) -> type[Section] | None:
    """The section that has its place there."""
    here: Any = FileSection
    for part in place:
        if part.isdigit():
            continue  # which of a list
        if isinstance(here, type) and issubclass(here, Section):
            field = here.model_fields.get(part)
            here = inner(field.annotation) if field else None
        elif get_origin(here) is dict:
            here = inner(get_args(here)[1])
        else:
            return None
    return here if isinstance(here, type) and issubclass(here, Section) else None


def inner(annotation: Any) -> Any:
    """The section or dictionary in an annotation, without what is around it."""
    if get_origin(annotation) is Annotated:
        return inner(get_args(annotation)[0])
    if get_origin(annotation) is dict or (isinstance(annotation, type) and issubclass(annotation, Section)):
        return annotation
    found = [inner(part) for part in get_args(annotation)]
    return next((part for part in found if part is not None), None)


def _all_keys(section: type[Section], above: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Every key with the place it belongs to, in words."""
    for name, field in section.model_fields.items():
        yield (f"under {above[-1]}:" if above else "at the top of the file"), name
        below = inner(field.annotation)
        if get_origin(below) is dict:
            below = inner(get_args(below)[1])
        if below is not None and name != "defaults":
            yield from _all_keys(below, (*above, name))
