"""What real servers do under `synchronous_standby_names`: quorum mode and the simulation rest on it."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

import psycopg
import pytest

from pgvigil.demo.binaries import Binaries
from pgvigil.demo.servers import Server, Servers
from tests.conformance.commits import Commit, has_row, in_force, names, senders
from tests.postgres.conftest import FAST

pytestmark = pytest.mark.postgres

Eventually = Callable[[Callable[[], object]], None]
SETTING = "select current_setting('synchronous_standby_names')"
SAYS = "select wait_event from pg_stat_activity where backend_type = 'checkpointer'"
CHECKPOINTER = "select pid from pg_stat_activity where backend_type = 'checkpointer'"
SENDER = "select pid from pg_stat_replication where application_name = %s"


Trio = tuple[Server, Server, Server]


@pytest.fixture(scope="module")
def shared(binaries: Binaries) -> Iterator[Trio]:
    """pg1 and its standbys pg2 and pg3 for all tests here; there is a table t."""
    with Servers(binaries, settings=FAST, wal_segment_mb=1) as servers:
        pg1 = servers.make_primary("pg1")
        pg1.sql("create table t (a int)")
        yield pg1, servers.add_standby("pg2", pg1), servers.add_standby("pg3", pg1)


@pytest.fixture
def trio(shared: Trio) -> Iterator[Trio]:
    """The shared three, brought back afterwards to how they were."""
    pg1, *standbys = shared
    logins = {pg2: pg2.sql("select current_setting('primary_conninfo')")[0][0] for pg2 in standbys}
    pg1.sql("truncate t")
    for standby in standbys:
        standby.wait_streaming(pg1)
    yield shared
    for server in shared:
        server.thaw()
        if not server.is_running():
            server.start()
    in_force(pg1, "")
    for standby, login in logins.items():
        point(standby, login)


def point(standby: Server, conninfo: str) -> None:
    """As the controller does it."""
    standby.sql(f"alter system set primary_conninfo = '{conninfo}'")
    standby.sql("select pg_reload_conf()")


def cut(standby: Server, eventually: Eventually) -> None:
    """On return its receiver is gone."""
    point(standby, "")
    eventually(lambda: not standby.sql("select pid from pg_stat_wal_receiver"))


@contextlib.contextmanager
def standing_still(pid: int) -> Iterator[None]:
    """One process that is not scheduled for a while."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


# who is waited for


@pytest.mark.parametrize("how", ["dead", "frozen", "cut"])
def test_a_commit_waits_while_no_listed_standby_acknowledges_and_goes_on_when_one_does(
    trio: Trio, eventually: Eventually, how: str
) -> None:
    pg1, pg2, _ = trio
    in_force(pg1, "ANY 1 (pg2)")
    conninfo = pg2.sql("select current_setting('primary_conninfo')")[0][0]
    if how == "dead":
        pg2.kill_all()
    elif how == "frozen":
        pg2.freeze()
    else:
        cut(pg2, eventually)
    commit = Commit(pg1, 1)
    assert commit.waits()
    assert not has_row(pg1, 1)
    if how == "dead":
        pg2.start()
    elif how == "frozen":
        pg2.thaw()
    else:
        point(pg2, conninfo)
    assert commit.ends()
    assert has_row(pg1, 1)


@pytest.mark.parametrize(
    ("acks", "cut_off", "waits"),
    [("ANY 1", 0, False), ("ANY 1", 1, False), ("ANY 1", 2, True), ("ANY 2", 0, False), ("ANY 2", 1, True)],
)
def test_a_commit_waits_once_fewer_than_k_listed_standbys_are_uncut(
    trio: Trio, eventually: Eventually, acks: str, cut_off: int, waits: bool
) -> None:
    pg1, *standbys = trio
    in_force(pg1, f"{acks} (pg2, pg3)")
    for standby in standbys[:cut_off]:
        cut(standby, eventually)
    commit = Commit(pg1, 1)
    if waits:
        assert commit.waits()
        in_force(pg1, "")
    assert commit.ends()


def test_a_standby_under_another_application_name_does_not_count(trio: Trio) -> None:
    pg1, *_ = trio
    in_force(pg1, "ANY 1 (pg4)")
    assert senders(pg1) == {"pg2": ("async", 0), "pg3": ("async", 0)}
    commit = Commit(pg1, 1)
    assert commit.waits()
    in_force(pg1, "")
    assert commit.ends()


def test_a_cascaded_standby_does_not_count(servers: Servers) -> None:
    pg1 = servers.make_primary("pg1")
    pg1.sql("create table t (a int)")
    pg2 = servers.add_standby("pg2", pg1)
    pg3 = servers.add_standby("pg3", pg2, slot=False)
    pg3.wait_streaming(pg2)
    names(pg2, "ANY 1 (pg3)")
    in_force(pg1, "ANY 1 (pg3)")
    commit = Commit(pg1, 1)
    assert commit.waits()
    assert senders(pg1) == {"pg2": ("async", 0)}
    assert senders(pg2) == {"pg3": ("async", 0)}
    in_force(pg1, "ANY 1 (pg2)")
    assert commit.ends()


def test_a_standby_with_replay_paused_acknowledges_but_not_for_remote_apply(trio: Trio) -> None:
    pg1, pg2, _ = trio
    in_force(pg1, "ANY 1 (pg2)")
    pg2.sql("select pg_wal_replay_pause()")
    assert Commit(pg1, 1).ends()
    applied = Commit(pg1, 2, options="-c synchronous_commit=remote_apply")
    assert applied.waits()
    pg2.sql("select pg_wal_replay_resume()")
    assert applied.ends()


def test_a_session_that_lowers_synchronous_commit_does_not_wait(trio: Trio) -> None:
    pg1, *_ = trio
    in_force(pg1, "ANY 1 (nobody)")
    assert Commit(pg1, 1, options="-c synchronous_commit=local").ends()
    in_force(pg1, "")


# what pg_stat_replication says


@pytest.mark.parametrize(
    ("setting", "pg2_is", "pg3_is"),
    [
        ("", ("async", 0), ("async", 0)),
        ("ANY 1 (pg2)", ("quorum", 1), ("async", 0)),
        ("ANY 2 (pg2, pg3)", ("quorum", 1), ("quorum", 1)),
        ("FIRST 1 (pg2, pg3)", ("sync", 1), ("potential", 2)),
        ("pg3, pg2", ("potential", 2), ("sync", 1)),
        ("FIRST 2 (pg2, pg3)", ("sync", 1), ("sync", 2)),
        ("ANY 1 (*)", ("quorum", 1), ("quorum", 1)),
    ],
)
def test_states_and_priorities(
    trio: Trio, eventually: Eventually, setting: str, pg2_is: tuple[str, int], pg3_is: tuple[str, int]
) -> None:
    pg1, *_ = trio
    names(pg1, setting)
    eventually(lambda: senders(pg1) == {"pg2": pg2_is, "pg3": pg3_is})


def test_a_priority_changes_when_that_sender_has_reloaded_and_the_state_is_our_own_sessions_view(
    trio: Trio, eventually: Eventually
) -> None:
    pg1, *_ = trio
    names(pg1, "ANY 1 (pg2, pg3)")
    eventually(lambda: senders(pg1) == {"pg2": ("quorum", 1), "pg3": ("quorum", 1)})
    with standing_still(pg1.sql(SENDER, "pg2")[0][0]):
        names(pg1, "")
        eventually(lambda: senders(pg1) == {"pg2": ("potential", 1), "pg3": ("async", 0)})
    eventually(lambda: senders(pg1) == {"pg2": ("async", 0), "pg3": ("async", 0)})


# how waiting ends


def test_a_waiting_commit_goes_on_when_the_setting_is_emptied(trio: Trio) -> None:
    pg1, *_ = trio
    in_force(pg1, "ANY 1 (nobody)")
    commit = Commit(pg1, 1)
    assert commit.waits()
    names(pg1, "")
    assert commit.ends()


def test_a_cancelled_wait_is_a_warning_and_the_row_is_committed_here(
    trio: Trio, eventually: Eventually
) -> None:
    pg1, pg2, _ = trio
    in_force(pg1, "ANY 1 (nobody)")
    commit = Commit(pg1, 1)
    assert commit.waits()
    commit.cancel()
    assert commit.ends()
    assert commit.notices == ["01000"]
    assert has_row(pg1, 1)
    eventually(lambda: has_row(pg2, 1))


@pytest.mark.parametrize(("how", "said"), [("fast", ["57P01"]), ("killed", [])])
def test_a_wait_ended_by_a_stop_or_crash_is_no_acknowledgement_but_the_row_is_there_afterwards(
    trio: Trio, how: str, said: list[str]
) -> None:
    pg1, *_ = trio
    in_force(pg1, "ANY 1 (nobody)")
    commit = Commit(pg1, 1)
    assert commit.waits()
    pg1.stop("fast") if how == "fast" else pg1.kill_all()
    assert not commit.ends()
    assert isinstance(commit.error, psycopg.OperationalError)
    assert commit.notices == said
    pg1.start()
    assert has_row(pg1, 1)


# from when on


def test_a_primary_started_with_names_waits_from_its_first_commit(trio: Trio) -> None:
    pg1, *_ = trio
    names(pg1, "ANY 1 (nobody)")
    pg1.stop()
    pg1.start()
    commit = Commit(pg1, 1)
    assert commit.waits()
    in_force(pg1, "")
    assert commit.ends()


def test_a_standby_promoted_with_names_set_acknowledges_nothing_until_somebody_follows(
    trio_of_servers: Trio, eventually: Eventually
) -> None:
    pg1, pg2, pg3 = trio_of_servers
    pg1.sql("create table t (a int)")
    pg2.wait_streaming(pg1)
    names(pg2, "ANY 1 (pg3)")
    pg1.kill_all()
    pg2.sql("select pg_promote()")
    commit = Commit(pg2, 1)
    assert commit.waits()
    pg3.sql("alter system set primary_slot_name = ''")
    point(pg3, _login(pg3, pg2))
    assert commit.ends()
    eventually(lambda: has_row(pg3, 1))


def _login(standby: Server, upstream: Server) -> str:
    passfile = standby.home / "replicator.pass"
    where = f"host=127.0.0.1 port={upstream.port} user=replicator"
    return f"{where} passfile={passfile} application_name={standby.name}"


def test_sessions_see_the_names_before_commits_wait_while_the_checkpointer_has_not_reloaded(
    trio: Trio, eventually: Eventually
) -> None:
    """What it says it waits for is no proof: until it is scheduled it says what it said before."""
    pg1, *_ = trio
    with psycopg.connect(pg1.conninfo(), autocommit=True) as kept:
        eventually(lambda: pg1.sql(SAYS) == [("CheckpointerMain",)])
        with standing_still(pg1.sql(CHECKPOINTER)[0][0]):
            names(pg1, "ANY 1 (nobody)")
            assert kept.execute(SETTING).fetchone() == ("ANY 1 (nobody)",)
            assert pg1.sql(SAYS) == [("CheckpointerMain",)]
            assert Commit(pg1, 1).ends()
        eventually(lambda: pg1.sql(SAYS) == [("CheckpointerMain",)])
        commit = Commit(pg1, 2)
        assert commit.waits()
    names(pg1, "")
    assert commit.ends()


def test_a_commit_waits_on_although_the_names_are_empty_while_the_checkpointer_has_not_reloaded(
    trio: Trio,
) -> None:
    pg1, *_ = trio
    in_force(pg1, "ANY 1 (nobody)")
    with standing_still(pg1.sql(CHECKPOINTER)[0][0]):
        names(pg1, "")
        commit = Commit(pg1, 1)
        assert commit.waits()
    assert commit.ends()


def test_a_commit_of_our_own_that_is_seen_waiting_proves_that_commits_wait(trio: Trio) -> None:
    """Also when the standbys are quick: it is seen in one of a few, and never without names."""
    pg1, *_ = trio

    def seen(tries: int) -> bool:
        with (
            psycopg.connect(pg1.conninfo(), autocommit=True) as eye,
            psycopg.connect(pg1.conninfo(), autocommit=True) as hand,
        ):
            pid, wire = hand.info.backend_pid, hand.pgconn
            for _ in range(tries):
                wire.send_query(b"select pg_logical_emit_message(true, 'test', '')")
                while True:
                    row = eye.execute("select wait_event from pg_stat_get_activity(%s)", (pid,)).fetchone()
                    if row == ("SyncRep",):
                        while wire.get_result():
                            pass
                        return True
                    wire.consume_input()
                    if not wire.is_busy():
                        break
                while wire.get_result():
                    pass
        return False

    assert not seen(200)
    in_force(pg1, "ANY 2 (pg2, pg3)")
    assert seen(2000)


def test_the_checkpointer_waits_in_its_main_loop_or_between_two_writes(
    trio: Trio, eventually: Eventually
) -> None:
    pg1, *_ = trio
    eventually(lambda: pg1.sql(SAYS) == [("CheckpointerMain",)])
    pg1.sql("insert into t select generate_series(1, 50000)")
    backup = "pg_backup_start" if pg1.sql("show server_version_num")[0][0] >= "150000" else "pg_start_backup"
    with contextlib.closing(psycopg.connect(pg1.conninfo(), autocommit=True)) as slow:
        slow.pgconn.send_query(f"select {backup}('spread', false)".encode())
        eventually(lambda: pg1.sql(SAYS) == [("CheckpointWriteDelay",)])
        names(pg1, "ANY 1 (nobody)")
        commit = Commit(pg1, 1)
        assert commit.waits()
        names(pg1, "")
        assert commit.ends()
