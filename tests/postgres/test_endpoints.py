"""HAProxy and PgBouncer as endpoints of a real cluster: switchover, failover, silence, a restart."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from pgvigil.demo.ports import HOST, free_port
from pgvigil.demo.servers import Server, Servers, config_text, wait_until
from tests.postgres.fronts import HAPROXY, PGBOUNCER, Bouncer, Busy, needs, running_haproxy
from tests.postgres.service import Service

pytestmark = pytest.mark.postgres
Trio = tuple[Server, Server, Server]


def configured(servers: Servers, *endpoints: dict[str, Any]) -> Path:
    file = servers.home / "pgvigil.yaml"
    written = yaml.safe_load(config_text(servers, "orders", endpoints=list(endpoints)))
    written["http"] = {"listen": f"{HOST}:{free_port()}", "haproxy": f"{HOST}:{free_port()}"}
    file.write_text(yaml.safe_dump(written))
    return file


def of(status: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (each for each in status["endpoints"] if each["name"] == name)
    return dict(found)


def leads_to(node: str, name: str) -> Callable[[dict[str, Any]], bool]:
    def fact(status: dict[str, Any]) -> bool:
        found = of(status, name)
        return (found["state"], found["primary"], status["health"]) == ("ok", node, "ok")

    return fact


# S3-10
@pytest.mark.skipif(**needs(HAPROXY, "haproxy"))
@pytest.mark.skipif(**needs(PGBOUNCER, "pgbouncer"))
def test_endpoints_follow_the_primary(servers: Servers, trio_of_servers: Trio) -> None:
    write, bare = free_port(), free_port()
    pushed, plain = servers.home / "haproxy.sock", servers.home / "plain.sock"
    with Bouncer(servers.account, servers.home, servers.passfile()) as bouncer:
        file = configured(
            servers,
            {"haproxy": {"address": str(pushed)}},
            {"name": "plain", "haproxy": {"address": str(plain), "backend": "plain"}},
            bouncer.section(pause_timeout="3s"),
        )
        words = ["render", "haproxy", "--port", str(write), "--read-port", str(free_port())]
        command = [sys.executable, "-m", "pgvigil", *words, "--config", str(file)]
        text = subprocess.check_output(command, text=True)
        # a backend without agent checks, which nobody but the endpoint keeps right
        lines = "\n".join(f"    server {s.name} {HOST}:{s.port} check inter 1s" for s in trio_of_servers)
        haproxy = servers.home / "haproxy.cfg"
        haproxy.write_text(f"{text}\nlisten plain\n    bind :{bare}\n{lines}\n")
        ways = {"haproxy": write, "plain": bare, "pgbouncer": bouncer.port}

        def behind(port: int) -> set[str]:
            """The nodes that clients get to there."""
            conninfo = trio_of_servers[0].conninfo(dbname="postgres", port=port)
            with contextlib.suppress(psycopg.OperationalError):
                return {_name_of(conninfo) for _ in range(4)}
            return set()

        def only(node: str, port: int) -> bool:
            return behind(port) == {node}

        def await_all_at(service: Service, node: str) -> None:
            for name, port in ways.items():
                service.await_that(leads_to(node, name), f"{name} at {node}")
                wait_until(partial(only, node, port), within_s=20, what=f"{node} alone behind {name}")

        with Service(servers) as service:
            with running_haproxy(haproxy):
                await_all_at(service, "pg1")
                assert _keepalived(service, servers.home, "pg1", "pg2") == [0, 1]
                checked = service.command("check", "orders").stdout
                assert "endpoint plain: HAProxy at" in checked
                assert "endpoint pgbouncer: PgBouncer at" in checked
                with Busy(bouncer.conninfo) as busy:
                    _switch_over(service, busy)
                    _not_switched_over(service, busy, bouncer)
                    assert busy.failed == []

                session = psycopg.connect(trio_of_servers[0].conninfo(port=bare), autocommit=True)
                trio_of_servers[1].kill_all()
                found = service.await_that(lambda s: s["primary"] != "pg2" and s["health"] == "ok", "another")
                await_all_at(service, found["primary"])
                assert _keepalived(service, servers.home, found["primary"], "pg2") == [0, 1]
                with pytest.raises(psycopg.OperationalError):
                    session.execute("select 1")  # it led to the old one
            # HAProxy is gone: the databases are not concerned
            service.await_that(lambda s: of(s, "plain")["state"] == "failed", "silence is seen")
            wait_until(lambda: "endpoint_failed" in service.log, within_s=20, what="the event")
            assert "cannot be moved: HAProxy at" in service.command("status").stdout
            assert service.status()["health"] == "ok"
            with running_haproxy(haproxy):  # started anew, it takes everybody for fit
                await_all_at(service, found["primary"])
                service.stop()  # a command without a controller moves them too, before it ends
                done = service.command("switchover", "--to", "pg2", "--yes")
                assert done.returncode == 0, done.stderr
                assert {name: behind(port) for name, port in ways.items()} == {name: {"pg2"} for name in ways}
                service.start()


def _keepalived(service: Service, home: Path, *nodes: str) -> list[int]:
    """What the check says that `render keepalived` prints, installed as printed: 0 for the primary."""
    printed = service.command("render", "keepalived", "--controller", HOST)
    env = {**os.environ, "ETC": str(home / "etc"), "RUN": str(home / "run")}
    install = ["sh", "-s", nodes[0], "192.0.2.1/24", "eth0"]
    subprocess.run(install, input=printed.stdout, text=True, env=env, check=True)
    check = str(home / "etc" / "pgvigil-check")
    return [subprocess.run([check, n, home / f"is-{n}"], check=False).returncode for n in nodes]


def _name_of(conninfo: str) -> str:
    with psycopg.connect(conninfo) as session:
        row = session.execute("select current_setting('cluster_name')").fetchone()
    return str(row[0]) if row else ""


def _go_on(busy: Busy) -> None:
    count = busy.done
    wait_until(lambda: busy.done > count + 100, within_s=30, what="clients to go on")


def _switch_over(service: Service, busy: Busy) -> None:
    """No statement of a busy client fails."""
    _go_on(busy)
    done = service.command("switchover", "--to", "pg2", "--yes")
    assert done.returncode == 0, done.stderr
    for name in ("haproxy", "plain", "pgbouncer"):
        service.await_that(leads_to("pg2", name), f"{name} at pg2")
    _go_on(busy)


def _not_switched_over(service: Service, busy: Busy, bouncer: Bouncer) -> None:
    """A transaction does not end: it is given up, nothing is changed, and nobody waits."""
    with psycopg.connect(bouncer.conninfo) as late:
        late.execute("select 1")
        refused = service.command("switchover", "--to", "pg1", "--yes")
        assert refused.returncode == 1, refused.stdout
        status = service.await_that(leads_to("pg2", "pgbouncer"), "as before")
        assert status["primary"] == "pg2"
        _go_on(busy)
        late.execute("select 1")
    assert "transactions did not end within 3 s" in service.log
