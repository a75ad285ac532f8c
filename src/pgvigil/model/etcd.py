"""Where the state of several controllers lies, as the user wants it. Made by `config.store`, checked."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EtcdSpec:
    """An etcd cluster, and this controller in it. Paths are on the controller's host."""

    endpoints: tuple[str, ...]
    """`http://host:port` or `https://host:port`, one of each etcd server."""
    name: str
    """This controller's: no other one may have it."""
    prefix: str = "/pgvigil"
    """All keys begin with it and a slash."""
    ca: str = ""
    """PEM file of who signed the certificates of etcd's servers; empty: the system's."""
    cert: str = ""
    """PEM file of our own certificate and chain; empty: none."""
    key: str = ""
    user: str = ""
    """Empty: etcd asks for no login."""
    password_file: str = ""
    password_command: str = ""
    lease_s: float = 10.0
    """A controller that was not heard of for so long has lost its clusters to the others."""
    retry_s: float = 2.0
    """How long a read or a write is tried, with one server of etcd after the other, before it failed."""
    address: str = ""
    """Where people and programs reach this controller; empty: not over the network."""
