"""The lines of pg_hba.conf that let pgvigil and the standbys in, node by node. Pure text.

The first line that fits a connection decides (manual 21.1), so they belong above wider ones. They ask for
what the configuration can give: TLS where `sslmode` insists on it, a certificate where it names one.
"""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from pgvigil.model.spec import ClusterSpec, NodeSpec

REWIND_DATABASE: Final = "postgres"
"""Where pg_rewind logs in."""
_TLS: Final = frozenset({"require", "verify-ca", "verify-full"})
_METHODS: Final = {"scram-sha-256": "scram-sha-256", "gss": "gss", "md5": "md5", "password": "password"}
_HEAD: Final = """\
# Into pg_hba.conf of each node, above wider lines: the first that fits decides. Then: SELECT pg_reload_conf()
"""


def pg_hba(spec: ClusterSpec, controllers: Sequence[str]) -> str:
    """For every node of the cluster; `controllers`: addresses or names from which pgvigil logs in."""
    parts = [_HEAD]
    for node in spec.nodes:
        rows = list(dict.fromkeys((*_ours(node, controllers), *_standbys(spec, node))))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = [
            "  ".join([*(w.ljust(n) for w, n in zip(row, widths, strict=False)), row[4]]) for row in rows
        ]
        parts.append("\n".join([f"# {node.name} ({node.host}:{node.port})", *lines]) + "\n")
    return "\n".join(parts)


_Row = tuple[str, str, str, str, str]


def _ours(node: NodeSpec, controllers: Sequence[str]) -> Iterator[_Row]:
    """Our own login. Which database a `service` names is not known here."""
    login = dict(node.conninfo)
    database = _word(login["dbname"]) if "dbname" in login else "all"
    by_password = bool(node.password_command)
    for address in controllers:
        yield _row(login, database, login.get("user", "pgvigil"), address, by_password=by_password)


def _standbys(spec: ClusterSpec, node: NodeSpec) -> Iterator[_Row]:
    """Any other node may become its standby, and be rewound or copied from it."""
    login = dict(spec.replication.conninfo)
    for other in spec.others(node.name):
        for database in ("replication", _word(REWIND_DATABASE)):
            yield _row(login, database, login.get("user", "replicator"), other.host, by_password=False)


def _row(login: Mapping[str, str], database: str, user: str, address: str, *, by_password: bool) -> _Row:
    encrypted = login.get("sslmode") in _TLS
    kind = "hostssl" if encrypted else "hostgssenc" if login.get("gssencmode") == "require" else "host"
    password = by_password or "passfile" in login or "service" in login
    method = _METHODS.get(login.get("require_auth", ""), "scram-sha-256")
    if encrypted and "sslcert" in login:
        method = f"{method} clientcert=verify-full" if password else "cert"
    return kind, database, _word(user), _address(address), method


def _address(host: str) -> str:
    """An address with its mask; a name stays one: PostgreSQL looks it up, and back."""
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return _word(host)
    return f"{found}/{found.max_prefixlen}"


def _word(text: str) -> str:
    """Quoted unless it is plain: quotes take the meaning from words such as `all`."""
    plain = text.replace("_", "").replace("-", "").replace(".", "").isalnum()
    if plain and text.lower() not in {"all", "sameuser", "samerole", "samegroup", "replication"}:
        return text
    return '"' + text.replace('"', '""') + '"'
