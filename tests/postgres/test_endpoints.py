"""HAProxy and PgBouncer as endpoints: told of a new primary, held through a switchover, silent, left behind."""

import signal
import subprocess
import sys
import time
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


def endpoint(status: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (each for each in status["endpoints"] if each["name"] == name)
    return dict(found)


def leads_to(node: str, name: str) -> Any:
    def fact(status: dict[str, Any]) -> bool:
        found = endpoint(status, name)
        return found["state"] == "ok" and found["primary"] == node and status["health"] == "ok"

    return fact


def kinds(service: Service) -> list[str]:
    return [line.split()[1] for line in service.log.splitlines() if len(line.split()) > 1]


@pytest.mark.skipif(**needs(HAPROXY, "haproxy"))
def test_haproxy_is_told_of_a_new_primary_and_looked_after(servers: Servers, trio_of_servers: Trio) -> None:
    write, read = free_port(), free_port()
    runtime = servers.home / "haproxy.sock"
    plain = servers.home / "plain.sock"
    file = configured(
        servers,
        {"haproxy": {"address": str(runtime)}},
        {"name": "plain", "haproxy": {"address": str(plain), "backend": "plain"}},
    )
    words = ["render", "haproxy", "--port", str(write), "--read-port", str(read), "--config", str(file)]
    text = subprocess.check_output([sys.executable, "-m", "pgvigil", *words], text=True)
    bare = free_port()  # a backend without agent checks, which only the endpoint keeps right
    lines = "\n".join(f"    server {s.name} {HOST}:{s.port} check inter 1s" for s in trio_of_servers)
    (servers.home / "haproxy.cfg").write_text(f"{text}\nlisten plain\n    bind :{bare}\n{lines}\n")

    def who(port: int) -> str:
        try:
            conninfo = trio_of_servers[0].conninfo(dbname="postgres", port=port)
            with psycopg.connect(conninfo) as session:
                row = session.execute("select current_setting('cluster_name')").fetchone()
        except psycopg.Error:
            return ""
        return row[0] if row else ""

    with Service(servers) as service, running_haproxy(servers.home / "haproxy.cfg"):
        service.await_that(leads_to("pg1", "haproxy"), "haproxy at pg1")
        service.await_that(leads_to("pg1", "plain"), "the other one at pg1")
        assert {who(bare) for _ in range(4)} == {"pg1"}
        checked = service.command("check", "orders")
        assert "endpoint haproxy: HAProxy at" in checked.stdout
        assert "endpoint plain: HAProxy at" in checked.stdout
        session = psycopg.connect(trio_of_servers[0].conninfo(dbname="postgres", port=bare), autocommit=True)

        trio_of_servers[0].kill_all()
        after = service.await_that(lambda s: s["primary"] != "pg1" and s["health"] == "ok", "a new primary")
        service.await_that(leads_to(after["primary"], "haproxy"), "haproxy at the new primary")
        service.await_that(leads_to(after["primary"], "plain"), "the other one too")
        assert {who(bare) for _ in range(4)} == {after["primary"]}
        assert who(write) == after["primary"]
        with pytest.raises(psycopg.OperationalError):
            session.execute("select 1")
        moved = [line for line in service.log.splitlines() if "endpoint_moved" in line]
        assert any(f"{after['primary']} in" in line for line in moved), service.log[-3000:]
    # HAProxy is gone: nothing happens to the database, and it is told
    with Service(servers) as service:
        found = service.await_that(lambda s: endpoint(s, "plain")["state"] == "failed", "silence is seen")
        assert found["serves"] == after["primary"]
        wait_until(lambda: "endpoint_failed" in service.log, within_s=20, what="the event")
        done = service.command("switchover", "--to", "pg1", "--yes")
        assert done.returncode == 0, done.stderr
        shown = service.command("status")
        assert "cannot be moved: HAProxy at" in shown.stdout
        with running_haproxy(servers.home / "haproxy.cfg"):  # started anew, it takes everybody for fit
            service.await_that(leads_to("pg1", "plain"), "it is found and put right")
            wait_until(lambda: {who(bare) for _ in range(4)} == {"pg1"}, within_s=10, what="pg1 alone")


@pytest.mark.skipif(**needs(PGBOUNCER, "pgbouncer"))
def test_clients_of_pgbouncer_wait_through_a_switchover(servers: Servers, trio_of_servers: Trio) -> None:
    with Bouncer(servers) as bouncer:
        configured(servers, bouncer.section(pause_timeout="1s"))
        with Service(servers) as service:
            service.await_that(leads_to("pg1", "pgbouncer"), "pgbouncer at pg1")
            checked = service.command("check", "orders")
            assert "endpoint pgbouncer: PgBouncer at" in checked.stdout
            with Busy(bouncer.conninfo) as busy:
                wait_until(lambda: busy.done > 200, within_s=20, what="busy clients")
                done = service.command("switchover", "--to", "pg2", "--yes")
                assert done.returncode == 0, done.stderr
                service.await_that(leads_to("pg2", "pgbouncer"), "pgbouncer at pg2")
                count = busy.done
                wait_until(lambda: busy.done > count + 200, within_s=20, what="they go on")
                assert busy.failed == []

                # a transaction that does not end: given up, nothing changed, nobody waits
                with psycopg.connect(bouncer.conninfo) as late:
                    late.execute("select 1")
                    refused = service.command("switchover", "--to", "pg1", "--yes")
                    assert refused.returncode == 1, refused.stdout
                    status = service.await_that(leads_to("pg2", "pgbouncer"), "as before")
                    assert status["primary"] == "pg2"
                    count = busy.done
                    wait_until(lambda: busy.done > count + 100, within_s=20, what="they went on")
                    late.execute("select 1")
                assert busy.failed == []
                assert "transactions did not end within 1 s" in service.log

            # a controller that dies with clients waiting; the next one lets them go
            bouncer.file.write_text(
                bouncer.file.read_text().replace("[databases]", ";; clients wait\n[databases]")
            )
            service.stop(signal.SIGKILL)
            bouncer.tell("PAUSE postgres")
            assert bouncer.paused
            service.start()
            wait_until(lambda: not bouncer.paused, within_s=20, what="RESUME")
            service.await_that(leads_to("pg2", "pgbouncer"), "right again")
            assert "clients wait" not in bouncer.file.read_text()

            # a PAUSE of somebody else's is left alone
            bouncer.tell("PAUSE postgres")
            service.await_that(leads_to("pg2", "pgbouncer"), "not disturbed")
            time.sleep(6)  # longer than an endpoint goes without being looked at
            assert bouncer.paused
            bouncer.tell("RESUME postgres")

            trio_of_servers[1].kill_all()
            after = service.await_that(lambda s: s["primary"] != "pg2" and s["health"] == "ok", "failover")
            service.await_that(leads_to(after["primary"], "pgbouncer"), "pgbouncer at the new primary")
            with psycopg.connect(bouncer.conninfo) as session:
                assert session.execute("select pg_is_in_recovery()").fetchone() == (False,)
