"""Real etcd servers for tests: one, or three that agree, on free ports, gone afterwards."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest

from pgvigil.demo.ports import free_port
from pgvigil.model.etcd import EtcdSpec

PROGRAM = shutil.which("etcd") or ""
needs_etcd = pytest.mark.skipif(
    not PROGRAM, reason="there is no etcd here: apt-get install etcd-server (.ci/run does)"
)


@dataclass
class Etcd:
    """Servers of one etcd, by number."""

    home: Path
    urls: tuple[str, ...]
    peers: tuple[str, ...]
    options: Sequence[str] = ()
    running: dict[int, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    before: Callable[[int | None], Sequence[str]] = lambda _: ()
    """Words before the command of a server, by number, or of its client: where in a lab it runs."""

    def start(self, *numbers: int) -> None:
        """Start these, or all; with what they had stored."""
        cluster = ",".join(f"m{n}={url}" for n, url in enumerate(self.peers))
        for n in numbers or range(len(self.urls)):
            scheme = self.urls[n].partition(":")[0]
            command = [
                *self.before(n),
                PROGRAM,
                f"--name=m{n}",
                f"--data-dir={self.home}/m{n}",
                f"--listen-client-urls={self.urls[n]}",
                f"--advertise-client-urls={self.urls[n]}",
                f"--listen-peer-urls={self.peers[n]}",
                f"--initial-advertise-peer-urls={self.peers[n]}",
                f"--initial-cluster={cluster}",
                "--heartbeat-interval=50",
                "--election-timeout=500",
                "--log-level=error",
                *(self.options if scheme == "https" else ()),
            ]
            with (self.home / f"m{n}.log").open("ab") as log:
                self.running[n] = subprocess.Popen(command, stdout=log, stderr=log)

    def stop(self, *numbers: int) -> None:
        """Kill these, or all; what they stored stays."""
        for n in numbers or tuple(self.running):
            server = self.running.pop(n)
            server.send_signal(signal.SIGKILL)
            server.wait(10)

    def hang(self, number: int) -> None:
        """It stays there, and says nothing."""
        self.running[number].send_signal(signal.SIGSTOP)

    def go_on(self, number: int) -> None:
        """It says something again."""
        self.running[number].send_signal(signal.SIGCONT)

    def await_health(self, within_s: float = 30.0) -> None:
        """Until it takes writes."""
        until = time.monotonic() + within_s
        while True:
            done = self.ctl("put", "alive", "yes")
            if done.returncode == 0:
                return
            assert time.monotonic() < until, f"etcd does not come up: {done.stderr}"
            time.sleep(0.1)

    def leader(self) -> int:
        """The number of the server that leads."""
        told = json.loads(self.ctl("endpoint", "status", "--write-out=json").stdout)
        leads = next(
            each for each in told if each["Status"]["leader"] == each["Status"]["header"]["member_id"]
        )
        return self.urls.index(leads["Endpoint"])

    def ctl(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Etcd's own client."""
        command = [
            *self.before(None),
            "etcdctl",
            f"--endpoints={','.join(self.urls)}",
            "--command-timeout=2s",
            *words,
        ]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            env={**os.environ, "ETCDCTL_API": "3"},
            check=False,
        )

    def spec(self, name: str = "ctl1", **changes: object) -> EtcdSpec:
        """How a controller of that name is told of it; another prefix for each test."""
        values: dict[str, object] = {"endpoints": self.urls, "name": name, "prefix": f"/{uuid4().hex[:8]}"}
        return EtcdSpec(**{**values, **changes})  # type: ignore[arg-type]  # a test knows its fields


@contextmanager
def etcd_servers(count: int, *, options: Sequence[str] = (), scheme: str = "http") -> Iterator[Etcd]:
    """So many, healthy."""
    with tempfile.TemporaryDirectory(prefix="pgvigil-etcd-") as home:
        urls = tuple(f"{scheme}://127.0.0.1:{free_port()}" for _ in range(count))
        peers = tuple(f"http://127.0.0.1:{free_port()}" for _ in range(count))
        etcd = Etcd(Path(home), urls, peers, options)
        try:
            etcd.start()
            if scheme == "http":
                etcd.await_health()
            yield etcd
        finally:
            for n in tuple(etcd.running):
                etcd.go_on(n)
            etcd.stop()
