"""What all routes of the HTTP face share: the controller behind it, who may call, and what it refuses."""

import asyncio
from collections.abc import Mapping
from typing import Final

from fastapi import Request

from pgvigil.api.backing import Backing
from pgvigil.api.denials import Denials
from pgvigil.api.encoded import Encoded
from pgvigil.api.gate import Caller, Forbidden, Gate, Unauthorized
from pgvigil.api.metrics import Metrics
from pgvigil.api.stream import Hub
from pgvigil.controller.operations import Giver, Json, Operations, Outcome, Result
from pgvigil.errors import PgvigilError, TimedOut, Unreachable, Unsafe, UsageError
from pgvigil.model.command import Reading
from pgvigil.model.units import ClusterName

READ_WITHIN_S: Final = 30.0
"""How long nodes may take to answer what a client wants to read of them."""


class NotFound(PgvigilError):
    """There is no such thing here."""

    status = 404
    hint = "see the list of paths: /openapi.json"


class Face:
    """What the routes call."""

    def __init__(self, ops: Operations, gate: Gate, backing: Backing) -> None:
        self.ops, self.gate, self.backing = ops, gate, backing
        self.encoded = Encoded()
        self.hub, self.metrics = Hub(ops, self.encoded), Metrics(ops, backing.late_s, backing.slowdown)
        self._reloads: set[asyncio.Future[str]] = set()
        self._denials = Denials(backing.denied)

    def reader(self, request: Request) -> None:
        """Raises Unauthorized where reads need a token, or when a wrong one is given."""
        self.gate.may_read(request.headers, certified(request))

    def known(self, request: Request) -> None:
        """For what makes nodes work: whoever asks must have a token. Raises Unauthorized."""
        self.gate.may_look(request.headers, certified(request))

    def operator(self, request: Request) -> Giver:
        """Who gives a command that concerns no cluster. Raises Unauthorized or Forbidden."""
        return _giver(request, self.gate.may_order(request.headers, certified(request)))

    def giver(self, request: Request, cluster: ClusterName, command: str) -> Giver:
        """Who gives a command for a cluster. Raises Unauthorized or Forbidden, which is kept."""
        try:
            return self.operator(request)
        except (Unauthorized, Forbidden) as refused:
            self._denials.tell(cluster, command, Giver(refused.who, whence(request)), refused.what)
            raise

    async def reload(self) -> str:
        """Have the configuration read again, to the end, also when the caller goes. Raises ConfigError."""
        task = asyncio.ensure_future(self.backing.reload())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)
        return await asyncio.shield(task)

    async def cluster(self, name: str) -> Json:
        """A cluster's state. Raises NotFound."""
        try:
            (found,) = await self.ops.status(ClusterName(name))
        except (UsageError, ValueError):
            raise NotFound(f"there is no cluster {name[:100]}") from None
        return found

    async def named(self, name: str) -> ClusterName:
        """The cluster of that name. Raises NotFound."""
        return ClusterName((await self.cluster(name))["cluster"])

    async def looked_at(self, name: str) -> Json:
        """A cluster's state for a health check: not before it was looked at. Raises NotFound."""
        await self.backing.looked_at(ClusterName(name))
        return await self.cluster(name)

    async def read(self, cluster: ClusterName, command: Reading) -> Json:
        """What a command that only reads finds. Raises what its outcome says."""
        outcome = await self.ops.order(
            cluster, command, dry_run=False, within_s=READ_WITHIN_S, progress=lambda _: None
        )
        return _data(outcome)


ENDS: Final[Mapping[Result, type[PgvigilError]]] = {
    Result.WRONG: UsageError,
    Result.REFUSED: Unsafe,
    Result.TIMED_OUT: TimedOut,
    Result.FAILED: Unreachable,
}
"""How reading something ended, if not well."""


def _data(outcome: Outcome) -> Json:
    kind = ENDS.get(outcome.result)
    if kind is None:
        return outcome.data
    raise kind(outcome.text, detail=outcome.detail, hint=outcome.hint)


def certified(request: Request) -> str:
    """Common name of the client's certificate, verified by TLS; empty: it showed none."""
    return str(getattr(request.state, "common_name", ""))


def whence(request: Request) -> str:
    """From where a request comes, in words: behind a proxy that is the proxy."""
    return f"http {request.client.host}" if request.client else "http"


def _giver(request: Request, caller: Caller) -> Giver:
    return Giver(caller.name, whence(request))
