"""The `http` section: where the API and the health checks are served, and who may do what."""

import re
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, StrictBool, WithJsonSchema, model_validator

from pgvigil.config.section import Section, local_path
from pgvigil.config.units import Kind, PathText, Text
from pgvigil.model.face import Access, HttpSpec

OFF: Final = "off"
_LISTEN: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})", re.ASCII)


def _listen(value: Any) -> str:  # what YAML had there
    """`host:port`; YAML reads a bare `off` as false."""
    return OFF if value is False or value == OFF else _address(value)


def _address(value: Any) -> str:  # what YAML had there
    found = _LISTEN.fullmatch(value) if isinstance(value, str) else None
    if not found or not 0 < int(found[3]) < 65536:
        raise ValueError("is no address with a port, such as 127.0.0.1:8009 or [::1]:8009")
    return str(value)


Listen = Annotated[
    str,
    BeforeValidator(_listen),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"const": False}]}),
    Kind("`host:port` or off"),
]
Address = Annotated[str, BeforeValidator(_address), Kind("`host:port`")]


class HttpSection(Section):
    """The HTTP face: API, health checks for load balancers, events as they happen."""

    listen: Listen = Field(
        default="127.0.0.1:8009",
        description="Address and port. `off`: nothing is served. Without the key: 127.0.0.1:8009, unless "
        "that is taken.",
    )
    haproxy: Address | None = Field(
        default=None,
        description="Address and port on which HAProxy's agent checks are answered; see "
        "`pgvigil render haproxy`.",
    )
    tokens: PathText | None = Field(
        default=None,
        description="File of tokens, written by `pgvigil token`. Whoever gives commands needs one.",
    )
    reads_need_token: StrictBool = Field(
        default=False,
        description="Whoever only reads needs a token or a client certificate, too. Health checks never do.",
    )
    cert: PathText | None = Field(default=None, description="Certificate of the server (PEM), for TLS.")
    key: PathText | None = Field(default=None, description="Key of the certificate.")
    client_ca: PathText | None = Field(
        default=None, description="Certificate of who signs the certificates of clients."
    )
    clients: dict[Text, Access] = Field(
        default={}, description="What the client certificate of that common name allows."
    )

    @model_validator(mode="after")
    def _whole(self) -> "HttpSection":
        if bool(self.cert) != bool(self.key):
            raise ValueError("cert and key belong together")
        if self.client_ca and not self.cert:
            raise ValueError("client_ca needs cert and key: certificates of clients come with TLS")
        if self.clients and not self.client_ca:
            raise ValueError("clients needs client_ca")
        return self

    def spec(self, folder: Path) -> HttpSpec | None:
        """The same, as the API knows it; None: off. Relative paths begin at `folder`."""
        if self.listen == OFF:
            return None
        host, port = _split(self.listen)
        haproxy_host, haproxy_port = _split(self.haproxy) if self.haproxy else ("", 0)

        def path(text: str | None) -> str:
            return local_path(text, folder) if text else ""

        return HttpSpec(
            host=host,
            port=port,
            haproxy_host=haproxy_host,
            haproxy_port=haproxy_port,
            asked_for="listen" in self.model_fields_set,
            tokens=path(self.tokens),
            reads_need_token=self.reads_need_token,
            cert=path(self.cert),
            key=path(self.key),
            client_ca=path(self.client_ca),
            clients=self.clients,
        )


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
