"""Quorum: whatever set may be in force on the primary, the record's weaker set covers it.

A primary with standbys that come and go, wishes that change, somebody else at the setting, and a controller
that dies between saving and doing, between doing and knowing. A set counts as possibly in force from the
moment it is set until another one is proved.
"""

from dataclasses import replace
from typing import Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pgvigil.decide.engine import decide
from pgvigil.decide.quorum import weaker
from pgvigil.decide.synchrony import confirmed
from pgvigil.model.record import ALONE, SyncSet
from pgvigil.model.sighting import Silence
from pgvigil.model.spec import Protection
from pgvigil.model.step import Act, SetSync, Step
from pgvigil.model.units import NodeName
from tests.builders import Cluster, a_cluster, changed_record, changed_spec, in_role, said, silent
from tests.property.worlds import situation

STANDBYS: Final = tuple(NodeName(f"pg{n}") for n in range(2, 6))
START: Final = a_cluster("pg1* pg2 pg3 pg4 pg5")
ONE, ALL = SyncSet(1, frozenset(STANDBYS[:1])), SyncSet(2, frozenset(STANDBYS))
MAKES: Final = st.sampled_from(["", "*", "FIRST 1 (pg3)", ONE.setting, ALL.setting])
KNOWN: Final = {one.setting: one for one in (ALONE, ONE, ALL)}
"""What somebody else may set that could be ours as well."""
TURN: Final = ("saved", "set", "proved", "noted")
"""How far a turn of the controller gets before it dies; `noted`: it does not."""


class SetsOnRecord(RuleBasedStateMachine):
    """The world, and which sets commits may be waiting for in it."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = changed_spec(START, protection=Protection.QUORUM)
        self.names = ""
        self.in_force: set[SyncSet] = {ALONE}
        self.foreign = False
        """Somebody else's setting is, or was since the last proof, in force; nothing is known of it."""
        self.away: frozenset[NodeName] = frozenset()

    @rule(required=st.integers(1, 3), degrade=st.booleans(), protection=st.sampled_from(Protection))
    def people_want_something_else(self, required: int, degrade: bool, protection: Protection) -> None:
        self.cluster = changed_spec(
            self.cluster, sync_required=required, degrade=degrade, protection=protection
        )

    @rule(names=MAKES, paused=st.booleans())
    def somebody_else_sets_it(self, names: str, paused: bool) -> None:
        """It is seen at the next look at the latest: that look comes before anything else."""
        self.cluster = changed_record(self.cluster, paused=paused)
        self.names = names
        if names in KNOWN:
            self.in_force.add(KNOWN[names])
        else:
            self.foreign = True
        self._save(self._decided())

    @rule(away=st.frozensets(st.sampled_from(STANDBYS)), dies_after=st.sampled_from(TURN))
    def standbys_come_and_go(self, away: frozenset[NodeName], dies_after: str) -> None:
        self.away = away
        self.turn(dies_after)

    def turn(self, dies_after: str) -> None:
        """One turn of the controller, as far as it gets."""
        for step in self._save(self._decided()):
            if (got := TURN.index(dies_after)) >= TURN.index("set"):
                self._set(step)
            if got >= TURN.index("proved"):
                self.in_force, self.foreign = {step.to}, False
            if got >= TURN.index("noted"):
                done = confirmed(self.cluster.record, step)
                assert done is not None
                self.cluster = replace(self.cluster, record=done)

    @rule()
    def left_alone_it_comes_to_rest(self) -> None:
        self.cluster = changed_record(self.cluster, paused=False)
        for _ in range(12):
            if not isinstance(decide(situation(self._seen())).decision, Act):
                return
            self.turn("noted")
        raise AssertionError(f"it never rests: {self.cluster.record.sync}, {self.cluster.record.sync_next}")

    @invariant()
    def the_record_covers_whatever_may_be_in_force(self) -> None:
        record = self.cluster.record
        if record.sync is None or not (promise := weaker(record.sync, record.sync_next)).acks:
            return
        assert not self.foreign
        for one in self.in_force:
            assert one.acks >= promise.acks
            assert one.standbys <= promise.standbys

    @invariant()
    def deciding_twice_is_deciding_once(self) -> None:
        seen = self._seen()
        assert decide(situation(seen)) == decide(situation(seen))

    def _decided(self) -> Act | None:
        decision = decide(situation(self._seen())).decision
        return decision if isinstance(decision, Act) else None

    def _save(self, act: Act | None) -> tuple[SetSync, ...]:
        """The record first; what is to be done then."""
        if act is None:
            return ()
        if act.record is not None:
            self.cluster = replace(self.cluster, record=act.record)
        steps: tuple[Step, ...] = tuple(step for stage in act.stages for step in stage.steps)
        return tuple(step for step in steps if isinstance(step, SetSync))

    def _set(self, step: SetSync) -> None:
        self.names = step.to.setting
        self.in_force.add(step.to)

    def _seen(self) -> Cluster:
        """What a look shows now."""
        cluster = in_role(self.cluster, "pg1", sync_names=self.names)
        answer = cluster.view.node(NodeName("pg1")).answer
        assert answer is not None
        cluster = said(
            cluster,
            "pg1",
            senders=tuple(s for s in answer.senders if NodeName(s.application_name) not in self.away),
        )
        for name in sorted(self.away):
            cluster = silent(cluster, name, Silence.REFUSED, for_s=60.0)
        return cluster


SetsOnRecord.TestCase.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)
test_the_sets_on_record = SetsOnRecord.TestCase
