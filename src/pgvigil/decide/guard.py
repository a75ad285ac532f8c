"""What the old primary's guard proves: when it must have stopped its server, and what is lacking for that.

The guard stops a primary that has no lease and sees fewer than a majority of the nodes, itself counted. So
two things are to be known, and both by our own clock. The lease: no renewal that was ever sent lasts beyond
`leased_until`. The sight: so many other nodes must be cut off from the old primary that those left, and it
itself, are fewer than a majority. When both have held without a break for as long as the guard takes to
notice and to act, it has acted (docs/concepts/fencing.md has the argument for 2, 3 and 5 nodes).
"""

from typing import Final

from pgvigil.decide.situation import Situation
from pgvigil.model.guard import WATCHES, CutOff, GuardLook, GuardState
from pgvigil.model.sighting import NoAnswer, Silence
from pgvigil.model.step import Hold
from pgvigil.model.units import Instant

REACTION_S: Final = 3.0
"""Within this after both have come true the guard has looked around and the server is dead: half a second
between two turns, one to look, a tenth to write, half to end, and rest for a busy machine (`guard.sh`)."""
MARGIN_S: Final = 1.0
DRIFT: Final = 0.01
"""By how much two monotonic clocks may differ: a hundred times what the kernel allows itself."""
STALE_S: Final = 6.0
"""A vantage point whose newest test ended longer ago says nothing of now: one test takes 3.5 s at most."""
GONE: Final = frozenset({Silence.OVERDUE, Silence.TIMED_OUT})
"""Where not even TCP connects. A server that is hung or stopped leaves its host in sight of the others."""


def cut_off_needed(nodes: int) -> int:
    """How many other nodes must be cut off for the rest to be fewer than a majority."""
    majority = nodes // 2 + 1
    return nodes - majority + 1


def guard_proves(situation: Situation) -> bool:
    """Whether the guard must have stopped the old primary by now."""
    guard = _guard(situation)
    if guard is None or guard.state is not GuardState.ALIVE:
        return False
    cut_off = _enough(situation)
    if cut_off is None:
        return False
    both = max(guard.leased_until, cut_off.since)
    return situation.view.at >= both + _needed_s(situation) and cut_off.until >= both + REACTION_S


def guard_wait(situation: Situation) -> Hold | None:
    """The old primary may have a lease yet, or its guard may not have acted yet: until when to wait.

    Also where the guard is outdated, or was never heard of by this controller: whatever is decided then, it
    is better decided when no guard lets its primary go on. None: there is nothing more to wait for.
    """
    guard, name, now = _guard(situation), situation.primary.name, situation.view.at
    if guard is None or guard.state not in (*WATCHES, GuardState.UNKNOWN):
        return None
    cut_off = _enough(situation) if guard.state is GuardState.ALIVE else None
    both = max(guard.leased_until, cut_off.since) if cut_off else guard.leased_until
    due = Instant(both + _needed_s(situation))
    if now >= due and cut_off and not guard_proves(situation):
        due = Instant(now + MARGIN_S)  # the newest test of the other hosts has not ended yet
    if now >= due:
        return None
    hint = "wait; or fence it yourself and: " + f"pgvigil failover {situation.spec.name} --force"
    reason = f"{name} cannot be reached, and its guard needs time to have stopped it"
    return Hold("guard_lease", reason, hint, due, _evidence(situation, guard))


def guard_lacks(situation: Situation) -> str:
    """Why the guard proves nothing; empty: there is none in the configuration, or it does."""
    node, spec = situation.primary, situation.spec
    if not spec.fencing.guard or guard_proves(situation):
        return ""
    if node.guard is None:
        return f"{node.name} has no shell, and so no guard"
    if node.guard.state is not GuardState.ALIVE:
        return f"its guard was {node.guard.state} when it was last heard of"
    if _guard(situation) is None:
        return "its host can be reached, so its guard would not act"
    count, needed = len(_fresh(situation)), cut_off_needed(len(spec.nodes))
    return f"its guard may see a majority: {count} of {needed} other nodes are known to be cut off from it"


def _guard(situation: Situation) -> GuardLook | None:
    """The guard of a primary that is gone from our sight; None: it has none, or it is not gone."""
    sql = situation.primary.sql
    gone = isinstance(sql, NoAnswer) and sql.silence in GONE
    return situation.primary.guard if gone and situation.spec.fencing.guard else None


def acts_s(lease_s: float) -> float:
    """Seconds from the moment when both are true until the server is dead, by any two clocks."""
    return REACTION_S + MARGIN_S + DRIFT * (lease_s + REACTION_S)


def _needed_s(situation: Situation) -> float:
    return acts_s(situation.spec.fencing.guard_lease.total_seconds())


def _fresh(situation: Situation) -> list[CutOff]:
    now = situation.view.at
    return [cut_off for cut_off in situation.primary.cut_off if now - cut_off.until <= STALE_S]


def _enough(situation: Situation) -> CutOff | None:
    """Since when, and until when at least, enough others were cut off at once; None: they are not."""
    needed = cut_off_needed(len(situation.spec.nodes))
    first = sorted(_fresh(situation), key=lambda cut_off: cut_off.since)[:needed]
    if len(first) < needed:
        return None
    return CutOff("", max(c.since for c in first), min(c.until for c in first))


def _evidence(situation: Situation, guard: GuardLook) -> tuple[str, ...]:
    left = guard.leased_until - situation.view.at
    lease = f"its lease lasts at most {left:.1f} s more" if left > 0 else "its lease has run out"
    state = f"its guard was {guard.state} when it was last heard of"
    names = [f"{cut_off.vantage} is cut off from it" for cut_off in _fresh(situation)]
    return (state, lease, *names)
