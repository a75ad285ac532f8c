"""PgBouncer's configuration for a cluster: what its endpoint needs, and what bears a change of primary.

Source: PgBouncer's configuration page (server_login_retry, query_wait_timeout, %include, admin_users).
"""

from typing import Final

from pgvigil.errors import UsageError
from pgvigil.model.endpoint import Pgbouncer
from pgvigil.model.spec import ClusterSpec

TEXT: Final = """\
;; pgbouncer.ini for {cluster}, written by: pgvigil render pgbouncer {cluster}
;;
;; The [databases] lines are in {file}, which pgvigil writes. It must be there before PgBouncer is started
;; for the first time: create an empty one that the user of the endpoint's shell may write.

[pgbouncer]
listen_addr = *
listen_port = {port}
unix_socket_dir = /tmp
auth_type = scram-sha-256
auth_file = /etc/pgbouncer/userlist.txt
admin_users = {user}
pool_mode = transaction
max_client_conn = 1000
default_pool_size = 20

;; The primary is tried again that often; PgBouncer's own 15 s would come on top of every failover.
server_login_retry = 0.2
server_connect_timeout = 2
;; So long a client waits for the primary before it gets an error.
query_wait_timeout = 30
;; A host that vanished is noticed.
tcp_keepalive = 1
tcp_keepidle = 10
tcp_keepintvl = 5
tcp_keepcnt = 3
tcp_user_timeout = 15000

%include {file}
"""


def pgbouncer(spec: ClusterSpec) -> str:
    """A whole pgbouncer.ini for the cluster's first PgBouncer. Raises UsageError if it has none."""
    found = next((each for each in spec.endpoints if isinstance(each, Pgbouncer)), None)
    if found is None:
        raise UsageError(
            f"{spec.name} has no PgBouncer among its endpoints", hint="see docs/operate/endpoints.md"
        )
    words = dict(found.conninfo)
    return TEXT.format(
        cluster=spec.name,
        file=found.file,
        port=words.get("port", "6432"),
        user=words.get("user", "pgvigil"),
    )
