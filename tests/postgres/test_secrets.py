"""Nothing secret shows: not in `ps`, logs, events, the store or any answer, while nodes change roles."""

import contextlib
import gzip
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest

from pgvigil.demo.servers import LOGIN, REPLICATION_LOGIN, Server, Servers, config_text, wait_until
from tests.postgres.service import Service

pytestmark = pytest.mark.postgres
Trio = tuple[Server, Server, Server]

IN_ENVIRONMENT = "planted-environment"
IN_HOOK = "planted-hook"
IN_FENCE = "planted-fence"
EVERY_S = 0.02


def password(servers: Servers, login: str) -> str:
    return servers.passfile(login).read_text().strip().rpartition(":")[2]


@dataclass
class Watcher:
    """Command lines of processes that are new, looked at again and again: what anybody sees with `ps`."""

    seen: set[str] = field(default_factory=set)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        old = set(os.listdir("/proc"))
        while not self._stop.wait(EVERY_S):
            for name in filter(str.isdigit, set(os.listdir("/proc")) - old):
                try:
                    line = Path(f"/proc/{name}/cmdline").read_bytes()
                except OSError:
                    continue  # it has ended
                self.seen.add(line.replace(b"\0", b" ").decode(errors="replace"))


def configured(servers: Servers, **login: object) -> None:
    """A service with that login, and hooks and a fence command that fail with a word in their line."""
    postgres = {"user": LOGIN, "dbname": "postgres", "control": "pg_ctl", **login}
    text = config_text(
        servers,
        "kept",
        postgres=postgres,
        hooks={"on_event": [f"/bin/false --token={IN_HOOK}"]},
        fencing={"command": f"/bin/false --password={IN_FENCE}"},
        failover={"max_per": "none", "rescue": {"max": "0B"}},
    )
    (servers.home / "pgvigil.yaml").write_text(text)


def plant_in_conninfo(standby: Server, word: str) -> None:
    """As `pg_basebackup -R` writes it when it was given a password."""
    told = str(standby.sql("SHOW primary_conninfo")[0][0])
    with (standby.data_dir / "postgresql.auto.conf").open("a") as file:
        file.write(f"primary_conninfo = '{told} password={word}'\n")
    standby.sql("SELECT pg_reload_conf()")
    changed = 'parameter "primary_conninfo" changed'
    wait_until(
        lambda: changed in standby.log.read_text(), within_s=10, what="the server to say so in its log"
    )
    standby.log.write_text("")  # it repeats the value that we have planted


def diverge_and_die(primary: Server) -> None:
    """The primary acknowledges what no standby gets, and its host goes down."""
    for (pid,) in primary.sql("SELECT pid FROM pg_stat_replication"):
        os.kill(int(pid), signal.SIGSTOP)
    primary.sql("CREATE TABLE only_here AS SELECT generate_series(1, 1000)")
    primary.kill_all()


@pytest.fixture
def service(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Service:
    """With a password in its environment, which it does not need."""
    with monkeypatch.context() as patch:
        patch.setenv("PGPASSWORD", IN_ENVIRONMENT)
        return Service(servers)


# S0-15, S3-08
@pytest.mark.timeout(400)
def test_planted_secrets_show_nowhere(
    servers: Servers, trio_of_servers: Trio, service: Service, tmp_path: Path
) -> None:
    pg1, *standbys = trio_of_servers
    file = tmp_path / "password"
    file.write_text(password(servers, LOGIN))
    configured(servers, password_command=f"cat {file}")
    for server in trio_of_servers:
        server.sql("ALTER SYSTEM SET log_statement = 'all'")
        server.sql("SELECT pg_reload_conf()")
    for standby in standbys:
        plant_in_conninfo(standby, password(servers, REPLICATION_LOGIN))
    answers: list[str] = []
    with Watcher() as watcher, service:
        service.await_health()
        answers += answered(service, BEFORE)
        changed = service.command("config", "set", "kept", "work_mem=8MB", "--yes")
        assert changed.returncode == 0, changed.stderr
        diverge_and_die(pg1)
        service.await_that(lambda status: status["primary"] != "pg1", "a failover")
        new = str(service.await_health()["primary"])
        third = next(server.name for server in standbys if server.name != new)
        cloned = service.command("clone", "kept", third, "--yes", "--force")
        assert cloned.returncode == 0, cloned.stderr
        service.await_health()
        switched = service.command("switchover", "kept", "--yes")
        assert switched.returncode == 0, switched.stderr
        service.await_health()
        answers += [
            changed.stdout,
            changed.stderr,
            cloned.stdout,
            cloned.stderr,
            switched.stdout,
            switched.stderr,
            *answered(service, AFTER),
        ]
    for program in ("pg_rewind", "pg_basebackup"):
        assert any(program in line for line in watcher.seen), f"{program} was not seen at work"
    passwords = [password(servers, login) for login in (LOGIN, REPLICATION_LOGIN)]
    passwords.append(IN_ENVIRONMENT)
    for word in passwords:
        assert [line for line in watcher.seen if word in line] == [], "in ps"
    texts = {
        "answers": "\n".join(answers),
        "the log": service.log,
        "recordings": "\n".join(recordings := recordings_in(service.state / "pgvigil.db")),
        **{f"the log of {s.name}": s.log.read_text(errors="replace") for s in trio_of_servers},
        **{str(path): path.read_text(errors="replace") for path in files_of_state(service.state)},
    }
    found = [
        (word, place) for word in (*passwords, IN_HOOK, IN_FENCE) for place, t in texts.items() if word in t
    ]
    assert found == []
    assert "hook_failed" in service.log
    assert any("primary_conninfo" in text or "conninfo" in text for text in recordings)
    assert len([path for path in texts if "pgvigil.db" in path]) >= 1


BEFORE = (("check", "--json"), ("config", "show", "--all", "--json"))
AFTER = (
    ("status", "--json"),
    ("topology",),
    ("events", "-n", "1000"),
    ("events", "--json", "-n", "1000"),
    ("history", "--json"),
    ("config", "history", "--json"),
    ("check",),
    ("config", "show", "--all", "--json"),
    ("switchover", "--dry-run", "--json"),
    ("render", "systemd"),
)


def answered(service: Service, calls: Iterable[tuple[str, ...]]) -> list[str]:
    """What these commands say."""
    told = []
    for words in calls:
        done = service.command(*words)
        assert done.stdout, (words, done.stderr)
        told += [done.stdout, done.stderr]
    return told


def files_of_state(folder: Path) -> Iterator[Path]:
    yield from (path for path in folder.rglob("*") if path.is_file())


def recordings_in(store: Path) -> list[str]:
    """All that is kept compressed, unpacked."""
    with contextlib.closing(sqlite3.connect(store)) as kept:
        names = [name for (name,) in kept.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [row for name in names for row in kept.execute(f'SELECT * FROM "{name}"')]  # its own
    packed = [value for row in rows for value in row if isinstance(value, bytes)]
    return [gzip.decompress(value).decode() for value in packed if value.startswith(b"\x1f\x8b")]


SOURCES = ("passfile", "service", "password_command", "environment", "credential")


# S0-15
@pytest.mark.parametrize("source", SOURCES)
def test_a_password_may_come_from(
    source: str, servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers.make_primary("pg1")
    word = password(servers, LOGIN)
    login: dict[str, object] = {}
    match source:
        case "passfile":
            login["passfile"] = str(servers.passfile())
        case "service":
            services = tmp_path / "services.conf"
            services.write_text(f"[orders]\nuser={LOGIN}\npassword={word}\n")
            monkeypatch.setenv("PGSERVICEFILE", str(services))
            login["service"] = "orders"
        case "password_command":
            login["password_command"] = f"printf '%s\\n' \"$(cat {servers.passfile()} | sed 's/.*://')\""
        case "environment":
            monkeypatch.setenv("PGPASSWORD", word)
        case _:
            (tmp_path / "pgpass").write_text(f"*:*:*:*:{word}\n")
            (tmp_path / "pgpass").chmod(0o600)
            monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
            login["passfile"] = "$CREDENTIALS_DIRECTORY/pgpass"
    configured(servers, **login)
    config = servers.home / "pgvigil.yaml"
    done = subprocess.run(
        [sys.executable, "-m", "pgvigil", "--config", str(config), "status", "--json"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    (cluster,) = json.loads(done.stdout)
    (node,) = cluster["nodes"]
    assert node["name"] == "pg1"
    assert "password" not in json.dumps(cluster["findings"])
    assert cluster["primary"] == "pg1", done.stderr
