"""No request that can be drawn from the OpenAPI page breaks the face, and answers are as promised."""

import os
from pathlib import Path

from pgvigil.controller.status import status_json
from pgvigil.model.diagnosis import Diagnosis
from pgvigil.model.step import Plan, Rest
from tests.builders import WALL, a_cluster
from tests.fake_operations import FakeOperations
from tests.unit.api.schema_run import OUTCOMES, attack, operations, served

EXAMPLES = int(os.environ.get("PGVIGIL_EXAMPLES", "8"))
"""Requests for each operation: `PGVIGIL_EXAMPLES=500 make test ARGS=tests/unit/api/test_schema.py`."""
CHECKS_TRIED = ("primary", "replica", "readiness")


def wanted(path: str) -> bool:
    """All but most of the health checks, which are one function."""
    from pgvigil.api.health import CHECKS

    last = path.rpartition("/")[2]
    return last not in CHECKS or last in CHECKS_TRIED


def test_no_request_breaks_the_face(tmp_path: Path) -> None:
    c = a_cluster()
    status = status_json(
        c.spec, c.record, c.view, Diagnosis(()), Plan(Rest()), wall=WALL, paused=False, busy={}
    )
    ops = FakeOperations(clusters=[status], lines=())

    def ends(number: int) -> None:
        ops.outcome = OUTCOMES[number % len(OUTCOMES)]
        del ops.orders[:]

    with served(tmp_path, ops, c.spec) as target:
        broken, tried = [], 0
        for operation in operations(target, wanted):
            tried += 1
            broken += attack(target, operation, examples=EXAMPLES, before=ends)
        assert not broken, "\n".join(broken)
        assert tried > 40


def test_faults_and_broken_promises_are_found(tmp_path: Path) -> None:
    c = a_cluster()
    faulty = FakeOperations(clusters=[{"cluster": "orders"}], outcome=RuntimeError("a bug"), lines=())
    with served(tmp_path, faulty, c.spec) as target:
        for path in ("/clusters/{cluster}/switchover", "/clusters"):
            (operation,) = operations(target, path.__eq__)
            assert attack(target, operation, examples=12, before=lambda _: None), path
