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
from tests.postgres.service import Service
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

    def begins(self, *words: str) -> "subprocess.Popen[bytes]":
        """A command that is left running."""
        env = {**os.environ, "PGVIGIL_CONFIG": str(self.servers.home / "pgvigil.yaml")}
        said = subprocess.DEVNULL
        return subprocess.Popen([sys.executable, "-m", "pgvigil", *words], env=env, stdout=said, stderr=said)

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


@pytest.fixture
def pair(servers: Servers) -> tuple[Server, Server]:
    pg1 = servers.make_primary("pg1")
    pg2 = servers.add_standby("pg2", pg1)
    pg2.wait_streaming(pg1)
    return pg1, pg2


def test_a_node_that_was_being_added_is_added_when_given_again(
    servers: Servers, pair: tuple[Server, Server]
) -> None:
    scene = Scene(servers)
    pg3 = servers._new("pg3")
    words = ["node", "add", "pg3", "--host", "127.0.0.1", "--port", str(pg3.port), "--clone", "--yes"]
    words += ["--data-dir", str(pg3.data_dir), "--bin-dir", str(pg3.bin_dir)]
    with Service(servers) as service:
        service.await_health()
        cli = scene.begins(*words)
        service.await_that(lambda s: any(n["progress"] for n in s["nodes"]), "the copy")
        cli.kill()
        cli.wait(10)
        pg3.wait_streaming(pair[0])
        service.await_health()
        told = scene.does(*words)
        assert "pg3 belongs to demo, and streams" in told
        service.await_health()
    assert not list(servers.home.glob("pg3.pgvigil-old-*")), "it was copied twice"


def test_a_node_that_was_being_dropped_is_dropped_when_given_again(
    servers: Servers, trio_of_servers: Trio, scene: Scene
) -> None:
    words = ["node", "drop", "pg3", "--destroy", "--yes"]
    with Service(servers) as service:
        service.await_health()
        cli = scene.begins(*words)
        service.await_that(lambda s: any(n["maintenance"] for n in s["nodes"]), "the maintenance")
        cli.kill()
        cli.wait(10)
        scene.does(*words)
        assert {n["name"] for n in service.status()["nodes"]} == {"pg1", "pg2"}
        service.await_health()
        slots = trio_of_servers[0].sql("select slot_name from pg_replication_slots")
    assert not trio_of_servers[2].is_running()
    assert len(list(servers.home.glob("pg3.pgvigil-dropped-*"))) == 1
    assert ("pg3",) not in slots


def test_maintenance_is_on_record_or_is_not(scene: Scene) -> None:
    scene.dies("maintenance_saved", "maintenance", "pg3")
    with controller(scene.servers, "never"):
        scene.await_health()
        assert [n["name"] for n in scene.status()["nodes"] if n["maintenance"]] == ["pg3"]
        scene.does("maintenance", "on", "pg3", "--yes")
        scene.does("maintenance", "off", "pg3", "--yes")
        assert not any(n["maintenance"] for n in scene.status()["nodes"])
