"""The HTTP face of a real controller over real servers: what a load balancer and a script would see."""

import json
import os
import pwd
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from pgvigil.demo.ports import free_port
from pgvigil.demo.servers import Server, Servers, config_text, wait_until
from tests.postgres.service import Service

pytestmark = pytest.mark.postgres
Trio = tuple[Server, Server, Server]


class Api:
    """A client with its token."""

    def __init__(self, port: int, token: str) -> None:
        self.base, self.token = f"http://127.0.0.1:{port}", token

    def code(self, path: str) -> int:
        """The status of a health check; 0: nobody listens."""
        try:
            with urllib.request.urlopen(self.base + path, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as no:
            return no.code
        except OSError:
            return 0

    def post(self, path: str, body: dict[str, object]) -> dict[str, Any]:
        request = urllib.request.Request(
            self.base + path, json.dumps(body).encode(), {"authorization": f"Bearer {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def refused(self, path: str) -> int:
        """The status of a command that is not carried out."""
        with pytest.raises(urllib.error.HTTPError) as no:
            self.post(path, {})
        with no.value:
            return no.value.code

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.base + path, timeout=10) as answer:
            return json.load(answer)

    def events(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self.base}/events?limit=1000", timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)
            return found

    def in_service(self, check: str) -> set[str]:
        """The nodes that pass a check."""
        nodes = ("pg1", "pg2", "pg3")
        return {node for node in nodes if self.code(f"/clusters/orders/nodes/{node}/{check}") == 200}


def assert_kept(api: Api, service: Service) -> None:
    """Who gave which command, from where, with what result, and whose the changes of primary were."""
    kinds = ("ordered", "order_ended", "order_denied")
    user = f"user {pwd.getpwuid(os.getuid()).pw_name}"
    told = [(e["kind"], e["data"]["by"], e["data"].get("result")) for e in api.events() if e["kind"] in kinds]
    assert told == [
        ("ordered", "token deploy", None),
        ("order_ended", "token deploy", "done"),
        ("order_denied", "somebody unknown", "denied"),
        ("ordered", user, None),
        ("order_ended", user, "done"),
    ]
    assert {e["data"]["from"].split(",")[0] for e in api.events() if e["kind"] in kinds} == {
        "http 127.0.0.1",
        "socket",
    }
    history = json.loads(service.command("history", "--json").stdout)
    assert [e["data"].get("by") for e in history] == [None, "token deploy", user]
    assert [row[4] for row in api.get("/clusters/orders/history")] == [e["data"]["primary"] for e in history]


def follow(api: Api, found: list[str]) -> None:
    """Keep the kinds of events of a stream until it ends."""
    request = urllib.request.Request(f"{api.base}/events", headers={"accept": "text/event-stream"})
    with urllib.request.urlopen(request, timeout=60) as lines:
        data = (json.loads(line[6:]) for line in lines if line.startswith(b"data: "))
        found.extend(each.get("kind", "state") for each in data)


# S1-05, S2-03, S2-17
def test_a_failover_and_a_switchover_seen_and_ordered_over_http(
    servers: Servers, trio_of_servers: Trio
) -> None:
    port, file = free_port(), servers.home / "pgvigil.yaml"
    written = yaml.safe_load(config_text(servers, "orders"))
    written["http"] = {"listen": f"127.0.0.1:{port}", "tokens": "tokens"}
    file.write_text(yaml.safe_dump(written))
    words = ["token", "add", "deploy", "--access", "operator", "--config", str(file)]
    made = subprocess.run(
        [sys.executable, "-m", "pgvigil", *words], check=True, capture_output=True, text=True
    )
    secret = made.stdout.strip()
    api = Api(port, secret)
    with Service(servers) as service:
        service.await_health()
        wait_until(lambda: api.in_service("primary") == {"pg1"}, within_s=20, what="HTTP to answer")
        assert api.in_service("replica?lag=16MB&replication_state=streaming") == {"pg2", "pg3"}
        stream: list[str] = []
        reader = threading.Thread(target=follow, args=(api, stream), daemon=True)
        reader.start()

        trio_of_servers[0].kill_all()
        wait_until(lambda: api.in_service("primary") - {"pg1"}, within_s=30, what="another primary")
        service.await_health()
        (primary,) = api.in_service("primary")
        assert api.in_service("replica") == {"pg1", "pg2", "pg3"} - {primary}
        wait_until(lambda: "promoted" in stream, within_s=10, what="the stream to tell of it")

        planned = api.post("/clusters/orders/switchover", {"to": "pg1", "dry_run": True})
        assert planned["result"] == "planned"
        assert api.in_service("primary") == {primary}
        done = api.post("/clusters/orders/switchover", {"to": "pg1"})
        assert (done["result"], api.in_service("primary")) == ("done", {"pg1"})
        assert Api(port, "guess" + secret).refused("/clusters/orders/failover") == 401
        service.command("switchover", "--to", "pg2", "--yes")
        assert_kept(api, service)
        assert secret not in service.log + Path(file).read_text() + (servers.home / "tokens").read_text()
    reader.join(10)
    assert not reader.is_alive()  # the controller ended the stream
    assert api.code("/liveness") == 0
