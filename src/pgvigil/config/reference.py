"""The reference page of the configuration, and its JSON Schema, both made from `config.schema`.

`python -m pgvigil.config.reference > docs/reference/config.md`
"""

import json
import sys
from collections.abc import Iterator
from enum import Enum
from typing import Any, get_args, get_origin

from pydantic import PlainSerializer
from pydantic.fields import FieldInfo

from pgvigil.config.advice import inner
from pgvigil.config.schema import FileSection, SharedSection
from pgvigil.config.section import Section
from pgvigil.config.units import Kind

_HEAD = """\
<!-- Made by: python -m pgvigil.config.reference. Change the descriptions in src/pgvigil/config instead. -->
# Configuration

One YAML file: `--config FILE`, else `$PGVIGIL_CONFIG`, else `./pgvigil.yaml`, else
`/etc/pgvigil/pgvigil.yaml`. It is checked strictly: an unknown key, a key that is there twice or a number
without its unit is an error, and all errors are told at once, each with its line.

- **Durations** are written `500ms`, `3s`, `15min`, `1h`, `2d`; **sizes** `16MB`, `1GB` as in PostgreSQL
  (B, kB, MB, GB, TB; powers of 1024); **rates** `3 in 15min`.
- **Passwords** are never in this file: use `passfile`, `service`, `password_command`, `$PGPASSWORD` or a
  client certificate ([passwords and TLS](../operate/secrets.md)).
- **Paths** on the controller may begin with `~` or `$CREDENTIALS_DIRECTORY/` (of a systemd unit); relative
  ones begin at the file's folder. Paths on a node are written in full.
- **Editors** complete and check the file by its JSON Schema, `pgvigil config schema`; the first line that
  `pgvigil discover` writes leads there. `pgvigil config check FILE` tells all mistakes.
- Anything of a cluster but its nodes may stand under `defaults:` for all clusters; `postgres:` and `shell:`
  of a cluster hold for all its nodes, and a node may differ in any key. Mappings are laid over each other,
  lists replace. A `control:` replaces, and so does a `shell:` with another `via:`.
"""


def config_reference() -> str:
    """The page, in Markdown."""
    parts = [_HEAD]
    for path, section in _sections(FileSection, ""):
        title = f"`{path}`" if path else "The whole file"
        rows = (_row(name, field) for name, field in section.model_fields.items())
        parts.append(f"## {title}\n\n{(section.__doc__ or '').strip()}\n")
        parts.append("| key | takes | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def config_json_schema() -> dict[str, Any]:
    """JSON Schema of the file, for editors."""
    schema = FileSection.model_json_schema()
    sections: list[type[Section]] = [SharedSection, *(each for _, each in _sections(FileSection, ""))]
    for section in sections:
        place = schema if section is FileSection else schema["$defs"][section.__name__]
        for name, field in section.model_fields.items():
            place["properties"][name] |= {"description": field.description, **_default_in_json(field)}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "pgvigil.yaml"}


def schema_text() -> str:
    """As it is kept in `pgvigil.schema.json`."""
    return json.dumps(config_json_schema(), indent=1, ensure_ascii=False) + "\n"


def _default_in_json(field: FieldInfo) -> dict[str, Any]:
    """The default as users write it, where the schema would show another form."""
    written = _written(field)
    return {} if written is None else {"default": written}


def _written(field: FieldInfo) -> str | None:
    """The default of a duration, size or rate with its unit; None for everything else."""
    if field.is_required() or field.default is None:
        return None
    for part in field.metadata:
        if isinstance(part, PlainSerializer):
            return str(part.func(field.default))  # type: ignore[call-arg]  # ours take the value alone
    return None


def _sections(section: type[Section], path: str) -> Iterator[tuple[str, type[Section]]]:
    """Every section once, with its place; what `defaults` has is shown at the cluster."""
    yield path, section
    for name, field in section.model_fields.items():
        below, place = inner(field.annotation), f"{path}.{name}" if path else name
        if get_origin(below) is dict:
            below, place = inner(get_args(below)[1]), f"{place}.NAME"
        if below is None or below is SharedSection or _shown_elsewhere(place):
            continue
        yield from _sections(below, place)


def _shown_elsewhere(place: str) -> bool:
    if place.endswith(".endpoints.pgbouncer.shell"):
        return True
    return place in ("hooks", "notify") or ".nodes.NAME." in place or ".witnesses.NAME." in place


def _row(name: str, field: FieldInfo) -> str:
    meaning = (field.description or "").replace("|", "\\|")
    return f"| `{name}` | {_kind(field)} | {_default(field)} | {meaning} |"


def _kind(field: FieldInfo) -> str:
    annotation = field.annotation
    named = [part.name for part in field.metadata if isinstance(part, Kind)] or list(_kinds(annotation))
    if named:
        return named[-1]
    for part in (annotation, *get_args(annotation)):
        if isinstance(part, type) and issubclass(part, Enum):
            return _choices(part) if part is annotation or get_origin(annotation) is not frozenset else (
                f"list of {_choices(part)}"
            )  # fmt: skip
        if part is bool:
            return "`true`, `false`"
    return "mapping, see below"


def _choices(enum: type[Enum]) -> str:
    return ", ".join(f"`{choice.value}`" for choice in enum)


def _kinds(annotation: Any) -> Iterator[str]:
    """The names in an annotation, the outermost last; of a tuple a list of what is in it."""
    for part in get_args(annotation):
        inside = list(_kinds(part))
        if isinstance(part, Kind):
            yield part.name
        elif get_origin(annotation) is tuple:
            yield from (f"list of {name}s" for name in inside)
        elif get_origin(annotation) is not dict:
            yield from inside


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if value is None or isinstance(value, Section):
        return "–"
    if (written := _written(field)) is not None:
        return f"`{written}`"
    if isinstance(value, (tuple, frozenset, dict)):
        return ", ".join(f"`{each}`" for each in sorted(value)) or "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`"


if __name__ == "__main__":
    sys.stdout.write(schema_text() if "--json-schema" in sys.argv else config_reference())
