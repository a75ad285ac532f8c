"""The `store` section: where the controller's state lies, and by which name it shares it with others."""

import re
import socket
from datetime import timedelta
from enum import StrEnum, auto
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from pgvigil.config.section import Section, local_path
from pgvigil.config.units import Duration, Kind, PathText, Text, duration_text
from pgvigil.model.etcd import EtcdSpec
from pgvigil.model.face import HttpSpec

SHORTEST: Final = timedelta(seconds=3)
"""etcd grants no shorter lease than one and a half elections, which are 1 s each by default."""
_ENDPOINT: Final = re.compile(r"(?:(https?)://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})/?", re.ASCII)
_PREFIX: Final = re.compile(r"(?:/[A-Za-z0-9._-]+)+", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)


class StoreKind(StrEnum):
    """What keeps the state."""

    SQLITE = auto()
    ETCD = auto()


def _endpoint(value: Any) -> str:  # what YAML had there
    found = _ENDPOINT.fullmatch(value) if isinstance(value, str) else None
    if not found or not 0 < int(found[3]) < 65536:
        raise ValueError("is no address with a port, such as 10.0.0.21:2379 or https://etcd1:2379")
    return str(value).rstrip("/")


def _prefix(value: Any) -> str:  # what YAML had there
    if not isinstance(value, str) or not _PREFIX.fullmatch(value):
        raise ValueError("begins with a slash and does not end with one, such as /pgvigil")
    return value


def _name(value: Any) -> str:  # what YAML had there
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError("is a word of letters, digits, dots and dashes, such as ctl1")
    return value


Plain = WithJsonSchema({"type": "string"})
Endpoint = Annotated[str, BeforeValidator(_endpoint), Plain, Kind("`host:port` or URL")]
Prefix = Annotated[str, BeforeValidator(_prefix), Plain, Kind("path")]
ControllerName = Annotated[str, BeforeValidator(_name), Plain, Kind("name")]


class StoreSection(Section):
    """Where the controller keeps its state: a file of its own, or etcd, which several controllers share."""

    kind: StoreKind = Field(
        default=StoreKind.SQLITE,
        description="`sqlite`: a file in `state_dir`, for one controller. `etcd`: for several that share the "
        "clusters; all else here belongs to it.",
    )
    endpoints: Annotated[tuple[Endpoint, ...], Kind("list of `host:port` or URLs")] = Field(
        default=(),
        description="The servers of etcd, three or five. Without `https://`: as `ca` and `cert` say.",
    )
    name: ControllerName | None = Field(
        default=None, description="This controller's name; no two may have the same. Without it: the host's."
    )
    prefix: Prefix = Field(default="/pgvigil", description="All keys in etcd begin with it.")
    ca: PathText | None = Field(
        default=None, description="Certificate of who signed those of etcd's servers (PEM), for TLS."
    )
    cert: PathText | None = Field(default=None, description="Our own certificate, if etcd asks for one.")
    key: PathText | None = Field(default=None, description="Key of that certificate.")
    user: Text | None = Field(default=None, description="User of etcd, if it asks for a login.")
    password_file: PathText | None = Field(default=None, description="File with that user's password.")
    password_command: Text | None = Field(
        default=None, description="Shell command that prints that user's password."
    )
    lease: Duration = Field(
        default=timedelta(seconds=10),
        description="A controller that etcd has not heard of for so long loses its clusters to the others. "
        "It stops acting itself after two thirds of that.",
    )
    retry: Duration = Field(
        default=timedelta(seconds=3),
        description="A read or write is tried for so long, with one server of etcd after the other.",
    )

    @model_validator(mode="after")
    def _whole(self) -> "StoreSection":
        if self.kind is StoreKind.SQLITE:
            if others := sorted(self.model_fields_set - {"kind"}):
                raise ValueError(f"{', '.join(others)}: only with kind: etcd")
            return self
        if not self.endpoints:
            raise ValueError("kind: etcd needs endpoints")
        if bool(self.cert) != bool(self.key):
            raise ValueError("cert and key belong together")
        if (self.password_file or self.password_command) and not self.user:
            raise ValueError("a password needs a user")
        if self.password_file and self.password_command:
            raise ValueError("password_file and password_command: only one of them")
        if self.lease < SHORTEST or self.lease.microseconds:
            raise ValueError(f"lease must be whole seconds, and not less than {duration_text(SHORTEST)}")
        if self.retry * 3 > self.lease:
            raise ValueError(
                f"lease must be at least three times retry ({duration_text(self.retry)}): a renewal that "
                "fails must leave time for another"
            )
        if self.ca and any(each.startswith("http://") for each in self.endpoints):
            raise ValueError("ca is for TLS: its endpoints begin with https://, or with nothing")
        return self

    def spec(self, folder: Path, http: HttpSpec | None) -> EtcdSpec | None:
        """The same, as the store knows it; None: SQLite. Relative paths begin at `folder`."""
        if self.kind is StoreKind.SQLITE:
            return None
        scheme = "https" if self.ca or self.cert else "http"

        def path(text: str | None) -> str:
            return local_path(text, folder) if text else ""

        return EtcdSpec(
            endpoints=tuple(each if "://" in each else f"{scheme}://{each}" for each in self.endpoints),
            name=self.name or socket.gethostname(),
            prefix=self.prefix,
            ca=path(self.ca),
            cert=path(self.cert),
            key=path(self.key),
            user=self.user or "",
            password_file=path(self.password_file),
            password_command=self.password_command or "",
            lease_s=self.lease.total_seconds(),
            retry_s=self.retry.total_seconds(),
            address=_address(http),
        )


def _address(http: HttpSpec | None) -> str:
    """Where others reach this controller's API; empty: nowhere."""
    if http is None or http.host in ("127.0.0.1", "::1", "localhost"):
        return ""
    host = socket.gethostname() if http.host in ("0.0.0.0", "::") else http.host  # noqa: S104  # compared only
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if http.cert else 'http'}://{shown}:{http.port}"
