"""SAFETY §2 row by row: what is concluded from what is seen of the primary."""

from dataclasses import replace

import pytest

from pgvigil.model.diagnosis import Problem, Urgency
from pgvigil.model.sighting import Farewell, NoShell, Postmaster, Silence, Unseen
from pgvigil.model.units import Instant, NodeName
from pgvigil.model.vantage import Reach
from tests.builders import (
    NOW,
    Cluster,
    a_cluster,
    claims_primary,
    crashed,
    host_look,
    host_silent,
    later,
    on_host,
    receiver_lost,
    refuses,
    seen,
    silent,
    vanished,
    witnessed,
)
from tests.unit.judge.scenes import (
    OTHER_CRASHED,
    POSTMASTER_DIED,
    STOPPED_BY_ADMIN,
    explained,
    frozen,
    judged,
    lost,
    quiet,
    referred,
    refused_alone,
    running_late,
    stopped,
    without_shells,
)

C = a_cluster("pg1* pg2 pg3")
TWO = a_cluster("pg1* pg2")
BARE = without_shells(C)
GONE = {"postmaster": Postmaster.CRASHED, "pid": None}
ALIVE = {"postmaster": Postmaster.RUNNING}


# S0-18
# Row by row; a cluster that is well stays well.
@pytest.mark.parametrize(
    ("cluster", "explanation"),
    [
        pytest.param(C, "well", id="an answering primary is well"),
        pytest.param(receiver_lost(C), "well", id="an answering primary is well whatever standbys say"),
        pytest.param(referred(C, 3, 0), "well", id="an answering primary needs no references"),
        # overloaded
        pytest.param(refuses(C, "pg1", "53300"), "primary_overloaded tell", id="too many connections"),
        pytest.param(refuses(C, "pg1", "57014"), "primary_overloaded tell", id="statement timeout"),
        pytest.param(
            on_host(silent(C, "pg1", Silence.OVERDUE, for_s=60), "pg1", **ALIVE),
            "primary_overloaded tell",
            id="slow for a minute while its host says it is alive",
        ),
        pytest.param(
            on_host(silent(C, "pg1", Silence.REFUSED, for_s=60), "pg1", **ALIVE),
            "primary_overloaded tell",
            id="it refuses us while its host says it is alive",
        ),
        # locked out
        pytest.param(refuses(C, "pg1", "28P01", for_s=99), "primary_locked_out tell", id="wrong password"),
        pytest.param(refuses(C, "pg1", "28000", for_s=99), "primary_locked_out tell", id="no pg_hba entry"),
        pytest.param(refuses(C, "pg1", "3D000", for_s=99), "primary_locked_out tell", id="no such database"),
        # restarting
        pytest.param(refuses(C, "pg1", "57P03", for_s=9), "primary_restarting waiting", id="starting up"),
        pytest.param(
            quiet(refuses(C, "pg1", "57P03", for_s=11)),
            "primary_stopped now",
            id="starting up beyond its grace",
        ),
        pytest.param(stopped(C, for_s=9), "primary_restarting waiting", id="stopped cleanly"),
        pytest.param(stopped(C, for_s=11), "primary_stopped now", id="stopped cleanly beyond its grace"),
        pytest.param(stopped(BARE, for_s=9), "primary_restarting waiting", id="stopped, no shell"),
        pytest.param(stopped(BARE, for_s=11), "primary_stopped now", id="stopped beyond its grace, no shell"),
        # crashed
        pytest.param(crashed(C, "pg1"), "primary_crashed now", id="its host says the postmaster is gone"),
        pytest.param(
            on_host(silent(C, "pg1", Silence.CLOSED), "pg1", **GONE),
            "primary_crashed now",
            id="its host is quicker than our new session",
        ),
        pytest.param(
            receiver_lost(refused_alone(BARE), ["pg2"]),
            "primary_crashed now",
            id="without a shell one standby that lost its upstream is enough",
        ),
        pytest.param(
            witnessed(quiet(refused_alone(BARE)), "pg1", Reach.NO_REPLY, ["pg3"]),
            "primary_crashed now",
            id="without a shell a second vantage point that cannot get through is enough",
        ),
        pytest.param(
            receiver_lost(host_silent(refused_alone(C), "pg1")),
            "primary_crashed now",
            id="a shell that does not answer leaves the word to the standbys",
        ),
        pytest.param(
            refused_alone(BARE), "primary_unseen waiting", id="a refusal that only we see is no crash"
        ),
        # lost
        pytest.param(
            witnessed(lost(C), "pg1", Reach.NO_REPLY, ["pg2"]),
            "primary_lost now",
            id="gone for us and for pg2",
        ),
        pytest.param(
            receiver_lost(lost(C), ["pg3"]), "primary_lost now", id="gone for us, and pg3 lost its upstream"
        ),
        pytest.param(
            receiver_lost(lost(BARE), ["pg3"]), "primary_lost now", id="gone, no shell, pg3 lost its upstream"
        ),
        pytest.param(
            witnessed(lost(C, for_s=2.9), "pg1", Reach.NO_REPLY, ["pg2", "pg3"]),
            "primary_lost waiting",
            id="gone for everybody, but not for unreachable_after",
        ),
        pytest.param(lost(C), "primary_unseen tell", id="gone for us alone: nobody confirms"),
        # hung
        pytest.param(frozen(C), "primary_hung now", id="frozen for longer than hung_after"),
        pytest.param(frozen(C, for_s=4.9), "primary_hung waiting", id="frozen, but not for hung_after"),
        pytest.param(
            silent(frozen(C), "pg1", Silence.OVERDUE, for_s=6),
            "primary_hung now",
            id="frozen, session overdue",
        ),
        # only we
        pytest.param(
            vanished(C, "pg1"), "primary_unseen tell", id="its standbys stream fine: only we cannot see it"
        ),
        pytest.param(
            witnessed(lost(C), "pg1", Reach.ACCEPTS, ["pg2"]), "primary_unseen tell", id="pg2 gets through"
        ),
        pytest.param(
            witnessed(lost(C), "pg1", Reach.REJECTS, ["pg2"]),
            "primary_unseen tell",
            id="pg2 is turned away by a server that starts: its host lives",
        ),
        pytest.param(
            silent(BARE, "pg1", Silence.NO_ADDRESS, for_s=60),
            "primary_unseen tell",
            id="its name does not resolve",
        ),
    ],
)
def test_what_is_seen_of_the_primary_explains_it(cluster: Cluster, explanation: str) -> None:
    assert explained(cluster) == explanation


@pytest.mark.parametrize(
    ("farewell", "explanation"),
    [
        pytest.param(None, "primary_crashed now", id="no word: everything was killed"),
        pytest.param(STOPPED_BY_ADMIN, "primary_restarting waiting", id="57P01: an administrator stopped it"),
        pytest.param(
            POSTMASTER_DIED, "primary_crashed now", id="57P01 from secure_read: the postmaster died"
        ),
        pytest.param(
            OTHER_CRASHED, "primary_crashed now", id="57P02, and then nobody listens: no restart came"
        ),
    ],
)
def test_the_farewell_tells_a_crash_from_a_stop_where_no_shell_does(
    farewell: Farewell | None, explanation: str
) -> None:
    cluster = receiver_lost(silent(BARE, "pg1", Silence.REFUSED, for_s=0.1, farewell=farewell))
    assert explained(cluster) == explanation


@pytest.mark.parametrize("farewell", [None, STOPPED_BY_ADMIN, POSTMASTER_DIED, OTHER_CRASHED])
def test_a_host_that_says_the_postmaster_is_gone_overrules_any_farewell(farewell: Farewell | None) -> None:
    cluster = on_host(silent(C, "pg1", Silence.CLOSED, farewell=farewell), "pg1", **GONE)
    assert explained(cluster) == "primary_crashed now"


@pytest.mark.parametrize("farewell", [STOPPED_BY_ADMIN, OTHER_CRASHED])
def test_a_server_that_ends_its_sessions_and_lives_gets_its_grace(farewell: Farewell | None) -> None:
    cluster = on_host(silent(C, "pg1", Silence.CLOSED, for_s=0.1, farewell=farewell), "pg1", **ALIVE)
    assert explained(quiet(cluster)) == "primary_restarting waiting"


def test_a_primary_that_came_back_as_a_standby_has_stopped_at_once() -> None:
    demoted = replace(C.record, primary=NodeName("pg2"))
    assert explained(replace(C, record=demoted)) == "primary_stopped now"


def test_a_primary_never_looked_at_is_not_accused() -> None:
    assert explained(seen(C, "pg1", sql=Unseen(NodeName("pg1")), last=None)) == "well"


# Conflicts: two witnesses say different things.
@pytest.mark.parametrize(
    ("cluster", "explanation"),
    [
        pytest.param(
            witnessed(receiver_lost(refused_alone(BARE), ["pg3"]), "pg1", Reach.ACCEPTS, ["pg2"]),
            "primary_unseen waiting",
            id="pg3 lost its upstream, but pg2 gets through",
        ),
        pytest.param(
            receiver_lost(refused_alone(BARE, for_s=1), ["pg3"]),
            "primary_unseen waiting",
            id="pg3 lost its upstream, but pg2 still hears from it",
        ),
        pytest.param(
            witnessed(crashed(C, "pg1"), "pg1", Reach.ACCEPTS, ["pg2"]),
            "primary_unseen waiting",
            id="its host says it is gone, and pg2 got through since",
        ),
        pytest.param(
            witnessed(witnessed(lost(C), "pg1", Reach.NO_REPLY, ["pg3"]), "pg1", Reach.ACCEPTS, ["pg2"]),
            "primary_unseen tell",
            id="a host cannot be lost while anybody gets through",
        ),
        pytest.param(
            receiver_lost(quiet(lost(C), "pg3", silent_s=0.4), ["pg2"]),
            "primary_unseen tell",
            id="a host cannot be lost while a standby hears from it",
        ),
        pytest.param(
            witnessed(quiet(lost(C), "pg3", silent_s=0.4), "pg1", Reach.NO_REPLY, ["pg3"]),
            "primary_lost now",
            id="an active test counts more than what the same standby heard",
        ),
        pytest.param(
            quiet(frozen(C), "pg2", silent_s=0.4), "primary_unseen tell", id="frozen, but pg2 hears from it"
        ),
        pytest.param(
            quiet(refused_alone(BARE, farewell=STOPPED_BY_ADMIN, for_s=60)),
            "primary_unseen tell",
            id="only our session was ended: nobody else says it is gone",
        ),
        pytest.param(
            refused_alone(BARE, farewell=STOPPED_BY_ADMIN, for_s=1),
            "primary_unseen waiting",
            id="only our session was ended: its standbys hear from it",
        ),
        pytest.param(
            on_host(quiet(refused_alone(C, farewell=STOPPED_BY_ADMIN, for_s=60)), "pg1", **ALIVE),
            "primary_overloaded tell",
            id="only our session was ended: its host says it lives",
        ),
        pytest.param(
            witnessed(stopped(C, for_s=60), "pg1", Reach.ACCEPTS, ["pg2"]),
            "primary_unseen tell",
            id="its host says it was stopped, but pg2 gets through: a wrong data directory",
        ),
        pytest.param(
            witnessed(quiet(refuses(C, "pg1", "57P03", for_s=60)), "pg1", Reach.ACCEPTS, ["pg2"]),
            "primary_restarting waiting",
            id="shutting down smartly: it still serves pg2",
        ),
        pytest.param(
            witnessed(quiet(refuses(C, "pg1", "57P03", for_s=60)), "pg1", Reach.REJECTS, ["pg2"]),
            "primary_stopped now",
            id="shutting down for everybody",
        ),
    ],
)
def test_a_witness_who_gets_through_speaks_against_a_verdict(cluster: Cluster, explanation: str) -> None:
    assert explained(cluster) == explanation


def test_slowness_is_told_only_when_it_lasts() -> None:
    told = [explained(silent(C, "pg1", Silence.OVERDUE, for_s=s)) for s in (0.0, 1.9, 2.0)]
    assert told == ["primary_overloaded waiting"] * 2 + ["primary_overloaded tell"]


def test_a_silence_is_told_only_when_it_lasts() -> None:
    told = [explained(silent(BARE, "pg1", Silence.CLOSED, for_s=s)) for s in (0.0, 0.5, 1.9, 2.0, 60.0)]
    assert told == ["primary_unseen waiting"] * 3 + ["primary_unseen tell"] * 2
    (finding,) = judged(silent(BARE, "pg1", Silence.CLOSED)).every(Problem.PRIMARY_UNSEEN)
    assert finding.due == Instant(NOW + 2.0)


# S0-08
@pytest.mark.parametrize("silence", [Silence.OVERDUE, Silence.TIMED_OUT, Silence.MUTE])
@pytest.mark.parametrize("for_s", [0.0, 0.4, 0.9, 1.0, 1.6, 2.2, 2.99])
def test_a_hiccup_shorter_than_unreachable_after_is_no_verdict(silence: Silence, for_s: float) -> None:
    for_everybody = witnessed(
        quiet(silent(C, "pg1", silence, for_s=for_s)), "pg1", Reach.NO_REPLY, ["pg2", "pg3"]
    )
    cluster = receiver_lost(host_silent(for_everybody, "pg1", for_s=for_s), ago_s=for_s)
    assert judged(cluster).find(Problem.PRIMARY_LOST, NodeName("pg1"))
    assert not [f for f in judged(cluster).findings if f.urgency is Urgency.NOW and f.node == "pg1"]


def test_a_session_that_is_merely_overdue_proves_no_loss() -> None:
    cluster = witnessed(lost(C), "pg1", Reach.NO_REPLY, ["pg2"])
    assert explained(silent(cluster, "pg1", Silence.OVERDUE, for_s=5)) == "primary_unseen tell"


def test_a_mute_host_without_shell_waits_as_long_as_a_hung_one() -> None:
    def mute(for_s: float) -> Cluster:
        cluster = quiet(silent(BARE, "pg1", Silence.MUTE, for_s=for_s))
        return witnessed(cluster, "pg1", Reach.NO_REPLY, ["pg2"])

    assert [explained(mute(s)) for s in (4.9, 5.0)] == ["primary_lost waiting", "primary_lost now"]


def test_a_shell_that_was_not_asked_in_vain_keeps_a_host_from_being_lost() -> None:
    cluster = witnessed(lost(C), "pg1", Reach.NO_REPLY, ["pg2"])
    assert explained(host_look(cluster, "pg1", NoShell())) == "primary_unseen tell"
    assert explained(host_silent(cluster, "pg1", for_s=5, refused=True)) == "primary_unseen tell"


# Two nodes
@pytest.mark.parametrize(
    ("cluster", "explanation"),
    [
        pytest.param(crashed(TWO, "pg1"), "primary_crashed now", id="a crash"),
        pytest.param(receiver_lost(refused_alone(without_shells(TWO))), "primary_crashed now", id="no shell"),
        pytest.param(
            witnessed(lost(TWO), "pg1", Reach.NO_REPLY, ["pg2"]),
            "primary_lost now",
            id="the standby confirms",
        ),
        pytest.param(lost(TWO), "primary_unseen tell", id="the standby says nothing"),
        pytest.param(
            vanished(lost(TWO), "pg2"), "primary_unseen tell", id="both are gone: our word alone is no proof"
        ),
    ],
)
def test_two_nodes_and_a_reference_are_enough(cluster: Cluster, explanation: str) -> None:
    assert explained(cluster) == explanation


# Ourselves
def test_a_loss_needs_our_own_reference_targets() -> None:
    cluster = witnessed(lost(C), "pg1", Reach.NO_REPLY, ["pg2"])
    for asked, reached, is_lost in [(3, 3, True), (3, 2, True), (3, 1, False), (2, 1, False), (1, 0, False)]:
        diagnosis = judged(referred(cluster, asked, reached))
        assert bool(diagnosis.find(Problem.PRIMARY_LOST)) is is_lost
        assert bool(diagnosis.find(Problem.CONTROLLER_ISOLATED)) is not is_lost


def test_references_asked_before_the_silence_prove_nothing() -> None:
    cluster = referred(witnessed(lost(C, for_s=5), "pg1", Reach.NO_REPLY, ["pg2"]), 3, 3, ago_s=5.1)
    (finding,) = judged(cluster).every(Problem.CONTROLLER_ISOLATED)
    assert finding.urgency is Urgency.WAITING
    assert not judged(cluster).find(Problem.PRIMARY_LOST)


def test_without_references_anybody_who_speaks_proves_our_network() -> None:
    cluster = referred(witnessed(lost(C), "pg1", Reach.NO_REPLY, ["pg2"]), 0, 0)
    assert explained(cluster) == "primary_lost now"
    alone = vanished(vanished(cluster, "pg2"), "pg3")
    assert judged(alone).find(Problem.CONTROLLER_ISOLATED)
    assert not judged(silent(alone, "pg3", Silence.REFUSED)).find(Problem.CONTROLLER_ISOLATED)


def test_silence_counts_only_from_when_most_places_were_back_in_sight() -> None:
    def back(pg2_s: float, pg3_s: float) -> Cluster:
        cluster = witnessed(lost(C), "pg1", Reach.NO_REPLY, ["pg2"])
        for name, ago_s in (("pg2", pg2_s), ("pg3", pg3_s)):
            cluster = seen(cluster, name, unheard_at=Instant(cluster.view.at - ago_s))
        return cluster

    assert explained(back(0.1, 0.2)) == "primary_lost waiting"
    assert explained(back(2.9, 0.1)) == "primary_lost waiting"
    assert explained(back(3.1, 0.1)) == "primary_lost now"


def test_silence_counts_only_from_when_our_own_network_is_sound_again() -> None:
    cluster = witnessed(lost(C, for_s=60), "pg1", Reach.NO_REPLY, ["pg2"])
    healed = replace(cluster, view=replace(cluster.view, sound_since=Instant(cluster.view.at - 1)))
    assert explained(cluster) == "primary_lost now"
    assert explained(healed) == "primary_lost waiting"


def test_a_late_loop_accuses_nobody_of_silence() -> None:
    cluster = running_late(witnessed(lost(C), "pg1", Reach.NO_REPLY, ["pg2"]), 0.6)
    assert judged(cluster).find(Problem.CONTROLLER_LATE)
    assert not judged(cluster).find(Problem.PRIMARY_LOST)
    assert explained(running_late(stopped(C, for_s=60), 0.6)) == "primary_restarting waiting"
    assert not judged(running_late(C, 9.0)).findings


def test_a_proved_crash_stands_although_our_loop_is_late() -> None:
    assert explained(running_late(crashed(C, "pg1"), 9.0)) == "primary_crashed now"


@pytest.mark.parametrize(
    "cluster", [stopped(C, for_s=1), witnessed(lost(C, for_s=1), "pg1", Reach.NO_REPLY, ["pg2"])]
)
def test_after_a_standstill_old_looks_are_no_verdict(cluster: Cluster) -> None:
    woken = later(cluster, 60)
    assert judged(woken).find(Problem.CONTROLLER_LATE)
    assert not [f for f in judged(woken).findings if f.urgency is Urgency.NOW and f.node == "pg1"]


# Freshness: what is older than the silence proves nothing.
def test_a_host_look_from_before_the_silence_proves_no_crash() -> None:
    cluster = on_host(silent(C, "pg1", Silence.CLOSED), "pg1", **GONE, at=Instant(NOW - 0.001))
    assert explained(cluster) == "primary_unseen waiting"


def test_a_frozen_look_from_before_the_silence_proves_no_hang() -> None:
    assert explained(on_host(frozen(C), "pg1", at=Instant(NOW - 6.1))) != "primary_hung now"


def test_a_witness_from_before_the_silence_proves_no_loss() -> None:
    cluster = later(witnessed(C, "pg1", Reach.NO_REPLY, ["pg2"]), 6)
    assert explained(lost(cluster)) == "primary_unseen tell"


def test_a_standby_that_had_no_receiver_before_is_no_witness() -> None:
    assert explained(receiver_lost(refused_alone(BARE), ["pg2"], ago_s=1.5)) == "primary_unseen waiting"
    assert explained(receiver_lost(lost(C), ["pg2"], ago_s=60)) == "primary_unseen tell"


def test_a_standby_cut_or_pointed_nowhere_is_no_witness() -> None:
    cluster = receiver_lost(refused_alone(BARE), ["pg2"])
    role = cluster.view.node(NodeName("pg2")).standby
    answer = cluster.view.node(NodeName("pg2")).answer
    assert role
    assert answer
    cut = seen(cluster, "pg2", sql=replace(answer, role=replace(role, conninfo="")))
    assert explained(cut) == "primary_unseen waiting"


def test_a_standby_of_a_standby_is_no_witness_for_the_primary() -> None:
    cluster = receiver_lost(refused_alone(BARE), ["pg3"])
    role = cluster.view.node(NodeName("pg3")).standby
    answer = cluster.view.node(NodeName("pg3")).answer
    assert role
    assert answer
    below = seen(cluster, "pg3", sql=replace(answer, role=replace(role, conninfo="host=10.0.0.12 user=r")))
    assert explained(quiet(below, "pg2")) == "primary_unseen waiting"


def test_a_standby_that_did_not_answer_since_is_no_witness() -> None:
    cluster = receiver_lost(lost(C), ["pg2"], ago_s=0)
    answer = cluster.view.node(NodeName("pg2")).answer
    assert answer
    cluster = seen(cluster, "pg2", sql=replace(answer, at=Instant(NOW - 5.1)))
    assert explained(cluster) == "primary_unseen tell"


@pytest.mark.parametrize(
    ("looked_s_ago", "heard_s_before", "speaks_against"),
    [
        pytest.param(0.0, 0.1, True, id="heard a moment ago"),
        pytest.param(0.9, 2.5, False, id="an old look ages nothing: it heard nothing since"),
        pytest.param(0.0, 4.99, False, id="what was on its way when the silence began is no sign of life"),
        pytest.param(0.0, 2.6, False, id="heard in the first half of the silence"),
        pytest.param(0.0, 2.4, True, id="heard in the second half of the silence"),
        pytest.param(5.1, 0.1, False, id="heard before the silence"),
    ],
)
def test_hearing_counts_from_the_moment_the_standby_looked(
    looked_s_ago: float, heard_s_before: float, speaks_against: bool
) -> None:
    cluster = witnessed(lost(C, for_s=5), "pg1", Reach.NO_REPLY, ["pg2"])
    cluster = quiet(cluster, "pg3", silent_s=heard_s_before)
    answer = cluster.view.node(NodeName("pg3")).answer
    assert answer
    cluster = seen(cluster, "pg3", sql=replace(answer, at=Instant(NOW - looked_s_ago)))
    assert explained(cluster) == ("primary_unseen tell" if speaks_against else "primary_lost now")


# Two that are out of recovery
def test_a_second_primary_is_stale_while_ours_serves() -> None:
    for timeline in (1, 2, 9):
        cluster = claims_primary(C, "pg2", timeline=timeline)
        assert judged(cluster).find(Problem.STALE_PRIMARY, NodeName("pg2"))
        assert not judged(cluster).find(Problem.PRIMARY_REPLACED)


def by_hand(cluster: Cluster) -> Cluster:
    return claims_primary(cluster, "pg2", timeline=2)


@pytest.mark.parametrize(
    ("cluster", "replaced"),
    [
        pytest.param(by_hand(stopped(C)), True, id="ours was stopped"),
        pytest.param(by_hand(crashed(C, "pg1")), True, id="ours crashed"),
        pytest.param(by_hand(lost(C)), False, id="ours is out of sight"),
        pytest.param(
            by_hand(on_host(crashed(C, "pg1"), "pg1", strays=(9,))), False, id="a process of ours lives"
        ),
        pytest.param(
            by_hand(on_host(crashed(C, "pg1"), "pg1", at=Instant(NOW - 1))),
            False,
            id="its host's word is old",
        ),
        pytest.param(
            by_hand(on_host(refuses(C, "pg1", "57P03"), "pg1", **GONE)),
            False,
            id="ours speaks: it is starting",
        ),
        pytest.param(
            claims_primary(stopped(C), "pg2", timeline=1), False, id="the newcomer is on our timeline"
        ),
        pytest.param(
            claims_primary(by_hand(stopped(C)), "pg3", timeline=3), False, id="two newcomers: who is it?"
        ),
        pytest.param(
            by_hand(replace(stopped(C), record=replace(C.record, deposed=frozenset({NodeName("pg2")})))),
            False,
            id="the newcomer is an old primary",
        ),
    ],
)
def test_a_primary_is_replaced_only_by_one_newcomer_and_when_it_provably_does_not_run(
    cluster: Cluster, replaced: bool
) -> None:
    assert bool(judged(cluster).find(Problem.PRIMARY_REPLACED, NodeName("pg2"))) is replaced
    assert bool(judged(cluster).find(Problem.STALE_PRIMARY, NodeName("pg2"))) is not replaced


def test_a_primary_that_answers_as_a_standby_was_replaced() -> None:
    cluster = by_hand(C)
    demoted = replace(cluster, record=replace(C.record, primary=NodeName("pg3")))
    found = judged(claims_primary(demoted, "pg2", timeline=2))
    assert [f.problem for f in found.findings if f.node == "pg2"] == [Problem.STALE_PRIMARY]


def test_a_connect_that_got_through_slowly_says_that_the_host_lives() -> None:
    """A network with a second's delay is no dead host (SAFETY §8: very slow)."""
    gone = receiver_lost(lost(C), ["pg3"])
    touch = gone.view.node(NodeName("pg1")).touch
    assert touch is not None
    assert _urgency(gone) is Urgency.NOW
    slow = seen(gone, "pg1", touch=replace(touch, reached_at=Instant(NOW - 0.9)))
    assert _urgency(slow) is Urgency.WAITING
    long_ago = seen(gone, "pg1", touch=replace(touch, reached_at=Instant(NOW - 60.0)))
    assert _urgency(long_ago) is Urgency.NOW


def _urgency(cluster: Cluster) -> Urgency | None:
    finding = judged(cluster).find(Problem.PRIMARY_LOST)
    return finding.urgency if finding else None


def test_a_process_that_waits_for_its_disk_in_one_look_is_not_frozen() -> None:
    once = on_host(frozen(C, for_s=60), "pg1", postmaster=Postmaster.FROZEN, frozen_since=NOW)
    assert explained(once) == "primary_hung waiting"
    assert judged(once).due is None, "a look decides, not a moment"
    twice = on_host(once, "pg1", postmaster=Postmaster.FROZEN, frozen_since=Instant(NOW - 0.5))
    assert explained(twice) == "primary_hung now"
