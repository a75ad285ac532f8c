"""Which changes of parameters are refused, and which of them may be written to a node by now. Pure."""

from collections.abc import Iterator, Mapping
from typing import Final

from pgvigil.decide.parameters import Wanted, after_restart
from pgvigil.errors import PgvigilError, Unsafe, UsageError
from pgvigil.model.parameter import (
    LIMITED,
    OF_A_NODE,
    NodeParameters,
    ParameterChange,
    ParameterVersion,
)
from pgvigil.model.spec import Protection
from pgvigil.model.units import NodeName

_OURS: Final = {
    "primary_conninfo": "pgvigil writes it on each standby: see `follow`",
    "primary_slot_name": "pgvigil writes it on each standby: see `follow`",
    "recovery_target_timeline": "standbys have to follow their primary to its new timeline",
    "ssl_passphrase_command": "it may hold a secret, and versions are kept; set it on the nodes",
}
_QUORUM: Final = "synchronous_standby_names"
_NEVER: Final = {
    ("wal_level", "minimal"): "no standby could be fed",
    ("hot_standby", "off"): "standbys would let nobody in, and could not be promoted",
    ("max_wal_senders", "0"): "no standby could be fed",
}
_ABOVE: Final = {"max_connections": ("superuser_reserved_connections", "reserved_connections")}
"""A parameter, and those whose sum it must exceed."""
_ACKNOWLEDGES_TOO_SOON: Final = frozenset({"off", "local", "false", "no", "0"})
_OFF: Final = frozenset({"off", "false", "no", "0"})


def refusal(
    protection: Protection, name: str, value: str | None, nodes: Mapping[NodeName, NodeParameters]
) -> PgvigilError | None:
    """Why this parameter is not pgvigil's to set, or not to this value; None if it is."""
    if name == _QUORUM and protection is Protection.QUORUM:
        return _owned(name, "with protection: quorum pgvigil says who is waited for")
    if name in _OURS:
        return _owned(name, _OURS[name])
    if name in OF_A_NODE and name != _QUORUM:
        return _owned(name, "each node has its own: set it there")
    if value is not None and not value.isprintable():
        return UsageError(
            f"the value of {name} has characters that cannot be shown", hint="nothing was changed"
        )
    plain = (value or "").strip().lower()
    plain = "off" if name == "hot_standby" and plain in _OFF else plain
    if why := _NEVER.get((name, plain)):
        return Unsafe(f"{name} = {value} is refused", detail=why, hint="nothing was changed")
    if name == "synchronous_commit" and protection is Protection.QUORUM and plain in _ACKNOWLEDGES_TOO_SOON:
        why = "with protection: quorum commits are acknowledged only when standbys have them"
        return Unsafe(f"{name} = {value} is refused", detail=why, hint="nothing was changed")
    if name in LIMITED and value is not None and not value.strip().isdigit():
        return UsageError(f"{name} takes a whole number", detail=value, hint="nothing was changed")
    if name in _ABOVE and value is not None and (why := _too_few(name, int(value), nodes)):
        return Unsafe(f"{name} = {value} is refused", detail=why, hint="nothing was changed")
    fixed = [n for n, node in nodes.items() if name in node.parameters and _fixed(node, name)]
    if fixed:
        why = f"its command line sets it on {', '.join(fixed)}, and that counts more than any file"
        return Unsafe(
            f"{name} cannot be set", detail=why, hint="take it out of the way the server is started"
        )
    return None


def _too_few(name: str, value: int, nodes: Mapping[NodeName, NodeParameters]) -> str:
    """Why a server would not start with it (postmaster.c, checks at its start); empty: it would."""
    for n, node in nodes.items():
        reserved = sum(_running(node, each) or 0 for each in _ABOVE[name])
        if value <= reserved:
            return f"{n} would not start: {' and '.join(_ABOVE[name])} take {reserved} of them"
    return ""


def _fixed(node: NodeParameters, name: str) -> bool:
    return node.parameters[name].source == "command line"


def _owned(name: str, why: str) -> Unsafe:
    return Unsafe(f"{name} is not set through pgvigil", detail=why, hint="nothing was changed")


def due(nodes: Mapping[NodeName, NodeParameters], wanted: Wanted) -> dict[NodeName, dict[str, str | None]]:
    """What is to be written on which node now.

    A standby is told of less than its primary runs with, and a primary of more than its standbys run with,
    only later: either might be restarted at any moment, by somebody else than us. A standby that replays late
    on purpose does not know yet that its primary has less, and would not start with less.
    """
    found: dict[NodeName, dict[str, str | None]] = {}
    for name, value in wanted.items():
        for node in nodes.values():
            if name in node.parameters and not written(node, name, value) and _may(node, name, nodes, wanted):
                found.setdefault(node.node, {})[name] = value
    return found


def written(node: NodeParameters, name: str, value: str | None) -> bool:
    """Whether ALTER SYSTEM's file says that already."""
    there = node.written.get(name)
    if value is None or there is None:
        return value is there
    return _bare(there) == _bare(value)


def unread(nodes: Mapping[NodeName, NodeParameters], wanted: Wanted) -> tuple[NodeName, ...]:
    """Where ALTER SYSTEM's file says it, but the server may not have read it: its writer was interrupted.

    A value in another unit than the server's own looks like that too: reading the files again does no harm.
    """
    return tuple(
        n
        for n, node in nodes.items()
        if any(
            name in node.parameters and written(node, name, value) and not _in_force(node, name, value)
            for name, value in wanted.items()
        )
    )


def _in_force(node: NodeParameters, name: str, value: str | None) -> bool:
    known = node.parameters[name]
    if known.context == "postmaster" or known.pending or not known.of_the_server:
        return True  # only a restart would help; or our session has a value of its own, and cannot tell
    if value is None:
        return node.files.get(name, known.default) in (known.value, known.shown)
    return _bare(value).lower() in (_bare(known.value).lower(), _bare(known.shown).lower())


def _bare(value: str) -> str:
    """A list without the quotes and blanks that the server puts around its items."""
    return value.replace('"', "").replace(", ", ",").strip()


def _may(node: NodeParameters, name: str, nodes: Mapping[NodeName, NodeParameters], wanted: Wanted) -> bool:
    to_be = after_restart(node, name, wanted) if name in LIMITED else None
    if to_be is None:
        return True
    if node.replays_late and to_be < (_running(node, name) or 0):
        return False
    others = [_running(each, name) for each in nodes.values() if each.primary is not node.primary]
    known = [value for value in others if value is not None]
    return all(value >= to_be for value in known) if node.primary else all(to_be >= v for v in known)


def _running(node: NodeParameters, name: str) -> int | None:
    known = node.parameters.get(name)
    return int(known.value) if known and known.value.isdigit() else None


def waits(nodes: Mapping[NodeName, NodeParameters], wanted: Wanted) -> frozenset[NodeName]:
    """Who has to be restarted before all of it is in force, also where it is not written yet."""
    limited = {name: value for name, value in wanted.items() if name in LIMITED}
    return frozenset(
        n
        for n, node in nodes.items()
        if node.pending
        or any(after_restart(node, name, limited) not in (None, _running(node, name)) for name in limited)
    )


def before(nodes: Mapping[NodeName, NodeParameters], name: str) -> str | None:
    """What ALTER SYSTEM's file says of it now, on the primary."""
    return next((node.written.get(name) for node in nodes.values() if node.primary), None)


def rolled_back(versions: tuple[ParameterVersion, ...], to: int) -> Mapping[str, str | None]:
    """What was wanted in version `to` (0: before the first): everything that was ever set, with its value."""
    target: dict[str, str | None] = {}
    for change in _changes_after(versions, to):
        target.setdefault(change.name, change.before)
    kept = next((dict(version.settings) for version in versions if version.number == to), {})
    return {**kept, **target}


def _changes_after(versions: tuple[ParameterVersion, ...], to: int) -> Iterator[ParameterChange]:
    for version in versions:
        if version.number > to:
            yield from version.changes
