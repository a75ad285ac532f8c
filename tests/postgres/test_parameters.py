"""PostgreSQL's parameters over a whole cluster of real servers: seen, reloaded, set, and restarted for."""

from collections.abc import Iterator

import pytest

from pgvigil.demo.servers import Server, Servers
from pgvigil.model.command import ReloadServers, ShowParameters
from pgvigil.model.units import NodeName
from tests.postgres.guard import Guard, cluster_spec, guarding

pytestmark = pytest.mark.postgres
Trio = tuple[Server, Server, Server]


@pytest.fixture
def guard(servers: Servers, trio_of_servers: Trio) -> Iterator[Guard]:
    with guarding(cluster_spec(servers, trio_of_servers)) as guard:
        guard.await_health()
        yield guard


def shown(guard: Guard, *names: str) -> dict[str, dict[str, object]]:
    outcome = guard.order(ShowParameters(names))
    assert outcome.result == "done", outcome
    return {each["name"]: each for each in outcome.data["parameters"]}


def test_what_differs_and_what_waits_for_a_restart_is_shown(guard: Guard, trio_of_servers: Trio) -> None:
    _, pg2, pg3 = trio_of_servers
    pg2.sql("alter system set work_mem = '9MB'")
    pg3.sql("alter system set max_connections = 150")
    outcome = guard.order(ReloadServers((NodeName("pg2"), NodeName("pg3"))))
    assert outcome.result == "done", outcome
    assert "pg3: waits for a restart: max_connections" in outcome.detail
    found = shown(guard)
    assert found["work_mem"]["differs"]
    assert found["work_mem"]["values"]["pg2"] == "9MB"  # type: ignore[index]  # JSON
    assert found["max_connections"]["pending"] == ["pg3"]
    assert "primary_conninfo" not in found


def test_a_parameter_that_does_not_exist_is_refused_with_a_guess(guard: Guard) -> None:
    outcome = guard.order(ShowParameters(("max_conections",)))
    assert (outcome.result, outcome.hint) == ("refused", "did you mean max_connections?")
