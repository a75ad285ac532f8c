"""What an import gathers, and the YAML that it becomes."""

import re
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from pgvigil.config.cloning import FASTEST, SLOWEST
from pgvigil.config.load import parse
from pgvigil.config.modeline import modeline
from pgvigil.config.relations import sync_room
from pgvigil.config.units import size_text
from pgvigil.errors import ConfigError, UsageError

Map = dict[str, Any]
"""A mapping of a YAML file."""

BY_PASSFILE: Final = "passwords are not taken over: put them into a passfile (docs/operate/secrets.md)"
LARGEST_PRIORITY: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Source:
    """One file to import: its name, for messages, and its text."""

    name: str
    text: str


@dataclass(slots=True)
class Draft:
    """One cluster as it comes together."""

    nodes: dict[str, Map] = field(default_factory=dict)
    settings: Map = field(default_factory=dict)

    def add(self, source: Source, name: str, node: Map) -> None:
        """Raises UsageError if that node is there already."""
        name = plain_name(name)
        if name in self.nodes:
            raise UsageError(f"{source.name} is of a node that another file has too: {name}")
        self.nodes[name] = node

    def section(self, name: str) -> Map:
        """A mapping of the cluster, made if it is not there."""
        made: Map = self.settings.setdefault(name, {})
        return made

    def as_yaml(self) -> Map:
        """The cluster's mapping: what all nodes have alike stands once, for all of them."""
        servers = [node.setdefault("postgres", {}) for node in self.nodes.values()]
        shared = {
            key: value for key, value in servers[0].items() if all(s.get(key) == value for s in servers)
        }
        for server in servers:
            for key in shared:
                del server[key]
        nodes = {name: _short(node) for name, node in self.nodes.items()}
        settings = {**self.settings, "postgres": {**self.settings.get("postgres", {}), **shared}}
        return {"nodes": nodes, **{key: value for key, value in settings.items() if value not in ({}, None)}}


def _short(node: Map) -> Any:  # a host, or a mapping
    node = {key: value for key, value in node.items() if value not in (None, {}, [])}
    return node["host"] if list(node) == ["host"] else node


@dataclass(slots=True)
class Imported:
    """All clusters that the files told of, and what was left out."""

    program: str
    files: list[str]
    next_steps: tuple[str, ...]
    clusters: dict[str, Draft] = field(default_factory=dict)
    notes: list[tuple[str, str, str]] = field(default_factory=list)

    def cluster(self, name: str) -> Draft:
        """The draft of that cluster, begun if it is new."""
        return self.clusters.setdefault(plain_name(name), Draft())

    def leave(self, source: Source, place: str, why: str) -> None:
        """Note what was not taken over. Only its place is told: its value may be a secret."""
        note = (source.name, place, why)
        if note not in self.notes:
            self.notes.append(note)

    def text(self) -> str:
        """The YAML with its comments. Raises ConfigError if it is not right, UsageError if it is empty."""
        if not any(draft.nodes for draft in self.clusters.values()):
            raise UsageError(f"no node of {self.program} is in {', '.join(self.files)}")
        clusters = {name: draft.as_yaml() for name, draft in self.clusters.items() if draft.nodes}
        body = yaml.safe_dump({"clusters": clusters}, sort_keys=False, allow_unicode=True, width=200)
        lines = [
            modeline(),
            *_comment(f"Written by `pgvigil import {self.program}` from {', '.join(self.files)}.", "# "),
            "# Next:",
            *(
                line
                for number, step in enumerate(self.next_steps, 1)
                for line in _comment(f"{number}. {step}", "#   ")
            ),
            "",
            body.rstrip(),
            *self._left_out(),
        ]
        text = "\n".join(lines) + "\n"
        _must_be_right(text)
        return text

    def _left_out(self) -> Iterable[str]:
        if not self.notes:
            return
        yield from ("", "# Not taken over, and why:")
        for why, places in self._by_reason().items():
            yield from _comment(f"{', '.join(places)}: {why}", "#   ")

    def _by_reason(self) -> dict[str, list[str]]:
        """Every reason with the places it holds for."""
        found: dict[str, list[str]] = {}
        for _, place, why in self.notes:
            places = found.setdefault(why, [])
            if place not in places:
                places.append(place)
        return found


def _must_be_right(text: str) -> None:
    try:
        parse(text.encode(), Path("imported.yaml"), {"HOME": "/"})
    except ConfigError as wrong:
        raise ConfigError(
            "what these files tell makes no right configuration",
            detail=wrong.detail,
            hint="give the files of all nodes, each once; see docs/operate/import.md",
        ) from wrong


def set_quorum(found: Imported, source: Source, draft: Draft, required: int, *, degrade: bool) -> None:
    """`protection: quorum` as far as the nodes that are known allow it."""
    room = sync_room([(name, node.get("tags", [])) for name, node in draft.nodes.items()])
    if room < 1:
        why = "nobody may acknowledge of those given: give the files of all nodes, or add protection: quorum"
        found.leave(source, "synchronous replication", why)
        return
    if required > room:
        found.leave(
            source, f"{required} synchronous standbys", f"only {room} may acknowledge, whoever is primary"
        )
    draft.settings |= {"protection": "quorum", "sync_required": min(required, room), "degrade": degrade}


def mapping(value: object) -> Map:
    """The value, if it is a mapping; else an empty one."""
    return {str(key): each for key, each in value.items()} if isinstance(value, Mapping) else {}


def plain_name(text: str) -> str:
    """A name as we allow it."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", text.strip())[:63].lstrip("._-")
    if not name:
        raise UsageError("a node or cluster has no name that could be used", detail=repr(text))
    return name


def split_address(text: str, default_port: int = 5432) -> tuple[str, int]:
    """`host:port`, `host` or `[v6]:port` apart. Raises ValueError."""
    match = re.fullmatch(r"\[([^\]]+)\](?::(\d+))?|([^:\[\]]+)(?::(\d+))?", text.strip())
    if not match:
        raise ValueError("is no host:port")
    return match[1] or match[3], int(match[2] or match[4] or default_port)


def put(into: Map, key: str, value: object) -> None:
    """Set it, if there is a value."""
    if value not in (None, "", {}, []):
        into[key] = value


def control_of(start: str, stop: str, reload: str = "") -> Any:  # as `control:` takes it
    """The way in which those commands start and stop a server, in our words."""
    units = [
        re.fullmatch(r"(sudo (?:-n )?)?(?:\S*/)?systemctl (start|stop) (\S+)", line) for line in (start, stop)
    ]
    if (
        units[0]
        and units[1]
        and units[0][3] == units[1][3]
        and (units[0][2], units[1][2]) == ("start", "stop")
    ):
        unit = units[0][3].removesuffix(".service")
        return {"systemd": unit, "sudo": True} if units[0][1] else f"systemd:{unit}"
    debian = re.fullmatch(r"(?:\S*/)?pg_ctlcluster (\S+) (\S+) start.*", start)
    if debian:
        return f"pg_ctlcluster:{debian[1]}/{debian[2]}"
    return {"start": start, "stop": stop, **({"reload": reload} if reload else {})}


def set_rate(found: Imported, source: Source, draft: Draft, place: str, text: str) -> None:
    """The limit of copies, as `pg_basebackup --max-rate` takes it: kB, or with its unit k or M."""
    match = re.fullmatch(r"(\d{1,7})([kM]?)", text.strip())
    rate = int(match[1]) * (2**20 if match[2] == "M" else 2**10) if match else 0
    if SLOWEST <= rate <= FASTEST:
        draft.section("clone")["max_rate"] = size_text(rate)
    else:
        found.leave(source, place, "is no rate that pg_basebackup takes; see clone: {max_rate: …}")


def config_file(directory: str, data_dir: str) -> str:
    """postgresql.conf in that directory, if it lies outside of the data directory."""
    outside = directory and directory.rstrip("/") != data_dir.rstrip("/")
    return f"{directory.rstrip('/')}/postgresql.conf" if outside else ""


def _comment(text: str, begin: str) -> list[str]:
    """As comment lines; the second and later ones are indented."""
    return textwrap.wrap(
        text, 100, initial_indent=begin, subsequent_indent=f"{begin}  ", break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
