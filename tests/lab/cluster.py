"""Building a cluster by hand, and asking it: what the lab knows without pgvigil's help."""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import psycopg

from tests.lab.host import LabHost
from tests.lab.netns import LabError

if TYPE_CHECKING:
    from tests.lab.lab import Lab

SETTINGS = {
    "listen_addresses": "*",
    "unix_socket_directories": "/run/postgresql",
    "shared_buffers": "32MB",
    "max_connections": "100",
    "wal_log_hints": "on",
    "wal_keep_size": "256MB",
    "max_wal_size": "256MB",
    "hot_standby": "on",
    "log_line_prefix": "%m [%p] %b ",
    "log_connections": "off",
    "lc_messages": "C",
}
REPLICATION_USER = "replicator"


class Cluster:
    """Nodes of one lab. Nothing is remembered of roles: every question is asked from the servers."""

    def __init__(self, lab: "Lab", nodes: tuple[LabHost, ...]) -> None:
        self.lab, self.nodes = lab, nodes

    def node(self, name: str) -> LabHost:
        """The node of that name. Raises KeyError."""
        return {node.name: node for node in self.nodes}[name]

    def sql(self, node: LabHost, query: str) -> list[tuple[object, ...]]:
        """One statement as superuser over a connection of its own. Raises psycopg.Error."""
        with self.lab.connect(node) as connection:
            cursor = connection.execute(query.encode())
            return list(cursor) if cursor.description else []

    def value(self, node: LabHost, query: str) -> object:
        """The first column of the first row, None without one."""
        rows = self.sql(node, query)
        return rows[0][0] if rows else None

    def primaries(self) -> tuple[LabHost, ...]:
        """Every node that answers and is not in recovery."""
        found = []
        for node in self.nodes:
            try:
                if self.value(node, "select pg_is_in_recovery()") is False:
                    found.append(node)
            except psycopg.Error:
                continue
        return tuple(found)

    def primary(self) -> LabHost:
        """The one primary. Raises LabError if there is none or more than one."""
        found = self.primaries()
        if len(found) != 1:
            raise LabError(f"primaries: {[node.name for node in found]}")
        return found[0]

    def standbys(self) -> tuple[LabHost, ...]:
        """All nodes but the one primary."""
        primary = self.primary()
        return tuple(node for node in self.nodes if node is not primary)

    def streaming(self, upstream: LabHost) -> frozenset[str]:
        """Names of the standbys that stream from that node."""
        query = "select application_name from pg_stat_replication where state = 'streaming'"
        return frozenset(str(row[0]) for row in self.sql(upstream, query))

    def all_stream(self) -> bool:
        """Whether there is one primary and every other node streams from it."""
        found = self.primaries()
        if len(found) != 1:
            return False
        try:
            return self.streaming(found[0]) >= {n.name for n in self.nodes if n is not found[0]}
        except psycopg.Error:
            return False

    def await_streaming(self, within_s: float = 30) -> None:
        """Return once all standbys stream from the one primary. Raises LabError."""
        await_that(self.all_stream, within_s, "all standbys stream from one primary")

    def primary_conninfo(self, node: LabHost, upstream: LabHost) -> str:
        """How `node` logs in at its upstream; the password is in the passfile of its own user."""
        return (
            f"host={upstream.address} port={upstream.port} user={REPLICATION_USER} "
            f"passfile=/var/lib/postgresql/.pgpass application_name={node.name} sslmode=disable"
        )

    def add_slot(self, node: LabHost, upstream: LabHost) -> None:
        """A physical slot named like the node on its upstream, if it has none."""
        self.sql(
            upstream,
            f"select pg_create_physical_replication_slot('{node.name}') where not exists "
            f"(select from pg_replication_slots where slot_name = '{node.name}')",
        )

    def follow(self, node: LabHost, upstream: LabHost) -> None:
        """Point a running standby at that upstream, by reload."""
        self.add_slot(node, upstream)
        with self.lab.connect(node) as connection:
            conninfo = self.primary_conninfo(node, upstream)
            connection.execute(f"alter system set primary_conninfo = '{conninfo}'".encode())
            connection.execute(f"alter system set primary_slot_name = '{node.name}'".encode())
            connection.execute("select pg_reload_conf()")

    def clone(self, node: LabHost, upstream: LabHost) -> None:
        """Make the node a streaming standby by a base backup; what it had is removed."""
        if node.postmaster():
            node.pg_ctl("stop", "-w", "-m", "immediate")
        shutil.rmtree(node.data_dir, ignore_errors=True)
        self.add_slot(node, upstream)
        login = f"host={upstream.address} port={upstream.port} user={REPLICATION_USER} sslmode=disable"
        backup = [str(node.bin_dir / "pg_basebackup"), "-d", login, "-D", str(node.data_dir)]
        node.run(*backup, "-c", "fast", "-X", "stream", "-S", node.name, "--no-sync", "--no-password")
        self.come_back_as_standby(node, upstream)

    def come_back_as_standby(self, node: LabHost, upstream: LabHost) -> None:
        """Start a stopped node as a standby of that upstream; its history must allow it."""
        self.add_slot(node, upstream)
        auto = node.data_dir / "postgresql.auto.conf"
        drop = ("primary_conninfo", "primary_slot_name", "synchronous_standby_names")
        kept = [line for line in auto.read_text().splitlines() if not line.startswith(drop)]
        kept.append(f"primary_conninfo = '{self.primary_conninfo(node, upstream)}'")
        kept.append(f"primary_slot_name = '{node.name}'")
        auto.write_text("\n".join(kept) + "\n")
        node.run("touch", str(node.data_dir / "standby.signal"))
        node.start()


def await_that(fact: Callable[[], bool], within_s: float, what: str, *, every_s: float = 0.02) -> None:
    """Return once `fact()` holds. Raises LabError naming `what` when the time is over."""
    until = time.monotonic() + within_s
    while not fact():
        if time.monotonic() > until:
            raise LabError(f"not within {within_s} s: {what}")
        time.sleep(every_s)


def build(lab: "Lab", hosts: Sequence[LabHost], settings: Mapping[str, str], sync: str | None) -> Cluster:
    """A cluster on these hosts, the first one its primary, all others streaming from it."""
    cluster = Cluster(lab, tuple(hosts))
    primary = hosts[0]
    _initdb(lab, primary, settings)
    primary.start()
    _create_roles(lab, primary)
    for standby in hosts[1:]:
        cluster.clone(standby, primary)
    cluster.await_streaming()
    if sync is not None:
        with lab.connect(primary) as connection:
            connection.execute(f"alter system set synchronous_standby_names = '{sync}'".encode())
            connection.execute("select pg_reload_conf()")
    return cluster


def _initdb(lab: "Lab", node: LabHost, settings: Mapping[str, str]) -> None:
    """A data directory with our settings and rules for logins; `--no-sync`: the machine never loses power."""
    words = ["-k", "--no-sync", "-U", "postgres", "-E", "UTF8", "--locale=C", "--auth-local=trust"]
    node.run(str(node.bin_dir / "initdb"), "-D", str(node.data_dir), f"--auth-host={lab.auth}", *words)
    lines = [f"{name} = '{value}'" for name, value in {**SETTINGS, **settings}.items()]
    with (node.data_dir / "postgresql.conf").open("a") as file:
        file.write("\n".join(["", *lines, ""]))
    with (node.data_dir / "pg_hba.conf").open("a") as file:
        subnet = f"{lab.network.subnet}.0/24"
        file.write(f"host all all {subnet} {lab.auth}\nhost replication all {subnet} {lab.auth}\n")


def _create_roles(lab: "Lab", primary: LabHost) -> None:
    words = lab.passwords
    script = f"""
alter role postgres password '{words["postgres"]}';
create role pgvigil superuser login password '{words["pgvigil"]}';
create role replicator replication login password '{words["replicator"]}';
create role app login password '{words["app"]}';
grant create, usage on schema public to app;
grant execute on function pg_ls_dir(text, boolean, boolean), pg_stat_file(text, boolean), \
pg_read_binary_file(text), pg_read_binary_file(text, bigint, bigint, boolean) to replicator;
"""
    psql = [str(primary.bin_dir / "psql"), "-X", "-q", "-h", "/run/postgresql", "-d", "postgres"]
    for line in filter(None, script.splitlines()):
        primary.run(*psql, "-v", "ON_ERROR_STOP=1", "-c", line)
