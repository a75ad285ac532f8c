"""Under which circumstances a table was measured: without them its figures say little."""

import os
import platform
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from pgvigil import __version__

ROOT = Path(__file__).resolve().parents[2]


@dataclass(slots=True)
class Circumstances:
    """Command, machine, versions, date. Floors double on a busy machine, so its load is told too."""

    command: str
    at: datetime
    machine: str
    kernel: str
    postgres: str
    pgvigil: str
    load_before: float
    load_after: float = 0.0

    @classmethod
    def now(cls, arguments: Sequence[str], bin_dir: Path, *, command: str = "") -> Self:
        """Those of this moment. `command`: the program, if it is not `make bench-failover`."""
        words = shlex.join(arguments)
        return cls(
            command=f"{command} {words}" if command else _make(words),
            at=datetime.now(UTC),
            machine=_machine(),
            kernel=f"{platform.system()} {platform.release()}",
            postgres=_line([str(bin_dir / "postgres"), "--version"]).removeprefix("postgres "),
            pgvigil=f"{__version__} ({_line(['git', '-C', str(ROOT), 'describe', '--always', '--dirty'])})",
            load_before=os.getloadavg()[0],
        )

    def lines(self) -> tuple[str, ...]:
        """For people, one fact a line."""
        return (
            f"Command: `{self.command}`",
            f"Date: {self.at:%Y-%m-%d %H:%M} UTC",
            f"Versions: PostgreSQL {self.postgres.removeprefix('(PostgreSQL) ')}, pgvigil {self.pgvigil}",
            f"Machine: {self.machine}, {self.kernel}; hosts are network namespaces on it",
            f"Load: {self.load_before:.1f} before, {self.load_after:.1f} after",
        )


def _make(words: str) -> str:
    return f'make bench-failover ARGS="{words}"' if words else "make bench-failover"


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "?")
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line)
    gib = int(total.split()[1]) / 2**20
    return f"{os.cpu_count()} cores of {model}, {gib:.0f} GiB"


def _line(argv: Sequence[str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return "?"
    return done.stdout.strip() or "?"
