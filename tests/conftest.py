"""Options of all tests, and where they keep their servers."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

settings.register_profile("pgvigil", deadline=None)  # a loaded machine is no failure
settings.load_profile("pgvigil")

IN_MEMORY = Path("/dev/shm")
ROOM_BYTES = 6 << 30
"""Three workers at a time were seen to use 1.5 GB of it."""


def pytest_configure() -> None:
    """Keep servers in memory where there is room and `TMPDIR` says nothing else.

    Thousands of data directories come and go; a disk's file system takes a third of the tests' time.
    """
    if "TMPDIR" not in os.environ and _has_room(IN_MEMORY):
        os.environ["TMPDIR"] = str(IN_MEMORY)
        tempfile.tempdir = None


def _has_room(place: Path) -> bool:
    try:
        disk, memory = os.statvfs(place), Path("/proc/meminfo").read_text()
    except OSError:
        return False
    # PostgreSQL's programs are copied there for an account that may not run them where they are.
    usable = not disk.f_flag & (os.ST_NOEXEC | os.ST_RDONLY) and os.access(place, os.W_OK)
    free = int(memory.partition("MemAvailable:")[2].split()[0]) * 1024
    return usable and min(free, disk.f_bavail * disk.f_frsize) >= ROOM_BYTES


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="rewrite the stories with what came out")


@pytest.fixture(autouse=True)
def logging_as_it_comes() -> Iterator[None]:
    """What a test configures of structlog, which is one for the whole process, ends with the test."""
    yield
    structlog.reset_defaults()
