"""The guards on the nodes: whether they are there, at work, and of this release."""

from collections.abc import Iterator
from typing import Final

from pgvigil.controller.survey.items import advice, at, error, warning
from pgvigil.controller.survey.seen import ClusterSeen
from pgvigil.model.check import CheckItem
from pgvigil.model.guard import GuardState

_WORDS: Final = {
    GuardState.MISSING: "no guard is installed",
    GuardState.DEAD: "its guard is installed and does not run",
    GuardState.STALLED: "its guard is stopped, or does not do its work",
    GuardState.OUTDATED: "its guard is from another release of pgvigil",
}


def guards(seen: ClusterSeen) -> Iterator[CheckItem]:
    """Findings where `fencing.guard` wants one on each node; nothing where it does not."""
    spec = seen.spec
    if not spec.fencing.guard:
        return
    for node in seen.nodes:
        place = at(seen, node)
        if node.spec.shell is None:
            yield warning(place, "it has no shell, so it has no guard", "shell: {…}  for this node")
        if node.guard is None:
            continue
        if text := _WORDS.get(node.guard.state):
            fix = f"pgvigil guard install {spec.name} {node.name}"
            yield error(place, f"{text}: cut off, it could not be fenced", fix)
        if spec.fencing.guard_watchdog and node.guard.watchdog == "closed":
            yield warning(
                place,
                f"its guard cannot open {spec.fencing.guard_watchdog}",
                "let the shell's user write to the device (a udev rule); see docs/operate/guard.md",
            )
    if len(seen.nodes) == 2:
        yield advice(
            spec.name,
            "with two nodes a guard stops the last primary when both the other node and the controller are "
            "away for longer than fencing.guard_lease",
            "a third node; or be quick when the controller is restarted while a node is down",
        )


def all_well(seen: ClusterSeen) -> str:
    """What is said when there is nothing to find; empty: guards are not wanted, or not all were asked."""
    told = [node.guard for node in seen.nodes]
    return "guards: alive on every node" if seen.spec.fencing.guard and all(told) else ""
