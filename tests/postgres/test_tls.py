"""TLS with verify-full and client certificates wherever a connection is made: servers let in nothing else.

Certificates and pg_hba.conf are the ones that `pgvigil render` writes.
"""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import TupleRow

from pgvigil.config.certificates import certificates
from pgvigil.config.hba import pg_hba
from pgvigil.config.load import load
from pgvigil.demo.servers import LOGIN, REPLICATION_LOGIN, Server, Servers, config_text, wait_until
from pgvigil.model.spec import ClusterSpec
from tests.postgres.service import Service

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl"),
]
Trio = tuple[Server, Server, Server]


def keywords(folder: Path, login: str) -> dict[str, str]:
    """libpq's, for that login."""
    return {
        "user": login,
        "sslmode": "verify-full",
        "sslrootcert": str(folder / "ca.crt"),
        "sslcert": str(folder / f"{login}.crt"),
        "sslkey": str(folder / f"{login}.key"),
    }


def configured(servers: Servers, folder: Path) -> ClusterSpec:
    """The configuration of a service that knows no password."""
    postgres = {**keywords(folder, LOGIN), "dbname": "postgres", "control": "pg_ctl"}
    text = config_text(
        servers,
        "tls",
        postgres=postgres,
        replication={**keywords(folder, REPLICATION_LOGIN), "slots": True},
        failover={"max_per": "none", "rescue": {"max": "0B"}},
    )
    file = servers.home / "pgvigil.yaml"
    file.write_text(text)
    return load(file).clusters[0]


def sql(server: Server, folder: Path, text: str) -> list[TupleRow]:
    """As the servers now demand it."""
    login = server.conninfo(**{**keywords(folder, LOGIN), "passfile": "/nonexistent"})
    with psycopg.connect(login, autocommit=True) as connection:
        cursor = connection.execute(text.encode())
        return cursor.fetchall() if cursor.description else []


def demand_tls(servers: Servers, spec: ClusterSpec, folder: Path) -> None:
    """From now on every server lets in what shows a certificate, and nothing else."""
    script = folder.parent / "make-certificates.sh"
    script.write_text(certificates(spec))
    made = subprocess.run(["sh", script, folder], capture_output=True, text=True, timeout=60, check=False)
    assert made.returncode == 0, made.stderr
    for path in (folder, *folder.rglob("*")):
        servers.account.own(path)
    for server in servers.nodes.values():
        own: Mapping[str, str] = {
            "ssl_cert_file": str(folder / server.name / "server.crt"),
            "ssl_key_file": str(folder / server.name / "server.key"),
            "ssl_ca_file": str(folder / "ca.crt"),
            "ssl": "on",
            "log_connections": "on",
        }
        with (server.data_dir / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in own.items())
        servers.account.write(server.data_dir / "pg_hba.conf", pg_hba(spec, ["127.0.0.1"]))
    for server in servers.nodes.values():
        server.stop()
    for server in servers.nodes.values():
        server.log.write_text("")
        server.start()


def follow_by_certificate(trio: Trio, folder: Path) -> None:
    """The standbys log in at pg1 as `replication:` says; nobody has told them yet."""
    for standby in trio[1:]:
        login = " ".join(f"{key}={value}" for key, value in keywords(folder, REPLICATION_LOGIN).items())
        told = f"host=127.0.0.1 port={trio[0].port} application_name={standby.name} {login}"
        sql(standby, folder, f"ALTER SYSTEM SET primary_conninfo = '{told}'")
        sql(standby, folder, "SELECT pg_reload_conf()")


def diverge_and_die(primary: Server, folder: Path) -> None:
    """The primary acknowledges what no standby gets, and its host goes down."""
    senders = [int(row[0]) for row in sql(primary, folder, "SELECT pid FROM pg_stat_replication")]
    assert len(senders) == 2
    for pid in senders:
        os.kill(pid, signal.SIGSTOP)
    sql(primary, folder, "CREATE TABLE only_here AS SELECT generate_series(1, 1000)")
    primary.kill_all()


# S4-12
def test_nothing_but_tls_through_failover_rewind_and_clone(
    servers: Servers, trio_of_servers: Trio, eventually: Callable[[Callable[[], object]], None]
) -> None:
    folder = servers.home / "tls"
    spec = configured(servers, folder)
    demand_tls(servers, spec, folder)
    follow_by_certificate(trio_of_servers, folder)
    pg1, *_ = trio_of_servers
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        pg1.sql("SELECT 1")
    eventually(lambda: len(sql(pg1, folder, "SELECT 1 FROM pg_stat_replication")) == 2)
    with Service(servers) as service:
        service.await_health()
        diverge_and_die(pg1, folder)
        service.await_that(lambda status: status["primary"] != "pg1", "a failover")
        found = service.await_health()
        new = servers.nodes[str(found["primary"])]
        assert "rewind" in service.command("events", "tls", "--json", "-n", "200").stdout
        assert sql(pg1, folder, "SELECT to_regclass('only_here')") == [(None,)]
        third = next(name for name in ("pg2", "pg3") if name != new.name)
        cloned = service.command("clone", "tls", third, "--yes", "--force")
        assert cloned.returncode == 0, cloned.stderr
        service.await_health()
        told = service.command("check", "tls")
        assert told.returncode == 0, told.stdout

        rows = "SELECT application_name, ssl, client_dn FROM pg_stat_replication JOIN pg_stat_ssl USING (pid)"
        wait_until(lambda: len(sql(new, folder, rows)) == 2, within_s=20, what="both standbys")
        assert {row[1:] for row in sql(new, folder, rows)} == {(True, f"/CN={REPLICATION_LOGIN}")}
    authorized = [
        line
        for server in trio_of_servers
        for line in server.log.read_text(errors="replace").splitlines()
        if "connection authorized" in line
    ]
    assert [line for line in authorized if "SSL enabled" not in line] == []
    assert {LOGIN, REPLICATION_LOGIN} == set(re.findall(r"authorized: user=(\S+)", "\n".join(authorized)))
    assert any("application_name=pg_rewind" in line or "database=postgres" in line for line in authorized)
    assert any("application_name=pgvigil rebuild" in line for line in authorized)


def test_a_certificate_of_another_authority_or_host_is_refused(
    servers: Servers, trio_of_servers: Trio
) -> None:
    folder = servers.home / "tls"
    demand_tls(servers, configured(servers, folder), folder)
    other = servers.home / "other"
    script = servers.home / "make-certificates.sh"
    subprocess.run(["sh", script, other], capture_output=True, timeout=60, check=True)
    pg1 = trio_of_servers[0]

    def login(**changes: str) -> None:
        with psycopg.connect(pg1.conninfo(**{**keywords(folder, LOGIN), **changes})) as connection:
            connection.execute("SELECT 1")

    login()
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        login(sslrootcert=str(other / "ca.crt"))
    with pytest.raises(psycopg.OperationalError, match="does not match host name"):
        login(host="localhost", hostaddr="127.0.0.1")
    with pytest.raises(psycopg.OperationalError):
        login(sslcert=str(other / f"{LOGIN}.crt"), sslkey=str(other / f"{LOGIN}.key"))
    with pytest.raises(psycopg.OperationalError, match="certificate authentication failed"):
        login(user=REPLICATION_LOGIN)
