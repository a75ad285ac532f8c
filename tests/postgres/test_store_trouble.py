"""I10: the controller killed, its disk full or read-only, its file damaged or gone; databases run on.

The recovery is the one of docs/operate/store.md.
"""

import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pgvigil.demo.servers import Server, Servers, config_text, wait_until
from pgvigil.demo.writer import Writer
from tests.postgres.service import Service

pytestmark = pytest.mark.postgres
Trio = tuple[Server, Server, Server]
FILES = ("pgvigil.db", "pgvigil.db-wal", "pgvigil.db-shm")
Full = Callable[[Service], "Trouble"]


class Trouble:
    """A disk without room, until it is mended."""

    def __init__(self, mend: Callable[[], object]) -> None:
        self.mend = mend


@pytest.fixture
def writer(servers: Servers, trio_of_servers: Trio) -> Iterator[Writer]:
    """A client that never stops, and the configuration of a service beside it."""
    configured(servers)
    with Writer({s.name: s.conninfo(dbname="postgres") for s in trio_of_servers}) as writer:
        yield writer


def configured(servers: Servers, **more: object) -> None:
    text = config_text(servers, "demo", failover={"max_per": "none"}, **more)
    (servers.home / "pgvigil.yaml").write_text(text)


def primaries(trio: Trio) -> list[str]:
    """The nodes that answer out of recovery."""
    running = [server for server in trio if server.is_running()]
    return [server.name for server in running if server.sql("select pg_is_in_recovery()") == [(False,)]]


def limited(service: Service) -> Trouble:
    """No file may grow: what a full disk looks like to a process that has no other."""
    _, hard = resource.prlimit(service.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (1, hard))
    return Trouble(lambda: resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (hard, hard)))


def filled(service: Service) -> Trouble:
    """The last byte of the state's own file system is taken."""
    filler = service.state / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass
    return Trouble(filler.unlink)


def mounted(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, capture_output=True)


@contextmanager
def disk_of_its_own(state: Path) -> Iterator[None]:
    if os.geteuid():
        pytest.skip("needs root, to mount a file system")
    state.mkdir(mode=0o700)
    mounted("-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(state))
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(state)], check=True)


@pytest.fixture(params=[limited, filled], ids=lambda way: way.__name__)
def full(request: pytest.FixtureRequest, servers: Servers) -> Iterator[Full]:
    """A way to make the state impossible to write."""
    if request.param is limited:
        yield request.param
        return
    with disk_of_its_own(servers.home / "state"):
        yield request.param


def test_without_a_record_no_failover_begins_and_with_room_again_it_does(
    servers: Servers, trio_of_servers: Trio, writer: Writer, full: Full
) -> None:
    with Service(servers) as service:
        service.await_health()
        trouble = full(service)
        paused = service.command("pause", "--yes")
        assert paused.returncode == 1, paused.stdout
        assert "pgvigil.db" in paused.stderr
        assert service.status()["paused"] is False
        assert primaries(trio_of_servers) == ["pg1"]
        trio_of_servers[0].kill_all()
        decision = service.await_hold("store_failed")
        assert "its record cannot be written" in decision["reason"]
        assert decision["hint"]
        time.sleep(1)
        assert primaries(trio_of_servers) == []

        def told() -> bool:
            return "record cannot be written" in service.command("status").stdout

        wait_until(told, within_s=20, what="the status to say so")  # it is tried again and again
        trouble.mend()
        service.await_that(lambda status: status["generation"] == 2, "the failover")
        service.await_health()
        kinds = service.command("events", "--json").stdout
        assert "store_failed" in kinds
    writer.stop()
    (primary,) = primaries(trio_of_servers)
    assert writer.lost(servers.nodes[primary].conninfo(dbname="postgres")) == []


def test_a_disk_that_fills_up_within_a_failover_stops_it_there_and_the_next_life_finishes_it(
    servers: Servers, trio_of_servers: Trio
) -> None:
    line = f"prlimit --pid $(cat {servers.home}/state/lock) --fsize=1:unlimited"
    configured(servers, shell="none", fencing={"command": line, "unreachable": "wait"})
    with Service(servers) as service:
        service.await_health()
        trio_of_servers[0].kill_all()
        decision = service.await_hold("store_failed")
        assert "cannot go on (fencing)" in decision["reason"]
        time.sleep(1)
        assert primaries(trio_of_servers) == []
        service.stop(signal.SIGKILL)
        service.start()
        configured_again = service.await_that(lambda status: status["generation"] == 2, "it goes on")
        assert configured_again["generation"] == 2


# S2-11, S4-09
def test_a_killed_controller_changes_nothing_on_the_databases(
    servers: Servers, trio_of_servers: Trio, writer: Writer
) -> None:
    with Service(servers) as service:
        service.await_health()
        service.stop(signal.SIGKILL)
        before = len(writer.acks)
        time.sleep(1)
        assert len(writer.acks) > before
        assert primaries(trio_of_servers) == ["pg1"]
        service.start()
        service.await_health()
        trio_of_servers[0].kill_all()
        service.await_that(lambda status: status["generation"] == 2, "a failover")


def test_a_state_that_is_read_only_is_told_and_nothing_is_guarded_until_it_is_mended(
    servers: Servers, trio_of_servers: Trio, writer: Writer
) -> None:
    with disk_of_its_own(servers.home / "state"), Service(servers) as service:
        service.await_health()
        service.stop()
        mounted("-o", "remount,ro", str(service.state))
        service.start()
        assert service.ends() == 1
        assert "HINT" in service.log or "hint" in service.log
        assert "Traceback" not in service.log
        assert "ead-only" in service.log
        assert primaries(trio_of_servers) == ["pg1"]
        mounted("-o", "remount,rw", str(service.state))
        service.start()
        assert service.await_health()["generation"] == 1


def scribble(file: Path) -> None:
    """Bytes in the middle of every page but the first are something else now."""
    with file.open("r+b") as stream:
        for page in range(1, file.stat().st_size // 4096):
            stream.seek(page * 4096)
            stream.write(os.urandom(2048))


def test_a_damaged_file_is_told_and_the_clusters_are_learnt_anew(
    servers: Servers, trio_of_servers: Trio, writer: Writer
) -> None:
    with Service(servers) as service:
        service.await_health()
        service.stop()
        scribble(service.state / "pgvigil.db")
        service.start()
        assert service.ends() == 1
        assert "damaged" in service.log
        assert "docs/operate/store.md" in service.log
        assert "Traceback" not in service.log
        assert primaries(trio_of_servers) == ["pg1"]
        for name in FILES:
            if (file := service.state / name).exists():
                file.rename(service.state / f"{name}.damaged")
        service.start()
        service.await_that(lambda s: (s["generation"], s["primary"]) == (1, "pg1"), "the cluster learnt anew")
        service.await_health()
        trio_of_servers[0].kill_all()
        service.await_that(lambda status: status["generation"] == 2, "a failover")


def test_a_file_damaged_under_a_running_controller_harms_no_database(
    servers: Servers, trio_of_servers: Trio, writer: Writer
) -> None:
    with Service(servers) as service:
        service.await_health()
        scribble(service.state / "pgvigil.db")
        (service.state / "pgvigil.db-wal").write_bytes(os.urandom(100_000))
        for _ in range(6):
            service.command("events")
        assert primaries(trio_of_servers) == ["pg1"]
        trio_of_servers[0].kill_all()
        found = service.await_that(
            lambda status: status["generation"] == 2 or status["decision"]["rule"] == "store_failed",
            "a failover, or why there is none",
        )
        if found["generation"] == 1:
            assert "damaged" in found["decision"]["reason"]
            assert primaries(trio_of_servers) == []


def test_a_file_that_was_removed_is_noticed_before_anything_is_built_on_it(
    servers: Servers, trio_of_servers: Trio, writer: Writer
) -> None:
    with Service(servers) as service:
        service.await_health()
        aside = service.state / "aside"
        aside.mkdir()
        for name in FILES:
            (service.state / name).rename(aside / name)
        trio_of_servers[0].kill_all()
        decision = service.await_hold("store_failed")
        assert "removed or replaced" in decision["reason"]
        assert "put it back" in decision["hint"]
        time.sleep(1)
        assert primaries(trio_of_servers) == []
        for name in FILES:
            (aside / name).rename(service.state / name)
        service.await_that(lambda status: status["generation"] == 2, "the failover")
        service.await_health()
