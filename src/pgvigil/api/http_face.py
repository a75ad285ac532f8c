"""Whether HTTP is served, and where: follows the configuration while the controller runs."""

from contextlib import AsyncExitStack
from typing import Self

import structlog

from pgvigil.api.backing import Backing
from pgvigil.api.haproxy import answering
from pgvigil.controller.operations import Operations
from pgvigil.model.face import HttpSpec

log = structlog.get_logger()


class HttpFace:
    """Serves what `serve` was last given, until the context ends."""

    def __init__(self, ops: Operations, backing: Backing) -> None:
        self._ops, self._backing = ops, backing
        self._spec: HttpSpec | None = None
        self._served = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._served.aclose()

    async def serve(self, spec: HttpSpec | None) -> None:
        """Serve like that from now on; None: not at all. Unchanged, nobody is disturbed.

        Raises ConfigError when that is not possible; what was served before is served on.
        """
        if spec == self._spec:
            return
        before = self._spec
        await self._served.aclose()
        try:
            await self._open(spec)
        except Exception:
            await self._open(before)
            raise
        self._spec = spec

    async def _open(self, spec: HttpSpec | None) -> None:
        if spec is None:
            return
        from pgvigil.api.http_server import serving  # half a second of imports that only the service needs

        if spec.haproxy_host:
            await self._served.enter_async_context(answering(self._ops, spec.haproxy_host, spec.haproxy_port))
            log.info("haproxy", listen=f"{spec.haproxy_host}:{spec.haproxy_port}")
        port = await self._served.enter_async_context(serving(self._ops, spec, self._backing))
        if port is not None:
            log.info("http", listen=f"{spec.host}:{port}", tls=bool(spec.cert))
