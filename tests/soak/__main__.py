"""Break things at random, for as long as wanted, and find out whether anything that was promised was broken.

Needs root, openssh-server, nftables and a PostgreSQL. Hosts are network namespaces (`tests.lab`), each with a
client that writes to whichever node accepts, as does one at the controller. After each fault, and at the end:
no acknowledged row is missing (quorum: ever; async: only where the event says that this was risked), no two
nodes acknowledged at once, generations grow, no primary changed without cause, and all is well again in time.

Exit code 1 on any violation, with its story kept. Ctrl-C ends it with the table so far.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from bench.outage.circumstances import Circumstances
from tests.lab import Ack, Lab, LabHost
from tests.lab.lab import DEBIAN_15
from tests.soak.checker import generations_that_do_not_grow, longest_gap, risk_was_accepted
from tests.soak.kinds import KINDS, Change, Kind
from tests.soak.report import Trial, keep_story, table
from tests.soak.scene import GOES_WRONG, Scene, Settings

CALM_S = (0.3, 2.0)
"""Between two faults: some come close after each other."""


def attempt(scene: Scene, kind: Kind) -> Trial:
    """One fault of that kind, the repair, and what must be true then. Raises nothing that it can tell."""
    trial = Trial(kind.name)
    scene.news()
    began, generation = time.monotonic(), scene.generation()
    struck: tuple[LabHost, ...] = ()
    try:
        struck = kind.strike(scene)
        trial.struck = ", ".join(host.name for host in struck)
        time.sleep(scene.dice.uniform(*kind.lasts_s))
        for host in struck:
            scene.heal(host)
        scene.heal_all()
        healed = time.monotonic()
        scene.await_whole()
        trial.whole_s = time.monotonic() - healed
    except GOES_WRONG as error:
        trial.violations.append(f"it did not end well: {error}")
        return trial
    trial.changes = scene.generation() - generation
    try:
        judge(scene, kind, trial, began, struck)
    except GOES_WRONG as error:
        trial.violations.append(f"it could not be judged: {error}")
    return trial


def judge(scene: Scene, kind: Kind, trial: Trial, began: float, struck: tuple[LabHost, ...]) -> None:
    """Fill in figures and violations. Raises LabError, psycopg.Error."""
    news, events = scene.news(), scene.new_events()
    sides = {host.name for host in struck}
    open_sides: list[Ack] = [ack for side, ack in news if side not in sides]
    trial.outage_s = longest_gap(open_sides, began, time.monotonic())
    trial.acknowledged = len(news)
    lost, overlaps = scene.lost(), scene.reigns.violations()
    trial.lost = len(lost)
    if not scene.settings.is_quorum and risk_was_accepted(events):
        trial.accepted, lost, overlaps = len(lost), [], []
    trial.violations += [f"lost: {row}" for row in lost[:20]] + overlaps
    trial.violations += generations_that_do_not_grow(scene.events)
    if scene.settings.is_quorum and risk_was_accepted(
        event for event in events if event["kind"] == "promote"
    ):
        trial.violations.append("a promotion accepted a risk")
    if trial.changes < 0:
        trial.violations.append(f"the generation fell by {-trial.changes}")
    if kind.change is Change.NONE and trial.changes:
        trial.violations.append(f"{trial.changes} changes of primary without cause")
    if kind.change is Change.MUST and not trial.changes:
        trial.violations.append("no change of primary although it was wanted")


def soak(wanted: argparse.Namespace, dice: random.Random, trials: list[Trial]) -> None:
    """Fault after fault on one cluster until the time is over; on a new one after a violation."""
    kinds = [kind for kind in KINDS if any(word in kind.name for word in wanted.only)]
    until = float("inf")
    settings = Settings(wanted.protection, wanted.nodes, wanted.acks)
    while time.monotonic() < until:
        with Lab(wanted.bin_dir) as lab:
            scene = Scene(lab, settings, dice)
            with scene.running():
                until = min(until, time.monotonic() + wanted.minutes * 60)
                for trial in rounds(scene, kinds, until):
                    trials.append(trial)
                    print(f"{datetime.now(UTC):%H:%M:%S} #{len(trials)} {trial}", file=sys.stderr, flush=True)
                    if trial.violations:
                        story = keep_story(wanted.keep / f"{wanted.seed}-{len(trials)}", trial, scene)
                        print(f"  its story: {story}", file=sys.stderr, flush=True)
                        break


def rounds(scene: Scene, kinds: list[Kind], until: float) -> Iterator[Trial]:
    """Trials as the dice fall."""
    weights = [kind.weight for kind in kinds]
    while time.monotonic() < until:
        time.sleep(scene.dice.uniform(*CALM_S))
        yield attempt(scene, scene.dice.choices(kinds, weights)[0])


def arguments() -> argparse.Namespace:
    """What was asked for."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--minutes", type=float, default=30.0)
    words.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    words.add_argument("--protection", choices=["quorum", "async"], default="quorum")
    words.add_argument("--nodes", type=int, default=3)
    words.add_argument("--acks", type=int, default=1, help="sync_required")
    words.add_argument("--only", nargs="+", default=[""], help="kinds whose names contain one of these")
    words.add_argument("--keep", type=Path, help="where stories of failures are kept")
    words.add_argument("--bin-dir", type=Path, default=DEBIAN_15, help="PostgreSQL's programs")
    words.add_argument("--markdown", action="store_true", help="for docs/measured.md")
    wanted = words.parse_args()
    wanted.keep = wanted.keep or Path(tempfile.mkdtemp(prefix="pgvigil-soak-"))
    return wanted


def main() -> int:
    """Soak, print the table."""
    wanted = arguments()
    around = Circumstances.now(sys.argv[1:], wanted.bin_dir, command="python -m tests.soak")
    print(f"seed {wanted.seed}; stories of failures: {wanted.keep}", file=sys.stderr, flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    trials: list[Trial] = []
    try:
        soak(wanted, random.Random(wanted.seed), trials)
    except KeyboardInterrupt:
        print("interrupted; so far:", file=sys.stderr)
    around.load_after = os.getloadavg()[0]
    lines = [f"- {line}" if wanted.markdown else line for line in around.lines()]
    print("\n".join([*lines, "", table(trials, markdown=wanted.markdown), "", f"seed {wanted.seed}"]))
    broken = [text for trial in trials for text in trial.violations]
    print(f"{len(broken)} violations" + (f", stories in {wanted.keep}" if broken else ""))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
