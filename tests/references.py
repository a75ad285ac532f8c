"""Pages of docs/reference that are made from the code: the HTTP API, metrics, errors and exit codes.

`python -m tests.references` writes them anew; `tests/unit/test_references.py` says when one is not current.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pgvigil import errors
from pgvigil.api.backing import Backing
from pgvigil.api.gate import Gate
from pgvigil.api.health import CHECKS
from pgvigil.api.http_app import make_app
from pgvigil.api.metrics import FAMILIES, LATE, SLOWDOWN, Metrics
from pgvigil.controller.operations import Result
from pgvigil.errors import PgvigilError
from pgvigil.model.check import CheckItem
from pgvigil.model.face import HttpSpec
from pgvigil.model.units import ClusterName
from tests.builders import a_cluster
from tests.fake_operations import FakeOperations

FOLDER: Final = Path(__file__).parents[1] / "docs" / "reference"
MADE: Final = "<!-- Made by: python -m tests.references. Change the code instead. -->"
CODES: Final = {0: "done, or planned (`--dry-run`)", 130: "interrupted (Ctrl-C)"}


def first_line(described: object) -> str:
    return (inspect.getdoc(described) or "").splitlines()[0]


def error_classes() -> list[type[PgvigilError]]:
    found = [each for each in vars(errors).values() if isinstance(each, type)]
    return [each for each in found if issubclass(each, PgvigilError)]


def errors_page() -> str:
    by_code: dict[int, list[str]] = {}
    for each in error_classes():
        by_code.setdefault(each.exit_code, []).append(f"`{each.__name__}`")
    codes = {**{code: ", ".join(names) for code, names in by_code.items()}, **CODES}
    lines = [
        MADE,
        "# Errors and exit codes",
        "",
        "Every message to people says what happened, in which detail, and what to do (`what`, `detail`,",
        "`hint`; with `--json` and over HTTP an object with these). A command's exit code is that of its",
        "error:",
        "",
        "| exit code | when |",
        "|---|---|",
        *(f"| {code} | {codes[code]} |" for code in sorted(codes)),
        "",
        "| error | exit code | HTTP | says | hint, unless it has a better one |",
        "|---|---|---|---|---|",
        *(
            f"| `{each.__name__}` | {each.exit_code} | {each.status} | {first_line(each)} | {each.hint} |"
            for each in error_classes()
        ),
        "",
        f"The outcome of a command (`result` with `--json`): {', '.join(f'`{each}`' for each in Result)}.",
    ]
    return "\n".join(lines) + "\n"


def metric_rows() -> Iterator[tuple[str, str, list[str], str]]:
    """Name, type, labels, help of each, in the order in which they are served."""
    metrics = Metrics(FakeOperations())
    yield "pgvigil_build_info", "gauge", ["version"], "Which pgvigil this is."
    yield "pgvigil_controller_late_seconds_total", "counter", [], LATE
    yield "pgvigil_controller_slowdown", "gauge", [], SLOWDOWN
    for family in FAMILIES:
        yield family.name, "gauge", list(family.labels), family.text
    for counted in (metrics._events, metrics._changes, metrics._lost):
        total = "_total" if counted._type == "counter" else ""
        yield counted._name + total, counted._type, list(counted._labelnames), counted._documentation
    yield "pgvigil_start_time_seconds", "gauge", [], "When the controller started, in seconds since 1970."


def metrics_page() -> str:
    lines = [
        MADE,
        "# Metrics",
        "",
        "What `GET /metrics` serves to Prometheus ([HTTP](../operate/http.md#metrics)). Gauges are read when",
        "they are asked for; a value that is not known has no sample. Counters begin at 0 when the",
        "controller starts.",
        "",
        "| metric | type | labels | meaning |",
        "|---|---|---|---|",
    ]
    for name, kind, labels, text in metric_rows():
        lines.append(f"| `{name}` | {kind} | {', '.join(f'`{each}`' for each in labels)} | {text} |")
    return "\n".join(lines) + "\n"


def openapi() -> dict[str, Any]:
    """The OpenAPI page of an app that nobody asks anything."""

    async def nothing(_: ClusterName) -> list[CheckItem]:
        return []

    async def looked(_: ClusterName) -> None:
        pass

    async def reload() -> str:
        return ""

    backing = Backing(lambda *_: None, lambda _: a_cluster().spec, nothing, looked, reload)
    made: dict[str, Any] = make_app(FakeOperations(), Gate(HttpSpec()), backing).openapi()
    return made


def kind_of(schema: dict[str, Any]) -> str:
    """A schema in a word or two."""
    if "anyOf" in schema:
        return " or ".join(kind_of(each) for each in schema["anyOf"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return " or ".join(f"`{each}`" for each in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {kind_of(schema.get('items', {}))}"
    return {"object": "mapping", "string": "text", "null": "nothing"}.get(
        kind := str(schema.get("type")), kind
    )


def needs(operation: dict[str, Any]) -> str:
    """What whoever asks must show."""
    security = operation["security"]
    if not security:
        return "nothing, ever"
    return "nothing, unless `reads_need_token`" if {} in security else "a token or certificate"


def fields(operation: dict[str, Any]) -> str:
    """What it takes: parameters of the query, fields of the body."""
    found = [
        f"`{each['name']}`: {kind_of(each.get('schema', {}))}"
        for each in operation.get("parameters", ())
        if each["in"] == "query"
    ]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    for name, schema in body.get("properties", {}).items():
        wanted = " (must be given)" if name in body.get("required", ()) else ""
        found.append(f"`{name}`: {kind_of(schema)}{wanted}")
    return "; ".join(each for each in found if not each.startswith(("`dry_run`", "`within_s`")))


def api_page() -> str:
    lines = [
        MADE,
        "# HTTP API",
        "",
        "As `GET /openapi.json` describes it, for people. What it is for, streams and status codes:",
        "[HTTP](../operate/http.md). Commands (`POST`) need a token or certificate whose access is",
        "`operator`; each takes `dry_run` and `within_s`.",
        "",
        "**Health checks** need nothing, ever: `GET /clusters/{cluster}/CHECK`, and",
        "`GET /clusters/{cluster}/nodes/{node}/CHECK`, with the parameters `lag`, `mode`,",
        "`replication_state` and those of tags; and `GET /liveness`. CHECK is one of",
        f"{', '.join(f'`{each}`' for each in CHECKS)}.",
        "",
        "| call | does | needs | takes |",
        "|---|---|---|---|",
    ]
    for path, operations in sorted(openapi()["paths"].items()):
        if path.rpartition("/")[2] in (*CHECKS, "liveness"):
            continue
        for method, operation in operations.items():
            summary = re.sub(r"\s+", " ", operation["summary"])
            call = f"`{method.upper()} {path}`"
            lines.append(f"| {call} | {summary} | {needs(operation)} | {fields(operation)} |")
    return "\n".join(lines) + "\n"


PAGES: Final = {"api.md": api_page, "errors.md": errors_page, "metrics.md": metrics_page}


if __name__ == "__main__":
    for name, made in PAGES.items():
        (FOLDER / name).write_text(made(), encoding="utf-8")
