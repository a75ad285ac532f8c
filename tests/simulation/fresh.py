"""Seeds that nobody has seen before, over both protections and 2, 3 and 5 nodes: `make simulate`.

The first seed follows from the day, so that one day's runs agree, and is printed: what fails can be told
again. PGVIGIL_FIRST_SEED sets it, PGVIGIL_SEEDS takes more or fewer.
"""

import os
import sys
import time
from datetime import UTC, datetime

from pgvigil.model.spec import Protection
from pgvigil.sim.campaign import Trial, reports, summary

SHARES = {2: 0.35, 3: 0.45, 5: 0.2}
"""What part of the seeds a number of nodes gets: more nodes take longer."""


def main() -> int:
    """Run them all; 1 if any broke an invariant."""
    first = int(os.environ.get("PGVIGIL_FIRST_SEED") or datetime.now(UTC).toordinal() * 100_000)
    seeds, broken, ran, hours = int(os.environ.get("PGVIGIL_SEEDS") or 510), 0, 0, 0.0
    begun = time.monotonic()
    for protection in Protection:
        for nodes, share in SHARES.items():
            count = max(1, round(seeds / len(Protection) * share))
            trials = [Trial(seed, nodes, protection) for seed in range(first, first + count)]
            summed = summary(reports(trials, jobs=os.cpu_count() or 1))
            ran, hours, broken = ran + count, hours + summed.simulated_h, broken + len(summed.broken)
            which = f"seeds {first} to {first + count - 1}"
            print(f"{protection}, {nodes} nodes: {which}, {len(summed.broken)} broken")
            for seed, what in summed.broken:
                print(f"  {what}")
                print(f"  pgvigil simulate --protection {protection} --nodes {nodes} --seed {seed} --trace")
    print(f"{ran} seeds, {hours:.0f} simulated hours in {time.monotonic() - begun:.0f} s, {broken} broken")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
