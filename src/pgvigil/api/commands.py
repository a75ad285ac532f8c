"""Commands over HTTP: `POST /clusters/{cluster}/{command}`, the command's fields as a JSON object.

The same names and fields as on the socket (`api.wire`), with dashes. Beside them `dry_run` and `within_s`.
With `Accept: text/event-stream` progress comes while it runs, then the outcome.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from pydantic import TypeAdapter

from pgvigil.api import wire
from pgvigil.api.stream import message
from pgvigil.controller.operations import Json, Operations, Outcome, Result
from pgvigil.errors import PgvigilError, UsageError
from pgvigil.model.command import Command

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
ERRORS: Final = {
    "400": "The request is wrong; `detail` names the place.",
    "401": "A token is needed, or the one that was given is not known.",
    "403": "The token does not allow it.",
    "404": "There is no such cluster or node.",
    "503": "The controller's own state cannot be read.",
}
OUTCOMES: Final = {
    "409": "Refused, because it would not be safe, or does not fit; nothing was changed.",
    "413": "The body is too large.",
    "502": "It was tried and failed.",
    "504": "It is not finished in that time, and goes on.",
}
NAMES: Final = {tag.replace("_", "-"): tag for tag in wire.COMMANDS}
"""Last part of the path → tag."""


def read_order(cluster: str, name: str, body: bytes) -> wire.Order:
    """The order of a request. Raises UsageError that names the place."""
    given = wire.decode_line(body) if body.strip() else {}
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
    return request


async def carry_out(
    ops: Operations, order: wire.Order, progress: Callable[[str], None] = lambda _: None
) -> Outcome:
    """Give the order, and wait for its outcome."""
    return await ops.order(
        order.cluster, order.command, dry_run=order.dry_run, within_s=order.within_s, progress=progress
    )


async def carry_out_aloud(ops: Operations, order: wire.Order) -> AsyncIterator[bytes]:
    """The same as server-sent events: `progress` any number of times, then `outcome` or `error`."""
    lines: asyncio.Queue[str | None] = asyncio.Queue()

    async def run() -> Outcome:
        try:
            return await carry_out(ops, order, lines.put_nowait)
        finally:
            lines.put_nowait(None)

    task = asyncio.create_task(run(), name=f"http order for {order.cluster}")
    while (line := await lines.get()) is not None:
        yield message("progress", {"text": line})
    try:
        yield message("outcome", wire.outcome_json(await task))
    except PgvigilError as error:
        yield message("error", wire.error_json(error))


def words(command: Command) -> str:
    """A command and whom it is about: what may be kept, for values of parameters can be secrets."""
    name = next(name for name, tag in NAMES.items() if isinstance(command, wire.COMMANDS[tag]))
    about = [str(value) for key in ("node", "nodes", "to") if (value := getattr(command, key, None))]
    return " ".join([name, *about])


def schema(command: type[Command]) -> Json:
    """JSON Schema of a command's body, for OpenAPI; what it refers to stands under `$defs` as yet."""
    made: Json = TypeAdapter(command).json_schema(ref_template="#/components/schemas/{model}")
    made.setdefault("properties", {}).update(
        dry_run={"type": "boolean", "default": False, "description": "Only say what would be done."},
        within_s={
            "type": "number", "exclusiveMinimum": 0, "maximum": wire.WITHIN_MAX_S, "default": WITHIN_S,
            "description": "How long to wait for the outcome; the command itself goes on.",
        },
    )  # fmt: skip
    made["additionalProperties"] = False
    return made


def described(page: Json) -> Json:
    """The OpenAPI page, whole: definitions where they are referred to, and the answers that we give."""
    shared = page.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        shared.pop(unused, None)
    shared["Error"] = {
        "type": "object",
        "properties": {key: {"type": "string"} for key in ("kind", "what", "detail", "hint")},
        "required": ["kind", "what", "detail", "hint"],
    }
    refused = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for operations in page["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            for status, why in ERRORS.items():
                operation["responses"][status] = {"description": why, "content": refused}
            body = (
                operation.get("requestBody", {})
                .get("content", {})
                .get("application/json", {})
                .get("schema", {})
            )
            shared.update(body.pop("$defs", {}))
            if body:
                for status, why in OUTCOMES.items():
                    operation["responses"][status] = {"description": why, "content": {"application/json": {}}}
    return page


def summary(command: type[Command]) -> str:
    """One line on a command, from its docstring."""
    return (command.__doc__ or "").strip().splitlines()[0].replace("`", "")
