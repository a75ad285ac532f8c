"""The roles of `config.grants` on real servers: what they must be able to do, and what they must not."""

import subprocess
from collections.abc import Callable

import psycopg
import pytest

from pgvigil.config.grants import PARAMETERS, grants
from pgvigil.demo.servers import Server, Servers
from pgvigil.sight.probe import FACTS, PROBE, SENDER_NAMES

pytestmark = pytest.mark.postgres

WATCHER = 'pg "vigil\'s" \\role'
STREAMER = "streamer"
SECRET = "only-for-this-test"


def version(server: Server) -> int:
    return int(server.sql("SHOW server_version_num")[0][0])


def run_script(server: Server, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [server.bin_dir / "psql", "-X", "-q", "-d", server.conninfo()],
        input=script, text=True, capture_output=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture
def pair(servers: Servers) -> tuple[Server, Server]:
    """A primary on which the script ran twice, and its standby."""
    primary = servers.make_primary("pg1")
    script = grants(version(primary), WATCHER, STREAMER, ("postgres", "template1"))
    for _ in "once", "again":
        done = run_script(primary, script)
        assert done.returncode == 0, done.stderr
        assert "WARNING" not in done.stderr
    for role in WATCHER, STREAMER:
        name = psycopg.sql.Identifier(role)
        primary.sql(psycopg.sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, SECRET).as_string())
    standby = servers.add_standby("pg2", primary)
    standby.wait_streaming(primary)
    return primary, standby


def watch(server: Server) -> Callable[..., list[tuple[object, ...]]]:
    """Runs statements as the watcher."""

    def run(text: str, *parameters: object) -> list[tuple[object, ...]]:
        login = server.conninfo(user=WATCHER, password=SECRET)
        with psycopg.connect(login, autocommit=True) as connection:
            cursor = connection.execute(text.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    return run


def alter(server: Server) -> Callable[[str], object]:
    """What only a superuser may do before 15: there the watcher is refused, and a superuser does it."""

    def run(text: str) -> object:
        if version(server) >= 150000:
            return watch(server)(text)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            watch(server)(text)
        return server.sql(text)

    return run


def test_the_watcher_sees_everything_on_both(pair: tuple[Server, Server]) -> None:
    primary, standby = pair
    for node in pair:
        assert watch(node)(PROBE)
        (row,) = watch(node)(FACTS.replace("$1", "array['data_directory', 'primary_conninfo', 'hba_file']"))
        assert row[2] == {
            "data_directory": str(node.data_dir),
            "hba_file": str(node.data_dir / "pg_hba.conf"),
            "primary_conninfo": node.sql("SHOW primary_conninfo")[0][0],
        }
    assert watch(primary)(SENDER_NAMES)[0][1] == "pg2"
    assert watch(primary)("SELECT sent_lsn IS NOT NULL FROM pg_stat_get_wal_senders()") == [(True,)]
    assert watch(standby)("SELECT status FROM pg_stat_get_wal_receiver()") == [("streaming",)]
    assert "port" in str(watch(standby)("SELECT conninfo FROM pg_stat_wal_receiver"))


def test_the_watcher_cuts_points_and_promotes_a_standby(
    pair: tuple[Server, Server], eventually: Callable[[Callable[[], object]], None]
) -> None:
    _, standby = pair
    run, may = watch(standby), alter(standby)
    old = run("SHOW primary_conninfo")[0][0]
    may("ALTER SYSTEM SET primary_conninfo = ''")
    run("SELECT pg_reload_conf()")
    eventually(lambda: not run("SELECT pid FROM pg_stat_wal_receiver"))
    may(f"ALTER SYSTEM SET primary_conninfo = '{str(old).replace(chr(39), chr(39) * 2)}'")
    may("ALTER SYSTEM SET primary_slot_name = 'pg2'")
    run("SELECT pg_reload_conf()")
    eventually(lambda: run("SELECT status FROM pg_stat_wal_receiver") == [("streaming",)])
    standby.sql("SELECT pg_wal_replay_pause()")
    run("SELECT pg_wal_replay_resume()")
    run("SELECT pg_promote(false)")
    eventually(lambda: run("SELECT pg_is_in_recovery()") == [(False,)])


def test_the_watcher_prepares_a_primary(pair: tuple[Server, Server]) -> None:
    primary, _ = pair
    run, may = watch(primary), alter(primary)
    run("SELECT pg_create_physical_replication_slot('pg9', true)")
    run("SELECT pg_drop_replication_slot('pg9')")
    may("CHECKPOINT")
    for name in PARAMETERS:
        may(f"ALTER SYSTEM SET {name} = ''")
        may(f"ALTER SYSTEM RESET {name}")
    primary.sql("CREATE ROLE app LOGIN PASSWORD 'app'")
    with psycopg.connect(primary.conninfo(user="app", password="app")) as session:
        assert run(f"SELECT pg_terminate_backend({session.info.backend_pid})") == [(True,)]


def test_neither_role_may_do_more(pair: tuple[Server, Server]) -> None:
    primary, _ = pair
    primary.sql("CREATE TABLE secrets (word text)")
    for statement in (
        "ALTER SYSTEM SET archive_command = 'rm -rf /'",
        "CREATE ROLE mallory SUPERUSER",
        "SELECT pg_read_file('pg_hba.conf')",
        "SELECT pg_read_binary_file('pg_hba.conf')",
        "COPY pg_class TO PROGRAM 'cat'",
        "SELECT * FROM pg_authid",
        "SELECT * FROM secrets",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            watch(primary)(statement)


def test_the_replication_role_streams_and_rewinds(pair: tuple[Server, Server], servers: Servers) -> None:
    primary, standby = pair
    standby.sql("SELECT pg_promote(true)")
    primary.sql("CREATE TABLE lost AS SELECT generate_series(1, 1000)")
    standby.sql("CREATE TABLE kept AS SELECT generate_series(1, 1000)")
    standby.sql("CHECKPOINT")
    primary.stop()
    login = standby.conninfo(user=STREAMER, password=SECRET)
    with psycopg.connect(login, replication="true", autocommit=True) as stream:
        assert stream.execute("IDENTIFY_SYSTEM").fetchone()
    servers.account.run(
        primary.bin_dir / "pg_rewind", "-D", primary.data_dir, "--source-server", login, "--no-sync",
        home=servers.home,
    )  # fmt: skip
