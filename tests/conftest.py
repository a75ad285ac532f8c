"""Options of all tests."""

import pytest
from hypothesis import settings

settings.register_profile("pgvigil", deadline=None)  # a loaded machine is no failure
settings.load_profile("pgvigil")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="rewrite the stories with what came out")
