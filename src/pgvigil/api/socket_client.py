"""A running controller's operations, asked over its socket. One connection a question."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from pgvigil.api.wire import (
    LINE_MAX,
    AskEvents,
    AskStatus,
    Order,
    Ping,
    Reload,
    Request,
    decode_line,
    encode_request,
    error_from,
    outcome_from,
)
from pgvigil.controller.operations import Giver, Json, Outcome
from pgvigil.errors import TimedOut, Unreachable
from pgvigil.model.command import Command
from pgvigil.model.units import ClusterName

CONNECT_S: Final = 2.0
ANSWER_S: Final = 15.0
"""For questions; an order has its own time."""
SPARE_S: Final = 10.0
"""How much longer than an order's own time we wait for the controller's word on it."""


class SocketOperations:
    """`Operations` over the socket. An order goes on in the controller when the caller goes away.

    Everything raises Unreachable when no controller listens or it goes away, and TimedOut.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    async def ping(self) -> Json:
        """The controller's version and process id."""
        return await self._ask(Ping(), within_s=CONNECT_S)

    async def reload(self) -> str:
        """Have the configuration read again; what changed, as a sentence."""
        done = await self._ask(Reload(), within_s=ANSWER_S)
        return str(done["text"])

    async def status(self, cluster: ClusterName | None = None) -> list[Json]:
        """See `Operations.status`."""
        items: list[Json] = []
        await self._ask(AskStatus(cluster), within_s=ANSWER_S, on_item=items.append)
        return items

    async def events(self, cluster: ClusterName | None, *, limit: int, after: int = 0) -> list[Json]:
        """See `Operations.events`."""
        items: list[Json] = []
        await self._ask(AskEvents(cluster, limit, after), within_s=ANSWER_S, on_item=items.append)
        return items

    async def order(
        self,
        cluster: ClusterName,
        command: Command,
        *,
        dry_run: bool,
        within_s: float,
        progress: Callable[[str], None],
        by: Giver | None = None,  # the controller asks the kernel
    ) -> Outcome:
        """See `Operations.order`. Cancelling the call does not cancel the order."""
        order = Order(cluster, command, dry_run, within_s)
        return outcome_from(await self._ask(order, within_s=within_s + SPARE_S, on_progress=progress))

    async def _ask(
        self,
        request: Request,
        *,
        within_s: float,
        on_item: Callable[[Json], None] = lambda _: None,
        on_progress: Callable[[str], None] = lambda _: None,
    ) -> Json:
        try:
            async with asyncio.timeout(within_s), self._connection() as (reader, writer):
                writer.write(encode_request(1, request))
                await writer.drain()
                while line := await reader.readline():
                    match decode_line(line):
                        case {"done": dict(done)}:
                            return done
                        case {"error": dict(error)}:
                            raise error_from(error)
                        case {"item": dict(item)}:
                            on_item(item)
                        case {"progress": str(text)}:
                            on_progress(text)
                        case _:
                            continue
        except TimeoutError as late:
            raise TimedOut(f"the controller did not answer within {within_s:g} s") from late
        except (ConnectionError, ValueError) as gone:
            raise _gone(str(gone)) from gone
        raise _gone("it ended the connection")

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        try:
            reader, writer = await asyncio.open_unix_connection(os.fspath(self._path), limit=LINE_MAX * 8)
        except OSError as wrong:
            raise Unreachable(
                f"no controller answers on {self._path}",
                detail=wrong.strerror or str(wrong),
                hint="start one with: pgvigil run, or work as the user it runs as",
            ) from wrong
        try:
            yield reader, writer
        finally:
            writer.close()


def _gone(detail: str) -> Unreachable:
    return Unreachable(
        "the controller went away before it answered",
        detail=detail,
        hint="what it had begun is taken up again by the next one; see: pgvigil status",
    )
