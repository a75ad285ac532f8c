"""A YAML file as plain values, with the line of each, refusing what YAML lets pass in silence.

Duplicate keys are refused (YAML keeps the last one), and keys that are no text (`on:` is a truth value in
YAML). No message repeats a value of the file.
"""

from dataclasses import dataclass, field
from typing import Any, Final

import yaml

Place = tuple[str | int, ...]
"""Keys and list positions from the top of the file to a value."""

NODES_AT_MOST: Final = 200_000
"""Values in a file, each use of an anchor counted: a few lines of aliases can stand for billions."""
DEEPEST: Final = 50

_MERGE: Final = "tag:yaml.org,2002:merge"
_PLAIN: Final = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


class Unreadable(Exception):
    """The file is no YAML document that makes sense as a whole. `line` counts from 1."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line, self.what = line, what


@dataclass(slots=True)
class Document:
    """The values, the line on which each begins, and what was found wrong on the way."""

    values: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    complaints: list[tuple[int, Place, str]] = field(default_factory=list)


def read_document(text: bytes) -> Document:
    """Parse YAML. Raises Unreadable; single mistakes are in `complaints`."""
    try:
        loader = yaml.CSafeLoader(text)
        try:
            root = loader.get_single_node()
            document = Document()
            if root is not None:
                document.values = _Walk(loader, document).value(root, ())
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as why:
        mark = why.problem_mark or why.context_mark
        raise Unreadable(mark.line + 1 if mark else 1, _said(why)) from why
    except yaml.reader.ReaderError as why:
        raise Unreadable(1, f"has bytes that are no text: {why.reason}") from why
    except (yaml.YAMLError, UnicodeError, ValueError) as why:
        raise Unreadable(1, "is no YAML") from why
    except RecursionError as why:
        raise Unreadable(1, "is nested too deep") from why
    return document


def _said(why: yaml.MarkedYAMLError) -> str:
    """What the parser found, but not which word: it may be a secret."""
    problem = why.problem or "is no YAML"
    if "cannot start any token" in problem:
        problem = (
            "has a tab, or a character that means something else to YAML: indent by spaces, quote the text"
        )
    if "alias" in problem or "anchor" in problem:
        problem = "an alias (*) without its anchor (&), or an anchor twice; text that begins so needs quotes"
    elif why.context and "single document" in why.context:
        problem = "has more than one document (---)"
    elif "constructor for the tag" in problem:
        problem = "has a tag (!) that is not known here"
    return problem


class _Walk:
    """Turns the parser's nodes into values."""

    def __init__(self, loader: Any, document: Document) -> None:  # the C loader has no types
        self._loader, self._document = loader, document
        self._count, self._checked = 0, set[int]()

    def value(self, node: yaml.Node, place: Place) -> Any:
        self._count += 1
        line = node.start_mark.line + 1
        if self._count > NODES_AT_MOST:
            raise Unreadable(line, f"stands for more than {NODES_AT_MOST} values")
        if len(place) > DEEPEST:
            raise Unreadable(line, "is nested too deep, or an anchor contains itself")
        if isinstance(node, yaml.CollectionNode) and node.tag not in _PLAIN:
            raise Unreadable(line, "has a tag (!) that is not known here")
        self._document.lines.setdefault(place, line)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*place, index)) for index, item in enumerate(node.value)]
        return self._loader.construct_object(node)

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        self._refuse_duplicates(node, place)
        if any(key.tag == _MERGE for key, _ in node.value):
            self._loader.flatten_mapping(node)  # what is merged comes first, so the mapping's own keys win
        found: dict[str, Any] = {}
        for key, value in node.value:
            if (name := self._key(key, place)) is not None:
                self._document.lines[(*place, name)] = key.start_mark.line + 1
                found[name] = self.value(value, (*place, name))
        return found

    def _refuse_duplicates(self, node: yaml.MappingNode, place: Place) -> None:
        if id(node) in self._checked:  # by way of an alias; what it merges is in it by now
            return
        self._checked.add(id(node))
        first: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                if key.value in first:
                    self._complain(
                        line, (*place, key.value), f"is there twice; the first is on line {first[key.value]}"
                    )
                first.setdefault(key.value, line)

    def _key(self, key: yaml.Node, place: Place) -> str | None:
        if not isinstance(key, yaml.ScalarNode):
            self._complain(key.start_mark.line + 1, place, "has a key that is a mapping or a list")
            return None
        if key.tag != "tag:yaml.org,2002:str":
            self._complain(
                key.start_mark.line + 1, (*place, key.value), "is no text for YAML: put the key in quotes"
            )
            return None
        return str(key.value)

    def _complain(self, line: int, place: Place, what: str) -> None:
        self._document.complaints.append((line, place, what))
