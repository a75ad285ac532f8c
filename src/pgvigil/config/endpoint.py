"""The list `endpoints`: what clients connect to, and how it is moved."""

import ipaddress
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pgvigil.config.access import LoginSection, Port, ShellValue, Via
from pgvigil.config.section import Section, local_path
from pgvigil.config.units import Duration, Kind, Name, PathText, Text
from pgvigil.model.endpoint import EndpointSpec, Haproxy, Pgbouncer
from pgvigil.model.shell import LocalShell

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


KINDS: Final = ("haproxy", "pgbouncer")


class EndpointSection(Section):
    """One thing that clients connect to: a name, if several are of one kind, and exactly one kind."""

    name: Name | None = Field(
        default=None, description="As events and `status` call it. Without it: as its kind is called."
    )
    haproxy: HaproxySection | None = Field(default=None, description="A HAProxy; see below.")
    pgbouncer: PgbouncerSection | None = Field(default=None, description="A PgBouncer; see below.")

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

    def spec(self, cluster: str, folder: Path) -> EndpointSpec:
        """The same, as the core knows it."""
        if self.haproxy is not None:
            return Haproxy(self.called, self.haproxy.address, self.haproxy.backend or f"{cluster}_write")
        assert self.pgbouncer is not None
        return self.pgbouncer.spec(self.called, folder)


EndpointsValue = Annotated[tuple[EndpointSection, ...], Kind("list of mappings, see below")]
