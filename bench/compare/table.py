"""Runs, and what is said of them: pure."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import median
from typing import Any, Self

from tests.lab import Ack

LIMIT_S = 120.0
"""A run without an acknowledged row for this long has none."""
FAULTS = {
    "crash": "all server processes killed",
    "host": "host lost silently",
    "hang": "server hangs",
    "switchover": "switchover",
    "isolated": "primary isolated",
}


@dataclass(frozen=True, slots=True)
class Run:
    """One fault on one system. Times are seconds."""

    system: str
    settings: str
    fault: str
    gap_s: float | None
    """From the fault to the first acknowledged row; a switchover: the longest gap. None: beyond LIMIT_S."""
    client_s: float | None
    """The same for a client that leaves it to libpq to find the primary."""
    lost: int | None
    """Rows that were acknowledged and are not on the new primary. None: there was no primary to ask."""
    beside: int
    """Rows that an older timeline acknowledged after the new primary had acknowledged its first."""
    exposed_s: float
    """Isolated: how long after the cut the old primary went on acknowledging to the client beside it."""
    back_s: float | None
    """From the end of the fault until all stream again without a human. None: not within BACK_S."""
    failed: str = ""

    @classmethod
    def read(cls, words: dict[str, Any]) -> Self:
        """From what `asdict` made of it."""
        return cls(**words)

    def written(self) -> dict[str, Any]:
        return asdict(self)


def longest_gap(times: Sequence[float], since: float, until: float) -> float:
    """The longest time between two neighbours of these ordered moments that overlaps the window; else 0."""
    return max((b - a for a, b in pairwise(times) if b >= since and a <= until), default=0.0)


def beside(acks: Iterable[Ack], first: Ack | None) -> tuple[Ack, ...]:
    """Acknowledgements on an older timeline to rows that were begun after the new primary's first."""
    if first is None:
        return ()
    return tuple(ack for ack in acks if ack.timeline < first.timeline and ack.begun > first.acknowledged)


HEAD = (
    "fault",
    "system",
    "settings",
    "median s",
    "min–max s",
    "libpq s",
    "n",
    "lost",
    "two at once",
    "back by itself",
)


def rows(runs: Sequence[Run]) -> list[tuple[str, ...]]:
    """The table, fault by fault, systems in the order they came."""
    order = list(dict.fromkeys((run.system, run.settings) for run in runs))
    found = []
    for fault, told in FAULTS.items():
        for system, settings in order:
            here = [r for r in runs if (r.fault, r.system, r.settings) == (fault, system, settings)]
            if here:
                found.append((told, system, settings, *_cells(here)))
    return found


def _cells(runs: Sequence[Run]) -> tuple[str, ...]:
    good = [run for run in runs if not run.failed]
    if not good:
        return ("failed", "–", "–", f"0 of {len(runs)}", "–", "–", "–")
    count = str(len(good)) if len(good) == len(runs) else f"{len(good)} of {len(runs)}"
    both = [run.beside for run in good if run.beside]
    return (
        seconds(middle([run.gap_s for run in good])),
        _between(good),
        seconds(middle([run.client_s for run in good])),
        count,
        _range([run.lost for run in good]),
        f"{len(both)} of {len(good)}, {_range(both)} rows" if both else "no",
        _back(good),
    )


def middle(gaps: Sequence[float | None]) -> float | None:
    """The median; one without end counts as the longest of all."""
    value = median(float("inf") if gap_s is None else gap_s for gap_s in gaps)
    return None if value == float("inf") else value


def seconds(value: float | None) -> str:
    """A time for the table."""
    if value is None:
        return f"> {LIMIT_S:.0f}"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def _between(runs: Sequence[Run]) -> str:
    ended = sorted(run.gap_s for run in runs if run.gap_s is not None)
    if not ended:
        return "–"
    most = ended[-1] if len(ended) == len(runs) else None
    return f"{seconds(ended[0])}–{seconds(most)}"


def _range(counts: Sequence[int | None]) -> str:
    known = [count for count in counts if count is not None]
    if not known:
        return "–"
    least, most = min(known), max(known)
    return str(least) if least == most else f"{least}–{most}"


def _back(runs: Sequence[Run]) -> str:
    times = [run.back_s for run in runs if run.back_s is not None]
    if not times:
        return "no"
    if len(times) < len(runs):
        return f"{len(times)} of {len(runs)}"
    return f"yes, {seconds(median(times))} s"


EXPOSED_HEAD = ("system", "settings", "until s", "lost")


def exposed_rows(runs: Sequence[Run]) -> list[tuple[str, ...]]:
    """How long the isolated primary went on, median and range."""
    here = [run for run in runs if run.fault == "isolated" and not run.failed]
    found: list[tuple[str, ...]] = []
    for system, settings in dict.fromkeys((run.system, run.settings) for run in here):
        mine = [run for run in here if (run.system, run.settings) == (system, settings)]
        times = sorted(run.exposed_s for run in mine)
        text = f"{seconds(median(times))} [{seconds(times[0])}–{seconds(times[-1])}]"
        found.append((system, settings, text, _range([run.lost for run in mine])))
    return found
