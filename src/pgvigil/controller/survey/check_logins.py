"""Logins between nodes, tried on the nodes themselves, and the password files on both sides."""

import ipaddress
from collections.abc import Iterator

from pgvigil.controller.survey.items import advice, at, error, warning
from pgvigil.controller.survey.seen import ClusterSeen, NodeSeen, Passage
from pgvigil.model.check import CheckItem
from pgvigil.model.units import NodeName


def logins(seen: ClusterSeen) -> Iterator[CheckItem]:
    """From every host with a shell to every other node: the port, the standby's login, pg_rewind's login."""
    by_name = {node.name: node for node in seen.nodes}
    for node in seen.nodes:
        if node.host_answer and not node.host_answer.has_psql and len(seen.nodes) > 1:
            yield advice(
                at(seen, node),
                "psql is not there, so logins from it to other nodes cannot be tried",
                "install PostgreSQL's client package there, or try by hand: pg_basebackup … from it",
            )
    for passage in seen.passages:
        yield from _passage(seen, by_name[passage.source], by_name[passage.target], passage)
    yield from _own_passfiles(seen)
    yield from _their_passfiles(seen)


def _passage(seen: ClusterSeen, source: NodeSeen, target: NodeSeen, passage: Passage) -> Iterator[CheckItem]:
    place = at(seen, source)
    if passage.reached is False:
        if target.answer:  # a node that answers nobody has its own item
            what = f"it cannot reach {target.name} ({target.spec.host}:{target.spec.port})"
            fix = "open that port between the nodes, and see listen_addresses there: it could neither stream "
            yield error(place, what, fix + "from it nor confirm that it is lost")
        return
    if target.answer is None:
        return
    role = dict(seen.spec.replication.conninfo).get("user", "")
    if passage.replication:
        what = f"it cannot stream from {target.name} as {role}: {passage.replication}"
        yield error(place, what, _login_fix(seen, source, target, passage.replication, "replication"))
    elif passage.ordinary:
        what = f"pg_rewind could not log in at {target.name} as {role}: {passage.ordinary}"
        yield warning(place, what, _login_fix(seen, source, target, passage.ordinary, "postgres"))


def _login_fix(seen: ClusterSeen, source: NodeSeen, target: NodeSeen, said: str, database: str) -> str:
    own = dict(seen.spec.replication.conninfo)
    role = own.get("user", "")
    if "password" in said:
        host = source.host_answer
        file = own.get("passfile", f"~{host.user if host else 'postgres'}/.pgpass")
        line = f"{target.spec.host}:{target.spec.port}:*:{role}:PASSWORD"
        return f"on {source.name}, into {file} (mode 0600): {line}"
    hba = target.answer.text("hba_file") if target.answer else ""
    return (
        f"on {target.name}, {hba or 'pg_hba.conf'}: host {database} {role} {_net(source.spec.host)} "
        "scram-sha-256  then SELECT pg_reload_conf();"
    )


def _net(host: str) -> str:
    """A host as pg_hba.conf writes it."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return f"{address}/{address.max_prefixlen}"


def _own_passfiles(seen: ClusterSeen) -> Iterator[CheckItem]:
    for file, mode in seen.passfile_modes.items():
        if mode is None:
            yield warning(
                seen.spec.name, f"our password file {file} cannot be read", "create it, or correct passfile:"
            )
        elif mode & 0o077:
            what = f"our password file {file} is open to others (mode {mode:04o}), so libpq ignores it"
            yield error(seen.spec.name, what, f"chmod 0600 {file}")


def _their_passfiles(seen: ClusterSeen) -> Iterator[CheckItem]:
    file = dict(seen.spec.replication.conninfo).get("passfile", "")
    for node in seen.nodes:
        mode = node.host_answer.passfile_mode if node.host_answer else ""
        if mode == "missing":
            what = f"its password file for replication is missing: {file}"
            line = f"*:*:*:{dict(seen.spec.replication.conninfo).get('user', '')}:PASSWORD"
            yield error(at(seen, node), what, f"create it there (mode 0600), with the line {line}")
        elif mode and int(mode, 8) & 0o077:
            what = f"its password file {file} is open to others (mode {mode}), so libpq ignores it"
            yield error(at(seen, node), what, f"on {node.name}: chmod 0600 {file}")


def tried(seen: ClusterSeen) -> set[NodeName]:
    """The nodes from which logins were tried."""
    return {passage.source for passage in seen.passages if passage.replication is not None}
