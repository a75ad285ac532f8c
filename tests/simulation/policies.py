"""Clusters with other policies than the defaults, which `make simulate` has.

`python -m tests.simulation.policies FIRST SEEDS` runs so many seeds of each, on both protections and on two,
three and five nodes.
"""

import os
import random
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from pgvigil.model.spec import AfterCrash, ClusterSpec, Fencing, Protection, Rate, WhenUnreachable
from pgvigil.sim.campaign import Trial, reports, summary
from pgvigil.sim.cluster import a_cluster
from tests.simulation.fresh import shells_kept

WAIT: Final = Fencing(unreachable=WhenUnreachable.WAIT)
RESTART: Final = {"after_crash": AfterCrash.RESTART}
POLICIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "restart": RESTART,
    "restart, but not for ever": {**RESTART, "max_per": Rate(2, timedelta(minutes=15))},
    "wait": {"fencing": WAIT},
    "restart and wait": {**RESTART, "fencing": WAIT},
}


def of(policy: str, seed: int, nodes: int = 3, protection: Protection = Protection.ASYNC) -> ClusterSpec:
    """The cluster of that seed, with another policy."""
    wanted = dict(POLICIES[policy])
    spec = a_cluster(nodes, random.Random(seed), protection)
    spec = replace(spec, fencing=wanted.pop("fencing", spec.fencing))
    return replace(spec, failover=replace(spec.failover, **wanted))


def main(first: int, seeds: int) -> int:
    """A line for each; 1 if any seed broke an invariant."""
    broken = 0
    for policy in POLICIES:
        for protection in Protection:
            for nodes in (2, 3, 5):
                trials = [
                    Trial(seed, spec=of(policy, seed, nodes, protection), shells_kept=shells_kept(seed))
                    for seed in range(first, first + seeds)
                ]
                found = summary(reports(trials, jobs=os.cpu_count() or 1))
                broken += len(found.broken)
                cluster = f"{policy}, {protection}, {nodes} nodes"
                print(f"{cluster}: {found.failovers} failovers, broken: {list(found.broken)}")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
