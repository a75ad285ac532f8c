"""The pinned packages: all that pyproject.toml asks for, each by hash, and no word of where from."""

import functools
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = ROOT / "pyproject.toml"
FILES = sorted((ROOT / "requirements").glob("*.txt"))
PIN = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)
ASKED = re.compile(r"^([A-Za-z0-9_-]+)(?:\[[a-z,]+\])?(?:>=([0-9.]+))?$")


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def pins(path: Path) -> dict[str, str]:
    return dict(PIN.findall(path.read_text()))


@pytest.mark.parametrize(
    ("file", "keys"),
    [
        ("dev.txt", ("project", "dependencies")),
        ("dev.txt", ("dependency-groups", "dev")),
        ("demo.txt", ("project", "optional-dependencies", "demo")),
    ],
)
def test_what_pyproject_asks_for_is_pinned(file: str, keys: tuple[str, ...]) -> None:
    asked = functools.reduce(lambda table, key: table[key], keys, tomllib.loads(PYPROJECT.read_text()))
    pinned = pins(ROOT / "requirements" / file)
    for wish in asked:
        match = ASKED.match(wish)
        assert match, f"{wish}: this test understands name>=version only"
        name, least = match[1].lower().replace("_", "-"), match[2] or "0"
        assert name in pinned, f"{wish} is not in requirements/{file}: run make lock"
        assert numbers(pinned[name]) >= numbers(least), f"{wish}, but {pinned[name]} is pinned: run make lock"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_pin_has_a_hash_and_no_place(path: Path) -> None:
    entries = [
        entry for entry in re.split(r"\n(?=\S)", path.read_text().strip()) if not entry.startswith("#")
    ]
    assert entries
    for entry in entries:
        assert PIN.match(entry), f"not an exact version: {entry.splitlines()[0]}"
        assert "--hash=sha256:" in entry, f"no hash: {entry.splitlines()[0]}"
        assert "://" not in entry, f"names a place: {entry.splitlines()[0]}"
