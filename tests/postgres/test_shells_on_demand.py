"""A three-node cluster whose SSH connections are not kept: real sshd, real servers."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pgvigil.controller.operations import Outcome, Result
from pgvigil.demo.servers import Server, Servers, wait_until
from pgvigil.demo.writer import Writer
from pgvigil.model.command import Drill, Switchover
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.units import NodeName
from pgvigil.ports.shell import posix
from pgvigil.sight import shell as sight_shell
from pgvigil.store.memory import MemoryStore
from tests.contract.sshd import SSHD, Sshd, running_sshd
from tests.postgres.guard import Guard, cluster_spec, guarding

pytestmark = pytest.mark.postgres
Trio = tuple[Server, Server, Server]


@pytest.fixture
def sshd(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    """Lets the servers' account in; what is not needed is given up sooner than in the product."""
    if SSHD is None:
        missing = "no sshd on this machine: install openssh-server"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    monkeypatch.setattr(posix, "LINGER_S", 2.0)
    monkeypatch.setattr(sight_shell, "LINGER_S", 2.0)
    monkeypatch.setattr(sight_shell, "WANTED_S", 4.0)
    monkeypatch.setattr(sight_shell, "FRESH_S", 2.0)
    monkeypatch.setattr(sight_shell, "SILENT_REST_S", 2.0)  # a busy machine may be late
    folder = Path(servers.home) / "sshd"
    folder.mkdir(mode=0o755)
    with running_sshd(folder) as server:
        yield server


@pytest.fixture
def spec(servers: Servers, trio_of_servers: Trio, sshd: Sshd) -> ClusterSpec:
    local = cluster_spec(servers, trio_of_servers)
    way = sshd.spec(servers.account.name)
    return replace(local, nodes=tuple(replace(node, shell=way) for node in local.nodes))


def is_at_rest(guard: Guard, sshd: Sshd) -> bool:
    return guard.is_calm() and not sshd.connections()


def wants_a_shell(outcome: Outcome) -> bool:
    """Refused for want of the primary's or the candidate's: whichever was found silent first."""
    return "there is no working shell" in outcome.text or "shell does not answer" in outcome.detail


def test_connections_are_closed_while_all_is_calm_and_a_killed_primary_is_replaced_and_rejoined(
    spec: ClusterSpec, sshd: Sshd, trio_of_servers: Trio
) -> None:
    conninfos = {server.name: server.conninfo(dbname="postgres") for server in trio_of_servers}
    with guarding(spec, shells_kept=0) as guard, Writer(conninfos) as writer:
        wait_until(lambda: is_at_rest(guard, sshd), within_s=120, what="no connection while all is calm")
        trio_of_servers[0].kill_all()
        new = guard.await_primary(other_than="pg1")
        assert sshd.connections(), "nobody opened a shell"
        guard.await_health()
        roles = {node["name"]: node["role"] for node in guard.status()["nodes"]}
        assert roles == {name: "primary" if name == new else "standby" for name in roles}
        wait_until(lambda: is_at_rest(guard, sshd), within_s=120, what="no connection when all is well again")
        time.sleep(0.2)
        writer.stop()
        assert writer.lost(conninfos[new]) == []


def test_as_many_connections_stay_as_there_are_places(spec: ClusterSpec, sshd: Sshd) -> None:
    with guarding(spec, shells_kept=1) as guard:
        wait_until(guard.knows_hosts, within_s=120, what="each host is looked at")
        wait_until(lambda: sshd.connections() == 1, within_s=120, what="one connection is left")
        for _ in range(30):
            assert sshd.connections() == 1
            time.sleep(0.2)
        assert guard.status()["health"] == "ok"


def test_a_command_looks_at_hosts_whose_connections_were_closed_before_it_begins(
    spec: ClusterSpec, sshd: Sshd
) -> None:
    with guarding(spec, shells_kept=0) as guard:
        wait_until(lambda: is_at_rest(guard, sshd), within_s=120, what="no connection while all is calm")
        outcome = guard.order(Switchover(NodeName("pg2")))
        assert outcome.result is Result.DONE, outcome
        assert guard.primary() == "pg2"
        wait_until(lambda: is_at_rest(guard, sshd), within_s=120, what="no connection when it is done")
        time.sleep(2.5)
        os.kill(sshd.pid, signal.SIGSTOP)  # its hosts do not answer any more, and nobody has noticed
        try:
            outcome = guard.order(Switchover(NodeName("pg1")))
        finally:
            os.kill(sshd.pid, signal.SIGCONT)
        assert outcome.result is Result.REFUSED, outcome
        assert wants_a_shell(outcome), outcome
        assert guard.primary() == "pg2"


def test_a_drill_waits_for_what_the_hosts_say_as_other_commands_do(spec: ClusterSpec, sshd: Sshd) -> None:
    store = MemoryStore()
    with guarding(spec, store=store) as guard:
        guard.await_health()
    with guarding(spec, store=store, wait=False) as guard:  # no connection is open yet
        planned = guard.order(Drill(), dry_run=True)
        assert planned.result is Result.PLANNED, planned
    with guarding(spec, store=store, shells_kept=0) as guard:
        wait_until(lambda: is_at_rest(guard, sshd), within_s=120, what="no connection while all is calm")
        time.sleep(2.5)
        os.kill(sshd.pid, signal.SIGSTOP)
        try:
            outcome = guard.order(Drill())
        finally:
            os.kill(sshd.pid, signal.SIGCONT)
        assert outcome.result is Result.REFUSED, outcome
        assert wants_a_shell(outcome), outcome
