"""What the old primary's guard proves, and what not: 2, 3 and 5 nodes, one-way cuts, restarts."""

import pytest

from pgvigil.decide.guard import REACTION_S, cut_off_needed
from pgvigil.model.command import Failover
from pgvigil.model.guard import CutOff, GuardLook, GuardState
from pgvigil.model.record import Fenced, Phase
from pgvigil.model.sighting import NoShell, Silence
from pgvigil.model.spec import Fencing, WhenUnreachable
from pgvigil.model.step import Hold
from pgvigil.model.units import Instant
from pgvigil.model.vantage import Reach
from tests.builders import (
    NOW,
    Cluster,
    a_cluster,
    changed_record,
    changed_spec,
    claims_primary,
    crashed,
    in_role,
    on_host,
    receiver_lost,
    refuses,
    seen,
    silent,
    vanished,
    witnessed,
)
from tests.unit.decide.situations import acted, decided, recorded, refusal, rule

SILENT_S = 30.0
LONG_AGO = -20.0
"""Seconds from now at which the lease ran out and the others were cut off: the guard has long acted."""


def lost(
    nodes: str = "pg1* pg2 pg3",
    *,
    policy: WhenUnreachable = WhenUnreachable.WAIT,
    state: GuardState = GuardState.ALIVE,
    leased_until: float = LONG_AGO,
    cut_off: str = "pg2 pg3",
    since: float = LONG_AGO,
    until: float = -0.5,
) -> Cluster:
    """The primary is gone for us for long, with a guard; times are in seconds from now."""
    cluster = a_cluster(nodes)
    cluster = changed_spec(cluster, fencing=Fencing(policy, guard=True))
    cluster = receiver_lost(vanished(cluster, "pg1", for_s=SILENT_S), ago_s=SILENT_S - 0.1)
    look = GuardLook(state, Instant(NOW + leased_until), Instant(NOW - SILENT_S), "leased")
    return seen(cluster, "pg1", guard=look, cut_off=cut_from(cut_off, since, until))


def cut_from(names: str, since: float = LONG_AGO, until: float = -0.5) -> tuple[CutOff, ...]:
    return tuple(CutOff(name, Instant(NOW + since), Instant(NOW + until)) for name in names.split())


def fencing(cluster: Cluster) -> Cluster:
    return changed_record(cluster, phase=Phase.FENCING, generation=2, deposed=frozenset({"pg1"}))


def test_a_guard_that_must_have_acted_fences_although_the_policy_is_to_wait() -> None:
    assert rule(lost()) == "primary_lost"
    assert recorded(lost()).phase is Phase.FENCING


def test_the_promotion_says_that_the_guard_fenced() -> None:
    cluster = fencing(lost())
    for name in ("pg2", "pg3"):
        cluster = cut_from_upstream(cluster, name)
    assert recorded(cluster).fenced is Fenced.GUARD
    assert "fenced: guard" in acted(cluster).evidence


@pytest.mark.parametrize(
    ("nodes", "needed"),
    [(2, 1), (3, 2), (4, 2), (5, 3), (6, 3), (7, 4)],
)
def test_so_many_are_cut_off_that_the_rest_is_no_majority(nodes: int, needed: int) -> None:
    assert cut_off_needed(nodes) == needed
    majority = nodes // 2 + 1
    assert nodes - needed < majority
    assert nodes - (needed - 1) >= majority


@pytest.mark.parametrize(
    ("nodes", "cut_off", "fenced"),
    [
        ("pg1* pg2", "pg2", True),
        ("pg1* pg2", "", False),
        ("pg1* pg2 pg3", "pg2", False),
        ("pg1* pg2 pg3", "pg2 pg3", True),
        ("pg1* pg2 pg3 pg4 pg5", "pg2 pg3", False),
        ("pg1* pg2 pg3 pg4 pg5", "pg2 pg3 pg4", True),
    ],
)
def test_who_may_still_be_seen_by_the_old_primary_counts(nodes: str, cut_off: str, fenced: bool) -> None:
    assert rule(lost(nodes, cut_off=cut_off)) == ("primary_lost" if fenced else "not_fenced")


def hold(cluster: Cluster) -> Hold:
    decision = decided(cluster)
    assert isinstance(decision, Hold), decision
    assert decision.hint
    return decision


@pytest.mark.parametrize("policy", list(WhenUnreachable))
@pytest.mark.parametrize("state", [GuardState.ALIVE, GuardState.UNKNOWN, GuardState.OUTDATED])
def test_while_the_lease_may_last_nobody_is_promoted(policy: WhenUnreachable, state: GuardState) -> None:
    held = hold(lost(policy=policy, state=state, leased_until=2.0))
    assert held.rule == "guard_lease"
    assert held.until is not None
    assert held.until > NOW + 2.0 + REACTION_S
    assert any("lease" in text for text in held.evidence)


def test_the_guard_is_given_its_time_after_the_lease_and_after_the_cut() -> None:
    assert hold(lost(leased_until=-REACTION_S)).rule == "guard_lease"
    assert hold(lost(since=-REACTION_S)).rule == "guard_lease"
    assert hold(lost(leased_until=-REACTION_S, policy=WhenUnreachable.PROMOTE)).rule == "guard_lease"


def test_a_test_that_has_not_ended_yet_is_waited_for() -> None:
    held = hold(lost(leased_until=-5.0, until=-3.0))
    assert held.rule == "guard_lease"
    assert held.until is not None
    assert held.until > NOW


@pytest.mark.parametrize("state", [GuardState.MISSING, GuardState.DEAD, GuardState.STALLED])
def test_a_guard_that_was_not_well_is_not_trusted_and_not_waited_for(state: GuardState) -> None:
    held = hold(lost(state=state, leased_until=5.0))
    assert held.rule == "not_fenced"
    assert state.value in held.reason
    assert rule(lost(state=state, leased_until=5.0, policy=WhenUnreachable.PROMOTE)) == "primary_lost"


@pytest.mark.parametrize("state", [GuardState.UNKNOWN, GuardState.OUTDATED])
def test_a_guard_that_we_do_not_know_is_waited_for_but_proves_nothing(state: GuardState) -> None:
    assert rule(lost(state=state)) == "not_fenced"
    assert rule(lost(state=state, policy=WhenUnreachable.PROMOTE)) == "primary_lost"


def test_old_tests_of_the_others_prove_nothing_of_now() -> None:
    assert rule(lost(until=-10.0)) == "not_fenced"
    cluster = seen(lost(), "pg1", cut_off=(*cut_from("pg2"), *cut_from("pg3", until=-10.0)))
    assert rule(cluster) == "not_fenced"


@pytest.mark.parametrize("silence", [Silence.MUTE, Silence.REFUSED, Silence.CLOSED])
def test_a_host_in_sight_is_never_fenced_by_its_guard(silence: Silence) -> None:
    cluster = silent(lost(policy=WhenUnreachable.PROMOTE), "pg1", silence, for_s=SILENT_S)
    assert getattr(decided(fencing(cluster)), "evidence", ()) != ("fenced: guard",)
    assert refused_by_policy(silent(lost(), "pg1", silence, for_s=SILENT_S))


def refused_by_policy(cluster: Cluster) -> bool:
    """In phase FENCING the decision is to hold, for the guard proves nothing."""
    cut = changed_record(fencing(cluster), since=None)
    for name in ("pg2", "pg3"):
        cut = cut_from_upstream(cut, name)
    return rule(cut) == "not_fenced"


def cut_from_upstream(cluster: Cluster, name: str) -> Cluster:
    return in_role(cluster, name, receiver=None, conninfo="")


def test_whoever_gets_through_forbids_it() -> None:
    cluster = witnessed(fencing(lost()), "pg1", Reach.ACCEPTS, ["pg3"])
    cluster = seen(cluster, "pg1", cut_off=cut_from("pg2"))
    for name in ("pg2", "pg3"):
        cluster = cut_from_upstream(cluster, name)
    assert rule(cluster) == "not_fenced"
    assert "pg3 can reach" in hold(cluster).reason


def test_what_the_shell_says_comes_before_the_guard() -> None:
    down = on_host(crashed(lost(), "pg1"), "pg1", standby_signal=True)
    cluster = fencing(down)
    for name in ("pg2", "pg3"):
        cluster = cut_from_upstream(cluster, name)
    assert recorded(cluster).fenced is Fenced.STOPPED


def test_an_old_primary_that_speaks_is_no_case_for_the_guard() -> None:
    cluster = seen(refuses(fencing(lost()), "pg1", "28P01", for_s=SILENT_S), "pg1", host=NoShell())
    assert rule(cut_from_upstream(cut_from_upstream(cluster, "pg2"), "pg3")) == "not_fenced"
    back = claims_primary(fencing(a_cluster()), "pg1")
    assert rule(back) == "came_back"


def test_without_guards_in_the_configuration_nothing_is_different() -> None:
    off = changed_spec(lost(), fencing=Fencing(WhenUnreachable.WAIT))
    assert hold(off).reason == "pg1 cannot be reached to be fenced (fencing.unreachable: wait)"


def test_an_operator_is_told_to_wait_for_the_guard() -> None:
    told = refusal(lost(leased_until=2.0), Failover())
    assert "its guard needs time" in told


def test_force_does_not_wait_for_the_guard() -> None:
    cluster = changed_record(fencing(lost(leased_until=2.0)), forced=True)
    for name in ("pg2", "pg3"):
        cluster = cut_from_upstream(cluster, name)
    assert recorded(cluster).fenced is Fenced.RISK_ACCEPTED
