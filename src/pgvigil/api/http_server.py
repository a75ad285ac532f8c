"""Serves the HTTP face with uvicorn in the controller's loop, so that no client can disturb the controller.

Connections, headers, bodies and the time they may take are all limited; TLS shows who the client is.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, Final

import structlog
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pgvigil.api.backing import Backing
from pgvigil.api.gate import Gate
from pgvigil.api.http_app import make_app
from pgvigil.controller.operations import Operations
from pgvigil.errors import ConfigError
from pgvigil.model.face import HttpSpec

BODY_MAX: Final = 64 * 1024
"""Bytes of a request's body: a command is a few hundred."""
HEADERS_MAX: Final = 16 * 1024
HEADERS_WITHIN_S: Final = 10.0
"""A connection that has not sent the headers of its first request by then is ended; TLS is in it."""
BODY_WITHIN_S: Final = 10.0
CONNECTIONS_MAX: Final = 4_000
BACKLOG: Final = 1_024

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

log = structlog.get_logger()


class Connection(HttpToolsProtocol):
    """A connection whose headers are limited in size and time, and that says whose certificate it has."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """A client has connected, and TLS is agreed upon."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "common_name": _common_name(transport)}
        self._header_bytes = 0
        self._impatience = self.loop.call_later(HEADERS_WITHIN_S, transport.abort)
        if len(self.connections) > CONNECTIONS_MAX:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes have come; too many without the end of the headers end it all."""
        if self._header_bytes > HEADERS_MAX:
            self.transport.abort()
            return
        self._header_bytes += len(data)
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """The headers of a request are whole."""
        self._impatience.cancel()
        self._header_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body: limited by `Limited`."""
        self._header_bytes = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        """The next request of the same connection begins: within uvicorn's keep-alive time."""
        self._header_bytes = 0
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client went."""
        self._impatience.cancel()
        super().connection_lost(exc)


def _common_name(transport: asyncio.Transport) -> str:
    certificate = transport.get_extra_info("peercert") or {}
    for part in certificate.get("subject", ()):
        for key, value in part:
            if key == "commonName":
                return str(value)
    return ""


class Limited:
    """Hands requests on whose bodies are small and come in time."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application (asgi.readthedocs.io)."""
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
    """Leaves signals to the controller."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """None of ours."""
        yield


def _settings(app: FastAPI, context: ssl.SSLContext | None) -> uvicorn.Config:
    settings = uvicorn.Config(
        Limited(app),
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
        backlog=BACKLOG,
    )
    settings.load()
    settings.ssl = context
    return settings


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
