"""repmgr: repmgrd on every node; no fourth host decides."""

import os
import pwd
import shutil
from collections.abc import Mapping
from functools import partial

from bench.compare.system import Kind, Services, three_nodes
from tests.lab import Cluster, Lab, LabError, LabHost, await_that

NEEDS = {"repmgr": "postgresql-15-repmgr", "repmgrd": "postgresql-15-repmgr"}


class Repmgr:
    """It registers the running cluster. Nodes reach each other by SSH, which its switchover needs."""

    def __init__(self, lab: Lab, timings: Mapping[str, int]) -> None:
        self.cluster: Cluster
        self.cluster, _ = three_nodes(lab, {"shared_preload_libraries": "repmgr"})
        self._lab, self._timings = lab, timings
        self._services = Services(lab.dir)
        self._services.add_servers_for_boot(self.cluster)

    def start(self) -> None:
        first, *standbys = self.cluster.nodes
        self.cluster.sql(first, "create database repmgr")
        for number, node in enumerate(self.cluster.nodes, 1):
            self._configure(node, number)
            self._let_in(node)
        self._repmgr(first, "primary", "register")
        for node in standbys:
            self._without_slot(node)
            await_that(partial(self._knows_the_first, node), 30, f"{node.name} has repmgr's tables")
            self._repmgr(node, "standby", "register", "--upstream-node-id=1", "--wait-sync=30")
        for node in self.cluster.nodes:
            words = ["-f", _file(node), "--daemonize=false", "--no-pid-file"]
            self._services.add(node, [str(node.bin_dir / "repmgrd"), *words])

    def is_content(self) -> bool:
        return True

    def boot(self, host: LabHost) -> None:
        self._services.boot(host)

    def switchover(self, to: LabHost) -> None:
        self._repmgr(to, "standby", "switchover", "--siblings-follow")

    def last_words(self) -> str:
        return self._services.last_words()

    def _knows_the_first(self, node: LabHost) -> bool:
        words = ["-X", "-A", "-t", "-h", "/run/postgresql", "-d", "repmgr"]
        try:
            told = node.run(str(node.bin_dir / "psql"), *words, "-c", "select count(*) from repmgr.nodes")
        except LabError:
            return False
        return told.strip() != "0"

    def _without_slot(self, node: LabHost) -> None:
        """By default repmgr uses none, and the next primary would not have the lab's; WAL is kept anyway."""
        self.cluster.sql(node, "alter system reset primary_slot_name")
        self.cluster.sql(node, "select pg_reload_conf()")

    def _repmgr(self, node: LabHost, *words: str) -> str:
        return node.run(str(node.bin_dir / "repmgr"), "-f", _file(node), *words, within_s=120)

    def _configure(self, node: LabHost, number: int) -> None:
        program = f"{node.bin_dir}/repmgr -f {_file(node)}"
        written = {
            "node_id": number,
            "node_name": node.name,
            "conninfo": f"host={node.address} port={node.port} user=postgres dbname=repmgr connect_timeout=2",
            "data_directory": node.data_dir,
            "pg_bindir": node.bin_dir,
            "failover": "automatic",
            "promote_command": f"{program} standby promote",
            "follow_command": f"{program} standby follow --upstream-node-id=%n",
            **self._timings,
        }
        text = "".join(f"{key} = '{value}'\n" for key, value in written.items())
        (node.dir / "repmgr.conf").write_text(text)

    def _let_in(self, node: LabHost) -> None:
        """The lab's key opens every host; here it is given to `postgres` on this one."""
        account = pwd.getpwnam("postgres")
        home = node.home / ".ssh"
        home.mkdir(mode=0o700)
        shutil.copy(self._lab.key, home / "id_ed25519")
        shutil.copy(self._lab.known_hosts, home / "known_hosts")
        for path in (home, *home.iterdir()):
            os.chown(path, account.pw_uid, account.pw_gid)


def _file(node: LabHost) -> str:
    return str(node.dir / "repmgr.conf")


DEFAULT: Mapping[str, int] = {}
FAST = {"monitor_interval_secs": 1, "reconnect_attempts": 2, "reconnect_interval": 1}
KINDS = (
    Kind(
        "repmgr",
        "default",
        "none (`reconnect_attempts` 6, `reconnect_interval` 10 s); `connect_timeout=2` in its conninfo",
        NEEDS,
        lambda lab: Repmgr(lab, DEFAULT),
    ),
    Kind(
        "repmgr",
        "fast",
        ", ".join(f"`{key} = {value}`" for key, value in FAST.items()),
        NEEDS,
        lambda lab: Repmgr(lab, FAST),
    ),
)
