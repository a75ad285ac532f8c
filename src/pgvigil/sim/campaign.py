"""Many seeds, one after another, and what came of them, as a table for people or figures for programs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pgvigil.sim.run import Report


@dataclass(frozen=True, slots=True)
class Summary:
    """What came of many seeds."""

    seeds: int
    simulated_h: float
    """Virtual hours of a cluster."""
    acknowledged: int
    lost: int
    failovers: int
    unneeded: int
    outages_s: tuple[float, ...]
    """Sorted."""
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
            "acknowledged": self.acknowledged,
            "lost": self.lost,
            "failovers": self.failovers,
            "unneeded": self.unneeded,
            "outages": len(self.outages_s),
            "outage_s": {name: round(self.outage_s(share), 3) for name, share in SHARES.items()},
            "violations": [{"seed": seed, "what": what} for seed, what in self.broken],
        }


SHARES = {"median": 0.5, "90%": 0.9, "99%": 0.99, "worst": 1.0}


def summary(reports: Iterable[Report] | Sequence[Report]) -> Summary:
    """Add up."""
    every = tuple(reports)
    return Summary(
        seeds=len(every),
        simulated_h=sum(report.lasted_s for report in every) / 3600,
        acknowledged=sum(report.acknowledged for report in every),
        lost=sum(report.lost for report in every),
        failovers=sum(report.failovers for report in every),
        unneeded=sum(report.unneeded for report in every),
        outages_s=tuple(sorted(seconds for report in every for seconds in report.outages_s)),
        broken=tuple((report.seed, str(report.violations[0])) for report in every if report.violations),
    )
