"""Every story comes out as it is written. `pytest --update tests/stories` writes what came out instead."""

import os
from pathlib import Path

import pytest

from tests.stories.telling import told

STORIES = sorted(Path(__file__).parent.glob("*.story"))


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_story(path: Path, pytestconfig: pytest.Config) -> None:
    text = "\n".join(told(path.read_text().splitlines())) + "\n"
    if pytestconfig.getoption("update"):
        if "CI" in os.environ:
            pytest.fail("stories are corrected by people, not by CI", pytrace=False)
        path.write_text(text)
    assert text.splitlines() == path.read_text().splitlines()


def test_there_are_stories() -> None:
    assert len(STORIES) >= 12


@pytest.mark.parametrize("line", ["pg9: refused", "pg1: sleeps", "carry out", "wish: more"])
def test_what_is_no_fact_is_told(line: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        list(told([line]))
