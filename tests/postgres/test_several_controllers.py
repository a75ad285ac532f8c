"""Several controllers on one etcd: they share clusters, survive each other, and etcd's absence."""

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from pgvigil.demo.servers import Server, Servers, config_text, wait_until
from pgvigil.demo.writer import Writer
from tests.etcd import Etcd, etcd_servers, needs_etcd
from tests.postgres.service import Service

pytestmark = [pytest.mark.postgres, needs_etcd, pytest.mark.timeout(240)]
Trio = tuple[Server, Server, Server]
ROOT = Path(__file__).parents[2]
LEASE_S = 3


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


def test_the_owner_dies_amid_a_failover_and_the_other_finishes_it_etcd_dies_and_nothing_begins(
    servers: Servers, trio_of_servers: Trio, etcd: Etcd
) -> None:
    nodes = {"demo": [server.name for server in trio_of_servers]}
    heir = configured(servers, etcd, "ctl2", nodes)
    configured(servers, etcd, "ctl1", nodes)
    owner = Service(servers, name="ctl1")
    with ExitStack() as stack:
        mortal = stack.enter_context(dies_at(servers, "ctl1", "before:Promote"))
        owner.await_that(lambda s: s["health"] == "ok" and s["controller"] == "ctl1", "ctl1 guards")
        stack.enter_context(heir)
        heir.await_that(lambda s: s["controller"] == "ctl1", "ctl2 knows who guards")
        conninfos = {s.name: s.conninfo(dbname="postgres") for s in trio_of_servers}
        writer = stack.enter_context(Writer(conninfos))

        told = heir.command("pause", "demo", "--yes")
        assert told.returncode == 3
        assert "ctl1" in told.stderr

        trio_of_servers[0].kill_all()
        assert mortal.wait(30) == -signal.SIGKILL
        heir.await_that(
            lambda s: s["controller"] == "ctl2" and s["generation"] == 2 and s["health"] == "ok",
            "ctl2 has finished the failover",
        )
        events = {event["kind"] for event in events_of(heir)}
        assert {"primary_crashed", "promoted"} <= events
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
        assert "lease_lost" in {event["kind"] for event in events_of(heir)}
        assert writer.lost(conninfos[heir.status()["primary"]]) == []


def events_of(service: Service) -> list[dict[str, Any]]:
    import asyncio

    from pgvigil.api.socket_client import SocketOperations

    return asyncio.run(SocketOperations(service.state / "pgvigil.sock").events(None, limit=1000))
