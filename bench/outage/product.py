"""pgvigil under test: its configuration for a lab's cluster, its process, and what it says of itself."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.lab import Cluster, Lab, LabError, LabHost, await_that, end
from tests.lab.cluster import REPLICATION_USER
from tests.lab.host import LOGIN
from tests.lab.netns import in_netns

CLUSTER = "bench"
SETTINGS: Mapping[str, Mapping[str, object]] = {
    "default": {},
    "fast": {"unreachable_after": "1s", "hung_after": "1s"},
}
"""What each column sets under `failover:`. The cool-down is lifted everywhere: a bench fails over all day."""
NO_COOL_DOWN = {"max_per": "1000 in 1min"}


class Product:
    """A controller in the controller's namespace, as a user would run it: `pgvigil run --config FILE`."""

    def __init__(self, cluster: Cluster, settings: str) -> None:
        self.cluster, self.settings = cluster, settings
        self.dir = cluster.lab.dir / f"pgvigil-{settings}-{time.monotonic_ns()}"
        self.config = self.dir / "pgvigil.yaml"
        self.log = self.dir / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Run it, and wait until it finds the cluster healthy."""
        self.dir.mkdir()
        self.config.write_text(yaml.safe_dump(config(self.cluster, self.dir, self.settings), sort_keys=False))
        with self.log.open("ab") as log:
            argv = [sys.executable, "-m", "pgvigil", "run", "--config", str(self.config)]
            self._process = self.cluster.lab.popen(argv, output=log)
        self.await_healthy()

    def stop(self) -> None:
        """End it politely."""
        if self._process:
            end(self._process)

    def await_healthy(self, within_s: float = 60) -> None:
        """Return once all standbys stream and pgvigil says so too. Raises LabError with its log's end."""
        try:
            self.cluster.await_streaming(within_s)
            await_that(self.is_content, within_s, "pgvigil finds the cluster healthy", every_s=0.1)
        except LabError as error:
            raise LabError(f"{error}; pgvigil's log ends: {self.log.read_text()[-2000:]}") from error

    def is_content(self) -> bool:
        """Whether it says that all is well, with the primary that we see."""
        if self._process and self._process.poll() is not None:
            raise LabError(f"pgvigil ended by itself: exit {self._process.returncode}")
        done = self.command("status", "--json", check=False)
        try:
            status = _find_cluster(json.loads(done.stdout))
        except json.JSONDecodeError:
            return False
        if status.get("health") != "ok" or status.get("phase") != "stable":
            return False
        return [status.get("primary")] == [node.name for node in self.cluster.primaries()]

    def command(
        self, *words: str, within_s: float = 60, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run another `pgvigil` command beside the controller. Raises LabError when it fails."""
        argv = [sys.executable, "-m", "pgvigil", *words]
        done = subprocess.run(
            in_netns(self.cluster.lab.network.controller, argv),
            env={**os.environ, "PGVIGIL_CONFIG": str(self.config)},
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )
        if check and done.returncode:
            raise LabError(f"pgvigil {' '.join(words)}: exit {done.returncode}: {done.stderr or done.stdout}")
        return done

    def switchover(self, to: LabHost) -> None:
        """Ask for it as an operator would."""
        self.command("switchover", CLUSTER, "--to", to.name, "--yes")


@contextmanager
def running(cluster: Cluster, settings: str) -> Iterator[Product]:
    """A controller that runs, and is ended afterwards."""
    product = Product(cluster, settings)
    try:
        product.start()
        yield product
    finally:
        product.stop()


def config(cluster: Cluster, state_dir: Path, settings: str) -> dict[str, object]:
    """The whole configuration file as a user would write it for this cluster."""
    lab: Lab = cluster.lab
    first = cluster.nodes[0]
    return {
        "state_dir": str(state_dir),
        "clusters": {
            CLUSTER: {
                "nodes": {
                    node.name: {"host": node.address, "postgres": {"data_dir": str(node.data_dir)}}
                    for node in cluster.nodes
                },
                "postgres": {
                    "user": "pgvigil",
                    "port": first.port,
                    "passfile": str(lab.passfile),
                    "bin_dir": str(lab.bin_dir),
                    "control": "pg_ctl",
                },
                "replication": {
                    "user": REPLICATION_USER,
                    "passfile": "/var/lib/postgresql/.pgpass",
                    "slots": True,
                },
                "shell": {
                    "via": "ssh",
                    "user": LOGIN,
                    "key": str(lab.key),
                    "known_hosts": str(lab.known_hosts),
                },
                "failover": {**NO_COOL_DOWN, **SETTINGS[settings]},
            }
        },
    }


def _find_cluster(said: object) -> dict[str, object]:
    """Our cluster's part of `status --json`, wherever it lies."""
    if isinstance(said, dict):
        if said.get("cluster") == CLUSTER and "health" in said:
            return said
        said = list(said.values())
    if isinstance(said, list):
        return next((found for part in said if (found := _find_cluster(part))), {})
    return {}
