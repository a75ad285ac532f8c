"""The real `Endpoint`s: one kind, one module. Nothing is connected before the first use."""

from collections.abc import Mapping
from typing import assert_never

from pgvigil.model.endpoint import EndpointSpec, Haproxy, Pgbouncer
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.units import NodeName
from pgvigil.ports.contract import Endpoint, NodePorts
from pgvigil.ports.endpoints.haproxy import HaproxyEndpoint
from pgvigil.ports.endpoints.pgbouncer import PgbouncerEndpoint
from pgvigil.ports.shell import make_shell

__all__ = ["make_endpoints"]


def make_endpoints(spec: ClusterSpec, nodes: Mapping[NodeName, NodePorts]) -> tuple[Endpoint, ...]:
    """The endpoints of a cluster. `nodes`: the ways to its nodes, for those that live on them."""
    del nodes  # none of today's kinds lives on a node
    return tuple(_endpoint(each, spec) for each in spec.endpoints)


def _endpoint(wanted: EndpointSpec, spec: ClusterSpec) -> Endpoint:
    match wanted:
        case Haproxy():
            return HaproxyEndpoint(wanted, spec)
        case Pgbouncer():
            return PgbouncerEndpoint(
                wanted, spec, make_shell(wanted.shell, host=dict(wanted.conninfo)["host"])
            )
        case _:
            assert_never(wanted)
