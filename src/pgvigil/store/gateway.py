"""A client of etcd's JSON gateway: asks one server after the other, each for a short time only.

A server of etcd that hangs keeps its connections open and says nothing, so every attempt has a deadline of
its own. What changes something is never sent again after an attempt that may have been carried out: then
`Unanswered` is raised, and whoever wrote looks first (`store.transactions`).
"""

import asyncio
import base64
import io
import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pgvigil.errors import StoreError
from pgvigil.model.etcd import EtcdSpec
from pgvigil.ports.dial import said_by

if TYPE_CHECKING:
    from aiohttp import ClientSession

ATTEMPT_S: Final = 0.7
"""How long one server may take for an answer."""
PAUSE_S: Final = 0.05
"""After all servers failed at once, before they are asked again."""
HINT: Final = (
    "databases run on; see: etcdctl endpoint health --cluster, and docs/operate/several-controllers.md"
)

UNAVAILABLE, INTERNAL, DEADLINE, UNKNOWN, CANCELED = 14, 13, 4, 2, 1
ELSEWHERE: Final = frozenset({UNAVAILABLE, INTERNAL, DEADLINE, UNKNOWN, CANCELED})
"""Codes of gRPC with which one server may fail where another does not."""
UNAUTHENTICATED: Final = 16
TOKENS: Final = ("invalid auth token", "auth revision in the header is old", "user name is empty")
"""Complaints after which a new token helps."""

Json = Mapping[str, Any]
"""An object of etcd's JSON: keys and values are base64, numbers of 64 bits are strings."""


class Unanswered(StoreError):
    """No server said whether it was carried out."""


class AttemptFailed(Exception):
    """One attempt at one server failed. `maybe`: it may have been carried out all the same."""

    def __init__(self, why: str, *, maybe: bool) -> None:
        super().__init__(why)
        self.maybe = maybe


class _NoToken(Exception):
    """etcd wants another token."""


class Gateway:
    """One etcd cluster. Nothing is opened before the first call; `close` ends it."""

    def __init__(self, spec: EtcdSpec) -> None:
        self.spec = spec
        self._turn = 0
        self._session: ClientSession | None = None
        self._token = ""
        self._renewing = asyncio.Lock()
        self._closed = False

    async def close(self) -> None:
        """Close all connections. Safe to call twice."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def ask(self, path: str, body: Json) -> Json:
        """A call that may be made twice. Raises StoreError when no server answers within `retry_s`."""
        return await self._call(path, body, again=True, within_s=self.spec.retry_s)

    async def tell(self, path: str, body: Json) -> Json:
        """A call that changes something. Raises Unanswered if it may have been carried out, or StoreError."""
        return await self._call(path, body, again=False, within_s=self.spec.retry_s)

    async def ask_one(self, url: str, path: str, body: Json) -> Json:
        """The same of this very server, asked once. Raises StoreError."""
        try:
            return await self._attempt(url, path, body, ATTEMPT_S)
        except AttemptFailed as failure:
            raise StoreError("etcd does not answer", detail=str(failure), hint=HINT) from None

    async def _call(self, path: str, body: Json, *, again: bool, within_s: float) -> Json:
        until = asyncio.get_running_loop().time() + within_s
        failures: dict[str, str] = {}
        while (left := until - asyncio.get_running_loop().time()) > 0:
            url = self.spec.endpoints[self._turn % len(self.spec.endpoints)]
            try:
                return await self._attempt(url, path, body, min(left, ATTEMPT_S))
            except AttemptFailed as failure:
                failures[url] = str(failure)
                if self.spec.endpoints[self._turn % len(self.spec.endpoints)] == url:
                    self._turn += 1  # else another call has moved on from it already
                if failure.maybe and not again:
                    raise Unanswered("etcd did not answer", detail=f"{url}: {failure}", hint=HINT) from None
                if self._turn % len(self.spec.endpoints) == 0:
                    await asyncio.sleep(PAUSE_S)
        detail = "; ".join(f"{url}: {why}" for url, why in failures.items())
        raise StoreError("etcd does not answer", detail=detail or f"within {within_s:g} s", hint=HINT)

    async def _attempt(self, url: str, path: str, body: Json, within_s: float) -> Json:
        if self.spec.user and not self._token:
            await self._log_in(url, within_s)
        try:
            return await self.post(url, path, body, within_s, self._token)
        except _NoToken:
            self._token = ""
        await self._log_in(url, within_s)
        try:
            return await self.post(url, path, body, within_s, self._token)
        except _NoToken as refused:
            raise AttemptFailed(str(refused), maybe=False) from None

    async def _log_in(self, url: str, within_s: float) -> None:
        """A token for user and password. They are valid for some minutes only (etcd: simple token)."""
        async with self._renewing:
            if self._token:
                return
            login = {"name": self.spec.user, "password": await _password(self.spec)}
            try:
                answer = await self.post(url, "/v3/auth/authenticate", login, within_s, "")
            except _NoToken as refused:
                raise StoreError(
                    "etcd refuses our login", detail=str(refused), hint="check store.user and its password"
                ) from None
            except AttemptFailed as failure:
                raise AttemptFailed(str(failure), maybe=False) from None
            self._token = str(answer["token"])

    async def post(self, url: str, path: str, body: Json, within_s: float, token: str) -> Json:
        """One attempt at one server. Raises AttemptFailed, StoreError, or that another token is needed."""
        from aiohttp import ClientConnectorError, ClientError  # it takes 0.3 s to import

        headers = {"Content-Type": "application/json", **({"Authorization": token} if token else {})}
        data = io.BytesIO(json.dumps(body).encode())  # a large one is sent piece by piece
        try:
            async with asyncio.timeout(within_s):
                async with self._client().post(f"{url}{path}", data=data, headers=headers) as answer:
                    text = await answer.text()
        except TimeoutError:
            raise AttemptFailed(f"no answer within {within_s:.1f} s", maybe=True) from None
        except ClientConnectorError as refused:
            raise AttemptFailed(str(refused), maybe=False) from None
        except (ClientError, OSError) as broken:
            raise AttemptFailed(str(broken) or type(broken).__name__, maybe=True) from None
        try:
            return judged(answer.status, json.loads(text))
        except ValueError:
            raise AttemptFailed(f"HTTP status {answer.status}, and no JSON", maybe=True) from None

    def _client(self) -> "ClientSession":
        from aiohttp import ClientSession, ClientTimeout, TCPConnector

        if self._closed:
            raise StoreError("the connection to etcd is closed")
        if self._session is None:
            secure = _tls(self.spec)
            connector = TCPConnector(ssl=secure if secure is not None else True, limit=32)
            self._session = ClientSession(connector=connector, timeout=ClientTimeout(total=None))
        return self._session


def judged(status: int, answer: object) -> Json:
    """What etcd answered, or what is wrong. Raises AttemptFailed, StoreError, or that a token is needed."""
    if not isinstance(answer, dict):
        raise AttemptFailed(f"HTTP status {status}, and no object", maybe=True)
    if status == 200:
        return answer
    said = str(answer.get("message") or answer.get("error") or f"HTTP status {status}")
    code = answer.get("code")
    if code == UNAUTHENTICATED or any(words in said for words in TOKENS):
        raise _NoToken(said)
    if "authentication failed" in said:
        raise StoreError(
            "etcd refuses our login", detail=said, hint="check store.user and where its password comes from"
        )
    if "request is too large" in said:
        raise StoreError(
            "this is more than etcd takes at once",
            detail=said,
            hint="etcd's --max-request-bytes (1.5 MB by default) may be raised",
        )
    if "space exceeded" in said:
        raise StoreError(
            "etcd has no more room",
            detail=said,
            hint="compact and defragment it, then: etcdctl alarm disarm; see its --auto-compaction-retention",
        )
    if code in ELSEWHERE:
        raise AttemptFailed(said, maybe=True)
    raise StoreError("etcd refuses", detail=said, hint=HINT)


async def _password(spec: EtcdSpec) -> str:
    """Read anew for each login: it may have been changed. Raises StoreError."""
    try:
        if spec.password_command:
            async with asyncio.timeout(ATTEMPT_S * 10):
                return await said_by(spec.password_command)
        if spec.password_file:
            return (await asyncio.to_thread(Path(spec.password_file).read_text)).strip()
    except (OSError, UnicodeDecodeError) as wrong:
        detail = str(wrong) or "password_command took too long"
        raise StoreError("the password for etcd cannot be read", detail=detail) from None
    return ""


def _tls(spec: EtcdSpec) -> ssl.SSLContext | None:
    """What certificates are checked against, and shown. None: the usual. Raises StoreError."""
    if not (spec.ca or spec.cert):
        return None
    try:
        context = ssl.create_default_context(cafile=spec.ca or None)
        if spec.cert:
            context.load_cert_chain(spec.cert, spec.key or None)
    except (OSError, ssl.SSLError) as wrong:
        detail = f"{spec.ca or spec.cert}: {wrong}"
        raise StoreError("the certificates for etcd cannot be read", detail=detail) from wrong
    return context


def b64(text: str) -> str:
    """A key or value for etcd's JSON."""
    return base64.b64encode(text.encode()).decode()


def plain(coded: str) -> str:
    """What `b64` made."""
    return base64.b64decode(coded).decode()


def after(prefix: str) -> str:
    """The end of the range of all keys that begin with `prefix`."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def number(fields: Json, name: str) -> int:
    """A number of etcd's JSON, which leaves out zeros."""
    return int(fields.get(name, 0))
