"""The real `Endpoint`s: one kind, one module. Nothing is connected before the first use."""

from typing import assert_never

from pgvigil.model.endpoint import EndpointSpec, Haproxy, Pgbouncer, Vip
from pgvigil.model.spec import ClusterSpec
from pgvigil.ports.contract import Endpoint
from pgvigil.ports.endpoints.haproxy import HaproxyEndpoint
from pgvigil.ports.endpoints.pgbouncer import PgbouncerEndpoint
from pgvigil.ports.endpoints.vip import VipEndpoint
from pgvigil.ports.shell import make_shell

__all__ = ["make_endpoints"]


def make_endpoints(spec: ClusterSpec) -> tuple[Endpoint, ...]:
    """The endpoints of a cluster."""
    return tuple(_endpoint(each, spec) for each in spec.endpoints)


def _endpoint(wanted: EndpointSpec, spec: ClusterSpec) -> Endpoint:
    match wanted:
        case Haproxy():
            return HaproxyEndpoint(wanted, spec)
        case Pgbouncer():
            return PgbouncerEndpoint(
                wanted, spec, make_shell(wanted.shell, host=dict(wanted.conninfo)["host"])
            )
        case Vip():
            # Shells of its own: a request of an address never keeps a look at the host waiting.
            shells = {node.name: make_shell(node.shell, host=node.host) for node in spec.nodes if node.shell}
            return VipEndpoint(wanted, shells)
        case _:
            assert_never(wanted)
