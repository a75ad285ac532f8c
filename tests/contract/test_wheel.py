"""What users install: the wheel has all that the program needs, and says what it is."""

import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from pgvigil import __version__

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    (made,) = place.glob("*.whl")
    return made


def test_it_has_every_file_of_the_package(wheel: Path) -> None:
    words = ["git", "ls-files", "src/pgvigil"]
    ours = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    there = set(zipfile.ZipFile(wheel).namelist())
    assert {name.removeprefix("src/") for name in ours} <= there
    assert {
        "pgvigil/web/static/index.html",
        "pgvigil/ports/guard.sh",
        "pgvigil/config/pgvigil.schema.json",
    } <= there


def test_its_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as files:
        metadata = Parser().parsestr(files.read(f"pgvigil-{__version__}.dist-info/METADATA").decode())
        entry = files.read(f"pgvigil-{__version__}.dist-info/entry_points.txt").decode()
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "PostgreSQL"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "pgvigil = pgvigil.cli.app:main" in entry


def test_the_program_says_its_version() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "pgvigil", "--version"], capture_output=True, text=True, check=True
    )
    assert told.stdout == f"pgvigil {__version__}\n"
