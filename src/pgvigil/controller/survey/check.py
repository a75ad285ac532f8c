"""`check`: is this cluster ready to be protected? Every finding with its fix. Changes nothing."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from pgvigil.controller.survey.check_guards import all_well, guards
from pgvigil.controller.survey.check_hosts import hosts
from pgvigil.controller.survey.check_logical import logical_slots
from pgvigil.controller.survey.check_logins import logins, tried
from pgvigil.controller.survey.check_policy import policy
from pgvigil.controller.survey.check_rights import rights
from pgvigil.controller.survey.check_roles import cluster, standbys
from pgvigil.controller.survey.check_settings import settings
from pgvigil.controller.survey.check_slots import slots
from pgvigil.controller.survey.check_synchrony import promised, synchrony
from pgvigil.controller.survey.check_tls import all_well as files_are_well
from pgvigil.controller.survey.check_tls import tls
from pgvigil.controller.survey.check_ways import servers, shells
from pgvigil.controller.survey.check_witnesses import witnesses
from pgvigil.controller.survey.items import fine, listed
from pgvigil.controller.survey.look import look
from pgvigil.controller.survey.seen import ClusterSeen
from pgvigil.model.check import CheckItem, CheckLevel
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.units import NodeName
from pgvigil.ports.contract import Clock, NodePorts, Pinger, Shell

Area = Callable[[ClusterSeen], Iterator[CheckItem]]

AREAS: Final[tuple[tuple[Area, Callable[[ClusterSeen], str]], ...]] = (
    (servers, lambda seen: ""),
    (cluster, lambda seen: _roles(seen)),
    (standbys, lambda seen: ""),
    (shells, lambda seen: ""),
    (logins, lambda seen: _logins(seen)),
    (tls, files_are_well),
    (rights, lambda seen: _rights(seen)),
    (settings, lambda seen: "settings: every node can be primary and standby" if _all_answer(seen) else ""),
    (synchrony, lambda seen: promised(seen)),
    (slots, lambda seen: _slots(seen)),
    (logical_slots, lambda seen: ""),
    (hosts, lambda seen: _hosts(seen)),
    (witnesses, lambda seen: ""),
    (guards, all_well),
    (policy, lambda seen: "configuration: nothing to add"),
)
"""What is looked at, in the order it is told, and what is said when nothing was found (empty: nothing)."""


async def check_cluster(
    spec: ClusterSpec,
    nodes: Mapping[NodeName, NodePorts],
    pinger: Pinger,
    clock: Clock,
    witness_shells: Mapping[str, Shell] | None = None,
) -> list[CheckItem]:
    """Look at everything once and tell what was found. Takes at most half a minute, however dead things are.

    Nothing is changed anywhere: rights are asked for, not tried; logins from node to node are tried and
    closed again. Opens sessions of its own and closes them; shells stay open for their owner.
    """
    return findings(await look(spec, nodes, pinger, clock, witness_shells or {}))


def findings(seen: ClusterSeen) -> list[CheckItem]:
    """What a look means, area by area; an area without a finding says that it is fine."""
    items: list[CheckItem] = []
    for area, all_fine in AREAS:
        found = gathered(seen, area(seen))
        grave = any(item.level in (CheckLevel.WARNING, CheckLevel.ERROR) for item in found)
        if not grave and (text := all_fine(seen)):
            items.append(fine(seen.spec.name, text))
        items += found
    return items


def gathered(seen: ClusterSeen, items: Iterable[CheckItem]) -> list[CheckItem]:
    """The same finding on several nodes told once, where it first came."""
    nodes = {f"{seen.spec.name}/{node.name}": str(node.name) for node in seen.nodes}
    places: dict[tuple[CheckLevel, str, str], list[str]] = {}
    for item in items:
        found = places.setdefault((item.level, item.what, item.fix), [])
        if item.place not in found:
            found.append(item.place)
    told = []
    for (level, what, fix), where in places.items():
        if level is CheckLevel.OK or len(where) == 1 or not set(where) <= nodes.keys():
            told += [CheckItem(level, place, what, fix) for place in where]
            continue
        whose = "every node" if len(where) == len(nodes) else listed([nodes[place] for place in where])
        told.append(CheckItem(level, seen.spec.name, f"{whose}: {what}", fix))
    return told


def _roles(seen: ClusterSeen) -> str:
    primary, count = seen.primary, len(seen.standbys)
    return f"{primary.name} is the primary, with {count} of {len(seen.nodes) - 1} standbys" if primary else ""


def _logins(seen: ClusterSeen) -> str:
    names = [node.name for node in seen.nodes if node.name in tried(seen)]
    role = dict(seen.spec.replication.conninfo).get("user", "")
    return f"logins between nodes: {role} gets in from {listed([str(n) for n in names])}" if names else ""


def _rights(seen: ClusterSeen) -> str:
    answer = seen.primary.answer if seen.primary else None
    if answer is None:
        return ""
    extra = " (superuser; pgvigil render grants shows how to do with less)" if answer.superuser else ""
    return f"rights: {answer.user} may do all that a failover takes{extra}"


def _hosts(seen: ClusterSeen) -> str:
    return "hosts: apart, clocks agree, room for WAL" if all(n.host_answer for n in seen.nodes) else ""


def _slots(seen: ClusterSeen) -> str:
    return "slots: each standby has its own" if seen.spec.replication.slots and _all_answer(seen) else ""


def _all_answer(seen: ClusterSeen) -> bool:
    """Whether enough was seen to call something fine for every node."""
    return seen.primary is not None and all(node.answer for node in seen.nodes)
