"""Today's pgvigil on the live store of an older one, and back; the older one comes from the repository."""

import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml

from pgvigil.demo.servers import Server, Servers, config_text
from pgvigil.store.sqlite import FILE_NAME, SCHEMA_VERSION
from tests.postgres.service import Service

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(180)]
Trio = tuple[Server, Server, Server]
ROOT = Path(__file__).parents[2]


class OlderService(Service):
    """`pgvigil run` of that commit, with the packages of today."""

    def __init__(self, servers: Servers, commit: str) -> None:
        super().__init__(servers)
        archive = subprocess.run(
            ["git", "archive", commit, "src"], cwd=ROOT, capture_output=True, timeout=60, check=False
        )
        if archive.returncode:
            pytest.skip(f"commit {commit} is not in this repository's history here")
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as file:
            file.extractall(servers.home / "older", filter="data")
        self._env["PYTHONPATH"] = str(servers.home / "older/src")


def texts(service: Service) -> set[str]:
    """Of its events."""
    lines = service.command("events", "--json", "-n", "1000").stdout.splitlines()
    return {json.loads(line)["text"] for line in lines}


@pytest.mark.parametrize(
    ("commit", "schedules"), [("5830f03", False), ("f0b2ee4", True)], ids=["store 3", "store 7"]
)
def test_an_older_store_is_gone_on_with_and_the_older_pgvigil_refuses_the_newer_one(
    servers: Servers, trio_of_servers: Trio, commit: str, schedules: bool
) -> None:
    config = servers.home / "pgvigil.yaml"
    today = yaml.safe_load(config_text(servers, "demo"))
    config.write_text(yaml.safe_dump({key: today[key] for key in ("state_dir", "clusters")}))
    with OlderService(servers, commit) as older:
        older.await_health()
        told = older.command("switchover", "demo", "--to", "pg2", "--yes")
        assert told.returncode == 0, told.stderr
        if schedules:
            told = older.command("drill", "demo", "--at", "2099-01-01 03:00", "--yes")
            assert told.returncode == 0, told.stderr
        older.await_health()
        before = texts(older)
    known_then = config.read_text()
    config.write_text(yaml.safe_dump(today))
    with Service(servers) as service:
        status = service.await_health()
        assert (status["primary"], status["generation"]) == ("pg2", 2)
        assert [each["what"] for each in status["scheduled"]] == (
            ["a drill with the best standby"] if schedules else []
        )
        assert before <= texts(service)
        trio_of_servers[1].kill_all()
        found = service.await_that(lambda now: now["primary"] != "pg2", "a failover")
        assert found["generation"] == 3
        assert service.await_health()["generation"] == 3
    file = servers.home / "state" / FILE_NAME
    content = file.read_bytes()
    config.write_text(known_then)
    told = older.command("run")
    assert told.returncode == 1
    assert "was written by a newer pgvigil" in told.stderr
    assert f"it has version {SCHEMA_VERSION}" in told.stderr
    assert file.read_bytes() == content
    assert trio_of_servers[0].is_running()
