"""What people read of a soak: one line a fault, the table at its end, and the story of a failure."""

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.lab import LabError
from tests.soak.scene import Scene

HEAD = (
    "fault",
    "n",
    "changes of primary",
    "median outage s",
    "max outage s",
    "acknowledged",
    "lost",
    "violations",
)
LOG_TAIL = 400_000


@dataclass(slots=True)
class Trial:
    """A fault and what came of it. `outage_s`: longest time without acknowledgement on any open side."""

    kind: str
    struck: str = ""
    outage_s: float = 0.0
    whole_s: float = 0.0
    acknowledged: int = 0
    lost: int = 0
    accepted: int = 0
    """Of the lost: those that the configuration accepts to be, and an event told of."""
    changes: int = 0
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        told = (
            f"{self.kind} ({self.struck or '–'}): outage {self.outage_s:.2f} s, whole after "
            f"{self.whole_s:.1f} s, {self.acknowledged} acknowledged, {self.lost} lost"
        )
        return "\n  VIOLATION: ".join([told, *self.violations])


def table(trials: Sequence[Trial], *, markdown: bool = False) -> str:
    """Per kind of fault and in all."""
    kinds = sorted({trial.kind for trial in trials})
    rows = [_row(kind, [trial for trial in trials if trial.kind == kind]) for kind in kinds]
    rows.append(_row("all", trials))
    if markdown:
        rule = "|---" + "|---:" * (len(HEAD) - 1) + "|"
        lines = ["| " + " | ".join(row) + " |" for row in (HEAD, *rows)]
        return "\n".join([lines[0], rule, *lines[1:]])
    widths = [max(len(row[i]) for row in (HEAD, *rows)) for i in range(len(HEAD))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in (HEAD, *rows)
    )


def _row(name: str, trials: Sequence[Trial]) -> tuple[str, ...]:
    outages = [trial.outage_s for trial in trials]
    figures = (f"{median(outages):.2f}", f"{max(outages):.2f}") if outages else ("–", "–")
    lost, accepted = sum(t.lost for t in trials), sum(t.accepted for t in trials)
    return (
        name,
        str(len(trials)),
        str(sum(t.changes for t in trials)),
        *figures,
        str(sum(t.acknowledged for t in trials)),
        f"{lost} ({accepted} accepted)" if accepted else str(lost),
        str(sum(len(t.violations) for t in trials)),
    )


def keep_story(directory: Path, trial: Trial, scene: Scene) -> Path:
    """Everything that helps to find out why, in a directory of its own."""
    directory.mkdir(parents=True)
    (directory / "trial.txt").write_text(f"{trial}\n")
    (directory / "status.json").write_text(_status(scene))
    _write_lines(directory / "events.jsonl", (json.dumps(event, default=str) for event in scene.events))
    for client in scene.clients:
        lines = [str(end) for end in client.writer.ends] + [str(ack) for ack in client.acks[-20_000:]]
        _write_lines(directory / f"client-{client.side}-{client.writer.run}.txt", lines)
    for name, log in [("pgvigil", scene.product.log), *((n.name, n.log) for n in scene.cluster.nodes)]:
        if log.exists():
            (directory / f"{name}.log").write_bytes(log.read_bytes()[-LOG_TAIL:])
    if scene.product.config.exists():
        shutil.copy(scene.product.config, directory)
    return directory


def _status(scene: Scene) -> str:
    try:
        return json.dumps(scene.product.status(), indent=1, default=str)
    except LabError as error:
        return str(error)


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))
