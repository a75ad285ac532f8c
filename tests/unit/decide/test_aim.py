"""Where clients belong: at the primary of record, nowhere while it is replaced, at once when verified."""

from dataclasses import replace
from typing import Any

import pytest

from pgvigil.decide.aim import aim
from pgvigil.model.endpoint import Aim
from pgvigil.model.record import ClusterRecord, Phase
from pgvigil.model.spec import Tag
from pgvigil.model.units import Generation, NodeName
from tests.builders import Cluster, a_cluster, changed_record, claims_primary, vanished

PG1, PG2, PG3 = NodeName("pg1"), NodeName("pg2"), NodeName("pg3")
C = a_cluster("pg1* pg2 pg3")


def now(cluster: Cluster, verified: int = 0, **changes: Any) -> Aim:
    record: ClusterRecord = changed_record(cluster, **changes).record
    return aim(cluster.spec, record, cluster.view, Generation(verified))


@pytest.mark.parametrize(
    ("cluster", "changes", "primary", "held"),
    [
        (C, {}, PG1, False),
        (vanished(C, "pg1"), {}, PG1, False),  # no verdict yet: nobody is moved
        (C, {"phase": Phase.SWITCHING}, PG1, True),
        (C, {"phase": Phase.RESTARTING}, PG1, True),
        (C, {"phase": Phase.FENCING}, None, True),
        (C, {"phase": Phase.PROMOTING, "primary": PG2, "generation": Generation(2)}, None, True),
        (C, {"standby_cluster": True}, None, False),
        (claims_primary(C, "pg2", timeline=2), {"phase": Phase.PROMOTING, "primary": PG2}, PG2, False),
        (claims_primary(C, "pg2", timeline=1), {"phase": Phase.PROMOTING, "primary": PG2}, None, True),
    ],
)
def test_where_clients_belong(
    cluster: Cluster, changes: dict[str, Any], primary: NodeName | None, *, held: bool
) -> None:
    found = now(cluster, **changes)
    assert (found.primary, found.held) == (primary, held)


def test_a_verified_promotion_counts_before_a_look_can_show_it() -> None:
    changes: dict[str, Any] = {"phase": Phase.PROMOTING, "primary": PG2, "generation": Generation(2)}
    assert now(C, 1, **changes).primary is None
    assert now(C, 2, **changes) == Aim(Generation(2), PG2, (PG3,), held=False)


def test_who_is_fit_for_reading() -> None:
    assert now(C).standbys == (PG2, PG3)
    assert now(vanished(C, "pg2")).standbys == (PG3,)
    assert now(C, maintenance=frozenset({PG3})).standbys == (PG2,)
    nodes = tuple(replace(n, tags=frozenset({Tag.NO_LOAD_BALANCE})) for n in C.spec.nodes)
    assert now(replace(C, spec=replace(C.spec, nodes=nodes))).standbys == ()
