"""What `check` says of witness hosts."""

import pytest

from pgvigil.controller.survey.check_witnesses import witnesses
from pgvigil.controller.survey.seen import ClusterSeen
from pgvigil.model.check import CheckLevel
from pgvigil.model.shell import SshShell
from pgvigil.model.spec import WitnessSpec
from pgvigil.model.units import NodeName
from pgvigil.model.vantage import Reach, WitnessLook
from tests.builders import NOW, a_cluster, changed_spec

SPEC = changed_spec(a_cluster("pg1* pg2"), witnesses=(WitnessSpec("w1", "gate", SshShell("gate")),)).spec
PG1, PG2 = NodeName("pg1"), NodeName("pg2")


@pytest.mark.parametrize(
    ("look", "level", "said"),
    [
        (
            WitnessLook(NOW, way="bash", reaches={PG1: Reach.ANSWERS, PG2: Reach.ACCEPTS}),
            CheckLevel.OK,
            "reaches every node that we reach (by bash)",
        ),
        (WitnessLook(NOW, "it has nothing to reach a node with"), CheckLevel.ERROR, "nothing to reach"),
        (WitnessLook(NOW, "it cannot resolve", way="bash"), CheckLevel.ERROR, "it cannot resolve"),
        (WitnessLook(None, "Permission denied"), CheckLevel.ERROR, "no shell on gate: Permission denied"),
    ],
)
def test_each_witness_is_told_of_with_what_to_do(look: WitnessLook, level: CheckLevel, said: str) -> None:
    (item,) = witnesses(ClusterSeen(SPEC, (), witnesses={"w1": look}))
    assert (item.level, item.place) == (level, "orders/w1")
    assert said in item.what
    assert bool(item.fix) is (level is not CheckLevel.OK)
