"""Commits on real servers that may have to wait for synchronous standbys, each in a session of its own."""

import threading

import psycopg

from pgvigil.demo.servers import Server, wait_until

WAITING = "select wait_event = 'SyncRep' from pg_stat_get_activity(%s)"


class Commit:
    """One row being committed. `error`: what ended it instead; `notices`: SQLSTATEs said on the way."""

    def __init__(self, server: Server, row: int, **keywords: str) -> None:
        self.server, self.row = server, row
        self.done = False
        self.error: psycopg.Error | None = None
        self.notices: list[str] = []
        self._connection = psycopg.connect(server.conninfo(**keywords), autocommit=True)
        self._connection.add_notice_handler(lambda said: self.notices.append(said.sqlstate or ""))
        self._pid = self._connection.info.backend_pid
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._connection.execute("insert into t values (%s)", (self.row,))
            self.done = True
        except psycopg.Error as error:
            self.error = error
        finally:
            self._connection.close()

    def is_waiting(self) -> bool:
        """Whether the server says that it waits for a standby."""
        return self.server.sql(WAITING, self._pid) == [(True,)]

    def waits(self) -> bool:
        """Return how it went on: True once it is seen waiting, False once it is acknowledged."""
        wait_until(lambda: self.done or self.error or self.is_waiting(), within_s=10, what="commit to settle")
        return not (self.done or self.error)

    def state(self) -> str:
        """How it fares, as far as its client knows."""
        if self.done:
            return "cancelled" if "01000" in self.notices else "acknowledged"
        return "ended" if self.error else "waiting"

    def ends(self) -> bool:
        """Wait until it has ended; whether it was acknowledged."""
        self._thread.join(20)
        assert not self._thread.is_alive(), "the commit still waits"
        return self.done

    def cancel(self) -> None:
        """As a client that loses patience."""
        self._connection.cancel_safe()


def names(server: Server, text: str) -> None:
    """Set `synchronous_standby_names` and reload; on return new sessions see it, commits perhaps not yet."""
    server.sql("alter system set synchronous_standby_names = '" + text + "'")
    server.sql("select pg_reload_conf()")
    seen = "select current_setting('synchronous_standby_names')"
    wait_until(lambda: server.sql(seen) == [(text,)], within_s=10, what="the setting to be seen")


def in_force(server: Server, text: str) -> None:
    """The same, and on return commits wait or do not, as it says."""
    names(server, text)
    for _ in range(2):  # the second one begins after all that was signalled before the first
        server.sql("checkpoint")


def senders(server: Server) -> dict[str, tuple[str, int]]:
    """Application name → `sync_state` and `sync_priority`."""
    rows = server.sql("select application_name, sync_state, sync_priority from pg_stat_replication")
    return {name: (state, priority) for name, state, priority in rows}


def has_row(server: Server, row: int) -> bool:
    """Whether it is visible there."""
    return bool(server.sql("select count(*) from t where a = %s", row)[0][0])
