"""The lab: hosts on one bridge, a controller's side, and everything ended and removed at the end."""

import itertools
import os
import pwd
import secrets
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psycopg

from tests.lab.cluster import Cluster, build
from tests.lab.host import LOGIN, LabHost
from tests.lab.netns import LAB_DIR, PREFIX, LabError, Network, in_netns, inside, own_id, sh, sweep
from tests.lab.writer import Writer

DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
ROLES = ("pgvigil", "replicator", "app", "postgres")

_counter = itertools.count(1)


class Lab:
    """Context manager. Needs root, Debian's openssh-server and nftables, and an OS user `postgres`.

    Several labs can live at once, in one process or several. `dir` is removed at the end. Files for
    a controller under test: `key` (SSH), `known_hosts`, `passfile`; on hosts `~postgres/.pgpass`.
    """

    def __init__(self, bin_dir: Path = DEBIAN_15, *, auth: str = "scram-sha-256") -> None:
        self.id = own_id(next(_counter))
        self.bin_dir, self.auth = bin_dir, auth
        self.dir = LAB_DIR / f"{PREFIX}{self.id}"
        self.network = Network(self.id)
        self.hosts: dict[str, LabHost] = {}
        self.passwords = {role: secrets.token_urlsafe(12) for role in ROLES}
        self.key = self.dir / "id_ed25519"
        self.known_hosts = self.dir / "known_hosts"
        self.passfile = self.dir / "pgpass"
        self._started: list[subprocess.Popen[bytes]] = []
        self._writers: list[Writer] = []

    def __enter__(self) -> Self:
        if os.geteuid():
            raise LabError("the lab needs root: it makes network namespaces")
        sweep()
        self.dir.mkdir(mode=0o755)
        try:
            self._write_files()
            self.network.open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all processes, remove all namespaces and files. Safe to call twice."""
        for writer in self._writers:
            writer.stop()
        for process in self._started:
            end(process)
        for host in self.hosts.values():
            host.power_off()
        self.network.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def _write_files(self) -> None:
        sh(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)])
        shutil.copy(self.key.with_suffix(".pub"), self.dir / "authorized_keys")
        self.known_hosts.touch()
        self._write_passfile(self.passfile)

    def _write_passfile(self, path: Path) -> None:
        lines = "".join(f"*:*:*:{role}:{word}\n" for role, word in self.passwords.items())
        path.touch(mode=0o600)
        path.write_text(lines)

    def add_host(self, name: str = "") -> LabHost:
        """A new host, switched on, without a data directory."""
        number = len(self.hosts) + 1
        host = LabHost(name or f"pg{number}", number, self.network, self.dir, self.bin_dir)
        host.prepare()
        public = (self.dir / f"{host.name}.hostkey.pub").read_text().split()
        with self.known_hosts.open("a") as file:
            file.write(f"{host.address} {public[0]} {public[1]}\n")
        account = pwd.getpwnam(LOGIN)
        self._write_passfile(host.home / ".pgpass")
        os.chown(host.home / ".pgpass", account.pw_uid, account.pw_gid)
        self.hosts[host.name] = host
        host.boot()
        return host

    def add_witness(self, name: str = "w1") -> LabHost:
        """A host with sshd and without PostgreSQL, on the bridge like all others; made once."""
        return self.hosts.get(name) or self.add_host(name)

    def cluster(
        self, nodes: int = 3, settings: Mapping[str, str] | None = None, sync: str | None = None
    ) -> Cluster:
        """A cluster on the first `nodes` hosts, made where missing: pg1 the primary, all streaming.

        `settings` are added to postgresql.conf. `sync`: synchronous_standby_names, as `ANY 1 (pg2, pg3)`.
        """
        while len(self.hosts) < nodes:
            self.add_host()
        return build(self, tuple(self.hosts.values())[:nodes], settings or {}, sync)

    def conninfo(self, host: LabHost, user: str = "pgvigil", dbname: str = "postgres") -> str:
        """How to log in from the controller's side; the password comes from `passfile`."""
        return (
            f"host={host.address} port={host.port} user={user} dbname={dbname} passfile={self.passfile} "
            f"sslmode=disable application_name=lab"
        )

    def connect(
        self, host: LabHost, user: str = "pgvigil", *, from_netns: str = ""
    ) -> psycopg.Connection[tuple[object, ...]]:
        """An autocommit connection made inside the controller's namespace; any thread may use it."""
        with inside(from_netns or self.network.controller):
            return psycopg.connect(self.conninfo(host, user), autocommit=True, connect_timeout=2)

    def popen(
        self,
        argv: Sequence[str],
        *,
        netns: str = "",
        env: Mapping[str, str] | None = None,
        output: IO[bytes] | int | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a program in the controller's namespace, or in that of a host; ended with the lab.

        It is killed when the calling thread ends: call from one that lives as long as the lab.
        """
        dying_with_us = ["setpriv", "--pdeathsig", "KILL", "--", *argv]
        process = subprocess.Popen(
            in_netns(netns or self.network.controller, dying_with_us),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output is not None else None,
        )
        self._started.append(process)
        return process

    def writer(
        self, hosts: Sequence[LabHost] | None = None, *, netns: str = "", interval_s: float = 0.02
    ) -> Writer:
        """A writer to all (or those) hosts, not yet started; in the controller's namespace by default."""
        targets = {h.name: self.conninfo(h, "app") for h in hosts or self.hosts.values()}
        writer = Writer(targets, netns=netns or self.network.controller, interval_s=interval_s)
        self._writers.append(writer)
        return writer


def end(process: subprocess.Popen[bytes], *, within_s: float = 5) -> None:
    """SIGTERM, then SIGKILL, to a process we started; reaped on return."""
    if process.poll() is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
