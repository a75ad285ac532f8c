"""The OpenAPI page, whole: every path with its answers, its errors, and what it needs. Pure."""

from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints, is_typeddict

from pydantic import TypeAdapter

from pgvigil.api import wire
from pgvigil.api.commands import OURS, WITHIN_S
from pgvigil.api.health import CHECKS
from pgvigil.controller.operations import Json, Result
from pgvigil.controller.status_shape import ClusterStatus, EventStatus
from pgvigil.model.command import Command

ERRORS: Final = {
    "400": "The request is wrong; `detail` names the place.",
    "401": "A token is needed, or the one that was given is not known.",
    "403": "The token does not allow it.",
    "404": "There is no such cluster or node.",
    "503": "The controller's own state cannot be read, or as many are served as it serves.",
    "500": "A fault of the controller; its log has the trace.",
}
OUTCOMES: Final = {
    "409": "Refused, because it would not be safe, or does not fit; nothing was changed.",
    "502": "It was tried and failed.",
    "504": "It is not finished in that time, and goes on.",
}
TOO_LATE: Final = {"408": "The body did not come in time.", "413": "The body is too large."}
READ_OUTCOMES: Final = {"409": OUTCOMES["409"], "504": "A node did not answer in time."}
SCHEMES: Final = {
    "token": {"type": "http", "scheme": "bearer", "description": "Made by `pgvigil token add`."},
    "certificate": {"type": "mutualTLS", "description": "A client certificate that `http.clients` names."},
}
TOKEN_NEEDED: Final[list[Json]] = [{"token": []}, {"certificate": []}]
TOKEN_WELCOME: Final[list[Json]] = [{}, *TOKEN_NEEDED]
NO_TOKEN: Final[list[Json]] = []
"""Nobody is asked who he is, and a token that is given is not looked at."""
ASKS_NODES: Final = ("/parameters", "/check", "/recording", "/events/{event}", "/versions", "/recordings")
SHAPES: Final[Mapping[str, tuple[str, bool]]] = {
    "/clusters": ("ClusterStatus", True),
    "/clusters/{cluster}": ("ClusterStatus", False),
    "/clusters/{cluster}/changes": ("EventStatus", True),
    "/events": ("EventStatus", True),
}
"""Path → what a JSON answer is made of, and whether it is a list of these."""


def body_schema(command: type[Command]) -> Json:
    """JSON Schema of a command's body, for OpenAPI; what it refers to stands under `$defs` as yet."""
    made: Json = TypeAdapter(command).json_schema(ref_template="#/components/schemas/{model}")
    for name in OURS:
        made.setdefault("properties", {}).pop(name, None)
    made["required"] = [name for name in made.get("required", ()) if name not in OURS]
    made["properties"].update(
        dry_run={"type": "boolean", "default": False, "description": "Only say what would be done."},
        within_s={
            "type": "number", "exclusiveMinimum": 0, "maximum": wire.WITHIN_MAX_S, "default": WITHIN_S,
            "description": "How long to wait for the outcome; the command itself goes on.",
        },
    )  # fmt: skip
    made["additionalProperties"] = False
    return made


def summary(command: type[Command]) -> str:
    """One line on a command, from its docstring."""
    return (command.__doc__ or "").strip().splitlines()[0].replace("`", "")


def described(page: Json) -> Json:
    """The page that FastAPI made, with the answers that we give."""
    parts = page.setdefault("components", {})
    shared = parts.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        shared.pop(unused, None)
    shared.update(_shared())
    parts["securitySchemes"] = SCHEMES
    for path, operations in page["paths"].items():
        for method, operation in operations.items():
            _complete(path, method, operation, shared)
    page["paths"].update(_health_paths())
    return page


def _complete(path: str, method: str, operation: Json, shared: Json) -> None:
    """Errors, shapes and what is needed, for one operation."""
    operation["responses"].pop("422", None)
    operation["security"] = TOKEN_NEEDED if _needs_token(path, method) else TOKEN_WELCOME
    errors = {**ERRORS, **(TOO_LATE if method == "post" else {})}
    if path.endswith(ASKS_NODES):
        errors |= READ_OUTCOMES
    operation["responses"] |= {status: _answer(why, "Error") for status, why in errors.items()}
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    if body:
        shared.update(body.pop("$defs", {}))
        told = {**_json("Outcome"), "text/event-stream": {"schema": {"type": "string"}}}
        operation["responses"]["200"] = {"description": "Done, or planned.", "content": told}
        either = {"oneOf": [_ref("Outcome"), _ref("Error")]}
        for status, why in {"400": ERRORS["400"], **OUTCOMES}.items():
            operation["responses"][status] = {
                "description": why, "content": {"application/json": {"schema": either}}
            }  # fmt: skip
    if path in SHAPES:
        name, many = SHAPES[path]
        schema = {"type": "array", "items": _ref(name)} if many else _ref(name)
        operation["responses"]["200"]["content"]["application/json"] = {"schema": schema}


def _needs_token(path: str, method: str) -> bool:
    return method == "post" or path.endswith(ASKS_NODES)


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(name: str) -> Json:
    return {"application/json": {"schema": _ref(name)}}


def _answer(why: str, name: str) -> Json:
    return {"description": why, "content": _json(name)}


def _shared() -> Json:
    text = {"type": "string"}
    return {
        "Error": {
            "type": "object",
            "description": "What happened, in which detail, and what to do.",
            "properties": {
                **dict.fromkeys(("kind", "what", "detail", "hint"), text),
                "exit_code": {"type": "integer", "description": "What a command would end with."},
            },
            "required": ["kind", "what", "detail", "hint"],
            "additionalProperties": False,
        },
        "Outcome": {
            "type": "object",
            "description": "What came of a command.",
            "properties": {
                "result": {"enum": [each.value for each in Result]},
                **dict.fromkeys(("text", "detail", "hint"), text),
                "plan": {"type": "array", "items": text, "description": "Steps, done or planned."},
                "data": {"type": "object"},
            },
            "required": ["result", "text", "detail", "hint", "plan", "data"],
            "additionalProperties": False,
        },
        "ClusterStatus": shape_schema(ClusterStatus),
        "EventStatus": shape_schema(EventStatus),
        "Passed": {"type": "object", "description": "The node or the cluster that was asked about."},
    }


def shape_schema(kind: Any) -> Json:
    """JSON Schema of a type that our answers are made of."""
    if is_typeddict(kind):
        hints = get_type_hints(kind)
        return {
            "type": "object",
            "description": (kind.__doc__ or "").splitlines()[0],
            "properties": {name: shape_schema(each) for name, each in hints.items()},
            "required": list(hints),
        }
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return {"anyOf": [shape_schema(each) for each in arguments]}
    if origin is list:
        return {"type": "array", "items": shape_schema(arguments[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": shape_schema(arguments[1])}
    simple = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}
    return {"type": simple[kind]}


def _health_paths() -> Json:
    return dict(_each_health_path())


def _each_health_path() -> Iterator[tuple[str, Json]]:
    yes, no = "Yes.", "No. Or the controller's own state cannot be read."
    answers = {
        "200": _answer(yes, "Passed"),
        "400": _answer(ERRORS["400"], "Error"),
        "404": _answer(ERRORS["404"], "Error"),
        "503": _answer(no, "Passed"),
    }
    for check in CHECKS:
        for path in (f"/clusters/{{cluster}}/nodes/{{node}}/{check}", f"/clusters/{{cluster}}/{check}"):
            names = ("cluster", "node") if "{node}" in path else ("cluster",)
            of = "node" if "{node}" in path else "cluster"
            operation = {
                "summary": f"Whether it is {check}, for load balancers.",
                "operationId": f"{of}-{check}",
                "parameters": [*map(_path_parameter, names), *_demands()],
                "responses": answers,
                "security": NO_TOKEN,
            }
            yield path, {"get": operation}
    alive = {"summary": "Whether this controller runs.", "operationId": "liveness", "security": NO_TOKEN}
    yield "/liveness", {"get": {**alive, "responses": {"200": _answer(yes, "Passed")}}}


def _path_parameter(name: str) -> Json:
    text = {"type": "string", "minLength": 1}
    return {
        "name": name, "in": "path", "required": True, "schema": text, "description": f"Name of a {name}."
    }  # fmt: skip


def _demands() -> list[Json]:
    told: list[tuple[str, Json, str]] = [
        ("lag", {"type": "string", "pattern": "^[0-9]{1,9}$"}, "At most so many bytes behind; `16MB` too."),
        ("mode", {"enum": ["apply", "write"]}, "Behind in replaying, or in receiving."),
        ("replication_state", {"enum": ["streaming"]}, "That its WAL receiver streams."),
    ]
    return [
        {"name": name, "in": "query", "required": False, "schema": schema, "description": text}
        for name, schema, text in told
    ]
