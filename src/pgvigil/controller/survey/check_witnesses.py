"""The witness hosts: whether each can be asked, and gets through to every node."""

from collections.abc import Iterator

from pgvigil.controller.survey.items import error, fine, listed, warning
from pgvigil.controller.survey.seen import ClusterSeen
from pgvigil.model.check import CheckItem
from pgvigil.model.spec import WitnessSpec
from pgvigil.model.units import NodeName
from pgvigil.model.vantage import WitnessLook
from pgvigil.sight.witness import is_reachable


def witnesses(seen: ClusterSeen) -> Iterator[CheckItem]:
    """One item a witness at least."""
    for witness in seen.spec.witnesses:
        look = seen.witnesses.get(witness.name, WitnessLook())
        place = f"{seen.spec.name}/{witness.name}"
        if look.detail or not look.way:
            yield _useless(place, witness, look)
            continue
        blind = [node for node in _answering(seen) if node not in look.reaches]
        blind += [
            node for node, reach in look.reaches.items() if node in _answering(seen) and not reach.through
        ]
        if not blind:
            yield fine(place, f"witness: reaches every node that we reach (by {look.way})")
            continue
        nodes = {node.name: node for node in seen.spec.nodes}
        at = ", ".join(f"{nodes[name].host}:{nodes[name].port}" for name in blind)
        yield warning(
            place,
            f"witness: does not reach {listed([str(name) for name in blind])}, which we do: its word on "
            "their loss counts for nothing",
            f"open the way from {witness.host} to {at} in every firewall (only TCP; no login is needed)",
        )


def _answering(seen: ClusterSeen) -> list[NodeName]:
    return [node.spec.name for node in seen.nodes if node.answer and is_reachable(node.spec)]


def _useless(place: str, witness: WitnessSpec, look: WitnessLook) -> CheckItem:
    if look.at is not None:
        fix = "install one of bash, python3, perl, nc, pg_isready there; write addresses instead of names"
        return error(place, f"witness: {look.detail}", fix)
    fix = f"its shell: must work from the controller's account, as for a node; see that {witness.host} is up"
    return error(place, f"witness: no shell on {witness.host}: {look.detail}", fix)
