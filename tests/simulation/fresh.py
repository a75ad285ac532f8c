"""Seeds that nobody has seen before, over protections, nodes and controllers: `make simulate`.

The first seed follows from the day, so that one day's runs agree, and is printed: what fails can be told
again. PGVIGIL_FIRST_SEED sets it, PGVIGIL_SEEDS takes more or fewer.
"""

import os
import sys
import time
from datetime import UTC, datetime

from pgvigil.model.spec import Protection
from pgvigil.sim.campaign import Trial, reports, summary

SHARES = {(2, 1): 0.25, (3, 1): 0.35, (5, 1): 0.15, (2, 3): 0.1, (3, 3): 0.15}
"""What part of the seeds so many nodes and controllers get: more nodes take longer."""
ON_DEMAND = 3
"""Every third seed keeps no shell open."""


def main() -> int:
    """Run them all; 1 if any broke an invariant."""
    first = int(os.environ.get("PGVIGIL_FIRST_SEED") or datetime.now(UTC).toordinal() * 100_000)
    seeds, broken, ran, hours = int(os.environ.get("PGVIGIL_SEEDS") or 510), 0, 0, 0.0
    begun = time.monotonic()
    for protection in Protection:
        for (nodes, controllers), share in SHARES.items():
            which = range(first, first + max(1, round(seeds / len(Protection) * share)))
            trials = [Trial(seed, nodes, protection, None, controllers, shells_kept(seed)) for seed in which]
            summed = summary(reports(trials, jobs=os.cpu_count() or 1))
            ran, hours, broken = ran + len(which), hours + summed.simulated_h, broken + len(summed.broken)
            options = f"--protection {protection} --nodes {nodes} --controllers {controllers}"
            print(f"{options}: seeds {first} to {which[-1]}, {len(summed.broken)} broken")
            for seed, what in summed.broken:
                print(f"  {what}")
                kept = "" if shells_kept(seed) is None else f" --shells-kept {shells_kept(seed)}"
                print(f"  pgvigil simulate {options}{kept} --seed {seed} --trace")
    print(f"{ran} seeds, {hours:.0f} simulated hours in {time.monotonic() - begun:.0f} s, {broken} broken")
    return int(bool(broken))


def shells_kept(seed: int) -> int | None:
    """How many shells stay open; None: all."""
    return 0 if seed % ON_DEMAND == 0 else None


if __name__ == "__main__":
    sys.exit(main())
