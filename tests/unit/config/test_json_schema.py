"""The JSON Schema: it is current, takes every example of the documentation, and refuses what we refuse.

The little validator knows the words of JSON Schema that ours has, and fails at any other.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from pgvigil.cli.app import app
from pgvigil.config.modeline import SCHEMA_FILE, modeline
from pgvigil.config.reference import config_json_schema, schema_text

ROOT = Path(__file__).parents[3]
WORDS = {"$schema", "$defs", "$ref", "title", "description", "default", "examples"} | {
    "type", "properties", "required", "additionalProperties", "propertyNames", "anyOf", "enum", "const",
    "items", "pattern", "minLength", "maxLength", "minItems", "uniqueItems", "minProperties",
    "minimum", "maximum",
}  # fmt: skip
TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "null": type(None),
    "number": (int, float),
}  # fmt: skip


def wrong(value: Any, schema: dict[str, Any], whole: dict[str, Any], place: str = "") -> list[str]:
    """What the schema has against the value."""
    assert schema.keys() <= WORDS, schema.keys() - WORDS
    found: list[str] = []
    if "$ref" in schema:
        found += wrong(value, whole["$defs"][schema["$ref"].removeprefix("#/$defs/")], whole, place)
    if "anyOf" in schema and all(wrong(value, choice, whole, place) for choice in schema["anyOf"]):
        found.append(f"{place}: none of the choices")
    if kind := schema.get("type"):
        fits = isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))
        if not fits:
            return [*found, f"{place}: no {kind}"]
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{place}: not one of {schema['enum']}")
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        found.append(f"{place}: pattern")
    if isinstance(value, int) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        found.append(f"{place}: range")
    if isinstance(value, list) and "items" in schema:
        found += [text for each in value for text in wrong(each, schema["items"], whole, f"{place}[]")]
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        found += [f"{place}: {name} is missing" for name in schema.get("required", ()) if name not in value]
        for name, each in value.items():
            if name in known:
                found += wrong(each, known[name], whole, f"{place}.{name}")
            elif others is False:
                found.append(f"{place}.{name}: unknown")
            elif isinstance(others, dict):
                found += wrong(each, others, whole, f"{place}.{name}")
    return found


def complaints(text: str) -> list[str]:
    schema = config_json_schema()
    return wrong(yaml.safe_load(text), schema, schema)


def examples() -> list[str]:
    fence = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [block for page in pages for block in fence.findall(page.read_text())]


def test_the_kept_schema_is_the_generated_one() -> None:
    assert SCHEMA_FILE.read_text() == schema_text(), (
        "run: python -m pgvigil.config.reference --json-schema > src/pgvigil/config/pgvigil.schema.json"
    )


def test_every_example_of_the_documentation_fits() -> None:
    assert len(examples()) > 5
    for block in examples():
        whole = re.search("^clusters:", block, re.MULTILINE)
        text = block if whole else f"clusters: {{orders: {{nodes: {{pg1: 10.0.0.11}}}}}}\n{block}"
        assert complaints(text) == [], block


@pytest.mark.parametrize(
    "settings",
    [
        "{}",
        "{nodes: {}, unknown: 1}",
        "{nodes: {a: {port: 5432}}}",
        "{nodes: {a: h}, failover: {unreachable_after: 3}}",
        "{nodes: {a: h}, failover: {unreachable_after: 3 parsecs}}",
        "{nodes: {a: h}, protection: perfect}",
        "{nodes: {a: {host: h, port: 99999}}}",
        "{nodes: {a: h}, postgres: {password: x}}",
        "{nodes: {a: h}, degrade: 'yes'}",
    ],
)
def test_what_we_refuse_does_not_fit(settings: str) -> None:
    assert complaints(f"clusters: {{orders: {settings}}}")


def test_the_command_prints_it() -> None:
    assert json.loads(CliRunner().invoke(app, ["config", "schema"]).stdout) == config_json_schema()


def test_the_first_line_leads_an_editor_to_it() -> None:
    match = re.fullmatch(r"# yaml-language-server: \$schema=file://(/.+)", modeline())
    assert match
    assert json.loads(Path(match[1]).read_text())["title"] == "pgvigil.yaml"


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        ("clusters: {a: {nodes: {x: h, y: i}}}", 0, "is right: a (2 nodes)"),
        ("clusters: {a: {nodes: {x: h}}, b: {nodes: {y: i}}}", 0, "is right: a (1 node), b (1 node)"),
        ("clusters:\n  a:\n    nodes: {x: h}\n    nodez: 1\n    degrade: 7\n", 2, ":4: clusters.a.nodez"),
        ("clusters: [", 2, "did not find expected node content"),
    ],
)
def test_config_check_says_whether_a_file_is_right(tmp_path: Path, text: str, code: int, told: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    runner = CliRunner(env={"COLUMNS": "300", "NO_COLOR": "1", "PGVIGIL_CONFIG": "/nowhere.yaml"})
    done = runner.invoke(app, ["config", "check", str(file)])
    assert done.exit_code == code
    assert told in " ".join(done.output.split())
    as_json = runner.invoke(app, ["config", "check", str(file), "--json"])
    assert as_json.exit_code == code
    assert json.loads(as_json.stdout).get("right", False) is (code == 0)


# S4-05
def test_config_file_says_where_everything_lies(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("state_dir: state\nclusters: {a: {nodes: {x: h}}}")
    places = json.loads(CliRunner().invoke(app, ["config", "file", "--config", str(file), "--json"]).stdout)
    assert places == {
        "configuration": str(file),
        "state": f"{tmp_path}/state",
        "store": f"{tmp_path}/state/pgvigil.db",
        "socket": f"{tmp_path}/state/pgvigil.sock",
    }
    assert str(tmp_path) in CliRunner().invoke(app, ["config", "file", "--config", str(file)]).stdout
