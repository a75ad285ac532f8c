"""Commands over HTTP: `POST /clusters/{cluster}/{command}`, the command's fields as a JSON object.

The same names and fields as on the socket (`api.wire`), with dashes. Beside them `dry_run` and `within_s`.
With `Accept: text/event-stream` progress comes while it runs, then the outcome.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import fields
from typing import Final

from pgvigil.api import wire
from pgvigil.api.stream import message
from pgvigil.controller.operations import Giver, Json, Operations, Outcome, Result
from pgvigil.errors import PgvigilError, UsageError
from pgvigil.model.command import COMMANDS, SetParameters
from pgvigil.model.parameter import RUN_PROGRAMS

WITHIN_S: Final = 60.0
"""How long an answer is waited for when the request does not say. The command itself goes on."""
STATUS: Final = {
    Result.DONE: 200,
    Result.PLANNED: 200,
    Result.WRONG: 400,
    Result.REFUSED: 409,
    Result.FAILED: 502,
    Result.TIMED_OUT: 504,
}
NAMES: Final = {tag.replace("_", "-"): tag for tag in COMMANDS}
"""Last part of the path → tag."""
WHO: Final = "who"
"""The field of a command that says whose it is: nobody is asked who he is, the gate knows."""
OURS: Final = frozenset({WHO, "handed_over"})
"""Fields that are nobody's to give: the gate knows them, or another command of ours."""


def read_order(cluster: str, name: str, body: bytes, who: str) -> wire.Order:
    """The order of a request by `who`, whom the gate knows. Raises UsageError that names the place."""
    given = wire.decode_line(body) if body.strip() else {}
    if claimed := sorted(OURS & given.keys()):
        raise UsageError(
            "the request is wrong", detail=f"{claimed[0]}: unknown; it is not given from outside"
        )
    if WHO in {field.name for field in fields(COMMANDS[NAMES[name]])}:
        given = {**given, WHO: who}
    order: Json = {key: given.pop(key) for key in ("dry_run", "within_s") if key in given}
    if "kind" in given:
        raise UsageError("the request is wrong", detail="kind: unknown")
    request = wire.decode_request(
        {
            "verb": "order",
            "cluster": cluster,
            "command": {"kind": NAMES[name], **given},
            "dry_run": False,
            "within_s": WITHIN_S,
            **order,
        }
    )
    assert isinstance(request, wire.Order)
    if isinstance(request.command, SetParameters):
        _runs_nothing(request.command)
    return request


def _runs_nothing(command: SetParameters) -> None:
    """A token is not worth a login on the servers (docs/decisions/0013). Raises UsageError."""
    if programs := sorted(name for name in command.changes if name.lower() in RUN_PROGRAMS):
        raise UsageError(
            f"{', '.join(programs)}: not over HTTP",
            detail="the server runs or loads what stands there, as its own account",
            hint="on the controller's host: pgvigil config set CLUSTER NAME=VALUE",
        )


async def carry_out(
    ops: Operations, order: wire.Order, by: Giver, progress: Callable[[str], None] = lambda _: None
) -> Outcome:
    """Give the order, and wait for its outcome."""
    return await ops.order(
        order.cluster, order.command, dry_run=order.dry_run, within_s=order.within_s, progress=progress, by=by
    )


async def carry_out_aloud(ops: Operations, order: wire.Order, by: Giver) -> AsyncIterator[bytes]:
    """The same as server-sent events: `progress` any number of times, then `outcome` or `error`."""
    lines: asyncio.Queue[str | None] = asyncio.Queue()

    async def run() -> Outcome:
        try:
            return await carry_out(ops, order, by, lines.put_nowait)
        finally:
            lines.put_nowait(None)

    task = asyncio.create_task(run(), name=f"http order for {order.cluster}")
    while (line := await lines.get()) is not None:
        yield message("progress", {"text": line})
    try:
        yield message("outcome", wire.outcome_json(await task))
    except PgvigilError as error:
        yield message("error", wire.error_json(error))
