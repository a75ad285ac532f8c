"""Options of all tests."""

from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

settings.register_profile("pgvigil", deadline=None)  # a loaded machine is no failure
settings.load_profile("pgvigil")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="rewrite the stories with what came out")


@pytest.fixture(autouse=True)
def logging_as_it_comes() -> Iterator[None]:
    """What a test configures of structlog, which is one for the whole process, ends with the test."""
    yield
    structlog.reset_defaults()
