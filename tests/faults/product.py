"""pgvigil under test: its configuration for a lab's cluster, its process, and what it says of itself."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import yaml

from pgvigil.api.socket_client import SocketOperations
from pgvigil.errors import PgvigilError
from pgvigil.model.units import ClusterName
from tests.lab import Cluster, LabError, LabHost, await_that, end
from tests.lab.cluster import REPLICATION_USER
from tests.lab.host import LOGIN
from tests.lab.netns import in_netns

CLUSTER = "lab"
NO_COOL_DOWN = {"max_per": "none"}
"""Set everywhere: tests and benches fail over all day."""
TAIL = 4000
Sections = Mapping[str, object]
"""What a cluster's part of pgvigil.yaml holds beside logins: `failover: {…}`, `reference_targets: […]`."""


class Product:
    """A controller in the controller's namespace, as a user would run it: `pgvigil run --config FILE`."""

    def __init__(
        self,
        cluster: Cluster,
        sections: Sections | None = None,
        *,
        http: Sections | None = None,
        store: Sections | None = None,
        host: LabHost | None = None,
    ) -> None:
        """`store`: where its configuration puts the state; `host`: where it runs, else beside the bridge."""
        self.cluster, self.sections = cluster, sections or {}
        self._http, self._store = http or {"listen": "off"}, store
        self.netns = host.netns if host else cluster.lab.network.controller
        self.dir = cluster.lab.dir / f"pgvigil-{time.monotonic_ns()}"
        self.config = self.dir / "pgvigil.yaml"
        self.log = self.dir / "log"
        self._operations = SocketOperations(self.dir / "pgvigil.sock")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, healthy: bool = True, dies_at: str = "") -> None:
        """Run it (again), and wait until it finds the cluster `healthy`. Raises LabError.

        `dies_at`: a point of `tests.postgres.mortal` at which SIGKILL hits it.
        """
        self.prepare()
        words = ["pgvigil", "run", "--config", str(self.config)]
        if dies_at:
            words = ["tests.postgres.mortal", str(self.config), dies_at]
        with self.log.open("ab") as log:
            self._process = self.cluster.lab.popen(
                [sys.executable, "-m", *words], netns=self.netns, output=log
            )
        if healthy:
            self.await_healthy()

    def prepare(self) -> None:
        """Write its configuration, for commands before it runs."""
        self.dir.mkdir(exist_ok=True)
        self.config.write_text(yaml.safe_dump(self._config(), sort_keys=False))

    def stop(self) -> None:
        """End it politely. Safe to call twice."""
        if self._process:
            end(self._process)

    def kill(self) -> None:
        """SIGKILL to it, wherever it is in its work; `start` begins another on the same state."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def is_dead(self) -> bool:
        """Whether it was started and has ended."""
        return self._process is not None and self._process.poll() is not None

    def status(self) -> dict[str, Any]:
        """What it says of the cluster now; empty while it cannot be asked. Raises LabError if it ended."""
        if self._process and self._process.poll() is not None:
            raise LabError(f"pgvigil ended by itself: exit {self._process.returncode}")
        try:
            said = asyncio.run(self._operations.status(ClusterName(CLUSTER)))
        except PgvigilError:
            return {}
        return said[0] if said else {}

    def events(self, *, after: int = 0) -> list[dict[str, Any]]:
        """The newest 1000 events with a number greater than `after`, oldest first. Raises LabError."""
        try:
            return asyncio.run(self._operations.events(ClusterName(CLUSTER), limit=1000, after=after))
        except PgvigilError as error:
            raise LabError(f"no events: {error}") from error

    def kinds(self) -> list[str]:
        """The kinds of all events, oldest first."""
        return [event["kind"] for event in self.events()]

    def found(self, problem: str) -> dict[str, Any] | None:
        """The finding of that name, if there is one now."""
        findings = self.status().get("findings", [])
        return next((finding for finding in findings if finding["problem"] == problem), None)

    def is_content(self) -> bool:
        """Whether it says that all is well, with the primary that we see."""
        status = self.status()
        if status.get("health") != "ok" or status.get("phase") != "stable":
            return False
        return [status.get("primary")] == [node.name for node in self.cluster.primaries()]

    def await_healthy(self, within_s: float = 60) -> None:
        """Return once all standbys stream and pgvigil says so too. Raises LabError."""
        self.wait_for(self.cluster.all_stream, "all standbys stream from one primary", within_s)
        self.wait_for(self.is_content, "pgvigil finds the cluster healthy", within_s)

    def await_primary(self, *, other_than: LabHost, within_s: float = 60) -> LabHost:
        """The next primary on record, once it was seen to serve. Raises LabError."""

        def changed() -> bool:
            status = self.status()
            return status.get("phase") == "stable" and status.get("primary") not in (None, other_than.name)

        self.wait_for(changed, f"another primary than {other_than.name}", within_s)
        return self.cluster.node(str(self.status()["primary"]))

    def await_event(self, kind: str, *, generation: int = 0, within_s: float = 30) -> dict[str, Any]:
        """The first event of that kind, of that generation or later. Raises LabError."""
        found: list[dict[str, Any]] = []

        def there() -> bool:
            found.extend(e for e in self.events() if e["kind"] == kind and e["generation"] >= generation)
            return bool(found)

        self.wait_for(there, f"event {kind} of generation {generation}", within_s)
        return found[0]

    def await_finding(self, problem: str, within_s: float = 30) -> dict[str, Any]:
        """That finding, once it waits for nothing any more. Raises LabError."""
        seen: list[dict[str, Any]] = []

        def there() -> bool:
            if (finding := self.found(problem)) and finding["urgency"] != "waiting":
                seen.append(finding)
            return bool(seen)

        self.wait_for(there, f"finding {problem}", within_s)
        return seen[0]

    def wait_for(self, fact: Callable[[], bool], what: str, within_s: float = 30) -> None:
        """Return once `fact()` holds. Raises LabError with what pgvigil says, and the end of its log."""
        try:
            await_that(fact, within_s, what, every_s=0.05)
        except LabError as error:
            raise LabError(self.explain(error)) from error

    def explain(self, error: Exception) -> str:
        """An error with what pgvigil decided last and the end of its log."""
        try:
            status = self.status()
        except LabError as gone:
            status = {"health": str(gone)}
        said = {key: status.get(key) for key in ("health", "phase", "generation", "primary", "decision")}
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return f"{error}\npgvigil says: {said}\nits log ends:\n{text[-TAIL:]}"

    def command(
        self, *words: str, within_s: float = 60, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run another `pgvigil` command beside the controller. Raises LabError when it fails."""
        argv = [sys.executable, "-m", "pgvigil", *words]
        try:
            done = subprocess.run(
                in_netns(self.netns, argv),
                env={**os.environ, "PGVIGIL_CONFIG": str(self.config), "COLUMNS": "200"},
                capture_output=True,
                text=True,
                timeout=within_s,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise LabError(f"pgvigil {' '.join(words)}: not done within {within_s} s") from late
        if check and done.returncode:
            raise LabError(f"pgvigil {' '.join(words)}: exit {done.returncode}: {done.stderr or done.stdout}")
        return done

    def switchover(self, to: LabHost) -> None:
        """Ask for it as an operator would. Raises LabError."""
        self.command("switchover", CLUSTER, "--to", to.name, "--yes")

    def _config(self) -> dict[str, object]:
        """The whole configuration file as a user would write it for this cluster."""
        lab, nodes = self.cluster.lab, self.cluster.nodes
        guarded: dict[str, object] = {
            "nodes": {
                node.name: {"host": node.address, "postgres": {"data_dir": str(node.data_dir)}}
                for node in nodes
            },
            "postgres": {
                "user": "pgvigil",
                "port": nodes[0].port,
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
        }
        failover = self.sections.get("failover", {})
        assert isinstance(failover, dict)
        ours = {**self.sections, "failover": {**NO_COOL_DOWN, **failover}}
        return {
            "state_dir": str(self.dir),
            "http": dict(self._http),
            **({"store": dict(self._store)} if self._store else {}),
            "clusters": {CLUSTER: {**guarded, **ours}},
        }


@contextmanager
def running(product: Product, *, healthy: bool = True) -> Iterator[Product]:
    """The controller runs, and is ended afterwards."""
    try:
        product.start(healthy=healthy)
        yield product
    finally:
        product.stop()
