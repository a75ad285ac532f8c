"""`sudo -n systemctl …` with the very lines of `render sudoers`: real sudo, real servers.

There is no systemd here: in the place of /usr/bin/systemctl a script starts and stops the servers as root. It
and the sudoers file are mounted in mount namespaces of the shells alone; the machine's own files stay.
"""

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from pgvigil.config.sudoers import sudoers
from pgvigil.demo.servers import Server, Servers, wait_until
from pgvigil.model.check import CheckLevel
from pgvigil.model.command import RestartServers, Switchover
from pgvigil.model.shell import CommandShell, LocalShell
from pgvigil.model.spec import ClusterSpec, NodeSpec, Systemd
from pgvigil.model.units import NodeName
from tests.postgres.guard import cluster_spec, guarding
from tests.postgres.test_check import assert_found, check


def namespaces() -> bool:
    """Whether we may make a mount namespace, with everything that the test mounts in it."""
    needed = all(map(shutil.which, ("unshare", "setpriv", "sudo"))) and Path("/usr/bin/systemctl").exists()
    if os.getuid() or not needed:
        return False
    tried = subprocess.run(["unshare", "-m", "true"], capture_output=True, timeout=10, check=False)
    return tried.returncode == 0


pytestmark = [
    pytest.mark.postgres,
    pytest.mark.skipif(not namespaces(), reason="needs root, mount namespaces, sudo and systemctl"),
]
Pair = tuple[Server, Server]


@pytest.fixture
def pair(servers: Servers) -> Pair:
    pg1 = servers.make_primary("pg1")
    pg2 = servers.add_standby("pg2", pg1)
    pg2.wait_streaming(pg1)
    return pg1, pg2


def unit(name: str) -> str:
    return f"postgresql@{name}.service"


def with_units(servers: Servers, pair: Pair) -> ClusterSpec:
    """As the configuration of a host with systemd and sudo; its shells see our systemctl and sudoers."""
    account, tools, lines = servers.account, servers.home / "systemctl", servers.home / "sudoers.d"
    bins = pair[0].bin_dir
    become = f"setpriv --reuid={account.uid} --regid={account.gid} --clear-groups"
    run = f"{become} {bins}/pg_ctl -D {servers.home}"
    tools.write_text(
        f"""#!/bin/sh
echo "$(id -un) $*" >> {servers.home}/asked
n=${{2#postgresql@}}; n=${{n%.service}}
[ "$1" != show ] || {{ echo LoadState=loaded; echo Restart=no; exit; }}
case $1 in
  start) {run}/$n status >/dev/null || exec {run}/$n -w -s start ;;
  stop) ! {run}/$n status >/dev/null || exec {run}/$n -w -s -m fast stop ;;
  restart) exec {run}/$n -w -s -m fast restart ;;
esac </dev/null >/dev/null 2>&1
"""
    )
    tools.chmod(0o755)
    lines.mkdir(exist_ok=True)
    places = f"mount --bind {lines} /etc/sudoers.d && mount --bind {tools} /usr/bin/systemctl"
    shell = CommandShell(("unshare", "-m", "sh", "-c", f"{places} && exec {become} sh"))

    def node(spec: NodeSpec) -> NodeSpec:
        return replace(spec, control=Systemd(unit(spec.name), sudo=True), shell=shell)

    spec = cluster_spec(servers, pair)
    return replace(spec, nodes=tuple(map(node, spec.nodes)))


def allow(servers: Servers, spec: ClusterSpec) -> None:
    """`pgvigil render sudoers` into the file that sudo reads; the account is that of a shell with a user."""
    shell = LocalShell(servers.account.name)
    text = sudoers(replace(spec, nodes=tuple(replace(node, shell=shell) for node in spec.nodes)))
    file = servers.home / "sudoers.d/pgvigil"
    file.write_text(text)
    file.chmod(0o440)


# S0-16
def test_the_rendered_lines_are_enough_for_restart_switchover_failover_and_rejoin(
    servers: Servers, pair: Pair
) -> None:
    _, pg2 = pair
    spec = with_units(servers, pair)
    denied = [item for item in check(spec) if "with sudo" in item.what]
    assert_found(
        denied, CheckLevel.ERROR, "test/pg1", f"may not stop, start and restart {unit('pg1')} with sudo"
    )
    allow(servers, spec)
    assert [item for item in check(spec) if "with sudo" in item.what] == []
    with guarding(spec) as guard:
        guard.await_health()
        for order in (RestartServers((NodeName("pg2"),)), Switchover(NodeName("pg2"))):
            outcome = guard.order(order)
            assert outcome.result == "done", outcome
            guard.await_health()
        pg2.kill_all()
        assert guard.await_primary("pg2") == "pg1"
        guard.await_health()
        wait_until(lambda: pg2.sql("SELECT pg_is_in_recovery()") == [(True,)], within_s=20, what="pg2 back")
    asked = set((servers.home / "asked").read_text().splitlines())
    wanted = {f"root restart {unit('pg2')}", f"root stop {unit('pg1')}", f"root start {unit('pg1')}"}
    assert wanted | {f"root stop {unit('pg2')}", f"root start {unit('pg2')}"} <= asked
    assert all(line.split()[1] == "show" for line in asked if not line.startswith("root ")), asked
