"""Patroni on every node, one etcd on the fourth host."""

import json
import os
import pwd
from collections.abc import Mapping

import yaml

from bench.compare.system import Kind, Services, three_nodes
from tests.lab import Cluster, Lab, LabError, LabHost, await_that

SCOPE = "lab"
NEEDS = {"patroni": "patroni", "patronictl": "patroni", "etcd": "etcd-server", "etcdctl": "etcd-client"}
ALWAYS = {"postgresql": {"use_pg_rewind": True, "use_slots": True}}


class Patroni:
    """It takes over the running cluster: the primary first, then its standbys."""

    def __init__(self, lab: Lab, timings: Mapping[str, int]) -> None:
        self.cluster: Cluster
        self.cluster, self._decider = three_nodes(lab)
        self._lab, self._timings = lab, timings
        self._services = Services(lab.dir)
        self._client = f"http://{self._decider.address}:2379"

    def start(self) -> None:
        self._start_etcd()
        for node in self.cluster.nodes:
            self._services.add(node, ["patroni", self._configure(node)])
            self._await_member(node)

    def is_content(self) -> bool:
        return True

    def boot(self, host: LabHost) -> None:
        self._services.boot(host)

    def switchover(self, to: LabHost) -> None:
        old = self.cluster.primary()
        words = ["switchover", SCOPE, "--master", old.name, "--candidate", to.name, "--force"]
        to.run("patronictl", "-c", str(to.dir / "patroni.yml"), *words, within_s=120)

    def last_words(self) -> str:
        return self._services.last_words()

    def _start_etcd(self) -> None:
        here = self._decider
        peer = f"http://{here.address}:2380"
        words = ["--name=m0", f"--data-dir={here.dir}/etcd", f"--listen-client-urls={self._client}"]
        words += [f"--advertise-client-urls={self._client}", f"--listen-peer-urls={peer}"]
        words += [f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=m0={peer}"]
        self._services.add(here, ["etcd", *words, "--log-level=error"])
        settings = json.dumps({**self._timings, **ALWAYS})
        await_that(lambda: self._put(f"/service/{SCOPE}/config", settings), 30, "etcd takes writes")

    def _put(self, key: str, value: str) -> bool:
        words = ["env", "ETCDCTL_API=3", "etcdctl", f"--endpoints={self._client}", "put", key, value]
        try:
            self._decider.run(*words)
        except LabError:
            return False
        return True

    def _configure(self, node: LabHost) -> str:
        secrets = self._lab.passwords
        written = {
            "scope": SCOPE,
            "name": node.name,
            "restapi": {"listen": f"{node.address}:8008", "connect_address": f"{node.address}:8008"},
            "etcd3": {"hosts": [f"{self._decider.address}:2379"]},
            "postgresql": {
                "listen": f"*:{node.port}",
                "connect_address": f"{node.address}:{node.port}",
                "data_dir": str(node.data_dir),
                "bin_dir": str(node.bin_dir),
                "pgpass": str(node.dir / "pgpass.patroni"),
                "authentication": {
                    "superuser": {"username": "postgres", "password": secrets["postgres"]},
                    "replication": {"username": "replicator", "password": secrets["replicator"]},
                },
                "parameters": {"unix_socket_directories": "/run/postgresql"},
            },
        }
        file = node.dir / "patroni.yml"
        file.touch(mode=0o600)
        file.write_text(yaml.safe_dump(written))
        account = pwd.getpwnam("postgres")
        os.chown(file, account.pw_uid, account.pw_gid)
        return str(file)

    def _await_member(self, node: LabHost) -> None:
        """Until its Patroni says that its server runs. Raises LabError."""

        def runs() -> bool:
            words = ["patronictl", "-c", str(node.dir / "patroni.yml"), "list", "-f", "json"]
            try:
                told = json.loads(node.run(*words))
            except (LabError, ValueError):
                return False
            states = {each["Member"]: each["State"] for each in told}
            return states.get(node.name) in {"running", "streaming"}

        try:
            await_that(runs, 60, f"Patroni of {node.name} runs", every_s=0.5)
        except LabError as error:
            raise LabError(f"{error}\n{self.last_words()}") from error


DEFAULT = {"ttl": 30, "loop_wait": 10, "retry_timeout": 10}
FAST = {"ttl": 20, "loop_wait": 1, "retry_timeout": 3}


def _shown(timings: Mapping[str, int]) -> str:
    return ", ".join(f"`{key}: {value}`" for key, value in timings.items())


KINDS = (
    Kind("Patroni", "default", _shown(DEFAULT), NEEDS, lambda lab: Patroni(lab, DEFAULT)),
    Kind("Patroni", "fast", _shown(FAST), NEEDS, lambda lab: Patroni(lab, FAST)),
)
