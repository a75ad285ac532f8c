"""Who commits wait for while people change what they want, on real servers with a writer."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pgvigil.demo.servers import Server, Servers, run_sql, wait_until
from pgvigil.demo.writer import Writer
from pgvigil.model.command import Pause, Resume
from pgvigil.model.spec import ClusterSpec, Protection, Tag
from tests.postgres.guard import Guard, cluster_spec, guarding
from tests.postgres.test_failover import Trio, lost_nothing
from tests.postgres.test_quorum import await_promise, names, quorum

pytestmark = pytest.mark.postgres

BOTH = 'ANY 1 ("pg2", "pg3")'


@pytest.fixture
def plain(servers: Servers, trio_of_servers: Trio) -> ClusterSpec:
    return cluster_spec(servers, trio_of_servers)


@pytest.fixture
def guard(plain: ClusterSpec, trio_of_servers: Trio) -> Iterator[Guard]:
    with guarding(quorum(plain)) as guard:
        await_promise(guard, "pg2", "pg3")
        yield guard


def alter(server: Server, name: str, value: str) -> None:
    """As a human does it, who may not wait for a commit: ALTER SYSTEM writes no WAL."""
    quoted = value.replace("'", "''")
    run_sql(server, [f"ALTER SYSTEM SET {name} = '{quoted}'", "SELECT pg_reload_conf()"])


def called(server: Server, name: str) -> None:
    """Let a standby stream under another name."""
    own = str(server.sql("show primary_conninfo")[0][0])
    alter(
        server, "primary_conninfo", own.replace(f"application_name={server.name}", f"application_name={name}")
    )


def senders(primary: Server) -> list[str]:
    return [
        str(row[0])
        for row in primary.sql(
            "select application_name from pg_stat_replication where state = 'streaming' order by 1"
        )
    ]


def await_senders(primary: Server, *wanted: str) -> None:
    wait_until(lambda: senders(primary) == sorted(wanted), within_s=15, what=f"senders {wanted}")


def await_names(primary: Server, wanted: str) -> None:
    wait_until(lambda: names(primary) == wanted, within_s=15, what=f"synchronous_standby_names {wanted!r}")


def with_tags(spec: ClusterSpec, name: str, *tags: Tag) -> ClusterSpec:
    nodes = (replace(node, tags=frozenset(tags)) if node.name == name else node for node in spec.nodes)
    return replace(spec, nodes=tuple(nodes))


def test_standbys_set_up_by_hand_under_one_name_become_those_that_acknowledge(
    plain: ClusterSpec, trio_of_servers: Trio
) -> None:
    pg1, pg2, pg3 = trio_of_servers
    for standby in (pg2, pg3):
        called(standby, "walreceiver")
    await_senders(pg1, "walreceiver", "walreceiver")
    with guarding(plain) as guard:
        guard.await_health()
        assert senders(pg1) == ["walreceiver", "walreceiver"], "async: nothing is pointed anew for that"
        guard.reload(quorum(plain))
        await_promise(guard, "pg2", "pg3")
        guard.await_health()
        assert senders(pg1) == ["pg2", "pg3"]
        follows = [event["text"] for event in guard.events() if "follow" in event["kind"]]
        assert len(follows) == 2, "each once"


def test_from_async_to_quorum_and_back_under_load(
    plain: ClusterSpec, writer: Writer, trio_of_servers: Trio
) -> None:
    pg1 = trio_of_servers[0]
    alter(pg1, "synchronous_standby_names", "ANY 1 (pg3)")
    with guarding(plain) as guard:
        guard.await_health()
        assert names(pg1) == "ANY 1 (pg3)", "async: the user's own setting is left alone"
        guard.reload(quorum(plain))
        await_promise(guard, "pg2", "pg3")
        guard.reload(quorum(plain, acks=2))
        await_promise(guard, "pg2", "pg3", acks=2)
        assert names(pg1) == 'ANY 2 ("pg2", "pg3")'
        guard.reload(quorum(plain))
        await_promise(guard, "pg2", "pg3")
        guard.reload(plain)
        await_names(pg1, "")
        wait_until(lambda: guard.status()["sync"] is None, within_s=15, what="the setting is released")
        assert "sync_released" in guard.kinds()
        guard.await_health()
        before = time.monotonic()
        wait_until(lambda: writer.outage_after(before) is not None, within_s=10, what="a write")
        lost_nothing(writer, trio_of_servers, guard)


# S2-14
def test_a_node_that_nobody_shall_wait_for_leaves_the_set_and_comes_back(
    guard: Guard, plain: ClusterSpec, writer: Writer, trio_of_servers: Trio
) -> None:
    pg1 = trio_of_servers[0]
    guard.reload(with_tags(quorum(plain), "pg3", Tag.NEVER_SYNC))
    await_promise(guard, "pg2")
    assert names(pg1) == 'ANY 1 ("pg2")'
    guard.await_health()
    guard.reload(quorum(plain))
    await_promise(guard, "pg2", "pg3")
    lost_nothing(writer, trio_of_servers, guard)


def test_a_node_removed_from_the_configuration_leaves_the_set(
    guard: Guard, plain: ClusterSpec, writer: Writer, trio_of_servers: Trio
) -> None:
    pg1 = trio_of_servers[0]
    less = quorum(plain)
    guard.reload(replace(less, nodes=tuple(node for node in less.nodes if node.name != "pg3")))
    await_promise(guard, "pg2")
    assert names(pg1) == 'ANY 1 ("pg2")'
    lost_nothing(writer, trio_of_servers, guard)


def test_a_setting_changed_by_hand_is_told_and_put_right(
    guard: Guard, writer: Writer, trio_of_servers: Trio
) -> None:
    pg1 = trio_of_servers[0]
    for own in ("", "FIRST 1 (pg3)", "*"):
        alter(pg1, "synchronous_standby_names", own)
        await_names(pg1, BOTH)
        await_promise(guard, "pg2", "pg3")
    told = [event for event in guard.events() if event["kind"] == "sync_drifted"]
    assert [event["text"].rpartition(" ")[2] for event in told] == ["''", "(pg3)'", "'*'"]
    assert {str(event["level"]) for event in told} == {"warning"}
    lost_nothing(writer, trio_of_servers, guard)


def test_nothing_is_changed_while_paused(guard: Guard, trio_of_servers: Trio) -> None:
    pg1, _, pg3 = trio_of_servers
    assert guard.order(Pause(None)).result == "done"
    alter(pg1, "synchronous_standby_names", "ANY 1 (pg2)")
    pg3.kill_all()
    wait_until(lambda: "found_standby_down" in guard.kinds(), within_s=15, what="that pg3 is gone")
    assert names(pg1) == "ANY 1 (pg2)"
    assert guard.order(Resume()).result == "done"
    await_names(pg1, 'ANY 1 ("pg2")')
    pg3.start()
    await_promise(guard, "pg2", "pg3")


def test_a_promise_is_not_shown_while_somebody_else_s_setting_is_in_force(
    guard: Guard, trio_of_servers: Trio
) -> None:
    """Paused, so that it stays as it is: what is on record is not what commits wait for."""
    pg1 = trio_of_servers[0]
    guard.order(Pause(None))
    alter(pg1, "synchronous_standby_names", "")
    wait_until(lambda: guard.status()["health"] != "ok", within_s=15, what="that it is not healthy")
    guard.order(Resume())
    await_names(pg1, BOTH)
    guard.await_health()


def test_protection_can_be_left_while_paused_only_when_it_is_resumed(
    guard: Guard, plain: ClusterSpec, trio_of_servers: Trio
) -> None:
    pg1 = trio_of_servers[0]
    guard.order(Pause(None))
    guard.reload(plain)
    wait_until(lambda: guard.status()["protection"] == Protection.ASYNC, within_s=15, what="the reload")
    assert names(pg1) == BOTH
    guard.order(Resume())
    await_names(pg1, "")
