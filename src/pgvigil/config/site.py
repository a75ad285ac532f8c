"""The section `standby_of`: which cluster a standby cluster follows, and what its leader must know of it."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pgvigil.config.access import LoginSection
from pgvigil.config.units import Kind, Name, Text
from pgvigil.model.spec import ClusterSpec, FollowedCluster, NodeSpec
from pgvigil.model.units import ClusterName, NodeName

PORT: int = 5432


def _joined(value: Any) -> Any:  # what YAML had there
    """A list or a number as libpq writes it: with commas."""
    if isinstance(value, list) and all(isinstance(each, str | int) for each in value):
        return ",".join(map(str, value))
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _hosts(text: str) -> str:
    if not re.fullmatch(r"[^\s,/=@'\"]+(,[^\s,/=@'\"]+)*", text):
        raise ValueError("must be names or addresses with commas between them, without anything else")
    return text


def _ports(text: str) -> str:
    if not all(part.isdigit() and 1 <= int(part) <= 65535 for part in text.split(",")):
        raise ValueError("must be a number from 1 to 65535, or one for each host with commas between them")
    return text


Hosts = Annotated[
    str,
    BeforeValidator(_joined, json_schema_input_type=str | tuple[str, ...]),
    AfterValidator(_hosts),
    Kind("hosts, with commas or as a list"),
]
Ports = Annotated[
    str,
    BeforeValidator(_joined, json_schema_input_type=int | str | tuple[int, ...]),
    AfterValidator(_ports),
    Kind("1–65535, or one for each host"),
]


class StandbyOfSection(LoginSection):
    """The cluster that this one follows. In short: its name, when it stands in the same file.

    What a login needs comes from `replication`, where it is not given here; paths are those of the nodes.
    """

    cluster: Name | None = Field(default=None, description="Its name in this file.")
    host: Hosts | None = Field(
        default=None, description="All its nodes' hosts, for one that is not in this file."
    )
    port: Ports | None = Field(default=None, description="With `host`: their port. Without it: 5432.")
    slot: Text | None = Field(
        default=None,
        description="Physical replication slot from which the leader streams. It must be there on whoever is "
        "primary of that cluster; pgvigil does not make it. Without it: none.",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.cluster is None) == (self.host is None):
            raise ValueError("needs either the name of a cluster of this file, or host")
        if self.port is not None and self.host is None:
            raise ValueError("port goes with host only")
        if self.host and self.port and self.port.count(",") not in (0, self.host.count(",")):
            raise ValueError("needs one port, or as many as there are hosts")
        if self.slot is not None and not re.fullmatch(r"[a-z0-9_]{1,63}", self.slot):
            raise ValueError("slot is no name of a replication slot: a-z, 0-9 and _")
        return self

    def over(self, below: Self) -> Self:
        """This one: two clusters are not mixed."""
        return self

    def followed(self, own: ClusterSpec, clusters: Mapping[ClusterName, ClusterSpec]) -> FollowedCluster:
        """The same, as the core knows it. `clusters`: all of the file."""
        login = tuple({**dict(own.replication.conninfo), **self.keywords()}.items())
        slot = self.slot or ""
        if self.cluster is not None:
            there = clusters[ClusterName(self.cluster)]
            nodes = tuple(
                replace(node, name=_name(there.name, node.name), upstream=None) for node in there.nodes
            )
            return FollowedCluster(there.name, nodes, login, slot)
        assert self.host is not None
        hosts, ports = self.host.split(","), (self.port or str(PORT)).split(",")
        ports = ports * len(hosts) if len(ports) == 1 else ports
        first = own.nodes[0]
        nodes = tuple(
            NodeSpec(
                name=_name("there", f"{host}:{port}"),
                host=host,
                port=int(port),
                conninfo=first.conninfo,
                password_command=first.password_command,
            )
            for host, port in zip(hosts, ports, strict=True)
        )
        return FollowedCluster(f"at {self.host}", nodes, login, slot)


def _name(cluster: str, node: str) -> NodeName:
    """A name that no node of a file can have, for there is a slash in it."""
    return NodeName(f"{cluster}/{node}")


def _short(value: Any) -> Any:  # what YAML had there
    """The short form: the name of a cluster."""
    return {"cluster": value} if isinstance(value, str) else value


StandbyOfValue = Annotated[
    StandbyOfSection | None,
    BeforeValidator(_short, json_schema_input_type=str | StandbyOfSection),
    Kind("name of a cluster, or mapping, see below"),
]
