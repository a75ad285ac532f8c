"""I8: a controller killed at any instruction and started again reaches the same end."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pgvigil.api.socket_client import SocketOperations
from pgvigil.demo.servers import Server, Servers, config_text, wait_until
from pgvigil.demo.writer import Writer
from pgvigil.errors import PgvigilError

pytestmark = pytest.mark.postgres
ROOT = Path(__file__).parents[2]

FAILOVER = [
    "saved:fencing",
    "before:Fence",
    "after:Fence",
    "after:Cut",
    "saved:promoting",
    "after:Rescue",
    "before:Promote",
    "after:Promote",
    "after:Follow",
    "saved:stable",
    "before:Rebuild",
    "after:Rebuild",
]
SWITCHOVER = [
    "saved:switching",
    "after:Checkpoint",
    "after:Stop",
    "saved:promoting",
    "after:Promote",
    "after:Fence",
]


def status(state: Path) -> dict[str, Any] | None:
    try:
        (found,) = asyncio.run(SocketOperations(state / "pgvigil.sock").status(None))
    except PgvigilError:
        return None
    return dict(found)


@contextmanager
def controller(servers: Servers, point: str, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """The mortal controller as a process of its own; ended on leaving, if it still lives."""
    words = [sys.executable, "-m", "tests.postgres.mortal", str(servers.home / "pgvigil.yaml"), point, *more]
    with (servers.home / "controller.log").open("ab") as log:
        process = subprocess.Popen(words, cwd=ROOT, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def writer(servers: Servers, trio_of_servers: tuple[Server, Server, Server]) -> Iterator[Writer]:
    (servers.home / "pgvigil.yaml").write_text(config_text(servers, failover={"max_per": "none"}))
    with Writer({s.name: s.conninfo(dbname="postgres") for s in trio_of_servers}) as writer:
        yield writer


def ends_well(servers: Servers, writer: Writer, *, primaries: set[str]) -> None:
    """A second controller finishes: healthy, one primary of those expected, nothing lost."""
    state = servers.home / "state"
    with controller(servers, "never"):
        wait_until(
            lambda: (s := status(state)) and s["health"] == "ok" and s["primary"] in primaries,
            within_s=60,
            what=f"a healthy cluster: {status(state)}",
        )
        found = status(state)
        assert found is not None
        running = [s for s in servers.nodes.values() if s.sql("select pg_is_in_recovery()") == [(False,)]]
        assert [server.name for server in running] == [found["primary"]]
    writer.stop()
    assert writer.lost(running[0].conninfo(dbname="postgres")) == []


@pytest.mark.parametrize("point", FAILOVER)
def test_a_failover_survives_its_controller(servers: Servers, writer: Writer, point: str) -> None:
    state = servers.home / "state"
    with controller(servers, point) as mortal:
        wait_until(lambda: (s := status(state)) and s["health"] == "ok", within_s=30, what="guarding")
        servers.nodes["pg1"].kill_all()
        mortal.wait(30)
        assert mortal.returncode == -9
    ends_well(servers, writer, primaries={"pg2", "pg3"})


@pytest.mark.parametrize("point", SWITCHOVER)
def test_a_switchover_survives_its_controller(servers: Servers, writer: Writer, point: str) -> None:
    with controller(servers, point, "pg3") as mortal:
        mortal.wait(60)
        assert mortal.returncode == -9
    ends_well(servers, writer, primaries={"pg1", "pg3"})
