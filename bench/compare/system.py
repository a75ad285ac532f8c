"""What is compared: one way of keeping a cluster available, with one choice of settings."""

import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psycopg

from tests.lab import Cluster, Lab, LabError, LabHost, Writer, await_that
from tests.lab.lab import DEBIAN_15

DECIDER = "decider"
"""The fourth host: the controller, the store or the monitor runs there. No fault ever hits it."""
WORDS_SHOWN = 3000


class System(Protocol):
    """A cluster that is kept available. Everything it runs lives on the lab's hosts and ends with the lab."""

    cluster: Cluster

    def start(self) -> None:
        """Take charge of the cluster; on return all is well. Raises LabError."""

    def is_content(self) -> bool:
        """Whether it says itself that nothing is left to do."""

    def boot(self, host: LabHost) -> None:
        """Start what the service manager of that host starts when its power is back. Raises LabError."""

    def switchover(self, to: LabHost) -> None:
        """Ask for it as an operator would. Raises LabError."""

    def last_words(self) -> str:
        """The ends of its logs, to explain a failure."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A system with a choice of settings: a row of the table."""

    system: str
    settings: str
    shown: str
    """What is set beside addresses, logins and directories."""
    needs: Mapping[str, str]
    """Programs that must be there, each with the Debian package that has it."""
    make: Callable[[Lab], System]
    auth: str = "scram-sha-256"

    @property
    def name(self) -> str:
        return f"{self.system} {self.settings}"

    def missing(self) -> tuple[str, ...]:
        """The packages that are not installed here."""
        return tuple(package for program, package in self.needs.items() if not _is_there(program))


def _is_there(program: str) -> bool:
    return shutil.which(program) is not None or (DEBIAN_15 / program).exists() or Path(program).exists()


class Services:
    """Programs on hosts, run as `postgres`; each dies with its host and is started again when it boots."""

    def __init__(self, directory: Path) -> None:
        self._dir = directory
        self._argv: dict[str, list[Sequence[str]]] = {}
        self._processes: list[subprocess.Popen[bytes]] = []

    def add(self, host: LabHost, argv: Sequence[str]) -> None:
        """Start it, now and at every boot."""
        self.add_for_boot(host, argv)
        self._run(host, argv)

    def add_for_boot(self, host: LabHost, argv: Sequence[str]) -> None:
        """Start it at every boot."""
        self._argv.setdefault(host.name, []).append(argv)

    def add_servers_for_boot(self, cluster: Cluster) -> None:
        """PostgreSQL's own service, which knows nothing of roles; whoever stops it meanwhile may."""
        for node in cluster.nodes:
            program = str(node.bin_dir / "pg_ctl")
            self.add_for_boot(node, [program, "-D", str(node.data_dir), "start", "-l", str(node.log)])

    def boot(self, host: LabHost) -> None:
        """Start all of that host's."""
        for argv in self._argv.get(host.name, ()):
            self._run(host, argv)

    def last_words(self) -> str:
        """The end of every log."""
        logs = sorted(self._dir.glob("*.service.log"))
        return "\n".join(f"== {log.name}\n{log.read_text(errors='replace')[-WORDS_SHOWN:]}" for log in logs)

    def _run(self, host: LabHost, argv: Sequence[str]) -> None:
        for ended in self._processes:
            ended.poll()
        with (self._dir / f"{host.name}.service.log").open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    host.command(argv), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
                )
            )


def three_nodes(lab: Lab, settings: Mapping[str, str] | None = None) -> tuple[Cluster, LabHost]:
    """A primary and two standbys, streaming, with the writer's table; and a fourth host."""
    cluster = lab.cluster(3, settings)
    with lab.connect(cluster.primary()) as connection:
        Writer.create_table(connection, "app")
    return cluster, lab.add_witness(DECIDER)


POLL_S = 0.02
"""How often clients ask standbys while nobody takes writes: a long outage is not to load the machine."""


def writer(cluster: Cluster, *, beside: LabHost | None = None) -> Writer:
    """A client with a session to every node; or `beside` a node, on its host, with a session to it alone."""
    lab = cluster.lab
    targets = {node.name: lab.conninfo(node, "app") for node in ([beside] if beside else cluster.nodes)}
    return Writer(targets, netns=beside.netns if beside else lab.network.controller, poll_s=POLL_S)


def libpq_client(cluster: Cluster) -> Writer:
    """A client that leaves it to libpq to find the primary."""
    lab = cluster.lab
    hosts = ",".join(node.address for node in cluster.nodes)
    conninfo = (
        f"host={hosts} port={cluster.nodes[0].port} user=app dbname=postgres passfile={lab.passfile} "
        "sslmode=disable target_session_attrs=read-write connect_timeout=2"
    )
    main = Path(__file__).with_name("client_main.py")
    return Writer({"libpq": conninfo}, netns=lab.network.controller, answer_s=2.0, main=main)


def is_whole(cluster: Cluster) -> bool:
    """Whether there is one primary and every other node streams from it, whatever it calls itself."""
    found = cluster.primaries()
    if len(found) != 1:
        return False
    query = "select count(distinct client_addr) from pg_stat_replication where state = 'streaming'"
    try:
        return cluster.value(found[0], query) == len(cluster.nodes) - 1
    except psycopg.Error:
        return False


def await_whole(system: System, within_s: float) -> float:
    """Seconds until all stream and the system is content, too. Raises LabError with its last words."""
    began = time.monotonic()

    def well() -> bool:
        return is_whole(system.cluster) and system.is_content()

    try:
        await_that(well, within_s, "one primary, all others stream, and the system is content", every_s=0.2)
    except LabError as error:
        raise LabError(f"{error}\n{system.last_words()}") from error
    return time.monotonic() - began
