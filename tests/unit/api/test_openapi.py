"""The OpenAPI page and the table of commands in the documentation say what there is."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from pgvigil.api.backing import Backing
from pgvigil.api.commands import NAMES
from pgvigil.api.gate import Gate
from pgvigil.api.health import CHECKS
from pgvigil.api.http_app import make_app
from pgvigil.cli.app import app
from pgvigil.model.check import CheckItem
from pgvigil.model.face import HttpSpec
from pgvigil.model.units import ClusterName
from tests.builders import a_cluster
from tests.fake_operations import FakeOperations

PAGE_OF_PEOPLE = Path(__file__).parents[3] / "docs" / "operate" / "http.md"
NO_COMMAND = {"/caller", "/metrics", "/openapi.json"}
SPOKEN_ABROAD = {"cluster", "history"}
READING = {"show-parameters", "show-versions", "list-recordings", "fetch-recording"}


async def nothing(_: ClusterName) -> list[CheckItem]:
    return []


async def looked(_: ClusterName) -> None:
    pass


async def reload() -> str:
    return ""


def page() -> dict[str, Any]:
    backing = Backing(lambda *_: None, lambda _: a_cluster().spec, nothing, looked, reload)
    made: dict[str, Any] = make_app(FakeOperations(), Gate(HttpSpec()), backing).openapi()
    return made


def commands(inner: dict[str, Any], before: str = "") -> Iterator[str]:
    for name, command in inner.items():
        if not command.hidden:
            group = getattr(command, "commands", None)
            yield from commands(group, f"{name} ") if group else [before + name]


def table() -> list[tuple[set[str], set[str]]]:
    """Rows of the documentation's table: commands, and `METHOD path` of each way."""
    text = PAGE_OF_PEOPLE.read_text().partition("| command | over HTTP |")[2].partition("\n\n")[0]
    rows = [row.strip("|").split("|") for row in text.splitlines()[2:]]
    ways = (set(re.findall(r"`((?:GET|POST) [^`?]*)", right)) for _, right in rows)
    return [(set(re.findall(r"`([^`]+)`", left)), found) for (left, _), found in zip(rows, ways, strict=True)]


def test_every_command_has_its_way_over_http_or_the_reason_why_not() -> None:
    there = set(commands(typer.main.get_command(app).commands))  # type: ignore[attr-defined]  # a group
    named = set().union(*(left for left, _ in table()))
    told = {name for name in there if name in named or name.split()[0] in named}
    assert there == told, f"docs/operate/http.md lacks {sorted(there - told)}"
    assert all(any(name == each or each.startswith(f"{name} ") for each in there) for name in named)


def test_every_way_of_the_table_exists_and_no_path_is_left_out() -> None:
    in_table = {way for _, ways in table() for way in ways}
    whole = {
        re.sub(r"/events/N", "/events/{event}", way.replace("…", "/clusters/C")).replace("/C", "/{cluster}")
        for way in in_table
    }
    found = {
        f"{method.upper()} {path}"
        for path, operations in page()["paths"].items()
        for method in operations
        if path.rpartition("/")[2] not in {*CHECKS, *SPOKEN_ABROAD, *READING} and path not in NO_COMMAND
    }
    assert whole == found


def test_every_operation_is_described_with_its_errors_and_what_it_needs() -> None:
    made = page()
    for path, operations in made["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], path
            assert (operation["security"] == []) == (path.rpartition("/")[2] in {*CHECKS, "liveness"}), path
            assert {"200"} <= operation["responses"].keys()
            if path != "/liveness":
                assert {"400", "404"} <= operation["responses"].keys(), path
            if method == "post":
                assert {"401", "403", "408", "413"} <= operation["responses"].keys()
                assert {} not in operation["security"]
    for name in NAMES:
        posted = made["paths"][f"/clusters/{{cluster}}/{name}"]["post"]["responses"]
        assert {"200", "409", "502", "504"} <= posted.keys()
    text = json.dumps(made)
    referred = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert referred <= made["components"]["schemas"].keys()
    assert "$defs" not in text
