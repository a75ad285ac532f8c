"""What the machine and PostgreSQL can do at best: the same steps by hand-driven SQL, without a judgement.

Sessions are open beforehand, as a controller's would be; nothing is recorded, nobody is asked. A product
cannot be faster than this, and how much slower it is, is its own doing.
"""

import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

import psycopg

from bench.outage.table import Run
from tests.lab import Cluster, LabError, LabHost, Writer
from tests.lab.host import gone
from tests.lab.netns import sh

Connection = psycopg.Connection[tuple[object, ...]]
CUT = b"alter system set primary_conninfo = ''"
RELOAD = b"select pg_reload_conf()"
RECEIVED = (
    b"select exists (select from pg_stat_wal_receiver), "
    b"greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0'"
)
PROMOTE = b"select pg_promote(false)"
BY_HAND = "by hand"


class Hands:
    """Open sessions to all nodes of a healthy cluster, and the statements that go over them."""

    def __init__(self, cluster: Cluster, stack: ExitStack) -> None:
        self.cluster = cluster
        self.old = cluster.primary()
        self.standbys = [node for node in cluster.nodes if node is not self.old]
        self.sessions: dict[str, Connection] = {}
        for node in cluster.nodes:
            self.sessions[node.name] = stack.enter_context(_closing(cluster.lab.connect(node)))
            for other in cluster.nodes:
                if other is not node:
                    cluster.add_slot(other, node)

    def tell(self, nodes: Sequence[LabHost], sql: bytes) -> list[str | None]:
        """Send to all, then gather the last column of each answer. Raises LabError."""
        connections = [self.sessions[node.name].pgconn for node in nodes]
        for connection in connections:
            connection.send_query(sql)
            while connection.flush():
                pass
        return [_answer(connection) for connection in connections]

    def await_end_of_file(self, node: LabHost) -> None:
        """Return when the session to a killed node has ended."""
        select.select([self.sessions[node.name].pgconn.socket], [], [], 5)

    def cut(self) -> LabHost:
        """End replication on all standbys; the one that has received most, once all receivers are gone."""
        self.tell(self.standbys, CUT)
        self.tell(self.standbys, RELOAD)
        while True:
            seen = []
            for node in self.standbys:
                row = self.sessions[node.name].execute(RECEIVED).fetchone()
                assert row
                seen.append((bool(row[0]), int(str(row[1])), node))
            if not any(receiving for receiving, _, _ in seen):
                return max(seen, key=lambda item: item[1])[2]
            time.sleep(0.001)

    def follow(self, candidate: LabHost) -> None:
        """Point the other standbys at the candidate; they stream from it before it is promoted."""
        others = [node for node in self.standbys if node is not candidate]
        for node in others:
            conninfo = self.cluster.primary_conninfo(node, candidate)
            self.tell([node], f"alter system set primary_conninfo = '{conninfo}'".encode())
        self.tell(others, RELOAD)


def crash(cluster: Cluster, writer: Writer) -> Run:
    """Kill all server processes, end-of-file, cut, promote the furthest, first write."""
    with _hands(cluster) as hands:
        pids = [process.pid for process in hands.old.server_processes()]
        began = _kill(pids)
        hands.await_end_of_file(hands.old)
        parts = {"end-of-file": time.monotonic() - began}
        candidate = hands.cut()
        parts["cut"] = time.monotonic() - began
        hands.follow(candidate)
        parts["others follow"] = time.monotonic() - began
        hands.tell([candidate], PROMOTE)
        parts["promote sent"] = time.monotonic() - began
        ack = writer.first_after(began, within_s=30, not_on=[hands.old.name])
    return _finish(cluster, writer, "crash", hands.old, ack.acknowledged - began, parts)


def promote(cluster: Cluster, writer: Writer) -> Run:
    """From `pg_promote(false)` on a standby at rest to the first write."""
    with _hands(cluster) as hands:
        _kill([process.pid for process in hands.old.server_processes()])
        candidate = hands.cut()
        hands.follow(candidate)
        time.sleep(0.3)
        began = time.monotonic()
        hands.tell([candidate], PROMOTE)
        parts = {"answer": time.monotonic() - began}
        ack = writer.first_after(began, within_s=30)
    return _finish(cluster, writer, "promote only", hands.old, ack.acknowledged - began, parts)


def switchover(cluster: Cluster, writer: Writer) -> Run:
    """Checkpoint; then SIGINT, gone, all received, promote, first write. The longest gap counts."""
    with _hands(cluster) as hands:
        candidate = hands.standbys[0]
        hands.tell([hands.old], b"checkpoint")
        postmaster = hands.old.postmaster()
        assert postmaster
        began = time.monotonic()
        os.kill(postmaster.pid, signal.SIGINT)
        if not gone(postmaster.pid, within_s=30):
            raise LabError(f"{hands.old.name} did not stop")
        parts = {"stopped": time.monotonic() - began}
        checkpoint = _checkpoint(hands.old)
        behind = f"select coalesce(pg_last_wal_replay_lsn() > '{checkpoint}', false)".encode()
        while hands.tell([candidate], behind) != ["t"]:
            time.sleep(0.001)
        parts["all received"] = time.monotonic() - began
        hands.follow(candidate)
        hands.tell([candidate], PROMOTE)
        parts["promote sent"] = time.monotonic() - began
        ack = writer.first_after(began, within_s=30, not_on=[hands.old.name])
        gap_s = writer.longest_gap(began, ack.acknowledged)
    cluster.come_back_as_standby(hands.old, candidate)
    return _finish(cluster, writer, "switchover", None, gap_s, parts)


FLOORS: dict[str, Callable[[Cluster, Writer], Run]] = {
    "crash": crash,
    "promote": promote,
    "switchover": switchover,
}


def _kill(pids: Sequence[int]) -> float:
    began = time.monotonic()
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return began


def _checkpoint(node: LabHost) -> str:
    """Where a stopped node's shutdown checkpoint begins."""
    text = sh([str(node.bin_dir / "pg_controldata"), str(node.data_dir)])
    facts = dict(line.split(":", 1) for line in text.splitlines())
    if facts["Database cluster state"].strip() != "shut down":
        raise LabError(f"{node.name}: {facts['Database cluster state'].strip()}")
    return facts["Latest checkpoint location"].strip()


def _finish(
    cluster: Cluster,
    writer: Writer,
    what: str,
    dead: LabHost | None,
    outage_s: float,
    parts: dict[str, float],
) -> Run:
    """Make the cluster whole again and count what was lost."""
    parts["first write"] = outage_s
    primary = cluster.primary()
    if dead:
        cluster.clone(dead, primary)
    cluster.await_streaming()
    with cluster.lab.connect(primary) as connection:
        return Run(f"floor: {what}", BY_HAND, outage_s, len(writer.newly_lost(connection)), parts)


def _answer(connection: psycopg.pq.abc.PGconn) -> str | None:
    value: bytes | None = None
    while result := connection.get_result():
        if result.status not in {psycopg.pq.ExecStatus.TUPLES_OK, psycopg.pq.ExecStatus.COMMAND_OK}:
            raise LabError(result.get_error_message())
        value = result.get_value(0, result.nfields - 1) if result.ntuples else None
    return value.decode() if value is not None else None


@contextmanager
def _hands(cluster: Cluster) -> Iterator[Hands]:
    with ExitStack() as stack:
        yield Hands(cluster, stack)


@contextmanager
def _closing(connection: Connection) -> Iterator[Connection]:
    """Without the goodbye of psycopg's own context manager: the node may be dead."""
    try:
        yield connection
    finally:
        connection.pgconn.finish()
