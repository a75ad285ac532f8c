"""Changing commands whose controller is killed half-way: the next one ends them, or tells who has to."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pgvigil.api.socket_client import SocketOperations
from pgvigil.demo.servers import Server, Servers, config_text, wait_until
from pgvigil.errors import PgvigilError
from tests.postgres.test_mortal import controller, status

pytestmark = pytest.mark.postgres
Trio = tuple[Server, Server, Server]


class Scene:
    """Three servers, and one controller after another."""

    def __init__(self, servers: Servers) -> None:
        self.servers, self.state = servers, servers.home / "state"
        (servers.home / "pgvigil.yaml").write_text(config_text(servers, failover={"max_per": "none"}))

    def dies(self, point: str, verb: str, word: str = "") -> None:
        """A controller that is asked for it, and killed at the point."""
        with controller(self.servers, point, verb, *([word] if word else [])) as mortal:
            mortal.wait(60)
            assert mortal.returncode == -9, (self.servers.home / "controller.log").read_text()[-2000:]

    def status(self) -> dict[str, Any]:
        return status(self.state) or {}

    def await_that(self, fact: Callable[[dict[str, Any]], object], what: str) -> dict[str, Any]:
        """The first status of which it is true."""
        seen: list[dict[str, Any]] = []

        def there() -> bool:
            found = self.status()
            if found and fact(found):
                seen.append(found)
            return bool(seen)

        wait_until(there, within_s=30, what=f"{what}: {self.kinds()}", every_s=0.05)
        return seen[0]

    def await_health(self) -> dict[str, Any]:
        return self.await_that(lambda s: s["health"] == "ok", "a healthy cluster")

    def events(self) -> list[dict[str, Any]]:
        try:
            return asyncio.run(SocketOperations(self.state / "pgvigil.sock").events(None, limit=1000))
        except PgvigilError:
            return []

    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.events()]

    def await_event(self, kind: str) -> dict[str, Any]:
        wait_until(lambda: kind in self.kinds(), within_s=30, what=f"event {kind}", every_s=0.05)
        return next(event for event in self.events() if event["kind"] == kind)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Another pgvigil process beside it."""
        env = {**os.environ, "PGVIGIL_CONFIG": str(self.servers.home / "pgvigil.yaml"), "COLUMNS": "200"}
        return subprocess.run(
            [sys.executable, "-m", "pgvigil", *words],
            capture_output=True, text=True, env=env, timeout=60, check=False, cwd=Path(__file__).parents[2],
        )  # fmt: skip

    def does(self, *words: str) -> str:
        told = self.command(*words)
        assert told.returncode == 0, told.stdout + told.stderr
        return told.stdout + told.stderr

    def shows(self, name: str) -> list[object]:
        return [server.sql(f"show {name}")[0][0] for server in self.servers.nodes.values()]

    def started(self) -> list[object]:
        return [
            server.sql("select pg_postmaster_start_time()")[0][0] for server in self.servers.nodes.values()
        ]


@pytest.fixture
def scene(servers: Servers, trio_of_servers: Trio) -> Scene:
    assert trio_of_servers
    return Scene(servers)


SET = ["after:_tried_on_one", "after:_kept", "after:reload_server"]


@pytest.mark.parametrize("point", SET)
def test_a_parameter_given_again_is_everywhere_and_can_be_taken_back(scene: Scene, point: str) -> None:
    before = scene.shows("work_mem")
    scene.dies(point, "set", "work_mem=7MB")
    with controller(scene.servers, "never"):
        told = scene.await_event("command_interrupted")
        assert "work_mem" in told["text"]
        assert "config set" in told["hint"]
        scene.await_health()
        scene.does("config", "set", "work_mem=7MB", "--yes")
        assert scene.shows("work_mem") == ["7MB"] * 3
        scene.does("config", "rollback", "--yes")
        assert scene.shows("work_mem") == before
        assert scene.kinds().count("command_interrupted") == 1


@pytest.mark.parametrize("point", ["after:_kept", "after:reload_server", "amid:RestartServer", "after:_take"])
def test_a_parameter_that_needs_restarts_comes_into_force_when_given_again(scene: Scene, point: str) -> None:
    scene.dies(point, "set", "max_connections=60")
    with controller(scene.servers, "never"):
        scene.await_event("command_interrupted")
        scene.await_health()
        scene.does("config", "set", "max_connections=60", "--restart", "--yes")
        scene.await_health()
        assert scene.shows("max_connections") == ["60"] * 3


@pytest.mark.parametrize(
    ("point", "word"),
    [
        ("before:RestartServer", ""),
        ("amid:RestartServer", ""),
        ("after:_take", ""),
        ("saved:switching", ""),
        ("restart_in_place_saved", "in_place"),
    ],
)
def test_a_rolling_restart_leaves_no_server_down_and_says_which_are_left(
    scene: Scene, point: str, word: str
) -> None:
    before = scene.started()
    scene.dies(point, "restart", word)
    with controller(scene.servers, "never"):
        told = scene.await_event("command_interrupted")
        scene.await_health()
        words = told["hint"].split("pgvigil ")[1].split()
        scene.does(*words, "--yes")
        scene.await_health()
        assert all(now != then for now, then in zip(scene.started(), before, strict=True))


@pytest.mark.parametrize("point", ["saved:switching", "after:Promote", "after:_leg", "saved:stable"])
def test_a_drill_goes_home(scene: Scene, point: str) -> None:
    scene.dies(point, "drill", "pg3")
    with controller(scene.servers, "never"):
        scene.await_event("command_interrupted")
        scene.await_that(lambda s: s["health"] == "ok" and s["primary"] == "pg1", "pg1 to be primary again")
        assert "drill" not in scene.kinds()


def test_maintenance_is_on_record_or_is_not(scene: Scene) -> None:
    scene.dies("maintenance_saved", "maintenance", "pg3")
    with controller(scene.servers, "never"):
        scene.await_health()
        assert [n["name"] for n in scene.status()["nodes"] if n["maintenance"]] == ["pg3"]
        scene.does("maintenance", "on", "pg3", "--yes")
        scene.does("maintenance", "off", "pg3", "--yes")
        assert not any(n["maintenance"] for n in scene.status()["nodes"])
