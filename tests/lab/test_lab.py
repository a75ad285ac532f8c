"""The lab keeps its promises: every fault does what its name says, and nothing is left behind."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.lab import Cluster, Lab, LabError, LabHost, Writer, await_that, faults
from tests.lab.netns import LAB_DIR, NETNS_DIR, PREFIX, in_netns

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces"),
    pytest.mark.skipif(not shutil.which("sshd"), reason="needs openssh-server"),
    pytest.mark.skipif(not shutil.which("nft"), reason="needs nftables"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Lab() as lab:
        built = lab.cluster(3)
        with lab.connect(built.nodes[0]) as connection:
            Writer.create_table(connection, "app")
        yield built


@pytest.fixture
def healthy(cluster: Cluster) -> Cluster:
    """The cluster with pg1 as primary, whatever the test before did."""
    first = cluster.nodes[0]
    if cluster.primaries() != (first,) or not cluster.all_stream():
        for node in cluster.nodes:
            faults.heal(node)
            if node.server_processes():
                faults.kill_postgres(node)
        first.start()
        for node in cluster.nodes[1:]:
            cluster.clone(node, first)
    cluster.await_streaming()
    return cluster


def ssh(lab: Lab, host: LabHost, command: str) -> str:
    trust = [f"UserKnownHostsFile={lab.known_hosts}", "StrictHostKeyChecking=yes", "BatchMode=yes"]
    options = [word for line in trust for word in ("-o", line)]
    argv = ["ssh", "-F", "none", "-i", str(lab.key), *options, f"postgres@{host.address}", command]
    done = subprocess.run(
        in_netns(lab.network.controller, argv), capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout.strip()


def reaches(lab: Lab, target: str, *, from_netns: str = "") -> bool:
    argv = ["bash", "-c", f"exec 3<>/dev/tcp/{target}/22"]
    try:
        done = subprocess.run(
            in_netns(from_netns or lab.network.controller, argv), capture_output=True, timeout=1, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def test_a_host_lets_postgres_in_by_ssh(healthy: Cluster) -> None:
    node = healthy.nodes[0]
    assert ssh(healthy.lab, node, "id -un; hostname; pwd") == "postgres\npg1\n/var/lib/postgresql"


def test_an_orphan_is_reaped_at_once(healthy: Cluster) -> None:
    node = healthy.nodes[1]
    faults.kill_postgres(node)
    assert not node.server_processes()
    node.start()


def test_all_processes_killed_end_a_session_within_milliseconds(healthy: Cluster) -> None:
    node = healthy.nodes[1]
    with healthy.lab.connect(node) as connection:
        fault = faults.kill_postgres(node)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
    assert time.monotonic() - fault.began < 0.5
    node.start()


def test_a_postmaster_killed_alone_leaves_backends_for_a_moment(healthy: Cluster) -> None:
    node = healthy.nodes[1]
    faults.kill_postmaster_only(node)
    await_that(lambda: not node.server_processes(), 5, "backends notice")
    node.start()


def test_a_killed_backend_makes_the_server_restart_itself(healthy: Cluster) -> None:
    node = healthy.nodes[1]
    with healthy.lab.connect(node):
        before = node.postmaster()
        faults.kill_backend(node)
        time.sleep(0.3)
    assert node.postmaster() == before
    healthy.await_streaming()


def test_a_frozen_server_connects_and_says_nothing(healthy: Cluster) -> None:
    node = healthy.nodes[1]
    faults.freeze(node)
    try:
        assert {p.state for p in node.server_processes()} == {"T"}
        assert reaches(healthy.lab, node.address)
        with pytest.raises(psycopg.OperationalError):
            healthy.lab.connect(node)
    finally:
        faults.thaw(node)
    assert healthy.value(node, "select 1") == 1


def test_a_pulled_cable_silences_a_living_host(healthy: Cluster) -> None:
    node = healthy.nodes[1]
    faults.link_down(node)
    try:
        assert not reaches(healthy.lab, node.address)
        assert node.postmaster()
    finally:
        faults.link_up(node)
    assert reaches(healthy.lab, node.address)


def test_a_lost_host_says_no_word_and_comes_back(healthy: Cluster) -> None:
    node = healthy.nodes[2]
    with closing(healthy.lab.connect(node)) as connection:
        faults.lose_host(node)
        with pytest.raises(TimeoutError):
            await_answer(connection, 0.5)
        faults.revive_host(node)
        assert node.postmaster() is None
        assert ssh(healthy.lab, node, "echo here") == "here"
    node.start()
    healthy.await_streaming()


def await_answer(connection: psycopg.Connection[tuple[object, ...]], within_s: float) -> None:
    """Raise TimeoutError unless the server says something, be it end-of-file."""
    connection.pgconn.send_query(b"select 1")
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        connection.pgconn.consume_input()
        if not connection.pgconn.is_busy():
            return
        time.sleep(0.01)
    raise TimeoutError


@pytest.mark.parametrize("direction", ["in", "out"])
def test_a_cable_broken_one_way_carries_no_conversation(
    healthy: Cluster, direction: faults.Direction
) -> None:
    node = healthy.nodes[1]
    faults.drop_one_way(node, direction)
    try:
        assert not reaches(healthy.lab, node.address)
    finally:
        faults.heal(node)
    assert reaches(healthy.lab, node.address)


def test_isolation_from_one_leaves_the_others(healthy: Cluster) -> None:
    _, second, third = healthy.nodes
    faults.isolate(second, [healthy.lab.network.controller_address])
    try:
        assert not reaches(healthy.lab, second.address)
        assert reaches(healthy.lab, second.address, from_netns=third.netns)
    finally:
        faults.heal(second)


def test_a_rejecting_firewall_looks_like_nobody_listening(healthy: Cluster) -> None:
    node = healthy.nodes[1]
    faults.refuse_connections(node)
    try:
        with pytest.raises(psycopg.OperationalError, match="refused"):
            healthy.lab.connect(node)
        assert node.postmaster()
    finally:
        faults.heal(node)


def test_a_delay_is_paid_each_way(healthy: Cluster) -> None:
    node = healthy.nodes[1]
    with healthy.lab.connect(node) as connection:
        faults.delay(node, 0.05)
        try:
            started = time.monotonic()
            size = connection.execute("select length(repeat('x', 300000)), repeat('x', 300000)").fetchone()
            took_s = time.monotonic() - started
        finally:
            faults.delay(node, 0)
        started = time.monotonic()
        connection.execute("select 1")
    assert size
    assert size[0] == 300000
    assert 0.1 <= took_s < 2
    assert time.monotonic() - started < 0.05


def test_lost_packets_slow_and_do_not_break(healthy: Cluster) -> None:
    node = healthy.nodes[1]
    faults.lose_packets(node, 20)
    try:
        assert ssh(healthy.lab, node, "echo here") == "here"
    finally:
        faults.heal(node)


def test_the_writer_finds_a_promoted_standby_and_what_was_lost(healthy: Cluster) -> None:
    old, new, _ = healthy.nodes
    with healthy.lab.writer() as writer:
        time.sleep(0.5)
        faults.isolate(new, [old.address])  # what is acknowledged from here on never reaches pg2
        time.sleep(0.5)
        with healthy.lab.connect(new) as connection:
            fault = faults.kill_postgres(old)
            connection.execute("select pg_promote(false)")
            outage_s = writer.outage(fault.began, fault.done, within_s=5)
            writer.stop()
            lost = writer.lost(connection)
    assert outage_s < 1
    assert writer.longest_gap(fault.began) >= outage_s - 0.05
    assert 5 <= len(lost) <= 40
    assert not writer.writers_at_once()
    assert {ack.node for ack in writer.acks} == {old.name, new.name}
    faults.heal(new)
    faults.kill_postgres(new)


def test_the_writer_names_acknowledgements_of_a_thawed_primary(healthy: Cluster) -> None:
    old, new, _ = healthy.nodes
    with healthy.lab.writer() as writer:
        fault = faults.freeze(old)
        healthy.sql(new, "select pg_promote(false)")
        first = writer.first_after(fault.done, within_s=5)
        faults.thaw(old)
        time.sleep(0.5)
    assert first.node == new.name
    assert writer.writers_at_once()
    faults.kill_postgres(new)


def test_a_clean_stop_can_be_undone(healthy: Cluster) -> None:
    node = healthy.nodes[0]
    faults.stop_clean(node)
    assert node.control_data()["Database cluster state"] == "shut down"
    faults.start(node)
    healthy.await_streaming()


def test_a_lab_leaves_nothing_behind() -> None:
    with Lab() as lab:
        host = lab.add_host()
        process = lab.popen(["sleep", "100"])
        inits = [p.pid for p in host.processes()]
    assert not list(NETNS_DIR.glob(f"{PREFIX}{lab.id}-*"))
    assert not lab.dir.exists()
    assert process.returncode is not None
    assert not [pid for pid in inits if os.path.exists(f"/proc/{pid}")]


def test_a_killed_lab_ends_its_hosts_and_the_next_one_cleans_up() -> None:
    script = (
        "import os, signal; from tests.lab import Lab\n"
        "with Lab() as lab:\n"
        "    lab.cluster(2); p = lab.popen(['sleep', '100'])\n"
        "    pids = [p.pid] + [q.pid for h in lab.hosts.values() for q in h.processes()]\n"
        "    print(lab.id, *pids, flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=root, check=False
    )
    assert done.returncode == -9, done.stderr
    lab_id, *pids = done.stdout.split()
    await_that(lambda: not [pid for pid in pids if Path("/proc", pid).exists()], 5, "its processes end")
    with Lab() as other:
        assert other.id != lab_id
    assert not list(NETNS_DIR.glob(f"{PREFIX}{lab_id}-*"))
    assert not (LAB_DIR / f"{PREFIX}{lab_id}").exists()


def test_two_labs_do_not_see_each_other() -> None:
    with Lab() as one, Lab() as two:
        first, second = one.cluster(1), two.cluster(1)
        ids = {
            c.value(c.nodes[0], "select system_identifier from pg_control_system()") for c in (first, second)
        }
        assert len(ids) == 2
        faults.kill_postgres(first.nodes[0])
        assert second.primary() is second.nodes[0]


def test_a_synchronous_cluster_waits_for_its_standby() -> None:
    with Lab(auth="trust") as lab:
        cluster = lab.cluster(2, {"synchronous_commit": "on"}, sync="ANY 1 (pg2)")
        primary, standby = cluster.nodes
        with lab.connect(primary) as connection:
            Writer.create_table(connection, "app")
        with lab.writer() as writer:
            fault = faults.freeze(standby)
            with pytest.raises(LabError):
                writer.first_after(fault.done, within_s=0.5)
            faults.thaw(standby)
            writer.first_after(fault.done, within_s=5)
