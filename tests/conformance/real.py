"""The stage with real servers."""

import asyncio
import signal
from collections.abc import Callable
from typing import Any

import psycopg

from pgvigil.demo.processes import processes_in, send_signal
from pgvigil.demo.servers import Server, Servers
from pgvigil.model.units import NodeName
from pgvigil.ports.contract import Session, Shell
from pgvigil.ports.postgres import PostgresSession
from pgvigil.ports.shell import make_shell
from tests.backends import wait_at_rest
from tests.conformance import commits
from tests.conformance.stage import NODES, Commit, Stage
from tests.postgres.guard import cluster_spec


class RealCommit(Commit):
    """One of a thread of its own."""

    def __init__(self, inner: commits.Commit) -> None:
        self._inner, self.row = inner, inner.row

    def state(self) -> str:
        return self._inner.state()

    async def cancel(self) -> None:
        await asyncio.to_thread(self._inner.cancel)


class RealStage(Stage):
    """Servers that were made for this one script."""

    patience_s = 20.0

    def __init__(self, servers: Servers) -> None:
        super().__init__()
        self._servers = servers.nodes
        self.spec = cluster_spec(servers, [servers.nodes[name] for name in NODES])
        self._shells: dict[str, Shell] = {}
        self._begun = 1000
        self._clients: list[psycopg.Connection[Any]] = []

    def close(self) -> None:
        for shell in self._shells.values():
            shell.close()
        for client in self._clients:
            client.close()

    def new_session(self, node: str) -> Session:
        return PostgresSession(self.spec.node(NodeName(node)))

    def shell(self, node: str) -> Shell:
        if node not in self._shells:
            spec = self.spec.node(NodeName(node))
            assert spec.shell is not None
            self._shells[node] = make_shell(spec.shell, host=spec.host)
        return self._shells[node]

    async def _do(self, work: Callable[[Server], object], node: str) -> None:
        await asyncio.to_thread(work, self._servers[node])

    async def kill_all(self, node: str) -> None:
        """The postmaster last: else a child may notice before its own end, and say so to its client."""

        def work(server: Server) -> None:
            server.freeze(only_postmaster=True)
            send_signal(set(processes_in(server.data_dir)) - {server.pid()}, signal.SIGKILL)
            server.kill_all()

        await self._do(work, node)

    async def kill_postmaster(self, node: str) -> None:
        await self._do(Server.kill_postmaster, node)

    async def freeze(self, node: str) -> None:
        await self._do(Server.freeze, node)

    async def thaw(self, node: str) -> None:
        await self._do(Server.thaw, node)

    async def insert(self, node: str, row: int) -> None:
        def work(server: Server) -> None:
            server.sql("create table if not exists t (a int)")
            server.sql("insert into t values (%s)", row)

        await self._do(work, node)

    async def commit(self, node: str) -> Commit:
        def work(server: Server) -> RealCommit:
            login = server.conninfo(options="-c synchronous_commit=local")  # for this it must not wait
            with psycopg.connect(login, autocommit=True) as connection:
                connection.execute("create table if not exists t (a int)")
            self._begun += 1
            commit = commits.Commit(server, self._begun)
            commit.waits()
            return RealCommit(commit)

        return await asyncio.to_thread(work, self._servers[node])

    async def has_row(self, node: str, commit: Commit) -> bool:
        return await asyncio.to_thread(commits.has_row, self._servers[node], commit.row)

    async def reload_is_over(self, node: str) -> None:
        def work(server: Server) -> None:
            for _ in range(2):  # the second one begins after all that was signalled before the first
                server.sql("checkpoint")

        await self._do(work, node)

    async def at_rest(self, node: str) -> None:
        await self._do(wait_at_rest, node)

    async def fill(self, node: str) -> None:
        def work(server: Server) -> None:
            for _ in range(100):
                try:
                    self._clients.append(psycopg.connect(server.conninfo()))
                except psycopg.OperationalError:
                    return
            raise AssertionError("it takes everybody")

        await self._do(work, node)

    async def shut_out(self, node: str) -> None:
        def work(server: Server) -> None:
            rules = server.data_dir / "pg_hba.conf"
            rules.write_text("host all pgvigil all reject\n" + rules.read_text())
            with psycopg.connect(server.conninfo(), autocommit=True) as connection:
                connection.execute("select pg_reload_conf()")

        await self._do(work, node)
