"""Who calls over HTTP, and what that caller may do: tokens kept as hashes, client certificates.

A line of the tokens file is `name access sha256 [expires]`: who reads the file cannot call with it. It is
read again whenever it changed, so a token that is taken away is worth nothing from then on.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pgvigil.errors import ConfigError, PgvigilError
from pgvigil.model.face import Access, HttpSpec

TOKEN_BYTES: Final = 24
FILE_BYTES_AT_MOST: Final = 2**20


class Unauthorized(PgvigilError):
    """The caller did not say who it is, or said so wrongly. `who`: what may be kept of it, never a secret."""

    status = 401
    who = "somebody unknown"
    hint = "send a token: Authorization: Bearer …; an administrator makes one by: pgvigil token add NAME"


class Forbidden(PgvigilError):
    """The caller is known, and may not do this."""

    status = 403
    who = ""
    hint = "this needs a token whose access is operator: pgvigil token add NAME --access operator"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls."""

    name: str
    access: Access


@dataclass(frozen=True, slots=True)
class Token:
    """What is kept of a token."""

    name: str
    access: Access
    digest: str
    expires: datetime | None = None

    def line(self) -> str:
        """The token's line of the file."""
        return " ".join(filter(None, [self.name, self.access, self.digest, _iso(self.expires)]))


def _iso(at: datetime | None) -> str:
    return at.isoformat(timespec="seconds") if at else ""


def digest(secret: str) -> str:
    """What is kept of a secret. It is random and long: one round of a plain hash is enough."""
    return hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()


def new_token(name: str, access: Access, expires: datetime | None = None) -> tuple[Token, str]:
    """A new token, and the secret that is shown once."""
    secret = secrets.token_urlsafe(TOKEN_BYTES)
    return Token(name, access, digest(secret), expires), secret


def read_tokens(file: Path) -> tuple[Token, ...]:
    """All tokens of a file; none if it does not exist. Raises ConfigError naming the wrong line."""
    try:
        with file.open("rb") as stream:
            text = stream.read(FILE_BYTES_AT_MOST + 1).decode()
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as wrong:
        raise ConfigError(f"cannot read the tokens in {file}", detail=str(wrong)) from wrong
    if len(text) > FILE_BYTES_AT_MOST:
        raise ConfigError(f"{file} is too long for a file of tokens", hint="name the file of pgvigil token")
    lines = enumerate(text.splitlines(), start=1)
    return tuple(_token(file, number, line) for number, line in lines if line.strip())


def _token(file: Path, number: int, line: str) -> Token:
    try:
        name, access, hashed, *expires = line.split()
        until = datetime.fromisoformat(expires[0]) if expires else None
        if len(hashed) != 64 or len(expires) > 1 or (until and until.tzinfo is None):
            raise ValueError
        return Token(name, Access(access), hashed, until)
    except ValueError:
        hint = (
            "a line is: name, viewer or operator, the token's SHA-256, and when it expires; see pgvigil token"
        )
        raise ConfigError(f"{file}:{number}: this is no token", hint=hint) from None


def write_tokens(file: Path, tokens: Sequence[Token]) -> None:
    """Replace the file, readable by its owner alone. Raises ConfigError."""
    fresh = file.with_name(f".{file.name}.new")
    try:
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.writelines(f"{token.line()}\n" for token in tokens)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(file)
    except OSError as wrong:
        raise ConfigError(f"cannot write the tokens to {file}", detail=str(wrong)) from wrong


class Gate:
    """Tells callers apart. One of these serves all requests."""

    def __init__(self, spec: HttpSpec, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._spec, self._now = spec, now
        self._file = Path(spec.tokens) if spec.tokens else None
        self._stamp: tuple[int, int, int] | None = None
        self._tokens: tuple[Token, ...] = ()

    def may_read(self, headers: Mapping[str, str], certified: str) -> Caller | None:
        """Who reads; None: somebody, and that is enough. Raises Unauthorized, ConfigError."""
        caller = self._caller(headers, certified)
        if caller is None and self._spec.reads_need_token:
            raise Unauthorized("whoever reads must say who it is")
        return caller

    def may_look(self, headers: Mapping[str, str], certified: str) -> Caller:
        """Who has something looked at that costs work. Raises Unauthorized, ConfigError."""
        caller = self._caller(headers, certified)
        if caller is None:
            raise Unauthorized("whoever asks for this must say who it is")
        return caller

    def may_order(self, headers: Mapping[str, str], certified: str) -> Caller:
        """Who gives a command. Raises Unauthorized, Forbidden, ConfigError."""
        caller = self._caller(headers, certified)
        if caller is None:
            raise Unauthorized("whoever gives commands must say who it is")
        if caller.access is not Access.OPERATOR:
            refused = Forbidden(f"{caller.name} may look, and give no commands")
            refused.who = caller.name
            raise refused
        return caller

    def _caller(self, headers: Mapping[str, str], certified: str) -> Caller | None:
        """By token, else by client certificate. A wrong token is refused, also where none is needed."""
        if given := headers.get("authorization"):
            kind, _, secret = given.partition(" ")
            if kind.lower() != "bearer":
                raise Unauthorized("only tokens are understood", detail="Authorization: Bearer … is expected")
            return self._by_token(secret.strip())
        access = self._spec.clients.get(certified) if certified else None
        return Caller(f"certificate {certified}", access) if access else None

    def _by_token(self, secret: str) -> Caller:
        hashed = digest(secret)
        for token in self._known():
            if hmac.compare_digest(token.digest, hashed):
                if token.expires and token.expires <= self._now():
                    expired = Unauthorized(f"the token {token.name} has expired", detail=_iso(token.expires))
                    expired.who = f"token {token.name}"
                    raise expired
                return Caller(f"token {token.name}", token.access)
        raise Unauthorized("this token is not known")

    def _known(self) -> tuple[Token, ...]:
        if self._file is None:
            return ()
        try:
            stat = self._file.stat()
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        except OSError:
            return ()
        if stamp != self._stamp:
            self._tokens = read_tokens(self._file)
            self._stamp = stamp
        return self._tokens
