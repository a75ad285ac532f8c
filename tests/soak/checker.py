"""What acknowledgements and events must show after any fault (SAFETY §1). Pure: it asks nobody.

Times of one machine's monotonic clock. A row was committed somewhere between the moment at which a client
began it and the moment at which it heard of it; a client may hear late, so neither end alone proves anything.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tests.lab import Ack

Event = Mapping[str, Any]
PROMOTIONS = frozenset({"promote", "promoted", "adopted"})
RISK = "fenced: risk_accepted"


@dataclass(slots=True)
class Reign:
    """What was acknowledged on one timeline."""

    nodes: set[str] = field(default_factory=set)
    first: float = float("inf")
    """When a client first heard of a commit on it: it had begun at the latest then."""
    last: float = float("-inf")
    """When a client began the last row that was committed on it: it still lasted then."""


class Reigns:
    """All acknowledgements so far, by timeline: each belongs to one node, and ends before the next begins."""

    def __init__(self) -> None:
        self._by_timeline: dict[int, Reign] = {}
        self._told: set[str] = set()

    def add(self, acks: Iterable[Ack]) -> None:
        """Take note of more acknowledgements, in any order."""
        for ack in acks:
            reign = self._by_timeline.setdefault(ack.timeline, Reign())
            reign.nodes.add(ack.node)
            reign.first = min(reign.first, ack.acknowledged)
            reign.last = max(reign.last, ack.begun)

    def violations(self) -> list[str]:
        """Two nodes that acknowledged on one timeline, or when a later one had begun (I2); told once."""
        found = [*self._shared(), *self._overlapping()]
        new = [text for text in found if text not in self._told]
        self._told.update(new)
        return new

    def _shared(self) -> Iterable[str]:
        for timeline, reign in self._by_timeline.items():
            if len(reign.nodes) > 1:
                yield f"timeline {timeline} was written on {' and '.join(sorted(reign.nodes))}"

    def _overlapping(self) -> Iterable[str]:
        timelines = sorted(self._by_timeline)
        for i, older in enumerate(timelines):
            for newer in timelines[i + 1 :]:
                old, new = self._by_timeline[older], self._by_timeline[newer]
                if old.last > new.first:
                    nodes = f"{_names(old)} on timeline {older}, {_names(new)} on {newer}"
                    yield f"two acknowledged at once for {old.last - new.first:.3f} s or more: {nodes}"


def generations_that_do_not_grow(events: Sequence[Event]) -> list[str]:
    """Promotions of a generation behind an earlier one's, and generations with two primaries (I1).

    Only of decisions: what is merely seen or held is written down when there is time, perhaps later.
    """
    found, newest = [], 0
    primaries: dict[int, str] = {}
    for event in events:
        if event["kind"] not in PROMOTIONS:
            continue
        generation = int(event["generation"])
        if generation < newest:
            found.append(f"{event['kind']} of generation {generation} after {newest}")
        newest = max(newest, generation)
        if event["kind"] == "promoted" and (data := event.get("data")):
            named = str(data["primary"])
            if primaries.setdefault(generation, named) != named:
                found.append(f"generation {generation} promoted {primaries[generation]} and {named}")
    return found


def risk_was_accepted(events: Iterable[Event]) -> bool:
    """Whether a promotion says that its forerunner could not be fenced, or its WAL not be fetched."""
    return any(
        (event["kind"] == "promote" and RISK in (event.get("evidence") or ()))
        or event["kind"] == "rescue_failed"
        for event in events
    )


def longest_gap(acks: Iterable[Ack], since: float, until: float) -> float:
    """Longest time in the window without any of these acknowledgements; the window itself without any."""
    times = sorted(ack.acknowledged for ack in acks if since <= ack.acknowledged <= until)
    points = [since, *times, until]
    return max(after - before for before, after in pairwise(points))


def _names(reign: Reign) -> str:
    return " and ".join(sorted(reign.nodes))
