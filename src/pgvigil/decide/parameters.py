"""In which order servers may be restarted, so that no standby ever has less than its primary. Pure.

A standby that comes up with less than its primary of one of `LIMITED` does not start, or stops replaying; a
primary that comes up with more than a standby has does the same to that standby (manual: 26.4.3).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pgvigil.model.parameter import LIMITED, NodeParameters
from pgvigil.model.units import NodeName

Wanted = Mapping[str, str | None]
"""What parameters are to be. None: whatever the files without ALTER SYSTEM's own say."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One node's restart. `switchover`: it is the primary, and another takes its place first."""

    node: NodeName
    primary: bool
    switchover: bool = False

    def __str__(self) -> str:
        if self.switchover:
            return f"switch over to the best standby, which restarts {self.node} as its standby"
        if self.primary:
            return f"restart the primary {self.node} in place: writes stand still meanwhile"
        return f"restart the standby {self.node}, and wait until it streams again"


@dataclass(frozen=True, slots=True)
class Sequence:
    """Whose turn it is, one after another. `blocked`: why those that are left may not be restarted."""

    turns: tuple[Turn, ...] = ()
    blocked: tuple[str, ...] = ()


def after_restart(node: NodeParameters, name: str, wanted: Wanted) -> int | None:
    """The value that a limited parameter will have after a restart; None: that cannot be told."""
    known = node.parameters.get(name)
    if known is None or known.source == "command line":
        return _number(known.value) if known else None
    text = wanted[name] if name in wanted else node.written.get(name)
    return _number(node.files.get(name, known.default) if text is None else text)


def restarts(
    targets: frozenset[NodeName],
    nodes: Mapping[NodeName, NodeParameters],
    primary: NodeName,
    *,
    wanted: Wanted,
    in_place: bool,
) -> Sequence:
    """The order: standbys first, then the primary; but where a limited parameter falls the primary first."""
    running = {name: {each: _running(node, each) for each in LIMITED} for name, node in nodes.items()}
    to_be = {n: {each: after_restart(node, each, wanted) for each in LIMITED} for n, node in nodes.items()}
    left, turns = [name for name in nodes if name in targets], []
    while left:
        standbys = [name for name in left if name != primary]
        hindered = {
            name: _hindrance(nodes[name], to_be[name], running[name], running[primary]) for name in standbys
        }
        fit = [name for name in standbys if not hindered[name]]
        if fit:
            turns.append(Turn(fit[0], primary=False))
            running[fit[0]] = to_be[fit[0]]
            left.remove(fit[0])
            continue
        if primary not in left or (why := _primary_blocked(primary, running, to_be, in_place=in_place)):
            return Sequence(tuple(turns), (why,) if primary in left else tuple(hindered.values()))
        turns.append(Turn(primary, primary=True, switchover=not in_place))
        running[primary] = to_be[primary]
        left.remove(primary)
    return Sequence(tuple(turns))


_Values = Mapping[str, int | None]


def _primary_blocked(
    primary: NodeName,
    running: Mapping[NodeName, _Values],
    to_be: Mapping[NodeName, _Values],
    *,
    in_place: bool,
) -> str:
    """Why the primary may not be restarted now; empty if it may."""
    others = {name: values for name, values in running.items() if name != primary}
    if not in_place:
        if not others:
            return f"{primary} has no standby that could take its place: add --in-place"
        for name, values in others.items():
            if less := _less(to_be[primary], values):
                return (
                    f"{', '.join(less)} is lowered, so {primary} cannot come up as a standby of {name}: "
                    "the primary itself has to be restarted first; add --in-place"
                )
    for name, values in others.items():
        if less := _less(values, to_be[primary]):
            return f"{name} runs with less {', '.join(less)} than {primary} would: restart {name} too"
    return ""


def _hindrance(node: NodeParameters, to_be: _Values, runs: _Values, primary: _Values) -> str:
    """Why a standby may not be restarted now; empty if it may."""
    if less := _less(to_be, primary):
        return (
            f"{node.node} would come up with less {', '.join(less)} than its primary, and not replay any more"
        )
    if node.replays_late and (less := _less(to_be, runs)):
        return (
            f"{node.node} replays late on purpose, so it does not know yet that its primary has less "
            f"{', '.join(less)}, and would not start: end the delay first"
        )
    return ""


def _less(mine: _Values, theirs: _Values) -> tuple[str, ...]:
    return tuple(_smaller(mine, theirs))


def _smaller(mine: _Values, theirs: _Values) -> Iterator[str]:
    for name in LIMITED:
        have, need = mine.get(name), theirs.get(name)
        if have is not None and need is not None and have < need:
            yield name


def _running(node: NodeParameters, name: str) -> int | None:
    known = node.parameters.get(name)
    return _number(known.value) if known else None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.strip().isdigit() else None
