"""docs/acceptance.md and the tests agree: rows have tests that quote them, and the page names just these."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "acceptance.md"
ROWS = {"S0": 18, "S1": 13, "S2": 20, "S3": 10, "S4": 12}
"""How many rows each forerunner has: numbers are never given up or used again."""
NUMBER = re.compile(r"\bS\d-\d\d\b")
ROW = re.compile(r"^\| (S\d-\d\d) \|(.*)\| ([^|]+) \|$", re.MULTILINE)
TEST = re.compile(r"\[(test_\w+)\]\(\.\./(tests/[\w/.]+)\)")

Tests = frozenset[tuple[str, str]]
"""Paths and names."""


def comment_above(lines: list[str], node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """The comment that stands right above a test and its decorators."""
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 1
    begin = first
    while begin and lines[begin - 1].startswith("#"):
        begin -= 1
    return "\n".join(lines[begin:first])


def quoted_in(text: str) -> Iterator[tuple[str, str]]:
    """The numbers that the tests of a file quote, each with its test's name."""
    lines = text.splitlines()
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            for number in NUMBER.findall(comment_above(lines, node)):
                yield number, node.name


def by_the_tests() -> dict[str, Tests]:
    found: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for path in (ROOT / "tests").rglob("test_*.py"):
        if path != Path(__file__):
            for number, name in quoted_in(path.read_text(encoding="utf-8")):
                found[number].add((str(path.relative_to(ROOT)), name))
    return {number: frozenset(tests) for number, tests in found.items()}


def by_the_page(text: str) -> dict[str, Tests]:
    return {
        number: frozenset((path, name) for name, path in TEST.findall(middle))
        for number, middle, _ in ROW.findall(text)
    }


def differences(page: Mapping[str, Tests], tests: Mapping[str, Tests]) -> list[str]:
    told = [
        f"{number}: the page names {path}::{name}, which does not quote that number (or is not there)"
        for number, named in page.items()
        for path, name in sorted(named - tests.get(number, frozenset()))
    ]
    told += [
        f"{number}: {path}::{name} quotes it, and the page does not name that test"
        for number, quoting in tests.items()
        for path, name in sorted(quoting - page.get(number, frozenset()))
    ]
    return told + [f"{number}: no test" for number, named in page.items() if not named]


def test_every_row_is_there_once() -> None:
    wanted = [f"{part}-{number:02}" for part, count in ROWS.items() for number in range(1, count + 1)]
    assert [number for number, _, _ in ROW.findall(PAGE.read_text(encoding="utf-8"))] == wanted


def test_every_row_has_its_tests() -> None:
    told = differences(by_the_page(PAGE.read_text(encoding="utf-8")), by_the_tests())
    assert not told, "docs/acceptance.md:\n" + "\n".join(told)


def test_every_row_says_its_state() -> None:
    rows = ROW.findall(PAGE.read_text(encoding="utf-8"))
    unclear = [number for number, _, state in rows if not re.match(r"held\b|partly: .|not: .", state)]
    assert not unclear, f"held, or partly or not with what is missing: {unclear}"


HERE: Tests = frozenset({("tests/test_x.py", "test_it")})


@pytest.mark.parametrize(
    ("page", "tests", "told"),
    [
        ({"S0-01": HERE}, {"S0-01": HERE}, ""),
        ({"S0-01": frozenset()}, {}, "no test"),
        ({"S0-01": HERE}, {}, "does not quote"),
        ({}, {"S9-99": HERE}, "does not name"),
    ],
)
def test_what_differs_is_told(page: dict[str, Tests], tests: dict[str, Tests], told: str) -> None:
    assert told in "\n".join(differences(page, tests))
    assert bool(differences(page, tests)) == bool(told)


def test_numbers_are_read_above_decorators() -> None:
    text = "# S0-01, S0-02\n@mark\n# of the rest\ndef test_a(): ...\n\n# S1-01\n\ndef test_b(): ...\n"
    assert set(quoted_in(text)) == {("S0-01", "test_a"), ("S0-02", "test_a")}
