"""Copies by pgBackRest and Barman, as docs/operate/clone.md has it: real programs, real archives.

The primary has recycled what was written since the backup, so what the copy needs is in the archive alone.
"""

import json
import shutil

import pytest
from typer.testing import CliRunner

from pgvigil.cli.app import app
from pgvigil.demo.binaries import Binaries
from pgvigil.demo.servers import LOGIN, REPLICATION_LOGIN, Server, Servers, config_text, wait_until

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(300)]


def fill(servers: Servers, primary: Server) -> None:
    """Rows that only the archive has: their segments are recycled on the primary."""
    primary.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS i")
    (first,) = primary.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")
    for _ in range(8):
        primary.sql("INSERT INTO t SELECT generate_series(1, 1000)")
        primary.sql("SELECT pg_switch_wal()")
    primary.sql("CHECKPOINT")
    gone = "SELECT count(*) FROM pg_ls_waldir() WHERE name = %s"
    wait_until(lambda: primary.sql(gone, first[0]) == [(0,)] or primary.sql("CHECKPOINT") is None,
               within_s=20, what="the old WAL to be recycled")  # fmt: skip


def clone(servers: Servers, command: str) -> None:
    """A third node, by the command of the configuration; its server must find the rows in the archive."""
    pg3 = servers._new("pg3")
    file = servers.home / "pgvigil.yaml"
    file.write_text(config_text(servers, "demo", clone={"command": command}))
    told = CliRunner().invoke(app, ["--config", str(file), "clone", "pg3", "--yes", "--json"])
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["result"] == "done"
    pg3.wait_streaming(servers.nodes["pg1"])
    assert pg3.sql("SELECT count(*) FROM t") == [(9000,)]


# S3-06
@pytest.mark.skipif(shutil.which("pgbackrest") is None, reason="needs pgbackrest")
def test_a_copy_by_pgbackrest_takes_its_wal_from_the_archive(servers: Servers) -> None:
    account, home = servers.account, servers.home
    config = home / "pgbackrest.conf"
    archive = f'pgbackrest --config={config} --stanza=demo archive-push "%p"'
    pg1 = servers.make_primary("pg1", archive_mode="on", archive_command=archive, wal_keep_size=0)
    places = "".join(f"{part}-path={home}/backrest/{part}\n" for part in ("repo1", "log", "lock", "spool"))
    account.write(
        config,
        f"[global]\n{places}log-level-file=off\nstart-fast=y\nrepo1-retention-full=2\n\n[demo]\n"
        f"pg1-path={pg1.data_dir}\npg1-port={pg1.port}\npg1-socket-path={home}/socket\n"
        f"pg1-user={LOGIN}\npg1-database=postgres\n",
    )

    def pgbackrest(*words: str) -> None:
        passfile = f"PGPASSFILE={servers.passfile()}"
        account.run("env", passfile, "pgbackrest", f"--config={config}", "--stanza=demo", *words, home=home)

    pgbackrest("stanza-create")
    pgbackrest("backup", "--type=full")
    fill(servers, pg1)
    restore = "pgbackrest --config={config} --stanza=demo --pg1-path={{new_dir}} --type=standby restore"
    clone(servers, restore.format(config=config))
    assert "restored log file" in pg1.log.read_text(), "pg3 logs as pg1 does"
    (kept,) = servers.nodes["pg3"].sql("SHOW restore_command")
    assert f"--pg1-path={servers.nodes['pg3'].data_dir} " in kept[0]


@pytest.mark.skipif(shutil.which("barman") is None, reason="needs barman")
def test_a_copy_by_barman_takes_its_wal_from_the_archive(servers: Servers, binaries: Binaries) -> None:
    account, home = servers.account, servers.home
    config, incoming = home / "barman.conf", home / "barman/demo/incoming"
    pg1 = servers.make_primary(
        "pg1", archive_mode="on", archive_command=f"cp %p {incoming}/%f", wal_keep_size=0
    )
    login = f"host=127.0.0.1 port={pg1.port} passfile="
    account.write(
        config,
        f"[barman]\nbarman_home = {home}/barman\nbarman_user = {account.name}\n"
        f"log_file = {home}/barman.log\nconfiguration_files_directory = {home}/none\n\n"
        "[demo]\ndescription = demo\nbackup_method = postgres\narchiver = on\n"
        f"path_prefix = {binaries.bin_dir}\n"
        f"conninfo = {login}{servers.passfile()} user={LOGIN} dbname=postgres\n"
        f"streaming_conninfo = {login}{servers.passfile(REPLICATION_LOGIN)} user={REPLICATION_LOGIN}\n",
    )

    def barman(*words: str) -> None:
        account.run("barman", "-c", config, *words, home=home)

    account.run("mkdir", "-p", incoming, home=home)
    barman("switch-wal", "--force", "--archive", "demo")
    barman("backup", "--immediate-checkpoint", "demo")
    fill(servers, pg1)
    barman("archive-wal", "demo")
    clone(servers, f"barman -c {config} recover --standby-mode demo latest {{new_dir}}")
