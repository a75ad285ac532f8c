"""What `check` says of TLS files, beside what libpq makes of the same files at a server that demands them."""

import os
import shutil
from pathlib import Path

import psycopg
import pytest

from pgvigil.config.load import load
from pgvigil.demo.servers import LOGIN, Server, Servers
from pgvigil.model.check import CheckItem, CheckLevel
from pgvigil.model.spec import ClusterSpec
from tests.postgres.test_check import assert_found, check
from tests.postgres.test_tls import configured, demand_tls, follow_by_certificate, keywords

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl"),
]
WARNING, ERROR, OK = CheckLevel.WARNING, CheckLevel.ERROR, CheckLevel.OK


@pytest.fixture
def pair(servers: Servers) -> tuple[Server, Path, ClusterSpec]:
    """A primary and a standby that let in nothing but certificates, with the files' folder."""
    primary = servers.make_primary("pg1")
    standby = servers.add_standby("pg2", primary)
    standby.wait_streaming(primary)
    folder = servers.home / "tls"
    spec = configured(servers, folder)
    demand_tls(servers, spec, folder)
    follow_by_certificate((primary, standby, standby), folder)
    return primary, folder, spec


def libpq_says(server: Server, folder: Path, **changes: str) -> str:
    """Why no session comes of that login; empty: one does."""
    login = {**keywords(folder, LOGIN), "passfile": "/nonexistent", **changes}
    try:
        psycopg.connect(server.conninfo(**login)).close()
    except psycopg.OperationalError as refused:
        return str(refused)
    return ""


def about_files(spec: ClusterSpec) -> list[CheckItem]:
    return [item for item in check(spec) if "(ssl" in item.what or item.what.startswith("TLS")]


def test_each_file_that_libpq_refuses_is_told_with_its_fix(
    pair: tuple[Server, Path, ClusterSpec],
) -> None:
    primary, folder, spec = pair
    assert libpq_says(primary, folder) == ""
    assert_found(about_files(spec), OK, "tls", "3 files here and 6 on the nodes")
    assert len(about_files(spec)) == 1

    own, theirs = folder / "pgvigil.key", folder / "replicator.key"
    owner = own.stat().st_uid
    for key in (own, theirs):
        key.chmod(0o640)
    assert "group or world access" in libpq_says(primary, folder)
    items = about_files(spec)
    assert_found(items, ERROR, "tls", f"{own} (sslkey) is open to others (mode 0640)", f"chmod 0600 {own}")
    assert_found(
        items,
        ERROR,
        "tls",
        f"every node: replication's key {theirs} (sslkey) is open",
        "on the node: chmod 0600",
    )
    if os.getuid() == 0:
        for key in (own, theirs):
            os.chown(key, 0, -1)
        assert libpq_says(primary, folder) == "", "root may leave its key to a group"
        items = about_files(spec)
        assert [i for i in items if str(own) in i.what] == []
        theirs.chmod(0o600)
        items = about_files(spec)
        assert_found(items, ERROR, "tls", f"{theirs} (sslkey) cannot be read", "on the node: chown")
        own.chmod(0o644)
        assert "group or world access" in libpq_says(primary, folder)
        assert_found(about_files(spec), ERROR, "tls", "is open to others (mode 0644)", f"chmod 0640 {own}")
    for key in (own, theirs):
        os.chown(key, owner, -1)
        key.chmod(0o600)

    (folder / "pgvigil.crt").rename(folder / "away")
    assert "certificate" in libpq_says(primary, folder)
    assert_found(about_files(spec), ERROR, "tls", "pgvigil.crt (sslcert) is not there: libpq logs in without")
    (folder / "away").rename(folder / "pgvigil.crt")
    own.rename(folder / "away")
    assert "certificate present, but not private key file" in libpq_says(primary, folder)
    assert_found(about_files(spec), ERROR, "tls", "pgvigil.key (sslkey) is not there, so no login")


def test_certificates_of_authorities_matter_as_sslmode_says(
    servers: Servers, pair: tuple[Server, Path, ClusterSpec]
) -> None:
    primary, folder, spec = pair
    (folder / "ca.crt").rename(folder / "away")
    assert "root certificate file" in libpq_says(primary, folder)
    items = about_files(spec)
    assert_found(items, ERROR, "tls", "ca.crt (sslrootcert) is not there, so no connection is made")
    assert_found(items, ERROR, "tls", "every node: replication's certificates of the authorities")
    file = servers.home / "pgvigil.yaml"
    file.write_text(file.read_text().replace("verify-full", "require"))
    weaker = load(file).clusters[0]
    assert libpq_says(primary, folder, sslmode="require") == "", "nothing is verified"
    assert_found(about_files(weaker), WARNING, "tls", "with sslmode require any server is believed then")
