"""A standby that received more than the node that became primary: it must not be taken for a healthy one."""

import pytest

from pgvigil.demo.servers import Server, Servers, wait_until
from tests.postgres.guard import cluster_spec, guarding

pytestmark = pytest.mark.postgres


def test_a_standby_that_is_ahead_of_the_new_timeline_is_rewound(
    servers: Servers, trio_of_servers: tuple[Server, Server, Server]
) -> None:
    """Its WAL receiver connects, finds the end of the old timeline, and waits for ever (state `waiting`)."""
    pg1, pg2, pg3 = trio_of_servers
    pg2.sql("alter system set primary_conninfo = ''")
    pg2.sql("select pg_reload_conf()")
    pg1.sql("create table t as select generate_series(1, 1000) as a")
    pg3.wait_streaming(pg1)
    pg3.sql("alter system set wal_retrieve_retry_interval = '5s'")  # as it usually is
    pg3.kill_all()
    pg1.kill_all()
    pg2.sql("select pg_promote()")
    pg2.sql("create table other (a int)")
    pg3.start()

    def has_the_new_table() -> bool:
        return pg3.sql("select to_regclass('other') is not null") == [(True,)]

    with guarding(cluster_spec(servers, trio_of_servers)):
        wait_until(has_the_new_table, within_s=45, what="pg3 to have what the new primary wrote", every_s=0.2)
    assert pg3.sql("select to_regclass('t')") == [(None,)]
