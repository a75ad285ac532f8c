"""Bringing nodes back on real servers: started, rewound or cloned, whatever state they were left in."""

import asyncio
import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import psycopg
import pytest

from pgvigil.act import engine
from pgvigil.act.base_backup import CloneFailed
from pgvigil.act.bench import Bench
from pgvigil.act.rebuild import StartFailed
from pgvigil.act.rewind import RewindFailed
from pgvigil.demo.ports import HOST
from pgvigil.demo.servers import LOGIN, REPLICATION_LOGIN, Server, Servers, Setting, wait_until
from pgvigil.errors import PgvigilError, StepFailed, Unreachable, WorldChanged
from pgvigil.model.record import Paths
from pgvigil.model.shell import LocalShell
from pgvigil.model.sighting import HostAnswer, Postmaster
from pgvigil.model.spec import ClusterSpec, NodeSpec, Replication
from pgvigil.model.step import Rebuild, RebuildMethod
from pgvigil.model.units import Generation, Instant, NodeName
from pgvigil.ports.clock import SystemClock
from pgvigil.ports.contract import NodePorts
from pgvigil.ports.host import MARKER, look_script, read_look
from pgvigil.ports.postgres import PostgresSession
from pgvigil.ports.shell import make_shell
from tests.builders import a_cluster

pytestmark = pytest.mark.postgres

AUTO, START, REWIND, CLONE = (
    RebuildMethod.AUTO,
    RebuildMethod.START,
    RebuildMethod.REWIND,
    RebuildMethod.CLONE,
)
GENERATION = Generation(3)


@dataclass
class Yard:
    """Servers and the spec that describes them; every rebuild gets sessions and shells of its own."""

    servers: Servers
    keep_old_data: bool = False
    slots: bool = True
    config_files: dict[str, str] = field(default_factory=dict)
    reports: list[str] = field(default_factory=list)
    generation: Generation = GENERATION

    def spec(self) -> ClusterSpec:
        user = self.servers.account.name if self.servers.account.switch else ""
        login = (
            ("user", LOGIN), ("dbname", "postgres"), ("passfile", str(self.servers.passfile())),
        )  # fmt: skip
        nodes = tuple(
            NodeSpec(NodeName(name), HOST, server.port, conninfo=login, shell=LocalShell(user))
            for name, server in self.servers.nodes.items()
        )
        standby_login = (
            ("user", REPLICATION_LOGIN), ("passfile", str(self.servers.passfile(REPLICATION_LOGIN))),
        )  # fmt: skip
        return replace(
            a_cluster().spec,
            nodes=nodes,
            replication=Replication(standby_login, slots=self.slots),
            keep_old_data=self.keep_old_data,
        )

    def paths(self, name: NodeName) -> Paths:
        server = self.servers.nodes[name]
        return Paths(str(server.data_dir), str(server.bin_dir), self.config_files.get(name, ""))

    def report(self, node: NodeName, sentence: str) -> None:
        self.reports.append(f"{node}: {sentence}")

    async def outcome(self, step: Rebuild) -> engine.Outcome:
        spec = self.spec()
        ports = {}
        for node in spec.nodes:
            assert node.shell is not None
            new_session = partial(PostgresSession, node)
            shell = make_shell(node.shell, host=node.host)
            ports[node.name] = NodePorts(node, new_session, new_session(), shell)
            with contextlib.suppress(Unreachable):  # down, or just coming up
                await ports[node.name].session.open(within_s=5)
        here = make_shell(LocalShell(), host=HOST)
        bench = Bench(spec, ports, self.paths, SystemClock(), lambda: self.generation, here, self.report)
        try:
            return await engine.carry_out(step, bench)
        finally:
            here.close()
            for port in ports.values():
                port.session.close()
                if port.shell:
                    port.shell.close()
            await asyncio.sleep(0)

    def rebuild(self, node: Server, upstream: Server, method: RebuildMethod = AUTO) -> engine.Facts:
        """Carry it out; raises what it failed with."""
        step = Rebuild(NodeName(node.name), NodeName(upstream.name), GENERATION, method)
        outcome = asyncio.run(self.outcome(step))
        if outcome.error:
            raise outcome.error
        return outcome.facts

    def cut_short(self, node: Server, upstream: Server, method: RebuildMethod, after_s: float) -> bool:
        """As if the controller went away in the middle. False: it was done by then."""
        step = Rebuild(NodeName(node.name), NodeName(upstream.name), GENERATION, method)

        async def run() -> None:
            async with asyncio.timeout(after_s):
                outcome = await self.outcome(step)
                if outcome.error:
                    raise outcome.error

        try:
            asyncio.run(run())
        except TimeoutError:
            return True
        return False

    def look(self, node: Server) -> HostAnswer:
        """What the product's own look at the host says."""

        async def asked() -> HostAnswer:
            user = self.servers.account.name if self.servers.account.switch else ""
            shell = make_shell(LocalShell(user), host=HOST)
            try:
                script = look_script(str(node.data_dir), str(node.bin_dir), slow=False)
                return read_look((await shell.ask(script, within_s=5)).text, Instant(0.0))
            finally:
                shell.close()

        return asyncio.run(asked())

    def leftovers(self) -> list[str]:
        """What lies beside the data directories and does not belong there."""
        return sorted(path.name for path in self.servers.home.glob("*.pgvigil-*"))


@pytest.fixture
def yard(servers: Servers) -> Yard:
    return Yard(servers)


@pytest.fixture
def pair(yard: Yard) -> tuple[Server, Server]:
    """pg1, the primary with a table t, and pg2, its standby with a slot."""
    return a_pair(yard)


def a_pair(yard: Yard, **settings: Setting) -> tuple[Server, Server]:
    pg1 = yard.servers.make_primary("pg1", own_system_id=False, **settings)
    pg1.sql("CREATE TABLE t (i int)")
    pg2 = yard.servers.add_standby("pg2", pg1, slot=True, **settings)
    pg2.wait_streaming(pg1)
    return pg1, pg2


def promote(server: Server) -> None:
    server.sql("SELECT pg_promote()")
    server.sql("INSERT INTO t VALUES (1000)")


def rows(server: Server) -> set[int]:
    return {row[0] for row in server.sql("SELECT i FROM t")}


def diverge(pg1: Server, pg2: Server, *, crash: bool = True) -> None:
    """pg2 becomes primary; pg1 has row 666, which pg2 never got, and is down."""
    pg2.stop()
    pg1.sql("INSERT INTO t SELECT 666")
    if crash:
        pg1.kill_all()
    else:
        pg1.stop()
    pg2.start()
    promote(pg2)


def plant_settings(server: Server) -> Callable[[], bool]:
    """Mark the node's own configuration; the answer tells whether the marks are still there."""
    files = [server.data_dir / name for name in ("postgresql.conf", "pg_hba.conf")]
    for file in files:
        file.write_text(f"{file.read_text()}\n# own of {server.name}\n")
    return lambda: all(f"# own of {server.name}" in file.read_text() for file in files)


def assert_back(yard: Yard, node: Server, upstream: Server) -> None:
    """The node streams, has what its upstream has, and nothing of the rebuild is left."""
    node.wait_streaming(upstream)
    assert rows(node) == rows(upstream)
    assert not (node.data_dir / MARKER).exists()
    wait_until(lambda: not yard.leftovers(), within_s=10, what=f"no leftovers: {yard.leftovers()}")
    assert node.data_dir.stat().st_mode & 0o777 == 0o700
    if yard.slots:
        slots = upstream.sql("SELECT slot_name, active FROM pg_replication_slots")
        assert (node.name, True) in slots
        assert not node.sql("SELECT slot_name FROM pg_replication_slots")


# S0-10
def test_a_cleanly_stopped_old_primary_is_just_started(yard: Yard, pair: tuple[Server, Server]) -> None:
    pg1, pg2 = pair
    pg1.stop()
    promote(pg2)
    facts = yard.rebuild(pg1, pg2)
    assert facts["method"] == "start"
    assert_back(yard, pg1, pg2)


def test_a_crashed_old_primary_with_nothing_of_its_own_is_just_started(
    yard: Yard, pair: tuple[Server, Server]
) -> None:
    pg1, pg2 = pair
    pg1.sql("INSERT INTO t VALUES (1)")
    pg2.wait_streaming(pg1)
    pg1.kill_all()
    promote(pg2)
    assert yard.rebuild(pg1, pg2)["method"] == "start"
    assert_back(yard, pg1, pg2)


# S0-11, S1-09, S3-04, S3-08
@pytest.mark.parametrize("crash", [True, False], ids=["crashed", "stopped"])
def test_a_diverged_primary_is_rewound_and_keeps_its_configuration(
    yard: Yard, pair: tuple[Server, Server], crash: bool
) -> None:
    pg1, pg2 = pair
    kept = plant_settings(pg1)
    pg1.sql("ALTER SYSTEM SET work_mem = '7MB'")
    diverge(pg1, pg2, crash=crash)
    facts = yard.rebuild(pg1, pg2)
    assert facts["method"] == "rewind"
    assert_back(yard, pg1, pg2)
    assert 666 not in rows(pg1)
    assert kept()
    assert pg1.sql("SHOW work_mem") == [("7MB",)]
    assert pg1.sql("SHOW restore_command") == [("",)]


# S3-06
def test_a_rewind_keeps_the_users_restore_command(yard: Yard) -> None:
    pg1, pg2 = a_pair(yard)
    pg1.sql("ALTER SYSTEM SET restore_command = 'test -n \"%p\" && false # it''s \\ mine'")
    diverge(pg1, pg2)
    assert yard.rebuild(pg1, pg2, REWIND)["method"] == "rewind"
    assert_back(yard, pg1, pg2)
    assert pg1.sql("SHOW restore_command") == [('test -n "%p" && false # it\'s \\ mine',)]


def rewind_plainly(yard: Yard, node: Server, upstream: Server) -> None:
    """pg_rewind of a copy, as one would by hand."""
    home, account = yard.servers.home, yard.servers.account
    account.run("cp", "-a", node.data_dir, home / "copy", home=home)
    try:
        account.run(node.bin_dir / "postgres", "--single", "-D", home / "copy", "template1", home=home)
        login = upstream.conninfo(dbname="postgres")
        account.run(
            node.bin_dir / "pg_rewind", "-D", home / "copy", f"--source-server={login}", "-n", home=home
        )
    finally:
        account.run("rm", "-rf", home / "copy", home=home)


# S3-06
def test_wal_that_recovery_recycles_is_kept_for_the_rewind(yard: Yard) -> None:
    """SAFETY §5: crash recovery removes the segments that pg_rewind needs to go back to the fork."""
    small: dict[str, Setting] = {
        "wal_keep_size": 0,
        "min_wal_size": "2MB",
        "max_wal_size": "2MB",
        "checkpoint_timeout": "1h",
    }
    pg1, pg2 = a_pair(yard, **small)
    pg1.sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active")
    pg2.stop()
    pg1.sql("SELECT pg_drop_replication_slot('pg2')")
    pg1.sql("ALTER SYSTEM SET max_wal_size = '1GB'")
    pg1.sql("SELECT pg_reload_conf()")
    pg1.sql("INSERT INTO t SELECT 666 FROM generate_series(1, 200000)")
    pg1.kill_all()
    (pg1.data_dir / "postgresql.auto.conf").write_text("")
    pg2.start()
    promote(pg2)
    pg2.sql("CHECKPOINT")
    with pytest.raises(StepFailed, match="could not find previous WAL record"):
        rewind_plainly(yard, pg1, pg2)
    assert yard.rebuild(pg1, pg2, REWIND)["method"] == "rewind"
    assert_back(yard, pg1, pg2)
    assert 666 not in rows(pg1)


# S3-05
@pytest.mark.parametrize("keep", [False, True], ids=["deleted", "kept"])
def test_where_rewinding_is_impossible_auto_clones(yard: Yard, keep: bool) -> None:
    yard.keep_old_data = keep
    pg1, pg2 = a_pair(yard, wal_log_hints=False)
    kept = plant_settings(pg1)
    diverge(pg1, pg2)
    if pg2.sql("SHOW data_checksums") == [("on",)]:  # by default from 18 on
        for segment in (pg1.data_dir / "pg_wal").glob("00000001*"):
            segment.unlink()
    facts = yard.rebuild(pg1, pg2)
    assert facts["method"] == "clone"
    assert int(facts["bytes"] or 0) > 1_000_000
    assert kept()
    if keep:
        pg1.wait_streaming(pg2)
        (old,) = yard.leftovers()
        assert re.fullmatch(r"pg1\.pgvigil-old-\d{20}", old)
        assert facts["kept"] == str(yard.servers.home / old)
        assert (yard.servers.home / old / "PG_VERSION").exists()
    else:
        assert_back(yard, pg1, pg2)


# S0-12
def test_wal_gone_on_both_sides_means_a_clone(yard: Yard, pair: tuple[Server, Server]) -> None:
    pg1, pg2 = pair
    diverge(pg1, pg2, crash=False)
    for segment in (pg1.data_dir / "pg_wal").glob("00000001*"):
        segment.unlink()
    with pytest.raises(RewindFailed, match="it is as it was") as failed:
        yard.rebuild(pg1, pg2, REWIND)
    assert "pgvigil clone orders pg1" in failed.value.hint
    assert yard.rebuild(pg1, pg2)["method"] == "clone"
    assert_back(yard, pg1, pg2)


def test_a_rewind_that_was_begun_leads_to_a_clone(yard: Yard, pair: tuple[Server, Server]) -> None:
    pg1, pg2 = pair
    pg1.stop()
    promote(pg2)
    (pg1.data_dir / MARKER).write_text("rewind\n")
    with pytest.raises(StartFailed) as failed:
        yard.rebuild(pg1, pg2, START)
    assert "pgvigil clone orders pg1" in failed.value.hint
    assert yard.rebuild(pg1, pg2)["method"] == "clone"
    assert_back(yard, pg1, pg2)


def test_a_half_rewound_directory_cannot_be_started_and_gets_its_configuration_back(
    yard: Yard, pair: tuple[Server, Server]
) -> None:
    """pg_rewind removes our marker early: what counts lies beside the directory."""
    pg1, pg2 = pair
    pg1.stop()
    promote(pg2)
    notes = yard.servers.home / "pg1.pgvigil-rewind"
    (notes / "conf").mkdir(parents=True)
    for name in ("saved", "begun"):
        (notes / name).touch()
    own = (pg1.data_dir / "postgresql.conf").read_text()
    yard.servers.account.write(notes / "conf/postgresql.conf", own)
    for path in (notes, notes / "conf"):
        yard.servers.account.own(path)
    (pg1.data_dir / "postgresql.conf").write_text("port = 1\n")
    pg1.data_dir.chmod(0o701)
    with pytest.raises(StepFailed, match="permissions"):
        pg1.start()
    assert yard.rebuild(pg1, pg2)["method"] == "clone"
    assert_back(yard, pg1, pg2)


# S1-04
@pytest.mark.parametrize("exists", [True, False], ids=["empty", "missing"])
def test_a_new_node_is_cloned(yard: Yard, pair: tuple[Server, Server], exists: bool) -> None:
    pg1, _ = pair
    pg3 = yard.servers._new("pg3")
    if exists:
        pg3.data_dir.mkdir(0o700)
        yard.servers.account.own(pg3.data_dir)
    assert yard.rebuild(pg3, pg1)["method"] == "clone"
    assert_back(yard, pg3, pg1)
    assert pg3.sql("SHOW port") == [(str(pg3.port),)]


def test_a_clone_takes_tablespaces_and_the_wal_directory_elsewhere(
    yard: Yard, pair: tuple[Server, Server]
) -> None:
    pg1, pg2 = pair
    account, home = yard.servers.account, yard.servers.home
    for name in ("disk", "disk/ts", "disk/wal"):
        (home / name).mkdir()
        account.own(home / name)
    pg2.stop()
    pg1.sql(f"CREATE TABLESPACE ts LOCATION '{home}/disk/ts'")
    pg1.sql("CREATE TABLE far (i int) TABLESPACE ts")
    pg1.sql("INSERT INTO far SELECT generate_series(1, 1000)")
    account.run("mv", pg2.data_dir / "pg_wal", home / "disk/wal/pg_wal", home=home)
    account.run("ln", "-s", home / "disk/wal/pg_wal", pg2.data_dir / "pg_wal", home=home)
    for _ in "once", "again":
        assert yard.rebuild(pg2, pg1, CLONE)["method"] == "clone"
        assert_back(yard, pg2, pg1)
        assert pg2.sql("SELECT count(*) FROM far") == [(1000,)]
        (where,) = pg2.sql("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'ts'")
        assert re.fullmatch(rf"{home}/disk/ts\.pgvigil-\d{{20}}", where[0])
        wal = (pg2.data_dir / "pg_wal").readlink()
        assert re.fullmatch(rf"{home}/disk/wal/pg_wal\.pgvigil-\d{{20}}", str(wal))
        wait_until(lambda: len(list((home / "disk").iterdir())) == 3, within_s=10, what="old ones to go")
    assert pg1.sql("SELECT count(*) FROM far") == [(1000,)]


@pytest.mark.parametrize("method", [AUTO, CLONE])
def test_a_node_of_another_cluster_is_refused(yard: Yard, method: RebuildMethod) -> None:
    pg1 = yard.servers.make_primary("pg1")
    pg2 = yard.servers.make_primary("pg2", own_system_id=True)
    pg2.sql("CREATE TABLE dear (i int)")
    pg2.stop()
    with pytest.raises(StepFailed, match="another cluster"):
        yard.rebuild(pg2, pg1, method)
    pg2.start()
    assert pg2.sql("SELECT count(*) FROM dear") == [(0,)]


def test_a_node_that_takes_writes_is_not_touched(yard: Yard, pair: tuple[Server, Server]) -> None:
    pg1, pg2 = pair
    promote(pg2)
    with pytest.raises(WorldChanged, match="fenced first"):
        yard.rebuild(pg1, pg2)
    with pytest.raises(WorldChanged, match="own upstream"):
        yard.rebuild(pg2, pg2)
    assert pg1.is_running()


def test_nothing_is_rebuilt_from_a_standby_or_for_another_generation(
    yard: Yard, pair: tuple[Server, Server]
) -> None:
    pg1, pg2 = pair
    pg3 = yard.servers.add_standby("pg3", pg1)
    with pytest.raises(WorldChanged, match="no primary"):
        yard.rebuild(pg3, pg2)
    yard.generation = Generation(4)
    with pytest.raises(WorldChanged, match="generation"):
        yard.rebuild(pg3, pg1)
    assert pg3.is_running()


def test_a_standby_whose_wal_is_gone_is_cloned(yard: Yard) -> None:
    """It runs and is let in, but can never stream again; its start is tried first."""
    pg1, pg2 = a_pair(yard, wal_keep_size=0)
    pg2.stop()
    pg1.sql("SELECT pg_drop_replication_slot('pg2')")
    pg1.sql("INSERT INTO t SELECT generate_series(1, 50000)")
    pg1.sql("SELECT pg_switch_wal()")
    pg1.sql("CHECKPOINT")
    (now,) = pg1.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")
    for segment in (pg1.data_dir / "pg_wal").glob("00000001*"):
        if segment.name < now[0]:
            segment.unlink()
    pg2.start()
    began = time.monotonic()
    with pytest.raises(StartFailed, match="does not stream"):
        yard.rebuild(pg2, pg1, START)
    assert time.monotonic() - began < 20
    assert pg2.is_running()
    assert yard.rebuild(pg2, pg1)["method"] == "clone"
    assert_back(yard, pg2, pg1)


# S3-05, S3-07
def test_a_failed_clone_leaves_the_node_as_it_was(yard: Yard, pair: tuple[Server, Server]) -> None:
    pg1, pg2 = pair
    pg1.sql("ALTER ROLE replicator PASSWORD 'another'")
    pg1.sql("INSERT INTO t VALUES (5)")
    pg1.sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active")
    with pytest.raises(CloneFailed) as failed:
        yard.rebuild(pg2, pg1, CLONE)
    assert "password" in failed.value.detail
    assert not yard.leftovers()
    assert not (pg2.data_dir / MARKER).exists()
    assert pg2.is_running()


def test_a_clone_without_room_above_is_refused(yard: Yard, pair: tuple[Server, Server]) -> None:
    pg1, pg2 = pair
    pg2.stop()
    inner = yard.servers.home / "inner"
    inner.mkdir()
    pg2.data_dir.rename(inner / "pg2")
    pg2.data_dir.symlink_to(inner / "pg2")
    with pytest.raises(CloneFailed, match="not writable"):
        yard.rebuild(pg2, pg1, CLONE)
    yard.servers.account.own(inner)
    assert yard.rebuild(pg2, pg1, CLONE)["method"] == "clone"
    assert pg2.data_dir.is_symlink()
    assert_back(yard, pg2, pg1)


# S3-09
def test_configuration_outside_of_the_data_directory_is_used(yard: Yard) -> None:
    """As on Debian: pg_rewind and single-user mode must find it."""
    pg1, pg2 = a_pair(yard)
    diverge(pg1, pg2)
    etc = yard.servers.home / "etc"
    etc.mkdir()
    yard.servers.account.own(etc)
    for name in ("postgresql.conf", "pg_hba.conf", "pg_ident.conf"):
        yard.servers.account.run("mv", pg1.data_dir / name, etc / name, home=etc)
    with (etc / "postgresql.conf").open("a") as file:
        file.write(f"data_directory = '{pg1.data_dir}'\nhba_file = '{etc}/pg_hba.conf'\n")
    yard.config_files["pg1"] = str(etc / "postgresql.conf")
    assert yard.rebuild(pg1, pg2, REWIND)["method"] == "rewind"
    assert_back(yard, pg1, pg2)
    assert pg1.sql("SHOW config_file") == [(str(etc / "postgresql.conf"),)]
    assert yard.rebuild(pg1, pg2, CLONE)["method"] == "clone"
    assert_back(yard, pg1, pg2)
    assert pg1.sql("SHOW config_file") == [(str(etc / "postgresql.conf"),)]


def test_a_base_backup_acknowledges_nothing(yard: Yard, pair: tuple[Server, Server]) -> None:
    """pg_basebackup with a slot reports what it flushed: under the node's name it would count as the node."""
    pg1, pg2 = pair
    pg2.stop()
    pg1.sql("INSERT INTO t SELECT generate_series(1, 300000)")
    pg1.sql("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (pg2)'")
    pg1.sql("SELECT pg_reload_conf()")
    seen: set[tuple[str, str, bool]] = set()
    done = threading.Event()

    def look() -> None:
        with psycopg.connect(pg1.conninfo(), autocommit=True) as connection:
            while not done.is_set():
                text = (
                    "SELECT application_name, sync_state, flush_lsn IS NOT NULL"
                    " FROM pg_stat_replication WHERE state = 'streaming'"
                )
                found = connection.execute(text).fetchall()
                if not pg2.is_running():
                    seen.update(found)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yard.rebuild(pg2, pg1, CLONE)
    finally:
        done.set()
        watcher.join()
    assert ("pgvigil rebuild", "async", True) in seen
    assert {state for _, state, _ in seen} == {"async"}


def test_what_a_dead_controller_left_running_is_ended(yard: Yard, pair: tuple[Server, Server]) -> None:
    pg1, pg2 = pair
    login = pg1.conninfo(user=REPLICATION_LOGIN, passfile=str(yard.servers.passfile(REPLICATION_LOGIN)))
    new = yard.servers.home / "pg2.pgvigil-new"
    slow = yard.servers.account.spawn(
        pg2.bin_dir / "pg_basebackup", "-D", new, "-d", login, "-r", "32k", "-c", "fast",
        home=yard.servers.home, log=yard.servers.home / "log/slow",
    )  # fmt: skip
    wait_until(lambda: list(new.glob("*")), within_s=10, what="a base backup that has begun")
    assert yard.rebuild(pg2, pg1, CLONE)["method"] == "clone"
    assert slow.wait(5)
    assert_back(yard, pg2, pg1)


# S3-05
def test_a_swap_that_was_half_done_is_finished(yard: Yard, pair: tuple[Server, Server]) -> None:
    pg1, pg2 = pair
    pg2.stop()
    old = yard.servers.home / f"pg2.pgvigil-old-{'2' * 20}"
    yard.servers.account.run("cp", "-a", pg2.data_dir, old, home=yard.servers.home)
    yard.servers.account.write(pg2.data_dir / MARKER, f"clone\nold={old}\n")
    pg2.data_dir.rename(yard.servers.home / "pg2.pgvigil-new")
    yard.servers.account.write(yard.servers.home / "pg2.pgvigil-made", "")
    assert yard.rebuild(pg2, pg1)["method"] == "start"
    assert_back(yard, pg2, pg1)


def fractions(whole_s: float, count: int) -> Iterator[float]:
    return (whole_s * (part + 0.5) / count for part in range(count))


@pytest.mark.parametrize("method", [REWIND, CLONE])
@pytest.mark.timeout(600)
def test_a_controller_that_dies_anywhere_is_repeated(
    yard: Yard, pair: tuple[Server, Server], method: RebuildMethod
) -> None:
    pg1, pg2 = pair
    diverge(pg1, pg2)
    began = time.monotonic()
    yard.rebuild(pg1, pg2, method)
    whole = time.monotonic() - began
    assert_back(yard, pg1, pg2)
    node, upstream = pg1, pg2
    for after_s in fractions(whole * 1.05, 7):
        node.wait_streaming(upstream)
        node, upstream = upstream, node
        diverge(node, upstream)
        yard.cut_short(node, upstream, method, after_s)
        yard.rebuild(node, upstream)
        assert_back(yard, node, upstream)
        assert 666 not in rows(node)


@pytest.mark.timeout(300)
def test_a_standby_that_a_dead_controller_stopped_says_so(yard: Yard, pair: tuple[Server, Server]) -> None:
    """Whoever looks finds it running, or our note: nobody wanted it to be down (seed 3001035)."""
    node, upstream = pair
    seen = set[str]()
    for after_s in fractions(1.2, 6):
        node.wait_streaming(upstream) if seen else upstream.wait_streaming(node)
        if seen:
            node, upstream = upstream, node
        diverge(node, upstream)
        yard.servers.account.write(node.data_dir / "standby.signal", "")
        node.start()
        done = not yard.cut_short(node, upstream, REWIND, after_s)
        found = yard.look(node)
        seen.add(found.marker)
        assert done or found.postmaster is Postmaster.RUNNING or found.marker, (after_s, found)
        yard.rebuild(node, upstream)
        assert_back(yard, node, upstream)
    assert seen & {"start", "rewind"}, seen


# S3-07
@pytest.mark.timeout(600)
def test_twenty_rounds_leave_nothing_behind(yard: Yard, pair: tuple[Server, Server]) -> None:
    primary, standby = pair
    before = set((primary.data_dir).iterdir())
    for turn in range(20):
        standby.wait_streaming(primary)
        if turn % 3:
            primary.stop()
            promote(standby)
        else:
            diverge(primary, standby)
        primary, standby = standby, primary
        yard.rebuild(standby, primary)
        assert_back(yard, standby, primary)
        assert primary.sql("SELECT count(*) FROM pg_replication_slots") == [(1,)]
    names = {path.name for path in standby.data_dir.iterdir()} - {path.name for path in before}
    assert not {name for name in names if "pgvigil" in name} - {"pgvigil-start.log"}


# S3-07
def test_errors_are_for_people(yard: Yard, pair: tuple[Server, Server]) -> None:
    pg1, pg2 = pair
    pg2.stop()
    with pytest.raises(PgvigilError) as failed:
        yard.rebuild(pg1, pg2)
    assert failed.value.hint
