"""What holds for every world, however unlikely."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgvigil.decide import lossless
from pgvigil.decide.engine import decide, order
from pgvigil.decide.failover import VERDICTS
from pgvigil.decide.quorum import weaker
from pgvigil.judge.engine import diagnose, diagnose_unknown
from pgvigil.model.command import Directive, Refused
from pgvigil.model.diagnosis import Problem, Urgency
from pgvigil.model.record import TRANSITIONS, ClusterRecord, Fenced, Phase
from pgvigil.model.sighting import ClusterView, HostAnswer, NoAnswer, Postmaster, Refusal, Silence
from pgvigil.model.spec import Protection
from pgvigil.model.step import (
    Act,
    Cut,
    Fence,
    Follow,
    Promote,
    Rebuild,
    StartPrimary,
    Step,
    Stop,
    sentence,
    step_node,
)
from pgvigil.model.units import NodeName
from pgvigil.model.vantage import Reach, Witness, WitnessLook
from tests.builders import NOW, WALL, Cluster, a_cluster, seen, witnessed
from tests.property.worlds import anything, commands, situation, views
from tests.unit.judge.scenes import lost, quiet, refused_alone, without_shells

MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def steps(act: Act) -> list[Step]:
    return [step for stage in act.stages for step in stage.steps]


def after(cluster: Cluster, act: Act) -> ClusterRecord:
    return act.record or cluster.record


def acts_of(cluster: Cluster, command: Directive) -> list[Act]:
    """What may be done in that world: what is decided, and what that command leads to."""
    answer = order(situation(cluster), command)
    decision = decide(situation(cluster)).decision
    return [act for act in (decision, answer) if isinstance(act, Act)]


@MANY
@given(anything, commands)
def test_nothing_raises_and_everything_can_be_said(cluster: Cluster, command: Directive) -> None:
    plan = decide(situation(cluster))
    for step in (*plan.repairs, *(steps(plan.decision) if isinstance(plan.decision, Act) else ())):
        assert sentence(step)
        assert step_node(step) in cluster.view.nodes
    answer = order(situation(cluster), command)
    if isinstance(answer, Refused):
        assert answer.error.what
        assert answer.error.hint


@MANY
@given(views)
def test_a_cluster_without_a_record_is_judged_too(view: ClusterView) -> None:
    assert bool(diagnose_unknown(view).find(Problem.PRIMARY_UNKNOWN)) is (len(view.primaries()) != 1)


@MANY
@given(anything)
def test_deciding_twice_is_deciding_once(cluster: Cluster) -> None:
    reordered = {name: cluster.view.nodes[name] for name in reversed(list(cluster.view.nodes))}
    again = replace(cluster, view=replace(cluster.view, nodes=reordered))
    assert decide(situation(cluster)) == decide(situation(cluster))
    one, other = decide(situation(cluster)).decision, decide(situation(again)).decision
    assert getattr(one, "rule", None) == getattr(other, "rule", None)
    if isinstance(one, Act) and isinstance(other, Act):
        assert one.record == other.record


@MANY
@given(anything, commands)
def test_every_move_is_in_the_table_and_no_generation_goes_back(cluster: Cluster, command: Directive) -> None:
    before = cluster.record
    for act in acts_of(cluster, command):
        record = after(cluster, act)
        assert record.phase is before.phase or (before.phase, record.phase) in TRANSITIONS
        assert before.generation <= record.generation <= before.generation + 1
        assert record.system_id == before.system_id
        if record.primary != before.primary:
            promoted = record.phase is Phase.PROMOTING
            adopted = record.phase is Phase.STABLE and record.generation == before.generation + 1
            assert promoted or adopted
            assert before.primary in record.deposed


@MANY
@given(anything, commands)
def test_a_change_that_begins_begins_a_generation(cluster: Cluster, command: Directive) -> None:
    before = cluster.record
    for act in acts_of(cluster, command):
        record = after(cluster, act)
        begun = before.phase is not record.phase and record.phase in (Phase.FENCING, Phase.SWITCHING)
        assert (record.generation > before.generation) >= begun


@MANY
@given(anything, commands)
def test_who_is_promoted_is_on_record_as_primary_first(cluster: Cluster, command: Directive) -> None:
    for act in acts_of(cluster, command):
        promotions = [step for step in steps(act) if isinstance(step, Promote)]
        record = after(cluster, act)
        assert len(promotions) <= 1
        for step in promotions:
            assert record.phase is Phase.PROMOTING
            assert (record.primary, record.generation) == (step.node, step.generation)
            assert step.beyond >= record.timeline, "beyond it if a candidate was lost after its promotion"
            assert cluster.view.node(step.node).standby is not None


@MANY
@given(anything, commands)
def test_steps_carry_the_generation_that_is_on_record(cluster: Cluster, command: Directive) -> None:
    for act in acts_of(cluster, command):
        assert {step.generation for step in steps(act)} <= {after(cluster, act).generation}


@MANY
@given(anything)
def test_nobody_is_promoted_beside_a_serving_primary_of_record(cluster: Cluster) -> None:
    primary = cluster.view.nodes.get(cluster.record.primary)
    if primary is None or primary.primary is None or cluster.record.forced:
        return
    decision = decide(situation(cluster)).decision
    if isinstance(decision, Act):
        assert not any(isinstance(step, Promote | Cut | Stop) for step in steps(decision))
        assert after(cluster, decision).phase in (Phase.STABLE, cluster.record.phase)
        assert after(cluster, decision).primary == cluster.record.primary


@MANY
@given(anything)
def test_a_promotion_is_fenced_or_the_risk_was_accepted(cluster: Cluster) -> None:
    before = cluster.record
    decision = decide(situation(cluster)).decision
    record = after(cluster, decision) if isinstance(decision, Act) else before
    if record.phase is not Phase.PROMOTING or before.phase is Phase.PROMOTING:
        return
    old = cluster.view.node(before.primary)
    match record.fenced:
        case Fenced.STOPPED:
            assert isinstance(old.host, HostAnswer)
            assert old.host.postmaster in (Postmaster.CRASHED, Postmaster.STOPPED)
            assert not old.host.strays
            assert old.host.standby_signal or before.phase is Phase.SWITCHING
        case Fenced.IN_RECOVERY:
            assert old.standby is not None
        case Fenced.COMMAND:  # it succeeded, and is on record
            assert before.phase is Phase.FENCING
            assert before.fenced is Fenced.COMMAND
        case Fenced.RISK_ACCEPTED:
            assert before.forced or cluster.spec.fencing.unreachable == "promote"
            assert before.forced or not isinstance(old.sql, Refusal)
        case _:
            pytest.fail(f"promoted with {record.fenced}")


@MANY
@given(anything)
def test_no_failover_begins_while_paused_or_not_automatic(cluster: Cluster) -> None:
    barred = not cluster.spec.failover.automatic or cluster.record.is_paused(WALL)
    if cluster.record.phase is not Phase.STABLE or not barred:
        return
    decision = decide(situation(cluster)).decision
    if isinstance(decision, Act):
        assert after(cluster, decision).phase is Phase.STABLE


@MANY
@given(anything)
def test_a_failover_begins_on_a_verdict_with_more_than_our_own_word(cluster: Cluster) -> None:
    decision = decide(situation(cluster)).decision
    begun = isinstance(decision, Act) and after(cluster, decision).phase is Phase.FENCING
    if cluster.record.phase is not Phase.STABLE or not begun:
        return
    diagnosis = diagnose(cluster.spec, cluster.record, cluster.view)
    verdicts = [f for f in map(diagnosis.find, VERDICTS) if f and f.urgency is Urgency.NOW]
    assert verdicts
    primary, since = cluster.view.node(cluster.record.primary), NOW
    if isinstance(primary.sql, NoAnswer | Refusal):
        since = primary.sql.since
    others = [node for node in cluster.view.nodes.values() if node is not primary]
    said_by_host = isinstance(primary.host, HostAnswer) and primary.host.at >= since
    said_by_itself = isinstance(primary.sql, Refusal) or primary.standby is not None
    tested = any(w.at >= since and w.reach is Reach.NO_REPLY for w in primary.witnesses)
    lost_it = any(
        n.standby and n.standby.receiver is None and n.answer and n.answer.at >= since for n in others
    )
    assert said_by_host or said_by_itself or tested or lost_it


@MANY
@given(anything)
def test_only_nodes_of_ours_that_are_no_primary_are_rebuilt_and_only_beside_a_serving_one(
    cluster: Cluster,
) -> None:
    plan = decide(situation(cluster))
    for step in plan.repairs:
        if isinstance(step, Rebuild | Follow):
            node = cluster.view.node(step.node)
            assert cluster.view.node(cluster.record.primary).primary is not None
            assert step.node != cluster.record.primary
            assert node.primary is None
            assert node.answer is None or node.answer.facts.system_id == cluster.record.system_id


@MANY
@given(anything, commands)
def test_strangers_are_never_touched(cluster: Cluster, command: Directive) -> None:
    strangers = {
        name
        for name, node in cluster.view.nodes.items()
        if node.answer and node.answer.facts.system_id != cluster.record.system_id
    }
    for act in acts_of(cluster, command):
        assert not {step_node(step) for step in steps(act)} & strangers
    assert not {step_node(step) for step in decide(situation(cluster)).repairs} & strangers


@MANY
@given(anything)
def test_a_primary_is_only_started_where_it_is_known_to_be_down(cluster: Cluster) -> None:
    decision = decide(situation(cluster)).decision
    for step in steps(decision) if isinstance(decision, Act) else ():
        if isinstance(step, StartPrimary):
            host = cluster.view.node(step.node).host_answer
            assert host
            assert host.postmaster in (Postmaster.CRASHED, Postmaster.STOPPED)
            assert step.node == cluster.record.primary


@MANY
@given(anything)
def test_the_primary_of_record_is_fenced_only_when_it_is_to_be_replaced(cluster: Cluster) -> None:
    decision = decide(situation(cluster)).decision
    for step in steps(decision) if isinstance(decision, Act) else ():
        if isinstance(step, Fence):
            record = after(cluster, decision) if isinstance(decision, Act) else cluster.record
            assert record.phase is Phase.FENCING or step.node != record.primary


# Witnesses
SILENCES = st.sampled_from([Silence.OVERDUE, Silence.TIMED_OUT, Silence.MUTE, Silence.REFUSED])


def fallen_silent(cluster: Cluster, silence: Silence, for_s: float) -> Cluster:
    if silence is Silence.REFUSED:
        return quiet(refused_alone(cluster, for_s=for_s))
    sql = lost(cluster, for_s=for_s).view.node(NodeName("pg1")).sql
    assert isinstance(sql, NoAnswer)
    return seen(lost(cluster, for_s=for_s), "pg1", sql=replace(sql, silence=silence))


def verdict(cluster: Cluster) -> float:
    """How near a verdict is: 2 now, 1 waiting, 0 none."""
    found = [diagnose(cluster.spec, cluster.record, cluster.view).find(problem) for problem in VERDICTS]
    return max((2 if f.urgency is Urgency.NOW else 1 for f in found if f), default=0)


@MANY
@given(
    SILENCES,
    st.floats(0, 20),
    st.lists(st.sampled_from(["pg2", "pg3", "pg4"]), unique=True, max_size=2),
    st.sampled_from(["pg5", "pg2", "pg3", "pg4"]),
    st.booleans(),
)
def test_another_confirming_witness_never_delays_a_verdict(
    silence: Silence, for_s: float, before: list[str], another: str, bare: bool
) -> None:
    cluster = a_cluster("pg1* pg2 pg3 pg4 pg5")
    cluster = without_shells(cluster) if bare else cluster
    cluster = quiet(
        refused_alone(cluster, for_s=for_s) if silence is Silence.REFUSED else lost(cluster, for_s=for_s)
    )
    one = witnessed(cluster, "pg1", Reach.NO_REPLY, before)
    more = witnessed(cluster, "pg1", Reach.NO_REPLY, {*before, another})
    assert verdict(more) >= verdict(one)


@MANY
@given(SILENCES, st.floats(0.1, 20), st.booleans())
def test_a_witness_that_gets_through_always_prevents_a_verdict(
    silence: Silence, for_s: float, bare: bool
) -> None:
    cluster = a_cluster("pg1* pg2 pg3")
    cluster = without_shells(cluster) if bare else cluster
    cluster = quiet(
        refused_alone(cluster, for_s=for_s) if silence is Silence.REFUSED else lost(cluster, for_s=for_s)
    )
    tests = (Witness("pg2", NOW, Reach.NO_REPLY), Witness("pg3", NOW, Reach.ACCEPTS))
    assert verdict(seen(cluster, "pg1", witnesses=tests)) < 2


@MANY
@given(st.floats(0, 2.99), st.floats(0, 1))
def test_no_hiccup_shorter_than_unreachable_after_is_a_verdict(for_s: float, looked_ago_s: float) -> None:
    cluster = witnessed(lost(a_cluster("pg1* pg2 pg3"), for_s=for_s), "pg1", Reach.NO_REPLY, ["pg2", "pg3"])
    answer = cluster.view.node(NodeName("pg2")).answer
    assert answer
    looked = replace(answer, at=type(NOW)(NOW - looked_ago_s))
    assert verdict(seen(cluster, "pg2", sql=looked)) < 2


WITNESS_WORDS = st.lists(
    st.tuples(
        st.sampled_from(["w1", "w2", "w3"]),
        st.sampled_from(list(Reach)),
        st.sampled_from([True, False, None]),
        st.sampled_from([None, *Reach]),
    ),
    unique_by=lambda word: word[0],
    max_size=3,
)


@MANY
@given(SILENCES, st.floats(0, 20), st.booleans(), st.booleans(), WITNESS_WORDS, st.booleans())
def test_a_witness_host_delays_nothing_that_was_proved_and_none_who_gets_through_is_overruled(
    silence: Silence,
    for_s: float,
    bare: bool,
    confirmed: bool,
    said: list[tuple[str, Reach, bool | None, Reach | None]],
    heard: bool,
) -> None:
    cluster = a_cluster("pg1* pg2 pg3")
    cluster = fallen_silent(without_shells(cluster) if bare else cluster, silence, for_s)
    if confirmed:
        cluster = witnessed(cluster, "pg1", Reach.NO_REPLY, ["pg2"])
    words = tuple(Witness(name, NOW, reach, others, before) for name, reach, others, before in said)
    before = cluster.view.node(NodeName("pg1")).witnesses
    more = seen(cluster, "pg1", witnesses=(*before, *words))
    looks = {name: WitnessLook(NOW, heard=heard) for name in ("w1",)}
    more = replace(more, view=replace(more.view, witnesses=looks))
    if any(word.reach.through for word in words):
        assert verdict(more) < 2
    else:
        assert verdict(more) >= verdict(cluster)
    if verdict(cluster) < 2 <= verdict(more):
        assert any(word.counts and not word.reach.through for word in words)


@MANY
@given(anything, commands)
def test_with_quorum_nobody_is_promoted_in_a_failover_without_proof(
    cluster: Cluster, command: Directive
) -> None:
    """Unless an operator accepted the risk; a promotion by hand is the operator's own word too."""
    if cluster.spec.protection is not Protection.QUORUM:
        return
    before = cluster.record
    for act in acts_of(cluster, command):
        record = after(cluster, act)
        begun = before.phase is Phase.FENCING and record.phase is Phase.PROMOTING
        if not begun or record.forced or before.forced:
            continue
        found = lossless.ground(situation(cluster))
        resumed = record.primary == before.primary and before.at_least
        assert found or resumed
        if found and not resumed:
            assert not found.objection(situation(cluster), cluster.view.node(record.primary))


@MANY
@given(anything)
def test_whoever_acknowledged_is_on_record_until_all_of_them_are_covered(cluster: Cluster) -> None:
    """A change of who commits wait for never forgets a set that may still be in force."""
    act = decide(situation(cluster)).decision
    before = cluster.record
    record = act.record if isinstance(act, Act) and act.record else before
    if before.sync is None or record.sync is None or record.generation != before.generation:
        return
    old, new = weaker(before.sync, before.sync_next), weaker(record.sync, record.sync_next)
    if new.acks and record.primary == before.primary:
        assert old.acks >= new.acks
        assert old.standbys <= new.standbys
