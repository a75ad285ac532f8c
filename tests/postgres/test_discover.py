import asyncio
from pathlib import Path

import pytest

from pgvigil.config.load import Config, parse
from pgvigil.controller.survey import Discovered, discover
from pgvigil.demo.servers import Server, Servers
from pgvigil.errors import Unreachable, UsageError
from pgvigil.model.check import CheckLevel
from pgvigil.model.shell import LocalShell, ShellSpec, SshShell
from pgvigil.ports.clock import SystemClock
from pgvigil.ports.dsn import libpq_keywords
from pgvigil.wiring import node_ports

pytestmark = pytest.mark.postgres

Trio = tuple[Server, Server, Server]


LOCAL = LocalShell()


def find(dsn: str, name: str = "", shell: ShellSpec | None = LOCAL) -> Discovered:
    return asyncio.run(
        discover(libpq_keywords(dsn), node_ports, SystemClock(), name=name, shell=lambda host: shell)
    )


def loaded(found: Discovered) -> Config:
    return parse(found.text.encode(), Path("/etc/pgvigil/pgvigil.yaml"))


# S1-01
@pytest.mark.parametrize("start", [0, 1])
def test_any_node_leads_to_all_three(trio_of_servers: Trio, servers: Servers, start: int) -> None:
    found = find(trio_of_servers[start].conninfo(), name="orders")
    (cluster,) = loaded(found).clusters
    assert cluster.name == "orders"
    assert [node.name for node in cluster.nodes] == ["pg1", "pg2", "pg3"]
    for node, server in zip(cluster.nodes, trio_of_servers, strict=True):
        assert (node.host, node.port) == ("127.0.0.1", server.port)
        assert node.data_dir == str(server.data_dir)
        assert node.bin_dir
        assert dict(node.conninfo)["user"] == "pgvigil"
        assert dict(node.conninfo)["passfile"] == str(servers.passfile())
    replication = dict(cluster.replication.conninfo)
    assert replication == {"user": "replicator", "passfile": str(servers.passfile("replicator"))}
    assert cluster.replication.slots
    assert "TODO" not in found.text
    assert {item.level for item in found.items} == {CheckLevel.OK}


def test_a_cascade_is_followed_down_and_up(servers: Servers) -> None:
    primary = servers.make_primary("pg1")
    middle = servers.add_standby("pg2", primary)
    last = servers.add_standby("pg3", middle, slot=False)
    servers.make_primary("copy")  # of the same system identifier, but nobody streams from it
    last.wait_streaming(middle)
    for start in (primary, last):
        (cluster,) = loaded(find(start.conninfo())).clusters
        assert [node.name for node in cluster.nodes] == ["pg1", "pg2", "pg3"]


def test_a_socket_leads_to_an_address(trio_of_servers: Trio, servers: Servers) -> None:
    primary = trio_of_servers[0]
    dsn = f"host={servers.home}/socket port={primary.port} user=pgvigil dbname=postgres"
    (cluster,) = loaded(find(f"{dsn} passfile={servers.passfile()}")).clusters
    assert {node.host for node in cluster.nodes} == {"127.0.0.1"}


def test_the_password_is_never_written(trio_of_servers: Trio, servers: Servers) -> None:
    password = servers.passfile().read_text().strip().rpartition(":")[2]
    primary = trio_of_servers[0]
    found = find(f"postgresql://pgvigil:{password}@127.0.0.1:{primary.port}/postgres")
    assert password not in found.text
    assert password not in str(found.items)
    assert "# TODO put the password there" in found.text
    assert len(loaded(found).clusters[0].nodes) == 3


def test_what_a_weak_login_may_not_see_is_left_to_do(trio_of_servers: Trio, tmp_path: Path) -> None:
    primary, *standbys = trio_of_servers
    primary.sql("CREATE ROLE weak LOGIN PASSWORD 'w'")
    for standby in standbys:
        standby.wait_streaming(primary)
    passfile = tmp_path / "pgpass"
    passfile.write_text("*:*:*:weak:w\n")
    passfile.chmod(0o600)
    found = find(primary.conninfo(user="weak", passfile=str(passfile)), shell=None)
    (cluster,) = loaded(found).clusters
    assert primary.port in [node.port for node in cluster.nodes]
    assert "# TODO data_dir" in found.text
    for standby in standbys:
        standby.stop()
    assert "# TODO user" in find(primary.conninfo(user="weak", passfile=str(passfile)), shell=None).text


# S3-03
def test_a_shell_that_does_not_work_is_left_to_do(trio_of_servers: Trio) -> None:
    found = find(trio_of_servers[0].conninfo(), shell=LocalShell(user="no_such_user"))
    assert "# TODO no shell on 127.0.0.1 yet" in found.text
    assert "# TODO control" in found.text
    assert len(loaded(found).clusters[0].nodes) == 3
    closed = find(trio_of_servers[0].conninfo(), shell=SshShell("127.0.0.1", "me", 1, keys=("/keys/ours",)))
    assert "shell: {via: ssh, user: me, key: /keys/ours}" in closed.text
    assert any("--ssh-key" in item.fix for item in closed.items)


def test_a_standby_that_lets_us_not_in_is_written_as_comment(trio_of_servers: Trio) -> None:
    primary, _, pg3 = trio_of_servers
    hba = pg3.data_dir / "pg_hba.conf"
    hba.write_text("local all all trust\n")
    pg3.sql("SELECT pg_reload_conf()")
    found = find(primary.conninfo())
    (cluster,) = loaded(found).clusters
    assert [node.name for node in cluster.nodes] == ["pg1", "pg2"]
    assert "# TODO a standby at 127.0.0.1 (pg3) streams from pg1" in found.text
    assert [item.level for item in found.items].count(CheckLevel.WARNING) == 1
    with pytest.raises(Unreachable) as refusal:
        find(pg3.conninfo())
    assert f"127.0.0.1:{pg3.port} rejected us" in refusal.value.detail
    assert "host postgres pgvigil 127.0.0.1/32 scram-sha-256" in refusal.value.hint


def test_nobody_there_and_nonsense_are_told(trio_of_servers: Trio) -> None:
    with pytest.raises(Unreachable, match="no server there lets us in"):
        find("host=127.0.0.1 port=1 user=pgvigil")
    with pytest.raises(UsageError) as error:
        libpq_keywords("host=a pasword=hunter2")
    assert "hunter2" not in str(error.value)
    with pytest.raises(UsageError):
        libpq_keywords("postgresql://a:hunter2@[")
    with pytest.raises(UsageError, match="service"):
        find("service=orders")
