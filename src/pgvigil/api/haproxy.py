"""HAProxy's agent checks: one line in, one line out, for each server of each cluster (HAProxy manual, 5.2).

HAProxy sends what `agent-send` says: `orders pg1 primary`, or `orders pg2 replica lag=16MB`; it is answered
by `up ready 100%` or `down #why`. No answer changes nothing at HAProxy, so a controller that is gone takes
nobody out of service. The weight of a standby falls with its lag. A reason stands behind a space: HAProxy
2.6 ignores `down#why`.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterable
from typing import Final

import structlog

from pgvigil.api.health import CHECKS, Case, passes, wanted
from pgvigil.controller.operations import Operations
from pgvigil.controller.status_shape import State
from pgvigil.errors import ConfigError, UsageError
from pgvigil.model.units import ClusterName

LINE_MAX: Final = 512
WITHIN_S: Final = 2.0
"""A connection is ended that late at the latest: a check asks one thing."""
CONNECTIONS_MAX: Final = 2_000
WEIGHT_MIN: Final = 10

log = structlog.get_logger()


async def answer(ops: Operations, line: str) -> str:
    """The answer to a line; empty where none can be given, which changes nothing at HAProxy."""
    match line.split():
        case [cluster, node, check, *more] if check in CHECKS:
            return await _answer(ops, ClusterName(cluster), node, check, more)
        case _:
            log.warning("haproxy_not_understood", line=line[:80])
            return ""


async def _answer(ops: Operations, cluster: ClusterName, node: str, check: str, more: Iterable[str]) -> str:
    try:
        demand = wanted(dict(word.split("=", 1) for word in more))
        (status,) = await ops.status(cluster)
        (found,) = (each for each in status["nodes"] if each["name"] == node)
    except (UsageError, ValueError) as wrong:
        log.warning("haproxy_not_understood", cluster=cluster, node=node, why=str(wrong))
        return ""
    if found["state"] == State.UNSEEN:
        return ""  # the controller has just started
    case = Case(status, found, demand)  # type: ignore[arg-type]  # they are what their shapes say
    if not passes(check, case):
        return f"down #{_word(found['state'])}\n"
    return f"up ready {_weight(found['replay_lag_bytes'], demand.lag_bytes)}%\n"


def _word(state: str) -> str:
    return state.strip("*!-? ").replace(" ", "_") or "unknown"


def _weight(lag: int | None, limit: int | None) -> int:
    """Full without lag, the least at the limit; without a limit always full."""
    if not lag or not limit:
        return 100
    return max(WEIGHT_MIN, 100 - 100 * lag // limit)


@contextlib.asynccontextmanager
async def answering(ops: Operations, host: str, port: int) -> AsyncIterator[None]:
    """Answer agent checks as long as the context lasts. Raises ConfigError if the address cannot be used."""
    connected = 0

    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connected
        connected += 1
        try:
            if connected <= CONNECTIONS_MAX:
                async with asyncio.timeout(WITHIN_S):
                    line = await reader.readline()
                    writer.write((await answer(ops, line.decode(errors="replace"))).encode())
                    await writer.drain()
        except (OSError, ValueError):  # TimeoutError is an OSError; ValueError: the line is too long
            return
        finally:
            connected -= 1
            writer.close()

    try:
        server = await asyncio.start_server(
            attend, host, port, limit=LINE_MAX, reuse_address=True, family=socket.AF_UNSPEC
        )
    except OSError as wrong:
        raise ConfigError(
            f"cannot listen on {host}:{port} for HAProxy's agent checks",
            detail=str(wrong),
            hint="http: {haproxy: …} names another address",
        ) from wrong
    try:
        yield
    finally:
        server.close()
