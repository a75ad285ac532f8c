"""Measured runs and how they are shown: min, median, max and number, as text, Markdown or JSON."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from statistics import median

from bench.outage import columns
from bench.outage.circumstances import Circumstances


@dataclass(frozen=True, slots=True)
class Run:
    """One measured run. `parts`: seconds since the fault at which stations were passed."""

    what: str
    settings: str
    outage_s: float
    lost: int
    parts: dict[str, float]


@dataclass(frozen=True, slots=True)
class Failed:
    """A run that did not come to its end."""

    what: str
    settings: str
    reason: str


Result = Run | Failed


@dataclass(frozen=True, slots=True)
class Row:
    """All runs of one kind."""

    what: str
    settings: str
    runs: tuple[Run, ...]
    failed: tuple[Failed, ...]

    def cells(self) -> tuple[str, ...]:
        """What stands in the table."""
        times = [run.outage_s for run in self.runs]
        figures = [f"{x:.3f}" for x in (min(times), median(times), max(times))] if times else ["-"] * 3
        lost = str(sum(run.lost for run in self.runs)) if times else "-"
        counts = (str(len(times)), str(len(self.failed)), lost)
        return (self.what, self.settings, *figures, *counts, self.stations())

    def stations(self) -> str:
        """Medians of the parts, in the order they were passed."""
        names = self.runs[0].parts if self.runs else {}
        medians = {name: median(run.parts[name] for run in self.runs) for name in names}
        return ", ".join(f"{name} {seconds * 1000:.0f}" for name, seconds in medians.items())


HEAD = ("scenario", "settings", "min s", "median s", "max s", "n", "failed", "lost", "stations, median ms")


def rows(results: Iterable[Result]) -> tuple[Row, ...]:
    """Group by scenario and settings, in the order they came."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.what, result.settings), []).append(result)
    return tuple(
        Row(
            *key,
            tuple(r for r in group if isinstance(r, Run)),
            tuple(r for r in group if isinstance(r, Failed)),
        )
        for key, group in groups.items()
    )


def as_text(table: Iterable[Row], around: Circumstances) -> str:
    """Columns padded with spaces, then what failed."""
    kept = tuple(table)
    told = columns.as_text(HEAD, [row.cells() for row in kept], markdown=False)
    failed = [f"\nFAILED {fail.what} ({fail.settings}): {fail.reason}" for fail in _failed(kept)]
    return "\n".join([told, "", *around.lines(), *failed])


def as_markdown(table: Iterable[Row], around: Circumstances) -> str:
    """A Markdown table with its circumstances, then what failed."""
    kept = tuple(table)
    told = [f"- {line}" for line in around.lines()]
    shown = columns.as_text(HEAD, [row.cells() for row in kept], markdown=True)
    failed = [
        f"\nFailed: {fail.what} ({fail.settings})\n\n```\n{fail.reason.strip()}\n```"
        for fail in _failed(kept)
    ]
    return "\n".join([*told, "", shown, *failed])


def as_json(table: Iterable[Row], around: Circumstances) -> str:
    """Every run with its parts, the reason of every failed one, and the circumstances."""
    body = {"circumstances": asdict(around), "rows": [asdict(row) for row in table]}
    return json.dumps(body, indent=1, default=str)


def _failed(table: Iterable[Row]) -> tuple[Failed, ...]:
    return tuple(fail for row in table for fail in row.failed)
