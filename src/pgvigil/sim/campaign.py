"""Many seeds, in one process or several, and what came of them, as figures for tables and programs."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

from pgvigil.model.spec import ClusterSpec, Protection
from pgvigil.sim.run import Report, simulate

SHARES: Final = {"median": 0.5, "95%": 0.95, "99%": 0.99, "worst": 1.0}
AT_ONCE: Final = 10
"""So many seeds are handed to a process at a time."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One seed, and on what: so many nodes with a protection, or a user's own cluster; and who guards it."""

    seed: int
    nodes: int = 3
    protection: Protection = Protection.ASYNC
    spec: ClusterSpec | None = None
    controllers: int = 1
    shells_kept: int | None = None

    def run(self) -> Report:
        """What came of it."""
        return simulate(
            self.seed,
            self.nodes,
            self.spec,
            protection=self.protection,
            controllers=self.controllers,
            shells_kept=self.shells_kept,
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """What came of many seeds."""

    seeds: int
    simulated_h: float
    """Virtual hours of a cluster, idle stretches included."""
    idle_h: float
    acknowledged: int
    lost: int
    failovers: int
    unneeded: int
    handed_on: int
    """How often another controller came to guard a cluster."""
    outages_s: tuple[float, ...]
    """Sorted."""
    holds: tuple[tuple[str, int], ...]
    """Why the controller held, most frequent first."""
    broken: tuple[tuple[int, str], ...]
    """Seeds that broke an invariant, and what it was."""

    def outage_s(self, share: float) -> float:
        """Of all outages this share was not longer."""
        if not self.outages_s:
            return 0.0
        return self.outages_s[min(int(share * len(self.outages_s)), len(self.outages_s) - 1)]

    def figures(self) -> dict[str, object]:
        """For programs."""
        return {
            "seeds": self.seeds,
            "simulated_h": round(self.simulated_h, 3),
            "idle_h": round(self.idle_h, 3),
            "acknowledged": self.acknowledged,
            "lost": self.lost,
            "failovers": self.failovers,
            "unneeded": self.unneeded,
            "handed_on": self.handed_on,
            "outages": len(self.outages_s),
            "outage_s": {name: round(self.outage_s(share), 3) for name, share in SHARES.items()},
            "holds": dict(self.holds),
            "violations": [{"seed": seed, "what": what} for seed, what in self.broken],
        }


def reports(trials: Sequence[Trial], *, jobs: int = 1) -> Iterator[Report]:
    """What came of each, in their order; without the traces of those that broke nothing.

    `jobs`: so many processes side by side. A seed does not know which one it runs in.
    """
    if jobs == 1:
        yield from map(_run, trials)
        return
    with ProcessPoolExecutor(min(jobs, os.cpu_count() or 1)) as pool:
        yield from pool.map(_run, trials, chunksize=AT_ONCE)


def _run(trial: Trial) -> Report:
    report = trial.run()
    return report if report.violations else replace(report, trace=())


def summary(every: Iterable[Report]) -> Summary:
    """Add up."""
    every = tuple(every)
    holds: Counter[str] = Counter()
    for report in every:
        holds.update(dict(report.holds))
    return Summary(
        seeds=len(every),
        simulated_h=sum(report.lasted_s + report.idle_s for report in every) / 3600,
        idle_h=sum(report.idle_s for report in every) / 3600,
        acknowledged=sum(report.acknowledged for report in every),
        lost=sum(report.lost for report in every),
        failovers=sum(report.failovers for report in every),
        unneeded=sum(report.unneeded for report in every),
        handed_on=sum(report.handed_on for report in every),
        outages_s=tuple(sorted(seconds for report in every for seconds in report.outages_s)),
        holds=tuple(holds.most_common()),
        broken=tuple((report.seed, str(report.violations[0])) for report in every if report.violations),
    )
