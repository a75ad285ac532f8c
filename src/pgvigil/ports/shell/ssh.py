"""An `sh` on a host reached over SSH: one connection, kept, with a channel for each `sh`.

Host keys are verified always, whatever ssh_config says. OpenSSH's files and words are honoured as far as
asyncssh does: aliases, ports, users, identities, agent, ProxyJump, ProxyCommand, HostKeyAlias.
Nothing here asks for a password.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh

from pgvigil.model.shell import SshShell
from pgvigil.ports.contract import ShellLost, ShellRefused
from pgvigil.ports.shell.wire import Link, Wire

KEEPALIVE_S = 2
"""A dead link is noticed within four such intervals, also under a silent job."""

KEEPALIVES_UNANSWERED = 3

FAREWELL_S = 3.0
"""A connection that is closed in good order is dropped after this: a dead link takes no goodbye."""

LOGIN_S = 30
"""Backstop behind the caller's deadline: nothing of an attempt lives longer."""

_USER_KNOWN_HOSTS = "~/.ssh/known_hosts"
_SYSTEM_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts"
_TRUST_NOBODY = b"# no known_hosts file\n"  # b"" would make asyncssh take the user's file


@dataclass(frozen=True, slots=True)
class _Hop:
    """An address on the way; empty: ssh_config decides."""

    host: str
    user: str = ""
    port: int = 0


class SshTransport:
    """`exec sh` on channels of one kept connection."""

    def __init__(self, spec: SshShell, *, host: str) -> None:
        self._spec = spec
        self._hop = _Hop(spec.host or host, spec.user, spec.port)
        self._connecting = asyncio.Lock()
        self._connections: tuple[asyncssh.SSHClientConnection, ...] = ()
        self.label = f"ssh {spec.user + '@' if spec.user else ''}{self._hop.host}"

    async def start(self, wire: Wire) -> Link:
        """A new `sh`, over the kept connection or a new one.

        Raises ShellRefused if the host itself turned us away, ShellLost if it could not be asked.
        """
        connection = await self._connection()
        try:
            channel = _Channel(wire)
            await connection.create_session(lambda: channel, "exec sh", encoding=None)
        except asyncssh.ChannelOpenError as error:
            if connection.is_closed():
                raise ShellLost(f"{self.label} did not answer", detail=error.reason) from error
            raise ShellRefused(
                f"{self.label} opened no channel",
                detail=error.reason,
                hint="raise MaxSessions in the host's sshd_config, and see that PermitTTY and ForceCommand"
                " leave us a shell",
            ) from error
        except (asyncssh.Error, OSError) as error:
            raise ShellLost(f"{self.label} did not answer", detail=_words(error)) from error
        return channel

    def abort(self) -> None:
        """Drop the connection without a word: on a dead link even saying goodbye hangs."""
        connections, self._connections = self._connections, ()
        for connection in connections:
            connection.abort()

    def leave(self) -> None:
        """Close the connection, and those to jump hosts on the way."""
        connections, self._connections = self._connections, ()
        for connection in connections:
            connection.close()
            asyncio.get_running_loop().call_later(FAREWELL_S, connection.abort)

    async def _connection(self) -> asyncssh.SSHClientConnection:
        async with self._connecting:
            if not self._connections or self._connections[0].is_closed():
                self.abort()
                opened: list[asyncssh.SSHClientConnection] = []
                try:
                    await self._reach(self._hop, opened, behind=())
                except BaseException:
                    for connection in opened:
                        connection.abort()
                    raise
                self._connections = tuple(reversed(opened))
            return self._connections[0]

    async def _reach(
        self, hop: _Hop, opened: list[asyncssh.SSHClientConnection], *, behind: tuple[str, ...]
    ) -> asyncssh.SSHClientConnection:
        """Connect to a hop through the jump hosts ssh_config names for it; each is verified like the last."""
        given = self._given(hop)
        options = await asyncio.to_thread(self._options, hop, given)
        known_hosts = self._known_hosts(options)
        tunnel: asyncssh.SSHClientConnection | None = None
        jumps = options.tunnel if isinstance(options.tunnel, str) else ""
        for jump in filter(None, jumps.split(",")):
            if jump.lower() != "none" and jump not in behind:
                tunnel = await self._reach(_parse_jump(jump), opened, behind=(*behind, jump, hop.host))
        try:
            connection = await asyncssh.connect(
                hop.host, known_hosts=_trusted(known_hosts), tunnel=tunnel, **given
            )
        except (OSError, ValueError, asyncssh.Error) as error:
            raise self._explained(error, hop, known_hosts) from error
        opened.append(connection)
        return connection

    def _given(self, hop: _Hop) -> dict[str, Any]:
        """What we say of a hop; the rest is left to ssh_config."""
        given: dict[str, Any] = {
            "password": None,
            "login_timeout": LOGIN_S,
            "connect_timeout": LOGIN_S,
            "keepalive_interval": KEEPALIVE_S,
            "keepalive_count_max": KEEPALIVES_UNANSWERED,
        }
        if self._spec.config:
            given["config"] = [Path(self._spec.config).expanduser()]
        if self._spec.keys:
            given["client_keys"] = [str(Path(key).expanduser()) for key in self._spec.keys]
        if hop.user:
            given["username"] = hop.user
        if hop.port:
            given["port"] = hop.port
        return given

    def _options(self, hop: _Hop, given: dict[str, Any]) -> asyncssh.SSHClientConnectionOptions:
        """The same with what ssh_config says. Reads files, so it is called in a thread."""
        try:
            return asyncssh.SSHClientConnectionOptions(host=hop.host, **given)
        except (OSError, ValueError, asyncssh.Error) as error:
            named = isinstance(error, OSError) or not self._spec.keys  # asyncssh does not say of which key
            raise ShellLost(
                f"{self.label} could not be tried",
                detail=_words(error) if named else f"{_words(error)} (keys: {', '.join(self._spec.keys)})",
                hint="correct ssh_config or the node's `keys`; keys with a passphrase need an ssh-agent",
            ) from error

    def _known_hosts(self, options: asyncssh.SSHClientConnectionOptions) -> list[Path]:
        """The files a hop's key must be in, whether they exist or not."""
        named: list[str] = [self._spec.known_hosts] if self._spec.known_hosts else []
        if not named and isinstance(options.known_hosts, list):  # None: ssh_config says `none`
            named = [str(file) for file in options.known_hosts]
        return [Path(file).expanduser() for file in named or [_USER_KNOWN_HOSTS, _SYSTEM_KNOWN_HOSTS]]

    def _explained(self, error: Exception, hop: _Hop, known_hosts: list[Path]) -> ShellLost | ShellRefused:
        """The one table from asyncssh's errors to ours."""
        last = hop == self._hop
        detail = _words(error) if last else f"jump host {hop.host}: {_words(error)}"
        refused, hint = False, ""
        match error:
            case asyncssh.HostKeyNotVerifiable():
                refused, hint = True, _host_key_hint(hop, known_hosts)
                files = (
                    str(file) if file.is_file() else f"{file}, which is not there" for file in known_hosts
                )
                detail += f" (known hosts: {', '.join(files)})"
            case asyncssh.PermissionDenied() | asyncssh.IllegalUserName():
                refused = True
                hint = (
                    f"let the controller's key in: ssh-copy-id {_target(hop)}; if it is, see that the account"
                    " is not locked or expired (with UsePAM no sshd refuses a locked password too) and the"
                    " host's sshd log"
                )
            case asyncssh.KeyExchangeFailed() | asyncssh.ProtocolNotSupported():
                refused, hint = True, "the host's sshd offers no algorithm we accept: update it or ssh_config"
            case asyncssh.DisconnectError() if "authentication failures" in error.reason:
                refused, hint = True, "name the right key in `keys`: sshd counts every key that is tried"
            case ValueError():
                hint = "correct the node's known_hosts, keys or ssh_config"
            case _:
                hint = "is the host up, sshd running, and the port open from here? see: pgvigil check"
        if refused and last:  # a jump host's refusal says nothing of the host behind it
            return ShellRefused(f"{self.label} did not let us in", detail=detail, hint=hint)
        return ShellLost(f"{self.label} did not answer", detail=detail, hint=hint)


class _Channel(asyncssh.SSHClientSession[bytes]):
    """The link to an `sh` over a channel."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = chan

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self._wire.feed(2 if datatype == asyncssh.EXTENDED_DATA_STDERR else 1, data)

    def exit_status_received(self, status: int) -> None:
        self._wire.exited()

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        self._wire.exited(f"sh ended by SIG{signal}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._wire.close(_words(exc) if exc else "", turned_away=exc is None)

    def write(self, data: bytes) -> None:
        if self._channel and not self._channel.is_closing():
            self._channel.write(data)

    def finish(self) -> None:
        if self._channel and not self._channel.is_closing():
            self._channel.write_eof()

    def leave(self) -> None:
        if self._channel:
            self._channel.close()

    def drop(self) -> None:
        if self._channel:
            self._channel.abort()


def _trusted(known_hosts: list[Path]) -> bytes | list[str]:
    """The files that exist. Never None, by which asyncssh would verify nothing."""
    return [str(file) for file in known_hosts if file.is_file()] or _TRUST_NOBODY


def _parse_jump(text: str) -> _Hop:
    """`[user@]host[:port]`, IPv6 addresses in brackets."""
    user, _, place = text.rpartition("@")
    host, colon, port = place.rpartition(":")
    if not colon or not port.isdigit() or (":" in host and not host.endswith("]")):
        host, port = place, ""
    return _Hop(host.strip("[]"), user, int(port or 0))


def _host_key_hint(hop: _Hop, known_hosts: list[Path]) -> str:
    port = f"-p {hop.port} " if hop.port else ""
    return (
        "on the host itself ask a key's fingerprint (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), from"
        f" here: ssh-keyscan {port}{hop.host} | ssh-keygen -lf - ; only if they agree append what ssh-keyscan"
        f" says to {known_hosts[0]} (of a reinstalled host first remove the old key: ssh-keygen -R)"
    )


def _target(hop: _Hop) -> str:
    return f"{f'-p {hop.port} ' if hop.port else ''}{hop.user + '@' if hop.user else ''}{hop.host}"


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
