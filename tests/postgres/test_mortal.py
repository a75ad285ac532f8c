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

QUORUM_FAILOVER = [
    "saved:fencing",
    "after:Cut",
    "saved:promoting",
    "before:SetSync",
    "after:SetSync",
    "after:Follow",
    "after:Promote",
    "saved:stable",
    "saved:sync_next",
    "saved:sync",
]
QUORUM_SWITCHOVER = ["after:Stop", "after:SetSync", "saved:stable"]


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


def ends_well(servers: Servers, writer: Writer, *, primaries: set[str], protected: bool = False) -> None:
    """A second controller finishes: healthy, one primary of those expected, nothing lost.

    `protected`: commits are proved to wait for any of the two others, too.
    """
    state = servers.home / "state"
    with controller(servers, "never"):
        wait_until(
            lambda: (
                (s := status(state))
                and s["health"] == "ok"
                and s["primary"] in primaries
                and (not protected or (len(s["sync"]["standbys"]) == 2 and not s["sync"]["changing"]))
            ),
            within_s=60,
            what=f"a healthy cluster: {status(state)}",
        )
        found = status(state)
        assert found is not None
        running = [s for s in servers.nodes.values() if s.sql("select pg_is_in_recovery()") == [(False,)]]
        assert [server.name for server in running] == [found["primary"]]
    writer.stop()
    assert writer.lost(running[0].conninfo(dbname="postgres")) == []


# S2-11
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
    with controller(servers, point, "switchover", "pg3") as mortal:
        mortal.wait(60)
        assert mortal.returncode == -9
    ends_well(servers, writer, primaries={"pg1", "pg3"})


@pytest.fixture
def quorum(servers: Servers, writer: Writer) -> Writer:
    """The same with `protection: quorum`."""
    text = config_text(servers, failover={"max_per": "none"}, protection="quorum")
    (servers.home / "pgvigil.yaml").write_text(text)
    return writer


def commits_wait_again(servers: Servers) -> None:
    """Whoever is primary now waits for both others, as its server says itself."""
    (primary,) = [s for s in servers.nodes.values() if s.sql("select pg_is_in_recovery()") == [(False,)]]
    others = ", ".join(f'"{name}"' for name in sorted(servers.nodes.keys() - {primary.name}))
    assert primary.sql("show synchronous_standby_names") == [(f"ANY 1 ({others})",)]


@pytest.mark.parametrize("point", QUORUM_FAILOVER)
def test_a_failover_of_quorum_mode_survives_its_controller(
    servers: Servers, quorum: Writer, point: str
) -> None:
    state = servers.home / "state"
    with controller(servers, point) as mortal:
        wait_until(lambda: (s := status(state)) and s["health"] == "ok", within_s=30, what="guarding")
        servers.nodes["pg1"].kill_all()
        mortal.wait(30)
        assert mortal.returncode == -9
    ends_well(servers, quorum, primaries={"pg2", "pg3"}, protected=True)
    commits_wait_again(servers)


@pytest.mark.parametrize("point", QUORUM_SWITCHOVER)
def test_a_switchover_of_quorum_mode_survives_its_controller(
    servers: Servers, quorum: Writer, point: str
) -> None:
    with controller(servers, point, "switchover", "pg3") as mortal:
        mortal.wait(60)
        assert mortal.returncode == -9
    ends_well(servers, quorum, primaries={"pg1", "pg3"}, protected=True)
    commits_wait_again(servers)
