"""What the backends of a real server are doing."""

from pgvigil.demo.servers import Server, wait_until

AT_WORK = """select pid from pg_stat_activity
    where backend_type = 'client backend' and pid <> pg_backend_pid() and wait_event is null"""


def wait_at_rest(server: Server) -> None:
    """Return once every client's backend waits for something. Raises TimedOut.

    A backend that was sent SIGQUIT before it has returned from sending its last answer ends without a word
    (`PqCommBusy` in PostgreSQL's pqcomm.c). On a starved machine that is long after the answer was read.
    """
    wait_until(lambda: not server.sql(AT_WORK), within_s=30, what=f"the backends of {server.name} to rest")
