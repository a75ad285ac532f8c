"""`config show`: parameters side by side, what waits for a restart, and what drifted apart."""

import difflib
from collections.abc import Mapping

from pgvigil.controller.errands.ground import Ground
from pgvigil.controller.operations import Json, Result
from pgvigil.controller.orders import Order
from pgvigil.decide.parameter_change import written
from pgvigil.errors import Unreachable, UsageError
from pgvigil.model.command import ShowParameters, ShowVersions
from pgvigil.model.parameter import OF_A_NODE, NodeParameters, ParameterVersion, differences
from pgvigil.model.units import NodeName


async def show_parameters(ground: Ground, order: Order, errand: ShowParameters) -> None:
    """Read every node, and answer with all that was asked for. Raises Unreachable, UsageError."""
    nodes, silent = await ground.parameters()
    if not nodes:
        raise Unreachable("no node tells its parameters", detail="; ".join(silent.values()))
    last = await ground.store.versions(ground.bench.spec.name, limit=1)
    wanted = last[-1].settings if last else {}
    drifted = {each.name for each in differences(nodes)}
    names = _wanted(errand, nodes, wanted)
    data: Json = {
        "cluster": ground.bench.spec.name,
        "version": last[-1].number if last else 0,
        "nodes": [_node(name, nodes, silent) for name in ground.bench.nodes],
        "parameters": [_parameter(name, nodes, drifted, wanted) for name in names],
    }
    order.finish(Result.DONE, _summary(data), data=data)


async def show_versions(ground: Ground, order: Order, errand: ShowVersions) -> None:
    """What was wanted when, by whom. Raises StoreError."""
    versions = await ground.store.versions(ground.bench.spec.name, limit=errand.limit)
    data: Json = {"cluster": ground.bench.spec.name, "versions": [_version(each) for each in versions]}
    order.finish(Result.DONE, f"{len(versions)} versions", data=data)


def _version(version: ParameterVersion) -> Json:
    return {
        "number": version.number,
        "at": version.at.isoformat(),
        "who": version.who,
        "comment": version.comment,
        "settings": dict(version.settings),
        "changes": [{"name": c.name, "before": c.before, "after": c.after} for c in version.changes],
    }


def known_or_error(name: str, nodes: dict[NodeName, NodeParameters]) -> str:
    """The parameter's own spelling. Raises UsageError with a guess if no node has it."""
    known = {each for node in nodes.values() for each in node.parameters}
    if (lower := name.lower()) in {each.lower() for each in known}:
        return next(each for each in known if each.lower() == lower)
    near = difflib.get_close_matches(lower, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "see the server's pg_settings"
    raise UsageError(f"PostgreSQL has no parameter {name!r} that may be changed", hint=hint)


def _wanted(
    errand: ShowParameters, nodes: dict[NodeName, NodeParameters], wanted: Mapping[str, str | None]
) -> list[str]:
    if errand.names:
        return [known_or_error(name, nodes) for name in errand.names]
    everything = sorted({name for node in nodes.values() for name in node.parameters})
    if errand.every:
        return everything
    telling = {each.name for each in differences(nodes)}
    for node in nodes.values():
        telling |= (
            node.pending
            | (wanted.keys() & node.parameters.keys())
            | (node.written.keys() & node.parameters.keys())
        )
    waiting = {name for node in nodes.values() for name in node.pending}
    return [name for name in everything if name in telling - (OF_A_NODE - waiting)]


def _node(name: NodeName, nodes: dict[NodeName, NodeParameters], silent: dict[NodeName, str]) -> Json:
    node = nodes.get(name)
    role = ("primary" if node.primary else "standby") if node else "unknown"
    return {
        "name": name,
        "role": role,
        "detail": silent.get(name, ""),
        "pending_restart": sorted(node.pending) if node else [],
        "mistakes": list(node.mistakes) if node else [],
    }


def _parameter(
    name: str, nodes: dict[NodeName, NodeParameters], drifted: set[str], wanted: Mapping[str, str | None]
) -> Json:
    known = {n: node.parameters[name] for n, node in nodes.items() if name in node.parameters}
    first = next(iter(known.values()))
    return {
        "name": name,
        "values": {node: each.shown for node, each in known.items()},
        "written": {n: node.written[name] for n, node in nodes.items() if name in node.written},
        "wanted": wanted.get(name),
        "unwritten": [
            n for n, node in nodes.items() if name in wanted and not written(node, name, wanted[name])
        ],
        "pending": [node for node, each in known.items() if each.pending],
        "needs_restart": first.context == "postmaster",
        "differs": name in drifted,
    }


def _summary(data: Json) -> str:
    waiting = [node["name"] for node in data["nodes"] if node["pending_restart"]]
    unwritten = sorted({node for each in data["parameters"] for node in each["unwritten"]})
    differing = [each["name"] for each in data["parameters"] if each["differs"]]
    parts = []
    if waiting:
        parts.append(f"a restart is pending on {', '.join(waiting)}")
    if unwritten:
        parts.append(f"version {data['version']} is not written yet on {', '.join(unwritten)}")
    if differing:
        parts.append(f"nodes differ in {', '.join(differing)}")
    return "; ".join(parts) or "nothing waits for a restart, and the nodes agree"
