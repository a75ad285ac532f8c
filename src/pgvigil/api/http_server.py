"""Serves the HTTP face with uvicorn in the controller's loop, so that no client can disturb the controller.

Connections, headers, bodies and the time they may take are all limited; TLS shows who the client is.
"""

import asyncio
import contextlib
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any, Final

import structlog
import uvicorn
from fastapi import FastAPI

from pgvigil.api.backing import Backing
from pgvigil.api.connection import Connection, Crowd
from pgvigil.api.gate import Gate
from pgvigil.api.http_app import make_app
from pgvigil.api.turns import Turns
from pgvigil.controller.operations import Operations
from pgvigil.errors import ConfigError
from pgvigil.model.face import HttpSpec

BODY_MAX: Final = 64 * 1024
"""Bytes of a request's body: a command is a few hundred."""
BODY_WITHIN_S: Final = 10.0
CONNECTIONS_MAX: Final = 4_000
FILES_SPARE: Final = 512
"""Open files that are never for clients: the controller's own connections, its state, its programs."""
FILES_WANTED: Final = 16_384
BACKLOG: Final = 4_096
ACCEPTED_AT_ONCE: Final = 32
"""So many new connections before the loop looks at what else there is."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

log = structlog.get_logger()


class Limited:
    """Hands requests on, in turns, whose bodies are small and come in time."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app, self._turns = app, Turns()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application (asgi.readthedocs.io)."""
        if scope["type"] == "http" and not await self._turns.turn():
            await _refuse(send, 429, "too many requests wait")
            return
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        body = b""
        try:
            async with asyncio.timeout(BODY_WITHIN_S):
                more = True
                while more:
                    part = await receive()
                    if part["type"] == "http.disconnect":
                        return
                    body += part.get("body", b"")
                    more = part.get("more_body", False)
                    if len(body) > BODY_MAX:
                        await _refuse(send, 413, f"the body is larger than {BODY_MAX} bytes")
                        return
        except TimeoutError:
            await _refuse(send, 408, f"the body did not come within {BODY_WITHIN_S:g} s")
            return
        given = False

        async def again() -> MutableMapping[str, Any]:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, again, send)


async def _refuse(send: Send, status: int, what: str) -> None:
    body = f'{{"what": "{what}", "detail": "", "hint": "see /openapi.json"}}'.encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def serving(ops: Operations, spec: HttpSpec, backing: Backing) -> AsyncIterator[int | None]:
    """Serve as long as the context lasts; gives the port, or None if a usual address was taken.

    Raises ConfigError when the address, the tokens or the certificates cannot be used.
    """
    context = _tls(spec)
    try:
        listener = _listener(spec)
    except ConfigError as taken:
        if spec.asked_for:
            raise
        log.warning(
            "http_not_served", reason=str(taken), hint="http: {listen: …} names another address, or off"
        )
        yield None
        return
    app = make_app(ops, Gate(spec), backing)
    server = _Server(_settings(app, context))
    task = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    try:
        yield listener.getsockname()[1]
    finally:
        await app.state.hub.close()
        server.should_exit = server.force_exit = True
        await asyncio.wait({task})
        listener.close()


class _Server(uvicorn.Server):
    """Leaves signals to the controller, and lets many wait of whom a few at a time are let in."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        for each in sockets or ():
            each.listen(BACKLOG)

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """None of ours."""
        yield


def _settings(app: FastAPI, context: ssl.SSLContext | None) -> uvicorn.Config:
    settings = uvicorn.Config(
        Limited(app),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
        backlog=ACCEPTED_AT_ONCE,
    )
    settings.load()
    settings.ssl = context
    settings.http_protocol_class = partial(Connection, crowd=Crowd(_connections_max()))  # type: ignore[assignment]
    return settings


def _connections_max() -> int:
    """As many as leave enough open files for the controller's own work; as many of these as we may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(FILES_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    if soft == resource.RLIM_INFINITY:
        return CONNECTIONS_MAX
    return min(CONNECTIONS_MAX, max(soft - FILES_SPARE, soft // 4))


def _listener(spec: HttpSpec) -> socket.socket:
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
            spec.host, spec.port, type=socket.SOCK_STREAM
        )
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
    except OSError as wrong:
        raise ConfigError(
            f"cannot listen on {spec.host}:{spec.port}",
            detail=str(wrong),
            hint="http: {listen: …} names another address, or off",
        ) from wrong
    return listener


def _tls(spec: HttpSpec) -> ssl.SSLContext | None:
    if not spec.cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(spec.cert, spec.key)
        if spec.client_ca:
            context.load_verify_locations(spec.client_ca)
            context.verify_mode = ssl.CERT_OPTIONAL
    except OSError as wrong:  # ssl.SSLError is one
        raise ConfigError(
            "cannot use the certificates of http", detail=str(wrong), hint="see cert, key and client_ca"
        ) from wrong
    return context
