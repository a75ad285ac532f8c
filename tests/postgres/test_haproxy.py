"""The configuration that `render haproxy` prints, as printed, in a real HAProxy before real servers."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import yaml

from pgvigil.demo.ports import free_port
from pgvigil.demo.servers import Server, Servers, config_text, wait_until
from tests.postgres.service import Service

HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
pytestmark = [
    pytest.mark.postgres,
    pytest.mark.skipif(not HAPROXY, reason="haproxy is not there"),
]
Trio = tuple[Server, Server, Server]


@contextmanager
def running(file: Path) -> Iterator[None]:
    assert HAPROXY
    subprocess.run([HAPROXY, "-c", "-f", file], check=True)
    with (file.with_suffix(".log")).open("wb") as log:
        process = subprocess.Popen([HAPROXY, "-db", "-f", file], stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


class Front:
    """HAProxy as an application sees it."""

    def __init__(self, server: Server, write: int, read: int) -> None:
        self._server, self.write, self.read = server, write, read

    def connect(self, port: int) -> psycopg.Connection:
        conninfo = self._server.conninfo(dbname="postgres")
        return psycopg.connect(conninfo, port=port, connect_timeout=3, autocommit=True)

    def who(self, port: int) -> str:
        """The node behind a port, and whether it takes writes; empty while there is none."""
        try:
            with self.connect(port) as session:
                row = session.execute(
                    "select current_setting('cluster_name'), pg_is_in_recovery()"
                ).fetchone()
        except psycopg.Error:
            return ""
        assert row
        return f"{row[0]} {'reads' if row[1] else 'writes'}"

    def readers(self) -> set[str]:
        return {self.who(self.read) for _ in range(12)} - {""}


# S2-18, S3-10
def test_writes_and_reads_find_their_nodes_and_go_on_without_a_controller(
    servers: Servers, trio_of_servers: Trio
) -> None:
    checks, write, read = free_port(), free_port(), free_port()
    file = servers.home / "pgvigil.yaml"
    written = yaml.safe_load(config_text(servers, "orders"))
    written["http"] = {"listen": f"127.0.0.1:{free_port()}", "haproxy": f"127.0.0.1:{checks}"}
    file.write_text(yaml.safe_dump(written))
    words = ["render", "haproxy", "--port", str(write), "--read-port", str(read), "--config", str(file)]
    text = subprocess.check_output([sys.executable, "-m", "pgvigil", *words], text=True)
    (servers.home / "haproxy.cfg").write_text(text)
    front = Front(trio_of_servers[0], write, read)
    with Service(servers) as service, running(servers.home / "haproxy.cfg"):
        service.await_health()
        wait_until(lambda: front.who(write) == "pg1 writes", within_s=20, what="the primary behind HAProxy")
        wait_until(lambda: front.readers() == {"pg2 reads", "pg3 reads"}, within_s=20, what="the readers")
        session = front.connect(write)
        service.command("switchover", "--to", "pg2", "--yes")
        with pytest.raises(psycopg.OperationalError):  # the session to the old primary was ended
            session.execute("select 1")
        wait_until(lambda: front.who(write) == "pg2 writes", within_s=20, what="the new primary")
        service.await_health()
        wait_until(lambda: front.readers() == {"pg1 reads", "pg3 reads"}, within_s=20, what="its standbys")

        trio_of_servers[1].kill_all()
        wait_until(lambda: front.who(write).endswith("writes"), within_s=30, what="writes after the crash")
        service.await_health()
        primary = front.who(write)
        wait_until(lambda: len(front.readers()) == 2, within_s=20, what="both readers")

        service.stop()  # nobody answers agent checks any more: all stays as it is
        for _ in range(10):
            assert front.who(write) == primary
            assert front.readers() <= {"pg1 reads", "pg2 reads", "pg3 reads"}
            time.sleep(0.2)
        service.start()
        until = time.monotonic() + 5
        while time.monotonic() < until:  # nor does its return take anybody out
            assert front.who(write) == primary
        service.await_health()
