"""Requests drawn from the OpenAPI page, right and wrong ones, against the real app on a real port."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode, checks
from schemathesis.core.result import Ok

from pgvigil.api.backing import Backing
from pgvigil.api.gate import new_token, write_tokens
from pgvigil.api.http_server import serving
from pgvigil.controller.operations import Outcome, Result
from pgvigil.demo.ports import free_port
from pgvigil.model.check import CheckItem, CheckLevel
from pgvigil.model.face import Access, HttpSpec
from pgvigil.model.units import ClusterName

WITHIN_S = 10.0
PROMISES = ("status_code_conformance", "content_type_conformance", "response_schema_conformance")
DATA: dict[str, Any] = {"recordings": [], "event": {"number": 1}, "recording": None}
OUTCOMES = [Outcome(result, "so it ended", data=DATA) for result in Result]
checks.load_all_checks()


def not_500(_: Any, response: Any, case: Any) -> None:
    """502 to 504 are said on purpose; 500 is a fault of ours."""
    assert response.status_code != 500, f"{case.as_curl_command()}: {response.text}"


@dataclass(frozen=True, slots=True)
class Target:
    """A served face."""

    port: int
    secrets: dict[Access, str]
    page: dict[str, Any]

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def headers(self, access: Access | None) -> dict[str, str]:
        return {"authorization": f"Bearer {self.secrets[access]}"} if access else {}


@contextlib.contextmanager
def served(home: Path, ops: Any, spec: Any) -> Iterator[Target]:
    """The face of these operations, in a thread of its own."""
    made = {access: new_token(f"a-{access}", access) for access in Access}
    write_tokens(home / "tokens", [token for token, _ in made.values()])
    http = replace(HttpSpec(port=free_port(), asked_for=True), tokens=str(home / "tokens"))
    begun, over = threading.Event(), asyncio.Event()
    found: list[Any] = []

    async def ready(_: ClusterName) -> list[CheckItem]:
        return [CheckItem(CheckLevel.OK, "orders", "all is well")]

    async def looked(_: ClusterName) -> None:
        pass

    async def reload() -> str:
        return "nothing changed"

    async def serve() -> None:
        from pgvigil.api.gate import Gate
        from pgvigil.api.http_app import make_app

        backing = Backing(lambda *_: None, lambda _: spec, ready, looked, reload)
        found[:] = [asyncio.get_running_loop(), make_app(ops, Gate(http), backing).openapi()]
        async with serving(ops, http, backing):
            begun.set()
            await over.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert begun.wait(WITHIN_S)
    try:
        yield Target(http.port, {access: secret for access, (_, secret) in made.items()}, found[1])
    finally:
        found[0].call_soon_threadsafe(over.set)
        thread.join(WITHIN_S)


def operations(target: Target, wanted: Callable[[str], bool]) -> Iterator[Any]:
    """Every operation of the page whose path is wanted."""
    schema = schemathesis.openapi.from_dict(target.page)
    schema.config.update(base_url=target.base)
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result
        operation = result.ok()
        if wanted(operation.path):
            yield operation


def attack(target: Target, operation: Any, *, examples: int, before: Callable[[int], None]) -> list[str]:
    """Draw requests for one operation; which answers the page does not promise, or are a 500."""
    right = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    wrong = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    who = st.sampled_from([None, Access.VIEWER, Access.OPERATOR, Access.OPERATOR])

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=examples <= 20,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.one_of(right, wrong), who, st.integers(0, 3), st.integers(0, len(Result)))
    def drawn(case: Any, access: Access | None, known: int, ends: int) -> None:
        before(ends)
        if known and "cluster" in (case.path_parameters or {}):
            case.path_parameters["cluster"] = "orders"
        case.call_and_validate(
            headers=target.headers(access),
            timeout=WITHIN_S,
            checks=[not_500, *(checks.CHECKS.get_one(name) for name in PROMISES)],
        )

    found: list[str] = []
    try:
        drawn()
    except* AssertionError as wrong:  # all of schemathesis' failures are
        found = [f"{operation.label}: {each}" for each in wrong.exceptions]
    return found
