"""The pages of docs/reference that `tests.references` makes are those of today, and say what is served."""

import asyncio
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pgvigil.api.metrics import Metrics
from tests.fake_operations import FakeOperations
from tests.references import FOLDER, PAGES, error_classes, metric_rows, openapi


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_the_generated_one(name: str) -> None:
    kept = (FOLDER / name).read_text(encoding="utf-8")
    assert kept == PAGES[name](), "run: .venv/bin/python -m tests.references"


def test_every_metric_that_is_served_has_its_row() -> None:
    text = asyncio.run(Metrics(FakeOperations()).page()).decode()
    served = {family.name for family in text_string_to_metric_families(text)}
    listed = {name.removesuffix("_total") for name, *_ in metric_rows()}
    assert served == listed


def test_every_call_and_error_has_its_row() -> None:
    api, errors = ((FOLDER / name).read_text(encoding="utf-8") for name in ("api.md", "errors.md"))
    for path, operations in openapi()["paths"].items():
        for method in operations:
            name = path.rpartition("/")[2]
            assert f"| `{method.upper()} {path}` |" in api or f"`{name}`" in api or f" {path}`" in api
    assert all(f"| `{each.__name__}` |" in errors for each in error_classes())
    assert len(error_classes()) > 5


def test_every_page_of_reference_is_linked_in_the_readme() -> None:
    readme = Path(__file__).parents[2] / "README.md"
    text = readme.read_text(encoding="utf-8")
    missing = [page.name for page in FOLDER.glob("*.md") if f"docs/reference/{page.name}" not in text]
    assert not missing
