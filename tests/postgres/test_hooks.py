"""The user's own programs: told of events, asked before a failover, run in place of our own steps."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pgvigil.demo.servers import Server, Servers, wait_until
from pgvigil.model.command import ReloadServers, Switchover
from pgvigil.model.spec import ClusterSpec, Hooks, OwnCommands
from pgvigil.model.units import NodeName
from tests.postgres.guard import Guard, cluster_spec, guarding

pytestmark = pytest.mark.postgres
Trio = tuple[Server, Server, Server]


@contextmanager
def with_hooks(spec: ClusterSpec, hooks: Hooks) -> Iterator[Guard]:
    with guarding(replace(spec, hooks=hooks)) as guard:
        guard.await_health()
        yield guard


def told(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


# S0-14
def test_every_event_reaches_the_users_program_and_a_broken_one_harms_nothing(
    servers: Servers, trio_of_servers: Trio, tmp_path: Path
) -> None:
    file = tmp_path / "told"
    lines = (f"cat >> {file}; echo >> {file}", "exit 3", "/no/such/program")
    spec = cluster_spec(servers, trio_of_servers)
    with with_hooks(spec, Hooks(on_event=lines)) as guard:
        trio_of_servers[0].kill_all()
        guard.await_primary(other_than="pg1")
        guard.await_health()
        wait_until(lambda: "rejoined" in {e["kind"] for e in told(file)}, within_s=20, what="events")
    verdict = next(event for event in told(file) if event["kind"] == "primary_crashed")
    assert verdict["level"] == "alert"
    assert verdict["evidence"]


# S0-14
def test_an_objection_holds_an_automatic_failover(
    servers: Servers, trio_of_servers: Trio, tmp_path: Path
) -> None:
    no = tmp_path / "no"
    no.touch()
    spec = cluster_spec(servers, trio_of_servers)
    line = f"cat > {tmp_path}/asked; if [ -e {no} ]; then echo not during the audit >&2; exit 1; fi"
    with with_hooks(spec, Hooks(before_failover=(line,))) as guard:
        trio_of_servers[0].kill_all()
        wait_until(lambda: guard.status()["decision"]["rule"] == "objected", within_s=10, what="objection")
        assert "not during the audit" in guard.status()["decision"]["reason"]
        assert guard.status()["generation"] == 1
        assert json.loads((tmp_path / "asked").read_text())["kind"] == "primary_crashed"
        no.unlink()
        guard.await_primary(other_than="pg1")
        guard.await_health()


# S0-16, S1-13
def test_own_commands_promote_follow_start_and_stop(servers: Servers, trio_of_servers: Trio) -> None:
    def own(server: Server) -> dict[str, Any]:
        done = f"echo $0 {{}} >> {server.home}/own.{server.name}; "
        pg_ctl = f"{server.bin_dir}/pg_ctl -D {server.data_dir}"
        psql = f"{server.bin_dir}/psql -X -q '{server.conninfo(dbname='postgres')}'"
        pointed = "alter system set primary_conninfo = '$PRIMARY_CONNINFO'"
        follow = f"""{psql} -c "{pointed}" -c 'select pg_reload_conf()'"""
        return {
            "promote_command": done.format("promote") + f"{pg_ctl} promote -W",
            "follow_command": done.format("follow") + follow,
            "control": OwnCommands(
                start=done.format("start") + f"{pg_ctl} restart -W -l {server.home}/own.log </dev/null",
                stop=done.format("stop") + f"{pg_ctl} stop -W -m fast",
                reload=done.format("reload") + f"{pg_ctl} reload",
            ),
        }

    spec = cluster_spec(servers, trio_of_servers)
    servers.account.own(servers.home)
    nodes = tuple(
        replace(node, **own(server)) for node, server in zip(spec.nodes, trio_of_servers, strict=True)
    )
    with guarding(replace(spec, nodes=nodes)) as guard:
        guard.await_health()
        outcome = guard.order(Switchover(NodeName("pg2")))
        assert outcome.result == "done", outcome
        guard.await_health()
        outcome = guard.order(ReloadServers((NodeName("pg3"),)))
        assert outcome.result == "done", outcome
    words = {name: (servers.home / f"own.{name}").read_text().split() for name in ("pg1", "pg2", "pg3")}
    assert {"stop", "start"} <= set(words["pg1"])
    assert "promote" in words["pg2"]
    assert "follow" in words["pg3"]
    assert [name for name, told in words.items() if "reload" in told] == ["pg3"]
