"""Everything but what needs the OS user works with the documented logins: no superuser anywhere."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgvigil.config.grants import grants
from pgvigil.demo.servers import Server, Servers, wait_until
from pgvigil.demo.writer import Writer
from pgvigil.model.command import RollBackParameters, SetParameters, Switchover
from pgvigil.model.spec import Protection
from pgvigil.model.units import NodeName
from tests.postgres.guard import Guard, cluster_spec, guarding

pytestmark = pytest.mark.postgres
Trio = tuple[Server, Server, Server]


@pytest.fixture(params=list(Protection))
def guard(request: pytest.FixtureRequest, servers: Servers, trio_of_servers: Trio) -> Iterator[Guard]:
    """The trio guarded by logins that `render grants` made; the superuser of the other tests is not used."""
    pg1 = trio_of_servers[0]
    version = int(pg1.sql("show server_version_num")[0][0])
    psql = [str(pg1.bin_dir / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", pg1.conninfo(dbname="postgres")]
    subprocess.run(psql, input=grants(version, "watcher", "copier"), text=True, check=True)
    for name in ("watcher", "copier"):
        pg1.sql(f"alter role {name} login password 'only for this test'")
    passfile = servers.home / "least.pass"
    servers.account.write(passfile, "*:*:*:*:only for this test\n")
    passfile.chmod(0o600)
    spec = cluster_spec(servers, trio_of_servers)
    login = (("user", "watcher"), ("dbname", "postgres"), ("passfile", str(passfile)))
    nodes = tuple(replace(node, conninfo=login) for node in spec.nodes)
    replication = replace(spec.replication, conninfo=(("user", "copier"), ("passfile", str(passfile))))
    spec = replace(spec, protection=request.param, nodes=nodes, replication=replication)
    with guarding(spec) as guard:
        guard.await_health()
        yield guard


# S0-01
def test_failover_rejoin_and_switchover_without_any_superuser(guard: Guard, trio_of_servers: Trio) -> None:
    with Writer({s.name: s.conninfo(dbname="postgres") for s in trio_of_servers}) as writer:
        trio_of_servers[0].kill_all()
        guard.await_primary(other_than="pg1")
        guard.await_health()
        outcome = guard.order(Switchover(NodeName("pg1")))
        assert outcome.result == "done", outcome
        guard.await_health()
        writer.stop()
        assert writer.lost(trio_of_servers[0].conninfo(dbname="postgres")) == []
        promise = guard.status()["sync"]
        if promise:  # quorum: healthy is only what is promised; who streams again is added after that
            assert promise["acks"] == 1
            wait_until(
                lambda: (
                    trio_of_servers[0].sql("show synchronous_standby_names") == [('ANY 1 ("pg2", "pg3")',)]
                ),
                within_s=10,
                what="both standbys to count",
            )
    failed = [event for event in guard.events() if event["kind"].endswith("_failed")]
    assert failed == []
    login = make_conninfo(trio_of_servers[0].conninfo(dbname="postgres"))
    with psycopg.connect(login, autocommit=True) as session:
        rows = session.execute(
            "select rolname from pg_roles where rolsuper and rolname in ('watcher', 'copier')"
        )
        assert rows.fetchall() == []


def test_parameters_are_set_and_servers_restarted_without_any_superuser(
    guard: Guard, trio_of_servers: Trio
) -> None:
    changes = {"work_mem": "9MB", "max_connections": "50", "shared_preload_libraries": "auto_explain"}
    refused = guard.order(SetParameters({**changes, "jit": "perhaps"}, "alice@host"))
    assert (refused.result, "SQLSTATE 22023" in refused.detail) == ("wrong", True), refused
    outcome = guard.order(SetParameters(changes, "alice@host", restart=True), within_s=180)
    assert outcome.result == "done", outcome
    guard.await_health()
    for name, value in changes.items():
        assert [server.sql(f"show {name}") for server in trio_of_servers] == [[(value,)]] * 3
    assert guard.order(RollBackParameters("alice@host", 0)).result == "done"
    assert [server.sql("show work_mem") for server in trio_of_servers] == [[("4MB",)]] * 3
