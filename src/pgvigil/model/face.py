"""How the HTTP face is to be served, as the user wants it. Made by `config.http`, complete and checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, auto


class Access(StrEnum):
    """What a caller may do over HTTP."""

    VIEWER = auto()
    """See everything but secrets."""
    OPERATOR = auto()
    """Give commands, too."""


@dataclass(frozen=True, slots=True)
class HttpSpec:
    """Where to listen, and who may do what. Paths are on the controller's host."""

    host: str = "127.0.0.1"
    port: int = 8009
    asked_for: bool = False
    """The user named the address: if it is taken, that is an error and not only a warning."""
    haproxy_host: str = ""
    """Where HAProxy's agent checks are answered; empty: nowhere."""
    haproxy_port: int = 0
    tokens: str = ""
    """File of tokens; empty: there are none."""
    reads_need_token: bool = False
    cert: str = ""
    """PEM file of the server's certificate and chain; empty: no TLS."""
    key: str = ""
    client_ca: str = ""
    """PEM file of who signs client certificates; empty: none are asked for."""
    clients: Mapping[str, Access] = field(default_factory=dict)
    """Common name of a client certificate → what it may do."""
