"""Connection strings for applications: all nodes in one, and the client finds the right one. Pure.

Source: libpq's documentation, 34.1.1.3 (several hosts), `target_session_attrs` (since 14 with
`prefer-standby`), `load_balance_hosts` (since 16), `tcp_user_timeout` (since 12);
pgJDBC's `targetServerType`.
"""

from collections.abc import Sequence
from enum import StrEnum, auto
from urllib.parse import quote, urlencode

from pgvigil.model.spec import ClusterSpec, NodeSpec, Tag

CONNECT_TIMEOUT_S = 3
"""Per host: without it a vanished host stalls a client for the kernel's two minutes."""
LOST_HOST: Sequence[tuple[str, str]] = (
    ("keepalives_idle", "5"),
    ("keepalives_interval", "2"),
    ("tcp_user_timeout", "10000"),
)
"""libpq: a session with a host that vanished ends after 10 s, also one that waits for an answer; without it
what was sent is repeated by the kernel for a quarter of an hour, and the client knows of no failover."""


class Purpose(StrEnum):
    """What the application wants to do."""

    WRITE = auto()
    READ = auto()


class Format(StrEnum):
    """How the client takes it."""

    URI = auto()
    DSN = auto()
    JDBC = auto()


def connection_string(
    cluster: ClusterSpec, purpose: Purpose, style: Format, *, dbname: str = "", user: str = ""
) -> str:
    """One string with all nodes of the cluster that may serve the purpose; never a password.

    Of a standby cluster writes go to the cluster that it follows, or to it when it was promoted.
    """
    nodes = [n for n in cluster.nodes if purpose is Purpose.WRITE or Tag.NO_LOAD_BALANCE not in n.tags]
    if purpose is Purpose.WRITE and cluster.standby_of is not None:
        nodes = [*cluster.standby_of.nodes, *nodes]
    nodes = nodes or list(cluster.nodes)
    options = _options(purpose)
    match style:
        case Format.DSN:
            pairs = [
                ("host", ",".join(n.host for n in nodes)),
                ("port", ",".join(str(n.port) for n in nodes)),
            ]
            named = [(key, value) for key, value in (("user", user), ("dbname", dbname)) if value]
            return " ".join(f"{key}={_dsn_value(value)}" for key, value in [*pairs, *named, *options])
        case Format.JDBC:
            hosts = ",".join(_host(n, escape=False) for n in nodes)
            jdbc = [*([("user", user)] if user else []), *_jdbc_options(purpose)]
            return f"jdbc:postgresql://{hosts}/{quote(dbname)}?{urlencode(jdbc)}"
        case Format.URI:
            who = f"{quote(user)}@" if user else ""
            hosts = ",".join(_host(n, escape=True) for n in nodes)
            return f"postgresql://{who}{hosts}/{quote(dbname)}?{urlencode(options)}"


def _options(purpose: Purpose) -> Sequence[tuple[str, str]]:
    timeout = ("connect_timeout", str(CONNECT_TIMEOUT_S))
    if purpose is Purpose.WRITE:
        return [("target_session_attrs", "read-write"), timeout, *LOST_HOST]
    return [("target_session_attrs", "prefer-standby"), ("load_balance_hosts", "random"), timeout, *LOST_HOST]


def _jdbc_options(purpose: Purpose) -> Sequence[tuple[str, str]]:
    timeout = ("connectTimeout", str(CONNECT_TIMEOUT_S))
    if purpose is Purpose.WRITE:
        return [("targetServerType", "primary"), timeout]
    return [("targetServerType", "preferSecondary"), ("loadBalanceHosts", "true"), timeout]


def _host(node: NodeSpec, *, escape: bool) -> str:
    if ":" in node.host:
        return f"[{node.host}]:{node.port}"
    return f"{quote(node.host, safe='') if escape else node.host}:{node.port}"


def _dsn_value(value: str) -> str:
    if value and not any(c.isspace() or c in "'\\" for c in value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
