"""`discover`: from one node of a running cluster to all of them, up and down the streams. Changes nothing.

Servers are found by asking: a standby knows where it streams from; a primary knows where its standbys come
from, though not on which port they listen. So the same port is tried first, then its neighbours and the
usual ones. What answers there counts only if it has the same system identifier.
"""

import asyncio
import contextlib
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from pgvigil.controller.survey.ask_host import ask_host
from pgvigil.controller.survey.ask_sql import ask_server
from pgvigil.controller.survey.describe import Discovered, Found, Lost, Map, describe
from pgvigil.controller.survey.seen import HostSeen, SenderSeen, SqlSeen, conninfo_keywords
from pgvigil.errors import Unreachable, UsageError
from pgvigil.model.shell import LocalShell, ShellSpec, SshShell
from pgvigil.model.spec import NodeSpec, Systemd
from pgvigil.model.units import NodeName
from pgvigil.ports.contract import Clock, NodePorts, NoReply, Rejected

CONNECT_S: Final = 3.0
QUERY_S: Final = 5.0
SHELL_S: Final = 8.0
USUAL_PORTS: Final = (5432, 5433, 5434, 5435, 5436)
NEIGHBOURS: Final = 4
"""Ports on either side of a known one: servers on one host are usually numbered one after another."""
NODES_MAX: Final = 64
"""More than any cluster has; a stop for whatever goes wrong."""
_NO_STANDBY: Final = re.compile(
    r"pg_(basebackup|receivewal|recvlogical|rewind)|barman|wal-g|pgbackrest", re.I
)

Address = tuple[str, int]


def likely_shell(host: str, *, ssh_key: str = "") -> ShellSpec:
    """The way one would try first: locally on our own host, else ssh as postgres (without a key: any)."""
    keys = (ssh_key,) if ssh_key else ()
    return LocalShell() if is_loopback(host) else SshShell(host=host, user="postgres", keys=keys)


async def discover(
    login: Mapping[str, str],
    connect: Callable[[NodeSpec], NodePorts],
    clock: Clock,
    *,
    name: str = "",
    shell: Callable[[str], ShellSpec | None] = likely_shell,
) -> Discovered:
    """A commented configuration of the cluster that `login` (libpq keywords) leads to, and what was found.

    The text loads with `config.load`; what could not be found out stands in it as a comment with TODO. It
    never holds a password. Raises UsageError, or Unreachable if nobody at that address lets us in.
    """
    if "service" in login and not login.get("host"):
        raise UsageError("a service alone does not say where the server is", hint="add host=… to it")
    search = _Search(login, connect, clock)
    first = await search.first(_addresses(login))
    await search.spread(first)
    nodes = await asyncio.gather(*(search.with_host(node, shell(node.host)) for node in search.found))
    seen = Map(tuple(_as_others_see_it(nodes)), tuple(search.lost()), dict(login), name)
    return describe(seen, clock.wall())


def is_loopback(host: str) -> bool:
    """Whether an address means the same host as the one that says it: also a socket, or no address."""
    if not host or host[0] in "/@" or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def line_of_pg_hba(said: str, login: Mapping[str, str]) -> str:
    """A line that lets us in, from what a server said that has none: our address is in it, as it sees us."""
    ours = ""
    for word in re.findall(r'"([0-9a-fA-F.:]+)"', said):
        with contextlib.suppress(ValueError):
            ours = ours or str(ipaddress.ip_network(word))
    user, database = (login.get(key) or "pgvigil" for key in ("user", "dbname"))
    line = f"host {database} {user} {ours or 'OUR-ADDRESS/32'} scram-sha-256"
    return f"add to pg_hba.conf on every node: {line}  and there: SELECT pg_reload_conf();"


def _addresses(login: Mapping[str, str]) -> list[Address]:
    hosts = (login.get("host") or login.get("hostaddr") or "").split(",")
    ports = (login.get("port") or "5432").split(",")
    return [
        (host, int(ports[min(i, len(ports) - 1)] or 5432))
        for i, host in enumerate(hosts)
        if (ports[min(i, len(ports) - 1)] or "5432").isdigit()
    ]


@dataclass(slots=True)
class _Search:
    """What was found so far, and where was looked already."""

    login: Mapping[str, str]
    connect: Callable[[NodeSpec], NodePorts]
    clock: Clock
    found: list[Found] = field(default_factory=list)
    tried: dict[Address, str] = field(default_factory=dict)
    """Where nothing of ours answered, and why."""
    _way_in: str = ""
    """What to do about a pg_hba.conf that has no line for us."""
    strangers: dict[Address, Found] = field(default_factory=dict)
    """Who answered, but does not stream from the node in question: perhaps from one that is found later."""

    async def first(self, addresses: list[Address]) -> Found:
        """The first of the given servers that lets us in; over TCP, if we came by a socket and it can."""
        for host, port in addresses:
            if not host or host[0] in "/@":
                for loopback in ("127.0.0.1", "localhost"):
                    if node := await self._ask((loopback, port)):
                        return node
            if node := await self._ask((host, port)):
                return node
        raise Unreachable(
            "no server there lets us in",
            detail="; ".join(self.tried.values()),
            hint=self._way_in or "correct host, port, user and the password (~/.pgpass, mode 0600)",
        )

    async def spread(self, first: Found) -> None:
        """Follow the streams from `first` in both directions until nobody new is found."""
        self.found.append(first)
        turn = [first]
        while turn and len(self.found) < NODES_MAX:
            before = len(self.found)
            for node in turn:
                await self._try(_upstreams(node))
                await self._try(((host, node.port) for host in _standby_hosts(node)), below=node)
            for node in turn:
                await self._try(self._other_ports(node), below=node)
            turn = self.found[before:]

    def lost(self) -> list[Lost]:
        """Standbys that a found node sends to, but that were not found themselves."""
        rest = []
        for node in self.found:
            below = [other for other in self.found if other.sql.recovering and other is not node]
            for sender in sorted(_standby_senders(node), key=lambda s: not s.slot):
                match = next((other for other in below if _is_sent_by(node, sender, other)), None)
                if match:
                    below.remove(match)
                else:
                    host = sender.host or _from(node, sender.address)
                    why = self.tried.get((host, node.port), "")
                    hidden = not (sender.address or node.sql.superuser or node.sql.rights.get("pg_monitor"))
                    rest.append(Lost(node, "" if hidden else host, sender.application_name, why))
        return rest

    async def with_host(self, node: Found, spec: ShellSpec | None) -> Found:
        """The node with what its host's shell says, if one works and really is its host's."""
        if spec is None:
            return node
        data_dir = node.sql.text("data_directory")
        ports = self.connect(self._spec((node.host, node.port), spec))
        try:
            host = await ask_host(ports, data_dir, {}, self.clock, within_s=SHELL_S)
            if isinstance(host, HostSeen) and host.unit.startswith(("postgres", "pgsql")):
                control = Systemd(host.unit.removesuffix(".service"), sudo=True)
                again = NodePorts(
                    replace(ports.spec, control=control), ports.new_session, ports.session, ports.shell
                )
                host = await ask_host(again, data_dir, {}, self.clock, within_s=SHELL_S)
        finally:
            if ports.shell:
                ports.shell.close()
        if isinstance(host, HostSeen) and not host.running:
            return replace(
                node, shell=spec, shell_failure="its shell leads to another host, or cannot see it"
            )
        if isinstance(host, HostSeen):
            return replace(node, shell=spec, on_host=host)
        return replace(node, shell=spec, shell_failure=str(host) if host else "")

    async def _try(self, addresses: Iterable[Address], below: Found | None = None) -> None:
        """Ask all that were not asked before, at the same time; keep those of our cluster.

        `below`: only standbys that this node sends to; a copy of the cluster has its system identifier too.
        """
        new = [a for a in dict.fromkeys(addresses) if a not in self.tried and a not in self._known()]
        fresh = [address for address in new if address not in self.strangers]
        answers = [self.strangers.pop(address, None) for address in new]
        answers += await asyncio.gather(*(self._ask(address) for address in fresh))
        ours = self.found[0].sql.system_id
        for node in answers:
            if node is None:
                continue
            fits = below is None or any(_is_sent_by(below, s, node) for s in _standby_senders(below))
            known = node.identity in {other.identity for other in self.found}
            if node.sql.system_id == ours and fits and not known:
                self.found.append(node)
            else:
                self.strangers[node.host, node.port] = node

    async def _ask(self, address: Address) -> Found | None:
        answer = await ask_server(
            self.connect(self._spec(address)), "", connect_s=CONNECT_S, within_s=QUERY_S
        )
        host, port = address
        match answer:
            case SqlSeen():
                return Found(host if host[:1] not in ("", "/", "@") else "127.0.0.1", port, answer)
            case Rejected(sqlstate="28000", detail=said) if "pg_hba.conf" in said:
                self.tried[address] = str(answer)
                self._way_in = line_of_pg_hba(said, self.login)
            case Rejected() | NoReply():
                self.tried[address] = str(answer)
        return None

    def _spec(self, address: Address, shell: ShellSpec | None = None) -> NodeSpec:
        host, port = address
        own = {key: value for key, value in self.login.items() if key not in ("host", "hostaddr", "port")}
        own.pop("target_session_attrs", None)
        own.pop("load_balance_hosts", None)
        return NodeSpec(NodeName(f"{host}:{port}"), host, port, tuple(own.items()), shell=shell)

    def _known(self) -> set[Address]:
        return {(node.host, node.port) for node in self.found}

    def _other_ports(self, node: Found) -> list[Address]:
        """Where standbys of `node` may listen that were not found on its own port."""
        near = [node.port + step for n in range(1, NEIGHBOURS + 1) for step in (n, -n)]
        hosts = {lost.host for lost in self.lost() if lost.upstream is node}
        return [(host, port) for host in sorted(hosts) for port in (*near, *USUAL_PORTS) if 0 < port < 65536]


def _upstreams(node: Found) -> list[Address]:
    """Where a standby streams from: as its receiver says, else as it is told to."""
    receiver = node.sql.receiver
    if receiver and receiver.host:
        return [(_from(node, receiver.host), receiver.port or 5432)]
    told = conninfo_keywords(node.sql.text("primary_conninfo"))
    if not node.sql.recovering or not told:
        return []
    return [(_from(node, host), port) for host, port in _addresses(told)]


def _standby_hosts(node: Found) -> list[str]:
    return [s.host or _from(node, s.address) for s in _standby_senders(node)]


def _standby_senders(node: Found) -> list[SenderSeen]:
    """Senders to standbys: neither backups nor subscribers."""
    logical = {slot.name for slot in node.sql.slots if not slot.physical}
    return [
        sender
        for sender in node.sql.senders
        if sender.slot not in logical and not _NO_STANDBY.search(sender.application_name)
    ]


def _from(node: Found, host: str) -> str:
    """An address as that node said it, as we have to say it: its loopback is its host."""
    return node.host if is_loopback(host) else host


def _is_sent_by(node: Found, sender: SenderSeen, standby: Found) -> bool:
    """Whether that sender feeds that standby: by slot, else by name and host."""
    if not standby.sql.recovering:
        return False
    receiver, here = standby.sql.receiver, {sender.host, _from(node, sender.address)}
    if sender.slot and receiver and receiver.slot:
        return sender.slot == receiver.slot
    if "primary_conninfo" not in standby.sql.settings:  # not ours to see
        return standby.host in here
    told = conninfo_keywords(standby.sql.text("primary_conninfo"))
    own_name = told.get("application_name") or standby.sql.text("cluster_name") or "walreceiver"
    return standby.host in here and own_name == sender.application_name


def _as_others_see_it(nodes: Iterable[Found]) -> list[Found]:
    """Nodes we reached by loopback, under the address by which remote standbys reach them."""
    every = list(nodes)
    remote = {
        node.sql.receiver.host
        for node in every
        if node.sql.receiver and not is_loopback(node.host) and not is_loopback(node.sql.receiver.host)
    }
    primaries = [node for node in every if not node.sql.recovering]
    if len(remote) == 1 and len(primaries) == 1 and is_loopback(primaries[0].host):
        (host,) = remote
        every = [replace(node, host=host) if is_loopback(node.host) else node for node in every]
    return every
