"""A status is made once for what is known, and anew as soon as more is."""

from dataclasses import replace
from typing import Any

from pgvigil.controller.snapshot import Snapshot
from tests.builders import a_cluster

C = a_cluster()


def test_the_same_values_say_the_same_and_any_other_makes_a_new_one() -> None:
    snapshot, made = Snapshot(), list[int]()

    def make() -> dict[str, Any]:
        made.append(1)
        return {"number": len(made)}

    known: tuple[object, ...] = (C.spec, C.record, C.view, "", False, {})
    first, fresh = snapshot.of(known, make)
    assert (first, fresh) == ({"number": 1}, True)
    assert snapshot.of((C.spec, C.record, C.view, "", False, {}), make) == (first, False)
    others: list[tuple[object, ...]] = [
        (C.spec, C.record, replace(C.view), "", False, {}),  # another look that saw the same is a look, too
        (C.spec, C.record, C.view, "disk full", False, {}),
        (C.spec, C.record, C.view, "", True, {}),
        (C.spec, C.record, C.view, "", False, {"pg2": "copying"}),
        (C.spec, None, C.view, "", False, {}),
    ]
    for number, other in enumerate(others, start=2):
        assert snapshot.of(other, make) == ({"number": number}, True), other
