"""One HTTP connection: headers limited in size and time, answers that must be read, and whose it is."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADERS_MAX: Final = 16 * 1024
HEADERS_WITHIN_S: Final = 10.0
"""A connection that has not sent the headers of its first request by then is ended; TLS is in it."""
READ_WITHIN_S: Final = 10.0
"""A client that does not take what waits for it (64 kB) for so long is dropped."""


@dataclass(slots=True)
class Crowd:
    """All connections of one face."""

    at_most: int
    silent: "dict[Connection, None]" = field(default_factory=dict)
    """Those that have not asked anything yet, oldest first: they make room for whoever comes."""


class Connection(HttpToolsProtocol):
    """As uvicorn's, with limits."""

    def __init__(self, *args: Any, crowd: Crowd, **options: Any) -> None:
        super().__init__(*args, **options)
        self._crowd = crowd
        self._header_bytes = 0
        self._impatience: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """A client has connected, and TLS is agreed upon."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "common_name": _common_name(transport)}
        self._impatience = self.loop.call_later(HEADERS_WITHIN_S, transport.abort)
        self._crowd.silent[self] = None
        if len(self.connections) > self._crowd.at_most:
            oldest = next(iter(self._crowd.silent))
            del self._crowd.silent[oldest]
            oldest.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes have come; too many without the end of the headers end it all."""
        if self._header_bytes > HEADERS_MAX:
            self.transport.abort()
            return
        self._header_bytes += len(data)
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """The headers of a request are whole."""
        self._patient()
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

    def pause_writing(self) -> None:
        """The client does not read as fast as it is written to."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(READ_WITHIN_S, self.transport.abort)

    def resume_writing(self) -> None:
        """It has read."""
        super().resume_writing()
        self._was_read()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client went."""
        self._patient()
        self._was_read()
        super().connection_lost(exc)

    def _patient(self) -> None:
        self._crowd.silent.pop(self, None)
        if self._impatience:
            self._impatience.cancel()

    def _was_read(self) -> None:
        if self._unread:
            self._unread.cancel()
            self._unread = None


def _common_name(transport: asyncio.Transport) -> str:
    certificate = transport.get_extra_info("peercert") or {}
    for part in certificate.get("subject", ()):
        for key, value in part:
            if key == "commonName":
                return str(value)
    return ""
