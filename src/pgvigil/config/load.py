"""Find, read and check the configuration file: all of its mistakes at once, each with its line.

No message repeats a value of the file, for a value may be a secret in the wrong place.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from pgvigil.config.advice import complaint
from pgvigil.config.document import Document, Place, Unreadable, read_document
from pgvigil.config.relations import between, complaints
from pgvigil.config.schema import ClusterSection, FileSection, LogFormat, LogLevel
from pgvigil.config.section import local_path
from pgvigil.errors import ConfigError
from pgvigil.model.etcd import EtcdSpec
from pgvigil.model.face import HttpSpec
from pgvigil.model.notify import TargetSpec
from pgvigil.model.shell import KEPT
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.units import ClusterName

USUAL_PLACES: Final = (Path("pgvigil.yaml"), Path("/etc/pgvigil/pgvigil.yaml"))
FILE_BYTES_AT_MOST: Final = 16 * 2**20
SOCKET_BYTES_AT_MOST: Final = 107
"""Linux takes no longer path for a Unix socket (unix(7))."""
MISTAKES_SHOWN: Final = 50


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration file, checked and complete."""

    file: Path
    clusters: tuple[ClusterSpec, ...]
    state_dir: Path
    socket: Path
    log_format: LogFormat
    log_level: LogLevel
    http: HttpSpec | None = None
    """None: no HTTP."""
    notify: Mapping[ClusterName, tuple[TargetSpec, ...]] = field(default_factory=dict)
    """Where messages about each cluster go."""
    store: EtcdSpec | None = None
    """None: SQLite in `state_dir`."""
    shells_kept: int = KEPT
    """So many hosts' shells stay open."""

    def cluster(self, name: ClusterName) -> ClusterSpec:
        """The cluster of that name. Raises KeyError."""
        for cluster in self.clusters:
            if cluster.name == name:
                return cluster
        raise KeyError(name)


def load(file: Path | None = None, env: Mapping[str, str] = os.environ) -> Config:
    """Read the file, or the one that `find` finds. Raises ConfigError with every mistake in it."""
    found = find(file, env)
    try:
        with found.open("rb") as stream:
            text = stream.read(FILE_BYTES_AT_MOST + 1)
    except OSError as why:
        raise ConfigError(
            f"cannot read {found}", detail=why.strerror or str(why), hint="check the path and its rights"
        ) from why
    if len(text) > FILE_BYTES_AT_MOST:
        raise ConfigError(f"{found} has more than 16 MB", hint="name pgvigil's own file with --config")
    return parse(text, found, env)


def find(file: Path | None = None, env: Mapping[str, str] = os.environ) -> Path:
    """`file`, else $PGVIGIL_CONFIG, else the first usual place that exists. Raises ConfigError."""
    if file is not None:
        return file
    if named := env.get("PGVIGIL_CONFIG"):
        return Path(named)
    for place in USUAL_PLACES:
        try:
            if place.exists():
                return place
        except OSError:
            return place  # it may be there; reading it tells why we cannot see it
    raise ConfigError(
        "there is no configuration file",
        detail=f"no --config, no PGVIGIL_CONFIG, and neither {' nor '.join(map(str, USUAL_PLACES))}",
        hint="write one from a running cluster: pgvigil discover DSN > pgvigil.yaml",
    )


def parse(text: bytes, file: Path, env: Mapping[str, str] = os.environ) -> Config:
    """Check the text of a file; `file` names it in messages and is where relative paths begin."""
    try:
        document = read_document(text)
    except Unreadable as why:
        raise _refusal(file, [(why.line, (), why.what)]) from why
    if document.values is None:
        raise ConfigError(
            f"{file} is empty", hint="write one from a running cluster: pgvigil discover DSN > pgvigil.yaml"
        )
    wrong = list(document.complaints)
    try:
        section = FileSection.model_validate(document.values)
    except ValidationError as why:
        for error in why.errors(include_url=False, include_input=False):
            place = tuple(part for part in error["loc"] if part != "[key]")
            wrong.append((_line(document, place), place, complaint(error)))
        raise _refusal(file, wrong) from None  # its own text repeats the values
    merged = section.merged()
    for name, cluster in merged.items():
        for path, what in complaints(cluster):
            place = _where(document, name, path)
            wrong.append((_line(document, place), place, what))
    for name, (path, what) in between(merged):
        place = _where(document, name, path)
        wrong.append((_line(document, place), place, what))
    folder = file.absolute().parent
    state_dir = _state_dir(section, folder, env)
    socket = Path(local_path(section.socket, folder)) if section.socket else state_dir / "pgvigil.sock"
    if len(os.fsencode(socket)) > SOCKET_BYTES_AT_MOST:
        place = ("socket",) if section.socket else ("state_dir",)
        what = f"makes a socket path of more than {SOCKET_BYTES_AT_MOST} bytes; give a shorter socket:"
        wrong.append((_line(document, place), place, what))
    if wrong:
        raise _refusal(file, wrong)
    return Config(
        file=file,
        clusters=_specs(merged, folder),
        state_dir=state_dir,
        socket=socket,
        log_format=section.log.format,
        log_level=section.log.level,
        http=section.http.spec(folder),
        notify={ClusterName(name): each.notify.specs(folder) for name, each in merged.items()},
        store=section.store.spec(folder, section.http.spec(folder)),
        shells_kept=section.shells.kept,
    )


def _specs(merged: Mapping[str, ClusterSection], folder: Path) -> tuple[ClusterSpec, ...]:
    """All clusters; those that follow another one with what they must know of it."""
    alone = {ClusterName(name): section.spec(name, folder) for name, section in merged.items()}
    return tuple(
        replace(
            alone[ClusterName(name)], standby_of=section.standby_of.followed(alone[ClusterName(name)], alone)
        )
        if section.standby_of
        else alone[ClusterName(name)]
        for name, section in merged.items()
    )


def _state_dir(section: FileSection, folder: Path, env: Mapping[str, str]) -> Path:
    """Where state lives: the file's word, then systemd's, then the desktop's (XDG base directories)."""
    if section.state_dir:
        return Path(local_path(section.state_dir, folder))
    if by_systemd := env.get("STATE_DIRECTORY"):
        return Path(by_systemd.split(":")[0])
    if (xdg := env.get("XDG_STATE_HOME", "")).startswith("/"):
        return Path(xdg) / "pgvigil"
    return Path(env.get("HOME") or Path.home()) / ".local" / "state" / "pgvigil"


def _where(document: Document, cluster: str, path: tuple[str, ...]) -> Place:
    """Where the user wrote what a merged cluster has at `path`."""
    own = ("clusters", cluster, *path)
    shared = ("defaults", *path)
    return shared if own not in document.lines and shared in document.lines else own


def _line(document: Document, place: Place) -> int:
    """The line of a value, or of the nearest one around it."""
    while place and place not in document.lines:
        place = place[:-1]
    return document.lines.get(place, 1)


def _refusal(file: Path, wrong: list[tuple[int, Place, str]]) -> ConfigError:
    """The error with one line for each mistake, in the order of the file."""
    lines = dict.fromkeys(
        f"{file}:{line}: {'.'.join(map(str, place))}{': ' if place else ''}{what}"
        for line, place, what in sorted(wrong, key=lambda mistake: mistake[0])
    )
    shown = list(lines)[:MISTAKES_SHOWN]
    if len(lines) > len(shown):
        shown.append(f"… and {len(lines) - len(shown)} more")
    count = "a mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    return ConfigError(f"{file} has {count}; nothing was started or changed", detail="\n".join(shown))
