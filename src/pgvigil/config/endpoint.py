"""The list `endpoints`: what clients connect to, and how it is moved."""

import ipaddress
import re
from collections.abc import Collection, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, model_validator

from pgvigil.config.access import LoginSection, Port, ShellValue, Via
from pgvigil.config.section import Section, local_path
from pgvigil.config.units import Duration, Kind, Name, PathText, Text
from pgvigil.model.endpoint import EndpointSpec, Haproxy, Pgbouncer, Vip, VipRole
from pgvigil.model.shell import LocalShell
from pgvigil.model.units import NodeName

_FILES: Final = ("passfile", "sslrootcert", "sslcert", "sslkey", "sslcrl")


def _address(text: str) -> str:
    if not (text.startswith("/") or re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/]+):\d{1,5}", text)):
        raise ValueError("must be the path of a socket, written in full, or host:port")
    return text


Address = Annotated[Text, AfterValidator(_address), Kind("path or host:port")]


class HaproxySection(Section):
    """A HAProxy, told of a new primary through its Runtime API in the moment that it is verified."""

    address: Address = Field(
        description="Its `stats socket … level admin`: the path on this host, or `host:port`."
    )
    backend: Name | None = Field(
        default=None,
        description="The proxy whose servers, named as the nodes, take clients that write. Without it: "
        "CLUSTER_write, as `pgvigil render haproxy` has it.",
    )


def _databases(value: Any) -> Any:  # what YAML had there
    """The short form: names alone."""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return dict.fromkeys(value, "-")
    return value


def _words(text: str) -> str:
    if re.search(r"\b(host|port)\s*=", text):
        raise ValueError("host and port are pgvigil's to say")
    return "" if text == "-" else text


Databases = Annotated[
    dict[Name, Annotated[Text, AfterValidator(_words)]],
    BeforeValidator(_databases, json_schema_input_type=tuple[str, ...] | dict[str, str]),
    Kind("list of names, or mapping of names to what else is in the line"),
]

PAUSE_AT_MOST: Final = timedelta(seconds=50)
"""A switchover waits no longer than a minute for endpoints."""


class PgbouncerSection(LoginSection):
    """A PgBouncer. Clients wait through a planned switchover; after a failover they are led on.

    The login is the console's: a role of `admin_users`. Its files are the controller's.
    """

    host: Text = Field(description="Where it is: name, address, or directory of its socket.")
    port: Port = Field(default=6432, description="Its `listen_port`.")
    databases: Databases = Field(
        min_length=1,
        description="Its databases that lead to the primary, such as `[app]`, or `{app: pool_size=20}`.",
    )
    file: PathText = Field(
        description="File on its host that pgbouncer.ini includes. All of it is written by pgvigil."
    )
    shell: ShellValue = Field(
        default=None,
        description="How the file is written: a shell on PgBouncer's host, as that of nodes. Not needed when "
        "it is this host.",
    )
    pause_timeout: Duration = Field(
        default=timedelta(seconds=5),
        description="How long a planned switchover waits for transactions to end before it is given up. "
        "Others wait behind them all that time.",
    )

    @model_validator(mode="after")
    def _can_be_written(self) -> Self:
        if not self.file.startswith("/"):
            raise ValueError("file is a path on PgBouncer's host: write it in full, from / on")
        if (self.shell is None and not _is_here(self.host)) or (self.shell and self.shell.via is Via.NONE):
            raise ValueError("needs shell: a way to write the file on PgBouncer's host")
        if self.pause_timeout > PAUSE_AT_MOST:
            raise ValueError("pause_timeout must not be more than 50s: all clients wait that long")
        return self

    def misfits(self) -> Iterator[str]:
        """What does not go together in the shell."""
        return iter(self.shell.misfits() if self.shell else ())

    def spec(self, name: str, folder: Path) -> Pgbouncer:
        """The same, as the core knows it."""
        words = {"host": self.host, "port": str(self.port), "dbname": "pgbouncer", **self.keywords()}
        for key in _FILES:
            if key in words and not (key == "sslrootcert" and words[key] == "system"):
                words[key] = local_path(words[key], folder)
        shell = self.shell.spec(name, self.host, folder) if self.shell else LocalShell()
        return Pgbouncer(
            name,
            tuple(words.items()),
            tuple(self.databases.items()),
            self.file,
            shell or LocalShell(),
            self.pause_timeout,
        )


def _is_here(host: str) -> bool:
    if host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _ipv4(text: str) -> str:
    try:
        address = ipaddress.IPv4Interface(text)
    except ValueError:
        address = None
    if address is None or "/" not in text:
        raise ValueError("must be an IPv4 address with its prefix length, such as 10.0.0.100/24")
    return str(address)


def _interface(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,15}", text):
        raise ValueError("is no name of a network interface")
    return text


Interface = Annotated[Text, AfterValidator(_interface)]


class VipSection(Section):
    """An address that is on one host at a time: added, announced and taken off over the nodes' shells."""

    address: Annotated[Text, AfterValidator(_ipv4), Kind("IPv4 address with prefix length")] = Field(
        description="Such as 10.0.0.100/24. It is in no file of any host."
    )
    interface: Annotated[Interface | dict[Name, Interface], Kind("name, or mapping of nodes to names")] = (
        Field(description="Where it is added; of each node, if they differ.")
    )
    role: VipRole = Field(
        default=VipRole.PRIMARY,
        description="Whose host has it: the primary's, or that of a standby fit for reading, where there is "
        "one.",
    )
    sudo: StrictBool = Field(
        default=False, description="Put `sudo -n` in front of the commands; see `pgvigil render sudoers`."
    )

    def misfits(self, nodes: Collection[str]) -> Iterator[str]:
        """What does not go together with the nodes that there are."""
        if isinstance(self.interface, dict) and set(self.interface) != set(nodes):
            yield f"interface: names other nodes than there are: {', '.join(nodes)}"

    def spec(self, name: str, nodes: Collection[str]) -> Vip:
        """The same, as the core knows it."""
        names = self.interface if isinstance(self.interface, dict) else dict.fromkeys(nodes, self.interface)
        interfaces = tuple((NodeName(node), names[node]) for node in nodes)
        return Vip(name, self.address, interfaces, self.role, self.sudo)


KINDS: Final = ("haproxy", "pgbouncer", "vip")


class EndpointSection(Section):
    """One thing that clients connect to: a name, if several are of one kind, and exactly one kind."""

    name: Name | None = Field(
        default=None, description="As events and `status` call it. Without it: as its kind is called."
    )
    haproxy: HaproxySection | None = Field(default=None, description="A HAProxy; see below.")
    pgbouncer: PgbouncerSection | None = Field(default=None, description="A PgBouncer; see below.")
    vip: VipSection | None = Field(default=None, description="A virtual address; see below.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if len(self.kinds) != 1:
            raise ValueError(f"needs exactly one of {', '.join(KINDS)}")
        return self

    @property
    def kinds(self) -> list[str]:
        """Those that are given."""
        return [kind for kind in KINDS if getattr(self, kind) is not None]

    @property
    def called(self) -> str:
        """Its name, given or not."""
        return self.name or self.kinds[0]

    def spec(self, cluster: str, nodes: Collection[str], folder: Path) -> EndpointSpec:
        """The same, as the core knows it."""
        if self.haproxy is not None:
            return Haproxy(self.called, self.haproxy.address, self.haproxy.backend or f"{cluster}_write")
        if self.vip is not None:
            return self.vip.spec(self.called, nodes)
        assert self.pgbouncer is not None
        return self.pgbouncer.spec(self.called, folder)


EndpointsValue = Annotated[tuple[EndpointSection, ...], Kind("list of mappings, see below")]
