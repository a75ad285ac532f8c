"""HAProxy's configuration for a cluster: a port for writes, a port for reads, steered by agent checks.

Source: HAProxy's configuration manual, 5.2 (agent-check, agent-send, on-marked-down) and 4.2 (retries).
"""

from typing import Final

from pgvigil.model.endpoint import Haproxy
from pgvigil.model.spec import ClusterSpec, NodeSpec, Tag

HEAD: Final = """# HAProxy for {cluster}, written by: pgvigil render haproxy {cluster}
#
# Port {write} is always at the primary; port {read} is balanced over the standbys that are near enough,
# and is at the primary while there is none. The controller tells who is who five times a second; while it
# says nothing, all stays as it is, and HAProxy's own connects take out what does not answer.

global
    maxconn 4000
    spread-checks 0
{socket}
defaults
    mode tcp
    timeout connect 2s
    timeout client 24h
    timeout server 24h
    timeout check 2s
    retries 2
    option redispatch
    option clitcpka
    option srvtcpka
"""
QUICK: Final = """\
    # So long HAProxy waits before it tries again, too: meanwhile there may be a new primary.
    timeout connect 200ms
    retries 10
"""
CHECKED: Final = "agent-check agent-addr {host} agent-port {port} agent-inter 200ms"


def haproxy(
    spec: ClusterSpec, asked: tuple[str, int], *, write: int = 5000, read: int = 5001, lag: str = "16MB"
) -> str:
    """A whole haproxy.cfg. `asked`: where the controller answers agent checks, as HAProxy's host sees it."""
    options = CHECKED.format(host=asked[0], port=asked[1])
    primaries = [node for node in spec.nodes if node.may_be_primary()]
    readers = [node for node in spec.nodes if Tag.NO_LOAD_BALANCE not in node.tags]
    checked = "    default-server check inter 1s fall 2 rise 1 on-marked-down shutdown-sessions"
    lines = [
        HEAD.format(cluster=spec.name, write=write, read=read, socket=_sockets(spec)),
        f"listen {spec.name}_write",
        f"    bind :{write}",
        QUICK.rstrip(),
        checked,
        *(_server(spec, node, options, node.name, "primary") for node in primaries),
        "",
        f"listen {spec.name}_read",
        f"    bind :{read}",
        "    balance leastconn",
        checked,
        *(_server(spec, node, options, node.name, f"replica lag={lag}") for node in readers),
        *(f"{_server(spec, node, options, f'{node.name}_primary', 'primary')} backup" for node in primaries),
    ]
    return "\n".join([*lines, ""])


def _sockets(spec: ClusterSpec) -> str:
    """Where the configuration's HAProxy endpoints are told of a new primary."""
    found = (each for each in spec.endpoints if isinstance(each, Haproxy))
    return "".join(
        f"    stats socket {each.address}{' mode 660' if each.address.startswith('/') else ''} level admin\n"
        for each in found
    )


def _server(spec: ClusterSpec, node: NodeSpec, options: str, name: str, check: str) -> str:
    host = f"[{node.host}]" if ":" in node.host else node.host
    return f'    server {name} {host}:{node.port} {options} agent-send "{spec.name} {node.name} {check}\\n"'
