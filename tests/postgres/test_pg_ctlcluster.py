"""Debian's pg_ctlcluster: configuration and start belong to postgresql-common, not to the data directory.

Its clusters lie in a configuration directory of the test's own (PG_CLUSTER_CONF_ROOT).
"""

import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from pgvigil.demo.binaries import Binaries
from pgvigil.demo.servers import Server, Servers, wait_until
from pgvigil.demo.writer import Writer
from pgvigil.model.command import RestartServers, Role, Switchover
from pgvigil.model.shell import CommandShell
from pgvigil.model.spec import ClusterSpec, NodeSpec, PgCtlCluster
from pgvigil.model.units import NodeName
from tests.postgres.guard import cluster_spec, guarding

DEBIAN = Path("/usr/lib/postgresql")
pytestmark = [
    pytest.mark.postgres,
    pytest.mark.skipif(shutil.which("pg_ctlcluster") is None, reason="needs Debian's postgresql-common"),
]
Pair = tuple[Server, Server]


@pytest.fixture
def pair(servers: Servers, binaries: Binaries) -> Pair:
    """pg1, the primary, and its standby pg2, each a cluster of pg_ctlcluster."""
    if not (DEBIAN / str(binaries.major) / "bin/postgres").exists():
        pytest.skip(f"Debian has no PostgreSQL {binaries.major} here")
    pg1 = servers.make_primary("pg1")
    pg2 = servers.add_standby("pg2", pg1)
    pg2.wait_streaming(pg1)
    for server in (pg2, pg1):
        server.stop()
        adopt(servers, server, binaries.major)
    return pg1, pg2


def adopt(servers: Servers, server: Server, major: int) -> None:
    """Its configuration moves to where pg_ctlcluster looks for it, and pg_ctlcluster starts it."""
    place = conf(servers, server, major)
    place.mkdir(parents=True)
    for name in ("postgresql.conf", "pg_hba.conf", "pg_ident.conf"):
        shutil.move(server.data_dir / name, place / name)
    with (place / "postgresql.conf").open("a") as file:
        file.write(f"data_directory = '{server.data_dir}'\nhba_file = '{place}/pg_hba.conf'\n")
        file.write(f"ident_file = '{place}/pg_ident.conf'\n")
    (place / "start.conf").write_text("manual\n")
    (place / "log").symlink_to(server.log)
    for path in (root(servers), *root(servers).rglob("*")):
        if not path.is_symlink():
            servers.account.own(path)
    start = ("pg_ctlcluster", "--skip-systemctl-redirect", str(major), server.name, "start")
    servers.account.run("env", f"PG_CLUSTER_CONF_ROOT={root(servers)}", *start, home=servers.home)


def root(servers: Servers) -> Path:
    return servers.home / "etc"


def conf(servers: Servers, server: Server, major: int) -> Path:
    return root(servers) / str(major) / server.name


def by_debian(servers: Servers, pair: Pair, major: int) -> ClusterSpec:
    """As the configuration of a Debian host would say it."""
    account = servers.account
    switch = ("setpriv", f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups")
    line = (*(switch if account.switch else ()), "env", f"PG_CLUSTER_CONF_ROOT={root(servers)}", "sh")

    def node(spec: NodeSpec) -> NodeSpec:
        file = conf(servers, servers.nodes[spec.name], major) / "postgresql.conf"
        return replace(
            spec,
            bin_dir=str(DEBIAN / str(major) / "bin"),
            config_file=str(file),
            control=PgCtlCluster(str(major), spec.name),
            shell=CommandShell(line),
        )

    spec = cluster_spec(servers, pair)
    return replace(spec, nodes=tuple(map(node, spec.nodes)))


# S0-16, S3-09
def test_it_is_restarted_switched_over_failed_over_and_comes_back_by_pg_ctlcluster(
    servers: Servers, pair: Pair, binaries: Binaries
) -> None:
    pg1, pg2 = pair
    with guarding(by_debian(servers, pair, binaries.major)) as guard:
        guard.await_health()
        with Writer({s.name: s.conninfo(dbname="postgres") for s in pair}) as writer:
            wait_until(lambda: len(writer.acks) > 5, within_s=10, what="the writer to write")
            for order in (RestartServers(role=Role.PRIMARY, in_place=True), Switchover(NodeName("pg2"))):
                outcome = guard.order(order)
                assert outcome.result == "done", outcome
                guard.await_health()
            pg2.kill_all()
            assert guard.await_primary("pg2") == "pg1"
            guard.await_health()
            writer.stop()
        assert [(a.node, b.node) for a, b in pairwise(writer.acks) if a.node != b.node] == [
            ("pg1", "pg2"),
            ("pg2", "pg1"),
        ]
        assert writer.lost(pg1.conninfo(dbname="postgres")) == []
    for server in pair:
        opts = (server.data_dir / "postmaster.opts").read_text()
        config = f"config_file={conf(servers, server, binaries.major)}/postgresql.conf"
        assert config in opts, "as Debian starts it"
        assert not (server.data_dir / "postgresql.conf").exists()
    assert pg2.sql("SELECT pg_is_in_recovery()") == [(True,)]
