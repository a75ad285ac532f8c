"""Several controllers on one etcd: they share clusters, survive each other, and etcd's absence."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from pgvigil.api.socket_client import SocketOperations
from pgvigil.demo.servers import Server, Servers, config_text, wait_until
from pgvigil.demo.writer import Writer
from tests.etcd import Etcd, etcd_servers, needs_etcd
from tests.postgres.service import Service

pytestmark = [pytest.mark.postgres, needs_etcd, pytest.mark.timeout(240)]
Trio = tuple[Server, Server, Server]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def etcd() -> Iterator[Etcd]:
    with etcd_servers(1) as etcd:
        yield etcd


def configured(servers: Servers, etcd: Etcd, name: str, nodes: Mapping[str, Sequence[str]]) -> Service:
    """A controller of that name with these clusters, and the nodes of each; it does not run yet."""
    whole = yaml.safe_load(config_text(servers, "all", failover={"max_per": "none"}))
    settings = whole["clusters"].pop("all")
    for cluster, names in nodes.items():
        whole["clusters"][cluster] = {**settings, "nodes": {n: settings["nodes"][n] for n in names}}
    whole["state_dir"] = f"{servers.home}/state{name}"
    endpoints = [url.removeprefix("http://") for url in etcd.urls]
    whole["store"] = {"kind": "etcd", "endpoints": endpoints, "name": name, "lease": "3s", "retry": "1s"}
    (servers.home / f"pgvigil{name}.yaml").write_text(yaml.safe_dump(whole))
    return Service(servers, name=name)


@contextmanager
def dies_at(servers: Servers, name: str, point: str) -> Iterator["subprocess.Popen[bytes]"]:
    """The controller of that name, which SIGKILL hits at the point."""
    command = [sys.executable, "-m", "tests.postgres.mortal", f"{servers.home}/pgvigil{name}.yaml", point]
    with (servers.home / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def events_of(service: Service) -> list[dict[str, Any]]:
    return asyncio.run(SocketOperations(service.state / "pgvigil.sock").events(None, limit=1000))


# S2-01, S2-11, S4-11
def test_one_hands_commands_to_the_other_replaces_it_when_it_dies_or_hangs_and_begins_nothing_without_etcd(
    servers: Servers, trio_of_servers: Trio, etcd: Etcd
) -> None:
    nodes = {"demo": [server.name for server in trio_of_servers]}
    heir = configured(servers, etcd, "ctl1", nodes)
    owner = configured(servers, etcd, "ctl2", nodes)  # by the hash of names it is its cluster
    with ExitStack() as stack:
        mortal = stack.enter_context(dies_at(servers, "ctl2", "before:Promote"))
        owner.await_that(lambda s: s["health"] == "ok" and s["controller"] == "ctl2", "ctl2 guards")
        stack.enter_context(heir)
        heir.await_that(lambda s: s["controller"] == "ctl2", "ctl1 knows who guards")
        conninfos = {s.name: s.conninfo(dbname="postgres") for s in trio_of_servers}
        writer = stack.enter_context(Writer(conninfos))

        paused = heir.command("pause", "demo", "--yes")
        assert paused.returncode == 0, paused.stderr
        assert "ctl2 guards demo: the command was handed to it" in paused.stdout + paused.stderr
        owner.await_that(lambda s: s["paused"], "it is paused where it is guarded")
        resumed = heir.command("resume", "demo", "--json")
        assert resumed.returncode == 0, resumed.stderr
        assert json.loads(resumed.stdout)["result"] == "done"
        planned = heir.command("switchover", "demo", "--dry-run")
        assert planned.returncode == 0, planned.stderr
        assert "promote" in planned.stdout
        wrong = heir.command("config", "set", "demo", "work_mom=5MB", "--yes")
        assert (wrong.returncode, "work_mom" in wrong.stderr) == (2, True), wrong.stderr
        ordered = [event for event in events_of(heir) if event["kind"] == "ordered"]
        assert {event["data"]["command"] for event in ordered} >= {"pause", "resume"}
        assert all(event["data"]["from"].endswith("through ctl1") for event in ordered)
        number = next(event["number"] for event in events_of(heir) if event["kind"] == "taken_over")
        assert heir.command("explain", str(number)).returncode == 0

        died = heir.command("switchover", "demo", "--yes")
        assert mortal.wait(30) == -signal.SIGKILL
        assert died.returncode == 1
        assert "it is not known whether the command was carried out" in died.stderr, died.stderr
        heir.await_that(
            lambda s: s["controller"] == "ctl1" and s["generation"] == 2 and s["health"] == "ok",
            "ctl1 has finished the switchover",
        )
        events = {event["kind"] for event in events_of(heir)}
        assert {"switchover", "promoted"} <= events
        assert writer.lost(conninfos[heir.status()["primary"]]) == []

        etcd.stop()
        held = heir.await_hold("lease_lost")
        assert "not confirmed by etcd" in held["reason"]
        before = heir.status()
        refused = heir.command("switchover", "demo", "--yes")
        assert refused.returncode == 3
        acks = len(writer.acknowledged())
        wait_until(lambda: len(writer.acknowledged()) > acks + 20, within_s=30, what="writes that go on")
        servers.nodes[before["primary"]].kill_all()
        seen = heir.await_that(
            lambda s: any(f["problem"] == "primary_crashed" for f in s["findings"]), "the crash is seen"
        )
        assert (seen["decision"]["rule"], seen["generation"]) == ("lease_lost", 2)
        assert "events_kept_again" not in heir.log

        etcd.start()
        heir.await_that(
            lambda s: s["generation"] == 3 and s["health"] == "ok", "it goes on when etcd is back"
        )
        heir_told = {event["kind"] for event in events_of(heir)}
        assert "lease_lost" in heir_told, "kept in memory, and written afterwards"
        assert writer.lost(conninfos[heir.status()["primary"]]) == []

        stack.enter_context(owner)
        owner.await_that(lambda s: s["controller"] == "ctl2" and s["health"] == "ok", "it is given back")
        os.kill(owner.pid, signal.SIGSTOP)
        try:
            heir.await_that(lambda s: s["controller"] == "ctl1" and s["health"] == "ok", "ctl1 takes over")
            servers.nodes[heir.status()["primary"]].kill_all()
            heir.await_that(lambda s: s["generation"] == 4 and s["health"] == "ok", "ctl1 fails over")
        finally:
            os.kill(owner.pid, signal.SIGCONT)
        last = owner.await_that(lambda s: s["generation"] == 4 and s["health"] == "ok", "ctl2 goes on")
        promoted = [event["generation"] for event in events_of(heir) if event["kind"] == "promoted"]
        assert promoted == [2, 3, 4], "ctl2 has done nothing of its own"
        assert writer.lost(conninfos[last["primary"]]) == []
