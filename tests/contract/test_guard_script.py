"""`guard.sh` against real processes, in every shell that this machine has: what it stops, what it leaves."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from pgvigil.model.guard import GuardState
from pgvigil.model.record import Paths
from pgvigil.model.units import NodeName
from pgvigil.ports.guard import (
    Pulse,
    config_id,
    grant_script,
    guard_config,
    guard_dir,
    install_script,
    leave_script,
    pulse_script,
    read_pulse,
    remove_script,
    start_script,
)
from tests.builders import a_cluster, changed_spec

S = 20.0
"""A deadline nobody should meet, in seconds."""
SHELLS = [words for words in (["dash"], ["bash", "--posix"], ["busybox", "sh"]) if shutil.which(words[0])]
CONTROLDATA = """#!/bin/sh
echo "Database cluster state:               $(cat {dir}/state)"
"""
READY = """#!/bin/sh
while [ $# -gt 0 ]; do [ "$1" != -h ] || host=$2; shift; done
[ -e "{dir}/reached-$host" ] || {{ sleep 5; exit 2; }}
"""
"""Like pg_isready: at once when a node answers, after its own time when it does not."""


def _quits() -> None:
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


class Node:
    """A node with a guard, a server that is a sleeping process, and other nodes that are files."""

    def __init__(self, directory: Path, shell: list[str]) -> None:
        self.dir, self.shell = directory, shell
        self.data = directory / "data"
        self.bin = directory / "bin"
        self.guard = Path(guard_dir(str(self.data)))
        self.spec = a_cluster("pg1* pg2 pg3").spec
        self._servers: list[subprocess.Popen[bytes]] = []
        for path in (self.data, self.bin):
            path.mkdir()
        (self.data / "PG_VERSION").write_text("16\n")
        self.program("pg_controldata", CONTROLDATA)
        self.program("pg_isready", READY)
        shutil.copy(shutil.which("sleep") or "/bin/sleep", self.bin / "postgres")
        self.is_in("in production")

    @property
    def config(self) -> str:
        return guard_config(self.spec, self.spec.node(NodeName("pg1")), Paths(str(self.data), str(self.bin)))

    def program(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text.format(dir=self.dir))
        (self.bin / name).chmod(0o755)

    def is_in(self, state: str) -> None:
        """What pg_controldata says."""
        (self.dir / "state").write_text(state)

    def sees(self, *names: str) -> None:
        """From now on just these other nodes can be reached."""
        for node in self.spec.others(NodeName("pg1")):
            file = self.dir / f"reached-{node.host}"
            if node.name in names:
                file.touch()
            else:
                file.unlink(missing_ok=True)

    def run(self, script: str) -> str:
        """Lines for the node's shell, as the controller gives them."""
        script = re.sub(r"(?<![\w.])sh (?=')", f"{' '.join(self.shell)} ", script)
        done = subprocess.run(
            [*self.shell, "-c", script], capture_output=True, text=True, timeout=S, check=False, cwd="/"
        )
        assert done.returncode == 0, (script, done.stdout, done.stderr)
        return done.stdout

    def install(self, *, lease_s: float | None = None) -> None:
        """Put the guard there and start it in this shell; with a lease first, if one is given."""
        self.run(install_script(str(self.data), self.config))
        if lease_s is not None:
            self.renew(lease_s)
        self.start()

    def start(self) -> None:
        text = (self.guard / "guard.sh").read_text().replace("setsid sh ", f"setsid {' '.join(self.shell)} ")
        (self.guard / "guard.sh").write_text(text)
        self.run(start_script(str(self.data)))

    def pulse(self) -> Pulse:
        return read_pulse(self.run(pulse_script(str(self.data))), config_id(self.config))

    def renew(self, lease_s: float, pulse: Pulse | None = None) -> None:
        self.run(grant_script(str(self.data), pulse or self.pulse(), lease_s, self.config))

    def serve(self, *, postmaster: bool = True) -> subprocess.Popen[bytes]:
        """A server process works in the data directory."""
        # a job in the background of a script may ignore SIGQUIT, and hands that down
        server = subprocess.Popen([self.bin / "postgres", "600"], cwd=self.data, preexec_fn=_quits)
        self._servers.append(server)
        if postmaster:
            (self.data / "postmaster.pid").write_text(f"{server.pid}\n")
        return server

    @property
    def signal_file(self) -> Path:
        return self.data / "standby.signal"

    def guard_pid(self) -> int:
        return int((self.guard / "pid").read_text())

    def await_doing(self, word: str) -> None:
        """The guard has said this of itself since now."""
        since = self.pulse().clock
        until = time.monotonic() + S
        while time.monotonic() < until:
            beat = (self.guard / "beat").read_text().split()
            if beat[5] == word and int(beat[1]) > since:
                return
            time.sleep(0.05)
        raise AssertionError(f"never {word}: {(self.guard / 'log').read_text()}")

    def await_state(self, state: GuardState) -> None:
        """The node says this of its guard: a signal takes its time on a busy machine."""
        until = time.monotonic() + S
        while (found := self.pulse().state) is not state:
            assert time.monotonic() < until, found
            time.sleep(0.05)

    def turns(self, count: int) -> None:
        """So many turns of the guard pass."""
        for _ in range(count):
            before = (self.guard / "beat").read_text()
            until = time.monotonic() + S
            while (self.guard / "beat").read_text() == before:
                assert time.monotonic() < until, "the guard stands still"
                time.sleep(0.02)

    def close(self) -> None:
        with suppress(FileNotFoundError, ProcessLookupError, ValueError):
            os.kill(self.guard_pid(), signal.SIGKILL)
        for server in self._servers:
            server.kill()
            server.wait()


@pytest.fixture(params=SHELLS, ids=lambda words: words[0])
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path, request.param)
    yield made
    made.close()


# S2-15
def test_without_lease_and_majority_the_primary_is_stopped_and_returns_only_as_a_standby(node: Node) -> None:
    postmaster, backend = node.serve(), node.serve(postmaster=False)
    node.sees("pg2")
    node.install()
    node.await_doing("held")
    assert (postmaster.poll(), backend.poll()) == (None, None)
    node.sees()
    assert (postmaster.wait(S), backend.wait(S)) == (-signal.SIGQUIT, -signal.SIGKILL)
    assert node.signal_file.exists()
    node.turns(2)
    assert node.pulse().acted > 0
    assert "only 1 of 3 nodes can be reached" in (node.guard / "log").read_text()


def test_a_server_that_does_not_end_is_killed(node: Node) -> None:
    server = node.serve()
    server.send_signal(signal.SIGSTOP)
    node.install()
    assert server.wait(S) == -signal.SIGKILL


def test_with_a_lease_it_does_not_even_look(node: Node) -> None:
    server = node.serve()
    node.install(lease_s=60)
    node.turns(3)
    assert node.pulse().doing == "leased"
    assert node.pulse().state is GuardState.ALIVE
    assert server.poll() is None
    assert not node.signal_file.exists()


def test_a_lease_runs_from_the_reading_of_the_clock_not_from_its_arrival(node: Node) -> None:
    server = node.serve()
    node.install(lease_s=60)
    early = node.pulse()
    time.sleep(1.1)
    node.renew(1.0, early)
    assert server.wait(S) == -signal.SIGQUIT


@pytest.mark.parametrize(
    "change", [{"boot": "another"}, {"clock": 10**9}], ids=["another boot", "from the future"]
)
def test_a_lease_that_cannot_be_of_this_boot_is_none(node: Node, change: dict[str, object]) -> None:
    server = node.serve()
    node.install(lease_s=60)
    node.renew(60, replace(node.pulse(), **change))  # type: ignore[arg-type]  # its own fields
    assert server.wait(S) == -signal.SIGQUIT


@pytest.mark.parametrize("state", ["in archive recovery", "shut down in recovery", "in crash recovery"])
def test_a_standby_is_left_alone(node: Node, state: str) -> None:
    node.is_in(state)
    node.signal_file.touch()
    server = node.serve()
    node.install()
    node.await_doing("standby")
    node.turns(2)
    assert server.poll() is None


def test_a_primary_is_one_although_a_signal_file_lies_there(node: Node) -> None:
    node.signal_file.touch()
    server = node.serve()
    node.install()
    assert server.wait(S) == -signal.SIGQUIT


def test_a_server_that_is_down_can_only_come_back_as_a_standby(node: Node) -> None:
    node.is_in("shut down")
    node.install()
    node.await_doing("standby")
    assert node.signal_file.exists()
    assert node.pulse().acted == 0


def test_a_guard_that_was_stopped_checks_when_it_goes_on(node: Node) -> None:
    server = node.serve()
    node.install(lease_s=8)
    os.kill(node.guard_pid(), signal.SIGSTOP)
    node.await_state(GuardState.STALLED)
    time.sleep(8.1)
    assert server.poll() is None
    os.kill(node.guard_pid(), signal.SIGCONT)
    assert server.wait(S) == -signal.SIGQUIT


def test_a_renewal_in_time_keeps_it_from_acting(node: Node) -> None:
    server = node.serve()
    node.install(lease_s=2)
    for _ in range(6):
        node.renew(2)
        time.sleep(0.6)
    assert server.poll() is None
    assert not node.signal_file.exists()


def test_there_is_one_guard_a_directory_and_a_restart_replaces_it(node: Node) -> None:
    node.install(lease_s=60)
    first = node.guard_pid()
    subprocess.run([*node.shell, str(node.guard / "guard.sh"), "start"], check=True, timeout=S)
    assert node.guard_pid() == first
    node.start()
    assert node.guard_pid() != first
    assert not Path(f"/proc/{first}/cwd").exists()  # a zombie at most


def test_a_killed_guard_is_dead_and_a_removed_one_missing(node: Node) -> None:
    assert node.pulse().state is GuardState.MISSING
    node.install(lease_s=60)
    os.kill(node.guard_pid(), signal.SIGKILL)
    node.await_state(GuardState.DEAD)
    node.install(lease_s=60)
    node.turns(1)
    assert node.pulse().state is GuardState.ALIVE
    node.run(leave_script(str(node.data)))
    assert node.pulse().state is GuardState.DEAD
    node.turns(1)
    node.run(remove_script(str(node.data)))
    assert not node.guard.exists()
    assert node.pulse().state is GuardState.MISSING
    node.run(remove_script(str(node.data)))


def test_other_nodes_come_with_the_renewal(node: Node) -> None:
    server = node.serve()
    node.install(lease_s=60)
    node.turns(1)
    assert node.pulse().state is GuardState.ALIVE
    node.spec = changed_spec(a_cluster("pg1* pg2 pg3"), nodes=node.spec.nodes[:1]).spec
    assert node.pulse().state is GuardState.OUTDATED
    node.renew(0.01)
    node.await_doing("held")
    assert node.pulse().state is GuardState.ALIVE
    assert server.poll() is None


def test_the_directory_is_for_its_owner_alone(node: Node) -> None:
    node.install(lease_s=60)
    assert node.guard.stat().st_mode & 0o777 == 0o700
    assert not list(node.data.glob("*guard*"))


# S2-15
def test_the_watchdog_is_fed_and_closed_in_good_order(node: Node) -> None:
    device = node.dir / "watchdog"
    device.touch()
    fencing = type(node.spec.fencing)(node.spec.fencing.unreachable, guard=True, guard_watchdog=str(device))
    node.spec = changed_spec(a_cluster("pg1* pg2 pg3"), fencing=fencing).spec
    node.serve()
    node.install(lease_s=60)
    node.turns(2)
    assert node.pulse().watchdog == "open"
    fed = device.read_text()
    assert set(fed) == {"."}
    node.run(remove_script(str(node.data)))
    assert device.read_text().endswith(".V")
    assert len(device.read_text()) > len(fed)


def test_a_watchdog_that_cannot_be_opened_is_told(node: Node) -> None:
    fencing = type(node.spec.fencing)(
        node.spec.fencing.unreachable, guard=True, guard_watchdog="/none/at/all"
    )
    node.spec = changed_spec(a_cluster("pg1* pg2 pg3"), fencing=fencing).spec
    node.install(lease_s=60)
    node.turns(1)
    assert node.pulse().watchdog == "closed"
