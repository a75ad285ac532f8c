"""Which event means which call of a script."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pgvigil.model.record import Event
from pgvigil.model.units import ClusterName, NodeName
from pgvigil.ports.callbacks import calls

PG1, PG2 = NodeName("pg1"), NodeName("pg2")


def event(kind: str, node: NodeName | None = None, **data: str | float) -> Event:
    plain = Event(ClusterName("orders"), datetime(2026, 11, 20, tzinfo=UTC), kind, "")
    return replace(plain, node=node, data=data)


# S2-16
@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        (event("promoted", primary="pg2", previous="pg1"), ["on_role_change primary pg2"]),
        (event("adopted"), ["on_role_change primary pg1"]),
        (event("rebuild", PG2, took_s=1.0), ["on_role_change replica pg2"]),
        (event("rebuild_failed", PG2, took_s=1.0), []),
        (event("fence", PG2, took_s=0.1), ["on_stop primary pg2"]),
        (event("fence", PG2), []),  # the decision, not what came of it
        (event("stop", PG1, took_s=0.1), ["on_stop primary pg1"]),
        (event("startprimary", PG1, took_s=0.1), ["on_start primary pg1"]),
        (event("restartserver", PG1, took_s=0.1), ["on_restart primary pg1"]),
        (event("restartserver", PG2, took_s=0.1), ["on_restart replica pg2"]),
        (event("reloaded", nodes="pg1, pg2"), ["on_reload primary pg1", "on_reload replica pg2"]),
        (event("seen", PG2), []),
    ],
)
def test_calls(told: Event, wanted: list[str]) -> None:
    assert [f"{call.action} {call.role} {call.node}" for call in calls(told, PG1)] == wanted
