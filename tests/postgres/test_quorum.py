"""`protection: quorum` on real servers: what was acknowledged is on the next primary, whatever happens."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from pgvigil.demo.servers import Server, Servers, wait_until
from pgvigil.demo.writer import Writer
from pgvigil.errors import TimedOut
from pgvigil.model.command import Switchover
from pgvigil.model.spec import ClusterSpec, Protection
from tests.postgres.guard import Guard, cluster_spec, guarding
from tests.postgres.test_failover import Trio, lost_nothing

pytestmark = pytest.mark.postgres


def quorum(spec: ClusterSpec, *, acks: int = 1, degrade: bool = True) -> ClusterSpec:
    return replace(spec, protection=Protection.QUORUM, sync_required=acks, degrade=degrade)


@pytest.fixture
def guard(servers: Servers, trio_of_servers: Trio) -> Iterator[Guard]:
    with guarding(quorum(cluster_spec(servers, trio_of_servers))) as guard:
        await_promise(guard, "pg2", "pg3")
        yield guard


@pytest.fixture
def writer(trio_of_servers: Trio) -> Iterator[Writer]:
    with Writer({s.name: s.conninfo(dbname="postgres") for s in trio_of_servers}) as writer:
        yield writer


def await_promise(guard: Guard, *standbys: str, acks: int = 1, within_s: float = 30.0) -> None:
    """Until commits are known to wait for these."""

    def promised() -> bool:
        sync = guard.status()["sync"]
        return (
            bool(sync) and not sync["changing"] and (sync["acks"], sync["standbys"]) == (acks, list(standbys))
        )

    try:
        wait_until(promised, within_s=within_s, what=f"any {acks} of {standbys}")
    except TimedOut:
        story = "\n".join(f"{e['at']} {e['kind']} {e['text']}" for e in guard.events()[-25:])
        raise AssertionError(f"{guard.status()['sync']} {guard.status()['decision']}\n{story}") from None


def names(server: Server) -> str:
    return str(server.sql("show synchronous_standby_names")[0][0])


def test_it_takes_the_setting_over_and_commits_wait(guard: Guard, trio_of_servers: Trio) -> None:
    assert names(trio_of_servers[0]) == 'ANY 1 ("pg2", "pg3")'
    guard.await_health()
    assert "protected" in guard.kinds()


def test_a_crash_loses_nothing_and_the_new_primary_waits_too(
    guard: Guard, writer: Writer, trio_of_servers: Trio
) -> None:
    trio_of_servers[0].kill_all()
    new = guard.await_primary(other_than="pg1")
    guard.await_health()
    await_promise(guard, *sorted({"pg1", "pg2", "pg3"} - {new}))
    lost_nothing(writer, trio_of_servers, guard)


def test_a_switchover_loses_nothing(guard: Guard, writer: Writer, trio_of_servers: Trio) -> None:
    outcome = guard.order(Switchover(None))
    assert outcome.result == "done", outcome
    guard.await_health()
    await_promise(guard, *sorted({"pg1", "pg2", "pg3"} - {guard.primary()}))
    lost_nothing(writer, trio_of_servers, guard)
