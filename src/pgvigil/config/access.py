"""The sections that say how a node is reached and run: `postgres`, `replication`, `shell`, `control`."""

import re
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, Field, StrictBool, StrictInt, model_validator

from pgvigil.config.section import Section, local_path
from pgvigil.config.units import Duration, Host, Kind, PathText, Size, Text
from pgvigil.model.shell import CommandShell, LocalShell, ShellSpec, SshShell
from pgvigil.model.spec import (
    Control,
    OwnCommands,
    PgCtl,
    PgCtlCluster,
    Replication,
    SpareSlots,
    Systemd,
)

Port = Annotated[StrictInt, Field(ge=1, le=65535), Kind("1–65535")]


class SslMode(StrEnum):
    """libpq's `sslmode`."""

    DISABLE = "disable"
    ALLOW = "allow"
    PREFER = "prefer"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


class Wish(StrEnum):
    """libpq's `channel_binding` and `gssencmode`."""

    DISABLE = "disable"
    PREFER = "prefer"
    REQUIRE = "require"


class SslNegotiation(StrEnum):
    """libpq's `sslnegotiation`."""

    POSTGRES = "postgres"
    DIRECT = "direct"


class LoginSection(Section):
    """libpq keywords that a login to a node may have: manual 34.1.2."""

    user: Text | None = Field(default=None, description="Role to log in as.")
    passfile: PathText | None = Field(default=None, description="Password file, in the format of ~/.pgpass.")
    sslmode: SslMode | None = Field(default=None, description="Whether and how strictly TLS is used.")
    sslrootcert: PathText | None = Field(
        default=None, description="Certificates of trusted authorities, or `system`."
    )
    sslcert: PathText | None = Field(default=None, description="Client certificate.")
    sslkey: PathText | None = Field(default=None, description="Key of the client certificate.")
    sslcrl: PathText | None = Field(default=None, description="Certificates that were revoked.")
    sslnegotiation: SslNegotiation | None = Field(default=None, description="How TLS begins (from 17 on).")
    channel_binding: Wish | None = Field(
        default=None, description="Whether SCRAM must be bound to the TLS session."
    )
    require_auth: Text | None = Field(
        default=None, description="Ways of authentication that are accepted, such as `scram-sha-256`."
    )
    gssencmode: Wish | None = Field(default=None, description="Whether GSSAPI encryption is used.")
    krbsrvname: Text | None = Field(default=None, description="Kerberos service name.")

    def keywords(self) -> dict[str, str]:
        """The libpq keywords that are set."""
        return {
            name: str(value)
            for name in LoginSection.model_fields
            if (value := getattr(self, name)) is not None
        }


_FILES: Final = ("passfile", "sslrootcert", "sslcert", "sslkey", "sslcrl")


def _control(value: Any) -> Any:  # what YAML had there
    """The short forms of `control`."""
    if not isinstance(value, str):
        return value
    word, colon, rest = value.partition(":")
    if value == "pg_ctl":
        return {"pg_ctl": True}
    if colon and word in ("systemd", "pg_ctlcluster"):
        return {word: rest}
    raise ValueError("must be pg_ctl, systemd:UNIT, pg_ctlcluster:VERSION/NAME, or a mapping")


class ControlSection(Section):
    """How a server is started and stopped. In short: `pg_ctl`, `systemd:UNIT`, `pg_ctlcluster:16/main`."""

    pg_ctl: StrictBool = Field(default=False, description="By the server's own pg_ctl.")
    options: Text | None = Field(default=None, description="With `pg_ctl`: more options for its start.")
    systemd: Text | None = Field(default=None, description="As this systemd unit.")
    sudo: StrictBool = Field(default=False, description="With `systemd`: put `sudo -n` in front.")
    pg_ctlcluster: Text | None = Field(
        default=None, description="By Debian's pg_ctlcluster, as VERSION/NAME."
    )
    start: Text | None = Field(default=None, description="By this shell line, run on the host.")
    stop: Text | None = Field(default=None, description="Shell line that stops it; goes with `start`.")
    reload: Text | None = Field(
        default=None,
        description="With `start`: shell line for `config reload` and `config set`; else over SQL.",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        own = self.start is not None or self.stop is not None or self.reload is not None
        ways = (self.pg_ctl, self.systemd is not None, self.pg_ctlcluster is not None, own)
        if sum(ways) != 1:
            raise ValueError("needs exactly one of pg_ctl, systemd, pg_ctlcluster, start and stop")
        if own and not (self.start and self.stop):
            raise ValueError("needs both start and stop")
        if self.sudo and self.systemd is None:
            raise ValueError("sudo goes with systemd only; own lines may have it inside")
        if self.options is not None and not self.pg_ctl:
            raise ValueError("options goes with pg_ctl only")
        if self.systemd is not None and not re.fullmatch(r"[A-Za-z0-9:_.\\@-]{1,255}", self.systemd):
            raise ValueError("is no name of a systemd unit")
        if self.pg_ctlcluster is not None and not re.fullmatch(r"\d+(\.\d+)?/[\w.-]+", self.pg_ctlcluster):
            raise ValueError("must name a Debian cluster as VERSION/NAME, for example 16/main")
        return self

    def over(self, below: Self) -> Self:
        """This one: ways of control are not mixed."""
        return self

    def spec(self) -> Control:
        """The same, as the core knows it."""
        if self.systemd is not None:
            return Systemd(self.systemd, self.sudo)
        if self.pg_ctlcluster is not None:
            version, _, name = self.pg_ctlcluster.partition("/")
            return PgCtlCluster(version, name)
        if self.start is not None and self.stop is not None:
            return OwnCommands(self.start, self.stop, self.reload or "")
        return PgCtl(self.options or "")


ControlValue = Annotated[
    ControlSection | None,
    BeforeValidator(_control, json_schema_input_type=str | ControlSection),
    Kind("text or mapping, see below"),
]


class PostgresSection(LoginSection):
    """How pgvigil logs in at a node, and where the node keeps its things. No password here."""

    port: Port = Field(default=5432, description="Port of the server.")
    dbname: Text = Field(
        default="postgres",
        description="Database to log in to; nothing is kept there. Not given, a `service` may name another.",
    )
    service: Text | None = Field(
        default=None, description="Section of libpq's service file; it may hold the password."
    )
    options: Text | None = Field(default=None, description="Command-line options for our session's server.")
    password_command: Text | None = Field(
        default=None,
        description="Shell line, run on the controller for each new session, that prints the password.",
        repr=False,
    )
    data_dir: PathText | None = Field(
        default=None, description="Data directory. Without it: asked from the running server, and remembered."
    )
    bin_dir: PathText | None = Field(
        default=None, description="Directory of the server's programs. Without it: found from what runs."
    )
    config_file: PathText | None = Field(
        default=None, description="postgresql.conf, where it lies outside of the data directory (Debian)."
    )
    wal_dir: PathText | None = Field(
        default=None,
        description="Where the WAL of a new node goes, in place of pg_wal in its data directory. A node that "
        "exists keeps it where it is.",
    )
    control: ControlValue = Field(
        default=None, description="How it is started and stopped; without it by pg_ctl."
    )
    promote_command: Text | None = Field(
        default=None,
        description="Shell line of yours, run on the node to promote it, in place of pg_promote().",
    )
    follow_command: Text | None = Field(
        default=None,
        description="Shell line of yours, run on a standby to point it at another upstream, in place of "
        "ALTER SYSTEM; NODE, UPSTREAM, UPSTREAM_HOST, UPSTREAM_PORT and PRIMARY_CONNINFO are set.",
    )

    @model_validator(mode="after")
    def _places_are_absolute(self) -> Self:
        for name in ("data_dir", "bin_dir", "config_file", "wal_dir"):
            if (path := getattr(self, name)) is not None and not path.startswith("/"):
                raise ValueError(f"{name} is a path on the node: write it in full, from / on")
        return self

    def conninfo(self, folder: Path) -> tuple[tuple[str, str], ...]:
        """The libpq keywords of our login; paths are the controller's."""
        words = self.keywords()
        if self.service is None or "dbname" in self.model_fields_set:
            words["dbname"] = self.dbname
        words |= {name: value for name in ("service", "options") if (value := getattr(self, name))}
        for name in _FILES:
            if name in words and not (name == "sslrootcert" and words[name] == "system"):
                words[name] = local_path(words[name], folder)
        return tuple(words.items())


class ReplicationSection(LoginSection):
    """How standbys log in at the node they stream from. Paths are those of the nodes; no password here."""

    slots: StrictBool = Field(
        default=True, description="Keep one physical replication slot for each standby."
    )
    spare_slots: SpareSlots = Field(
        default=SpareSlots.LIMITED,
        description="Keep slots also where nobody reads from them now: one for every other node on each "
        "node that is primary or may become it, so that a new primary holds back WAL for the others from its "
        "first moment. `limited`: where max_slot_wal_keep_size is set, for nobody moves them on while no "
        "controller runs.",
    )
    slot_warning: Size = Field(
        default=4 * 2**30, description="A slot that holds back more WAL than this is told of."
    )
    dbname: Text | None = Field(
        default=None,
        description="Database that PostgreSQL logs in to for copying logical slots to standbys "
        "(sync_replication_slots, from 17 on). Streaming needs none.",
    )
    return_after: Duration = Field(
        default=timedelta(minutes=1),
        description="A node's `upstream` must have been well for this long before the node goes back to it, "
        "and longer each time that it could not stream from it.",
    )

    @model_validator(mode="after")
    def _places_are_absolute(self) -> Self:
        for name in _FILES:
            path = getattr(self, name)
            if path is not None and not path.startswith("/") and (name, path) != ("sslrootcert", "system"):
                raise ValueError(f"{name} is a path on the nodes: write it in full, from / on")
        return self

    def spec(self, default_user: str | None) -> Replication:
        """The same, as the core knows it. Without `user:` standbys use our own login's name."""
        words = self.keywords()
        if default_user and "user" not in words:
            words = {"user": default_user, **words}
        if self.dbname:
            words["dbname"] = self.dbname
        return Replication(
            tuple(words.items()), self.slots, self.return_after, self.spare_slots, self.slot_warning
        )


class Via(StrEnum):
    """Ways to a shell on a node's host."""

    SSH = "ssh"
    LOCAL = "local"
    COMMAND = "command"
    NONE = "none"


_SHELL_KEYS: Final[dict[Via, frozenset[str]]] = {
    Via.SSH: frozenset({"host", "port", "user", "key", "keys", "known_hosts", "config"}),
    Via.LOCAL: frozenset({"user"}),
    Via.COMMAND: frozenset({"command"}),
    Via.NONE: frozenset(),
}


def _shell(value: Any) -> Any:  # what YAML had there
    """The short form of `shell`: only its `via`."""
    return {"via": value} if isinstance(value, str) else value


class ShellSection(Section):
    """A way to run commands on a node's host as the database's OS user. In short: `none`, `ssh`, `local`."""

    via: Via = Field(
        default=Via.SSH,
        description="`ssh`; `local`: the node runs on the controller's host; `command`: any program that "
        "gives an `sh`; `none`: without a shell nothing can be fenced, stopped, started or rewound.",
    )
    host: Host | None = Field(default=None, description="ssh: where to; without it the node's own host.")
    port: Port | None = Field(default=None, description="ssh: port; without it as ssh_config says, else 22.")
    user: Text | None = Field(
        default=None,
        description="ssh: login, without it as ssh_config says. local: user to change to, for a pgvigil that "
        "runs as root.",
    )
    key: PathText | None = Field(default=None, description="ssh: private key, a file on the controller.")
    keys: tuple[PathText, ...] | None = Field(default=None, description="ssh: several of them.")
    known_hosts: PathText | None = Field(
        default=None, description="ssh: file with the host's key. A host that is not in it is refused."
    )
    config: PathText | None = Field(
        default=None, description="ssh: client configuration instead of ~/.ssh/config."
    )
    command: tuple[Text, ...] | None = Field(
        default=None,
        min_length=1,
        description="command: program and arguments; `{node}` and `{host}` stand for the node's name and "
        "its host.",
    )

    def over(self, below: Self) -> Self:
        """This section over `below`; with another `via` nothing is taken from there."""
        if "via" in self.model_fields_set and self.via is not below.via:
            return self
        if self.key is not None or self.keys is not None:
            below = below.model_copy(update={"key": None, "keys": None})
        return super().over(below)

    def misfits(self) -> list[str]:
        """What in here does not go together."""
        given = {name for name in ShellSection.model_fields if getattr(self, name) is not None} - {"via"}
        wrong = [f"{name} does not go with via: {self.via}" for name in sorted(given - _SHELL_KEYS[self.via])]
        if self.via is Via.COMMAND and not self.command:
            wrong.append("via: command needs command: [program, argument, …]")
        if self.key is not None and self.keys is not None:
            wrong.append("takes key or keys, not both")
        return wrong

    def spec(self, node: str, host: str, folder: Path) -> ShellSpec | None:
        """The same for one node, as the core knows it."""
        match self.via:
            case Via.NONE:
                return None
            case Via.LOCAL:
                return LocalShell(self.user or "")
            case Via.COMMAND:
                words = self.command or ()
                return CommandShell(tuple(w.replace("{node}", node).replace("{host}", host) for w in words))
            case Via.SSH:
                keys = (self.key,) if self.key else self.keys or ()
                return SshShell(
                    host=self.host or host,
                    user=self.user or "",
                    port=self.port or 0,
                    keys=tuple(local_path(key, folder) for key in keys),
                    known_hosts=local_path(self.known_hosts, folder) if self.known_hosts else "",
                    config=local_path(self.config, folder) if self.config else "",
                )


ShellValue = Annotated[
    ShellSection | None,
    BeforeValidator(_shell, json_schema_input_type=str | ShellSection),
    Kind("text or mapping, see below"),
]
