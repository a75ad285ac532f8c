"""pg_auto_failover: its keeper on every node, its monitor on the fourth host."""

import shutil
from collections.abc import Mapping, Sequence

import psycopg

from bench.compare.system import Kind, Services, three_nodes
from tests.lab import Cluster, Lab, LabError, LabHost, await_that

NEEDS = {
    "pg_autoctl": "pg-auto-failover-cli",
    "/usr/lib/postgresql/15/lib/pgautofailover.so": "postgresql-15-auto-failover",
}
WELL = (
    "select count(*) = 3 and bool_and(reportedstate = goalstate) "
    "and bool_and(reportedstate in ('primary', 'secondary')) from pgautofailover.node"
)
TAKEN_IN = (
    "select count(*) = {} from pgautofailover.node "
    "where reportedstate in ('single', 'wait_primary', 'primary', 'secondary')"
)


class AutoFailover:
    """It takes over the running primary, and makes the two standbys anew itself."""

    def __init__(self, lab: Lab, monitor: Mapping[str, int], keeper: Mapping[str, int]) -> None:
        self.cluster: Cluster
        self.cluster, self._decider = three_nodes(lab)
        self._lab, self._monitor, self._keeper = lab, monitor, keeper
        self._services = Services(lab.dir)

    def start(self) -> None:
        self._start_monitor()
        first, *standbys = self.cluster.nodes
        for node in (*standbys, first):
            node.pg_ctl("stop", "-w", "-m", "fast")
        for node in standbys:
            shutil.rmtree(node.data_dir)
        for number, node in enumerate(self.cluster.nodes, 1):
            self._start_keeper(node)
            self._await(TAKEN_IN.format(number), f"{node.name} is taken in")

    def is_content(self) -> bool:
        return self._ask(WELL)

    def boot(self, host: LabHost) -> None:
        self._services.boot(host)

    def switchover(self, to: LabHost) -> None:
        to.run(*_autoctl("perform", "promotion", "--pgdata", str(to.data_dir)), within_s=120)

    def last_words(self) -> str:
        return self._services.last_words()

    def _start_monitor(self) -> None:
        here = self._decider
        words = ["--pgdata", str(here.data_dir), "--hostname", here.address, "--pgport", str(here.port)]
        here.run(*_autoctl("create", "monitor", *words, "--auth", "trust", "--no-ssl"))
        with (here.data_dir / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in self._monitor.items())
        self._services.add(here, _autoctl("run", "--pgdata", str(here.data_dir)))
        self._await("select true from pgautofailover.formation", "the monitor answers")

    def _start_keeper(self, node: LabHost) -> None:
        place = str(node.data_dir)
        monitor = f"postgres://autoctl_node@{self._decider.address}:{self._decider.port}/pg_auto_failover"
        words = ["--pgdata", place, "--name", node.name, "--hostname", node.address]
        words += ["--pgport", str(node.port), "--monitor", monitor, "--auth", "trust", "--no-ssl"]
        node.run(*_autoctl("create", "postgres", *words), within_s=120)
        for name, value in self._keeper.items():
            node.run(*_autoctl("config", "set", name, str(value), "--pgdata", place))
        self._services.add(node, _autoctl("run", "--pgdata", place))

    def _await(self, query: str, what: str) -> None:
        try:
            await_that(lambda: self._ask(query), 90, what, every_s=0.5)
        except LabError as error:
            raise LabError(f"{error}\n{self.last_words()}") from error

    def _ask(self, query: str) -> bool:
        """What the monitor's database answers; not, while it does not."""
        here = self._decider
        words = ["-X", "-A", "-t", "-h", "/run/postgresql", "-d", "pg_auto_failover", "-c", query]
        try:
            return here.run(str(here.bin_dir / "psql"), *words, within_s=10).strip() == "t"
        except (LabError, psycopg.Error):
            return False


def _autoctl(*words: str) -> Sequence[str]:
    """A command of it; what it keeps while it runs goes with the host's power."""
    return ["env", "XDG_RUNTIME_DIR=/run/postgresql", "pg_autoctl", *words]


FAST_MONITOR = {
    "pgautofailover.health_check_period": 500,
    "pgautofailover.health_check_timeout": 500,
    "pgautofailover.health_check_retry_delay": 100,
    "pgautofailover.health_check_max_retries": 1,
    "pgautofailover.node_considered_unhealthy_timeout": 1000,
    "pgautofailover.primary_demote_timeout": 1000,
}
"""Milliseconds."""
FAST_KEEPER = {"timeout.network_partition_timeout": 1}


def _shown(words: Mapping[str, int]) -> str:
    return ", ".join(f"`{key.rpartition('.')[2]} = {value}`" for key, value in words.items())


KINDS = (
    Kind(
        "pg_auto_failover",
        "default",
        "none (synchronous: with three nodes `number_sync_standbys` is 1)",
        NEEDS,
        lambda lab: AutoFailover(lab, {}, {}),
        auth="trust",
    ),
    Kind(
        "pg_auto_failover",
        "fast",
        f"synchronous as by default; monitor (ms): {_shown(FAST_MONITOR)}; keeper (s): {_shown(FAST_KEEPER)}",
        NEEDS,
        lambda lab: AutoFailover(lab, FAST_MONITOR, FAST_KEEPER),
        auth="trust",
    ),
)
