"""Changing the configuration file in place: one entry more or less, every other byte as the user wrote it.

The text is changed at the place where the parser found the entry. Whether that was right is not believed but
read: both texts are parsed, and must differ by that entry alone; else it is refused, and the user edits.
"""

import contextlib
import copy
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from pgvigil.config.document import Unreadable, read_document
from pgvigil.errors import ConfigError, UsageError

Entry = Mapping[str, Any] | str
SITE: Final = "standby_of"
_BY_HAND: Final = "edit the file by hand, then: pgvigil reload"
_WIDE: Final = 10_000
"""Lines are not broken: the user's own are as long as they like."""


def with_node(text: str, cluster: str, node: str, entry: Entry) -> str:
    """The text with one node more in a cluster; as it is if it has it just so.

    Raises UsageError if it has another one of that name, ConfigError.
    """
    return _with(text, ("clusters", cluster, "nodes"), node, entry)


def without_node(text: str, cluster: str, node: str) -> str:
    """The text without a node. Raises UsageError if it is not there or the last one, ConfigError."""
    return _without(text, ("clusters", cluster, "nodes"), node)


def with_cluster(text: str, cluster: str, entry: Entry) -> str:
    """The same with a cluster."""
    return _with(text, ("clusters",), cluster, entry)


def without_cluster(text: str, cluster: str) -> str:
    """The text without a cluster. Raises UsageError if it is not there or the last one, ConfigError."""
    return _without(text, ("clusters",), cluster)


def site_promoted(text: str, cluster: str) -> str:
    """The text as it is right when a standby cluster was promoted. Raises ConfigError, UsageError.

    It follows nobody any more; the cluster that it followed, if it stands here, follows it, and so does
    whoever followed that one.
    """
    clusters = _values(text, ("clusters",))
    before = _followed(clusters.get(cluster))
    if before is not None:
        text = _without(text, ("clusters", cluster), SITE)
    others = [name for name in clusters if name != cluster and before in (name, _followed(clusters[name]))]
    for name in others if before in clusters else ():
        text = site_follows(text, name, cluster)
    return text


def site_follows(text: str, cluster: str, other: str) -> str:
    """The text with `standby_of: OTHER` in a cluster, whatever was there. Raises ConfigError, UsageError."""
    place = ("clusters", cluster)
    if SITE in _values(text, place):
        text = _without(text, place, SITE)
    return _with(text, place, SITE, other)


def _followed(cluster: Any) -> str | None:  # what the file has there
    """The cluster that another one follows; empty: one that is not in this file; None: none."""
    section = cluster.get(SITE) if isinstance(cluster, dict) else None
    if section is None or isinstance(section, str):
        return section
    return str(section.get("cluster", "")) if isinstance(section, dict) else ""


def _values_of(entry: Entry) -> tuple[Any, ...]:
    return () if isinstance(entry, str) else tuple(entry.values())


def _plain(entry: Entry) -> Any:  # as YAML writes it
    return entry if isinstance(entry, str) else dict(entry)


def read_text(file: Path) -> str:
    """The file as it is. Raises ConfigError."""
    try:
        return file.read_bytes().decode()
    except (OSError, UnicodeError) as why:
        raise ConfigError(
            f"cannot read {file}", detail=str(why), hint="check the path and its rights"
        ) from why


def replace_text(file: Path, old: str, new: str) -> None:
    """Put the new text in place of the old one in one rename, with the file's own mode and owner.

    Raises ConfigError, with nothing changed, if the file is not what it was or cannot be written.
    """
    if read_text(file) != old:
        raise ConfigError(f"{file} was changed meanwhile", hint="look at it, and give the command again")
    real = file.resolve()
    try:
        mode = real.stat()
        handle, name = tempfile.mkstemp(prefix=f".{real.name}.", dir=real.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(new.encode())
                os.fchmod(stream.fileno(), mode.st_mode & 0o7777)
                if os.geteuid() == 0:
                    os.fchown(stream.fileno(), mode.st_uid, mode.st_gid)
                stream.flush()
                os.fsync(stream.fileno())
            Path(name).replace(real)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                Path(name).unlink()
            raise
        folder = os.open(real.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as why:
        raise ConfigError(f"cannot write {file}", detail=str(why), hint=_BY_HAND) from why


def _with(text: str, place: tuple[str, ...], key: str, entry: Entry) -> str:
    mapping, below = _mapping(text, place), _values(text, place)
    if key in below and below[key] == (entry if isinstance(entry, str) else dict(entry)):
        return text  # whoever wrote it may have been interrupted: what follows is to be done
    if key in below:
        raise UsageError(f"{'.'.join(place)} has {key} already", hint="choose another name")
    found = (
        _into_flow(text, mapping, key, entry)
        if mapping.flow_style
        else _into_block(text, mapping, key, entry)
    )
    return _proved(text, found, place, key, entry)


def _without(text: str, place: tuple[str, ...], key: str) -> str:
    mapping, below = _mapping(text, place), _values(text, place)
    if key not in below:
        raise UsageError(f"{'.'.join(place)} has no {key}", hint=f"there are {', '.join(below)}")
    if len(below) == 1:
        hint = "stop the controller instead, or drop the cluster" if len(place) > 1 else "stop the controller"
        raise UsageError(f"{key} is the last of {'.'.join(place)}", hint=hint)
    number = next((i for i, (name, _) in enumerate(mapping.value) if name.value == key), None)
    if number is None:
        raise ConfigError(f"{'.'.join((*place, key))} is merged from elsewhere", hint=_BY_HAND)
    found = (
        _out_of_flow(text, mapping, number) if mapping.flow_style else _out_of_block(text, mapping, number)
    )
    return _proved(text, found, place, key, None)


def _mapping(text: str, place: tuple[str, ...]) -> yaml.MappingNode:
    """The parser's node at a place. Raises ConfigError."""
    try:
        node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
        for part in place:
            node = next(value for key, value in node.value if key.value == part)
    except (yaml.YAMLError, StopIteration, AttributeError, TypeError, ValueError) as why:
        raise ConfigError(f"{'.'.join(place)} cannot be found in the file", hint=_BY_HAND) from why
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{'.'.join(place)} is no mapping", hint=_BY_HAND)
    return node


def _values(text: str, place: tuple[str, ...]) -> dict[str, Any]:
    below: Any = _document(text)
    for part in place:
        below = below[part]
    return dict(below)


def _document(text: str) -> Any:  # whatever the file says
    try:
        return read_document(text.encode()).values
    except Unreadable as why:
        raise ConfigError(f"line {why.line} {why.what}", hint=_BY_HAND) from why


def _proved(text: str, found: str, place: tuple[str, ...], key: str, entry: Entry | None) -> str:
    """The new text, if it says what the old one says but for that entry. Raises ConfigError."""
    wanted = copy.deepcopy(_document(text))
    below = wanted
    for part in place:
        below = below[part]
    if entry is None:
        del below[key]
    else:
        below[key] = _plain(entry)
    if _document(found) != wanted:
        raise ConfigError(f"{'.'.join((*place, key))} cannot be changed without more changing", hint=_BY_HAND)
    return found


def _flow(value: Any) -> str:
    """A value on one line."""
    return str(
        yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=_WIDE, allow_unicode=True)
    ).strip()


def _into_flow(text: str, mapping: yaml.MappingNode, key: str, entry: Entry) -> str:
    added = _flow({key: _plain(entry)})[1:-1]
    if not mapping.value:
        at = mapping.start_mark.index + 1
        return text[:at] + added + text[at:]
    at = _end(mapping.value[-1][1], mapping.value[-1][0])
    return f"{text[:at]}, {added}{text[at:]}"


def _into_block(text: str, mapping: yaml.MappingNode, key: str, entry: Entry) -> str:
    first, (last_key, last) = mapping.value[0][0], mapping.value[-1]
    indent = " " * first.start_mark.column
    short = all(isinstance(value, yaml.ScalarNode) or value.flow_style for _, value in mapping.value)
    if short and not any(isinstance(value, dict) and len(value) > 3 for value in _values_of(entry)):
        lines = [_flow({key: _plain(entry)})[1:-1]]
    else:
        dumped = yaml.safe_dump({key: _plain(entry)}, sort_keys=False, width=_WIDE, allow_unicode=True)
        lines = str(dumped).rstrip("\n").split("\n")
    at = _line_end(text, _end(last, last_key))
    end = "\r\n" if "\r\n" in text else "\n"
    begin = "" if at == 0 or text[at - 1] == "\n" else end
    return text[:at] + begin + "".join(f"{indent}{line}{end}" for line in lines) + text[at:]


def _out_of_block(text: str, mapping: yaml.MappingNode, number: int) -> str:
    key, value = mapping.value[number]
    begin = text.rfind("\n", 0, key.start_mark.index) + 1
    return text[:begin] + text[_line_end(text, _end(value, key)) :]


def _out_of_flow(text: str, mapping: yaml.MappingNode, number: int) -> str:
    key, value = mapping.value[number]
    if number + 1 < len(mapping.value):
        return text[: key.start_mark.index] + text[mapping.value[number + 1][0].start_mark.index :]
    before_key, before = mapping.value[number - 1]
    return text[: _end(before, before_key)] + text[_end(value, key) :]


def _end(node: yaml.Node, key: yaml.Node) -> int:
    """Where the text of a value ends; a block's own mark lies behind the comments that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1], last[0]) if isinstance(last, tuple) else _end(last, last)
    end = int(node.end_mark.index)
    if (
        isinstance(node, yaml.ScalarNode)
        and not node.value
        and node.style is None
        and node.start_mark.index == end
    ):
        return int(key.end_mark.index)
    return end


def _line_end(text: str, at: int) -> int:
    """Behind the line in which a value ends; a literal block ends with its line."""
    if at and text[at - 1] == "\n":
        return at
    found = text.find("\n", at)
    return len(text) if found < 0 else found + 1
