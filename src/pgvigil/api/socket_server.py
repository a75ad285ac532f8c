"""The controller's Unix socket: whoever may open it (mode 0600) may ask and order.

One task a connection; none of them can disturb the controller: lines, connections, waiting and what a
slow client may pile up are all limited, and nothing a client sends ends more than its own connection.
"""

import asyncio
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, assert_never

import structlog

from pgvigil import __version__
from pgvigil.api.peer import peer_of
from pgvigil.api.wire import (
    LINE_MAX,
    PROTOCOL,
    AskEvents,
    AskStatus,
    Order,
    Ping,
    Reload,
    Request,
    decode_line,
    decode_request,
    encode_line,
    error_json,
    outcome_json,
    request_number,
)
from pgvigil.controller.operations import Giver, Json, Operations
from pgvigil.errors import Bug, ConfigError, PgvigilError, UsageError

CONNECTIONS_MAX: Final = 64
"""Operators, dashboards and scripts of one host; more are turned away."""
IDLE_MAX_S: Final = 60.0
"""A connection that sends no whole line for this long is ended."""
DRAIN_MAX_S: Final = 10.0
"""A client that does not read its answer for this long is dropped."""
BACKLOG_MAX: Final = 4 * LINE_MAX
"""Bytes that may wait for a slow client before it is dropped."""

Reloader = Callable[[], Awaitable[str]]
"""Reads the configuration again; answers what changed, as a sentence."""

log = structlog.get_logger()


async def serve(
    ops: Operations, path: Path, *, reload: Reloader | None = None, ready: asyncio.Event | None = None
) -> None:
    """Serve until cancelled; the socket is gone afterwards. `ready` is set once it listens.

    Raises ConfigError when the path cannot be a socket, UsageError when another controller listens there.
    Cancellation ends every connection; orders that run on behalf of clients are cancelled with them.
    """
    listener = bind(path)
    doors = _Doors(ops, reload)
    try:
        async with asyncio.TaskGroup() as group:
            server = await asyncio.start_unix_server(
                lambda reader, writer: doors.open(group, reader, writer), sock=listener, limit=LINE_MAX
            )
            if ready is not None:
                ready.set()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                server.close()
    finally:
        _unbind(listener, path)


def bind(path: Path) -> socket.socket:
    """A bound socket that nobody but our user may open. Replaces one on which nobody listens any more."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            listener.bind(os.fspath(path))
            path.chmod(0o600)  # before anybody can connect: it does not listen yet
        except OSError:
            listener.close()
            raise
    except OSError as wrong:
        raise ConfigError(
            f"cannot listen on {path}",
            detail=str(wrong),
            hint="set socket: to a path of at most 107 bytes that we may write",
        ) from wrong
    return listener


def _unbind(listener: socket.socket, path: Path) -> None:
    listener.close()
    path.unlink(missing_ok=True)


def _clear(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigError(f"{path} exists and is no socket", hint="set socket: to another path")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
    raise UsageError(
        f"another controller listens on {path}", hint="stop it first, or set another state_dir: and socket:"
    )


class _ClientGone(Exception):
    """The client went away or does not read: its own affair."""


class _Doors:
    """All open connections."""

    def __init__(self, ops: Operations, reload: Reloader | None) -> None:
        self._ops, self._reload = ops, reload
        self._open = 0

    def open(
        self, group: asyncio.TaskGroup, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Take a new connection, or turn it away."""
        answers = _Answers(writer)
        if self._open >= CONNECTIONS_MAX:
            answers.send({"id": 0, "error": error_json(UsageError("too many connections"))})
            writer.close()
            return
        group.create_task(self._attend(reader, answers), name="socket client")

    async def _attend(self, reader: asyncio.StreamReader, answers: "_Answers") -> None:
        self._open += 1
        try:
            while line := await _line(reader, answers):
                await self._answer(line, answers)
                await answers.flush()
            await answers.end()
        except _ClientGone:
            pass
        except Exception:  # the API's edge: a client must never end the controller
            log.exception("socket_client_failed")
        finally:
            self._open -= 1
            answers.drop()

    async def _answer(self, line: bytes, answers: "_Answers") -> None:
        number = 0
        try:
            body = decode_line(line)
            number = request_number(body)
            done = await self._carry_out(number, decode_request(body), answers)
        except _ClientGone:
            raise
        except PgvigilError as error:
            answers.send({"id": number, "error": error_json(error)})
        except Exception as wrong:  # the API's edge: the client gets an answer, the log its trace
            log.exception("request_failed", request=line[:200].decode(errors="replace"))
            bug = Bug("the controller failed to answer", detail=repr(wrong))
            answers.send({"id": number, "error": error_json(bug)})
        else:
            answers.send({"id": number, "done": done})

    async def _carry_out(self, number: int, request: Request, answers: "_Answers") -> Json:
        match request:
            case Ping():
                return {"protocol": PROTOCOL, "version": __version__, "pid": os.getpid()}
            case AskStatus(cluster):
                return await answers.items(number, await self._ops.status(cluster))
            case AskEvents(cluster, limit, after):
                return await answers.items(number, await self._ops.events(cluster, limit=limit, after=after))
            case Order(cluster, command, dry_run, within_s):
                outcome = await self._ops.order(
                    cluster,
                    command,
                    dry_run=dry_run,
                    within_s=within_s,
                    progress=lambda text: answers.send({"id": number, "progress": text}),
                    by=await answers.peer(),
                )
                return outcome_json(outcome)
            case Reload():
                if self._reload is None:
                    raise UsageError("this controller cannot reload", hint="restart it")
                by, changes = await answers.peer(), await self._reload()
                log.info("reloaded", changes=changes, by=by.who, whence=by.whence)
                return {"text": changes}
            case _:
                assert_never(request)


async def _line(reader: asyncio.StreamReader, answers: "_Answers") -> bytes:
    """The next whole line; empty at the end, after silence, or after half a line."""
    try:
        async with asyncio.timeout(IDLE_MAX_S):
            return await reader.readuntil(b"\n")
    except asyncio.LimitOverrunError:
        too_long = UsageError("the request is too long", detail=f"one line may have {LINE_MAX} bytes")
        answers.send({"id": 0, "error": error_json(too_long)})
        return b""
    except (asyncio.IncompleteReadError, OSError):  # TimeoutError is an OSError
        return b""


class _Answers:
    """What goes back to one client. Sending never waits and never fails."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def send(self, body: Json) -> None:
        """Queue a line; a client that lets too much pile up is dropped."""
        transport = self._writer.transport
        if transport.is_closing():
            return
        if transport.get_write_buffer_size() > BACKLOG_MAX:
            log.warning("socket_client_dropped", reason="it does not read")
            transport.abort()
            return
        self._writer.write(encode_line(body))

    async def items(self, number: int, items: list[Json]) -> Json:
        """Send a list, one line each, at the client's pace."""
        for item in items:
            self.send({"id": number, "item": item})
            await self.flush()
        return {"items": len(items)}

    async def flush(self) -> None:
        """Wait until the client has read most of it. Raises _ClientGone when it does not."""
        try:
            async with asyncio.timeout(DRAIN_MAX_S):
                await self._writer.drain()
        except OSError as gone:  # TimeoutError is an OSError
            raise _ClientGone from gone

    async def peer(self) -> Giver:
        """Who reads them."""
        return await peer_of(self._writer)

    def drop(self) -> None:
        """End the connection at once, whatever was not read."""
        self._writer.transport.abort()

    async def end(self) -> None:
        """Let the client read the rest, and end the connection. Raises _ClientGone when it does not."""
        self._writer.close()
        try:
            async with asyncio.timeout(DRAIN_MAX_S):
                await self._writer.wait_closed()
        except OSError as gone:
            raise _ClientGone from gone
