"""How many standbys prove something about commits that wait for `ANY acks (standbys)` (SAFETY §3). Pure.

A commit is acknowledged when `acks` of the standbys have flushed it. Cut so many of them that fewer than
`acks` are left: from then on nothing is acknowledged. As many overlap with whoever acknowledged a commit
before, so the furthest of those that are cut has every acknowledged commit. Both are true of the same
number, and only in that order: cut, then compare.
"""

from collections.abc import Set as AbstractSet

from pgvigil.model.record import SyncSet
from pgvigil.model.units import NodeName


def cuts_needed(in_force: SyncSet) -> int:
    """How many of the standbys must be cut before comparing: n - k + 1.

    Raises ValueError for a set that nobody waits for: no number of cuts proves anything about it.
    """
    if not in_force.can_acknowledge:
        raise ValueError(f"nothing is promised by {in_force}")
    return len(in_force.standbys) - in_force.acks + 1


def revoked(in_force: SyncSet, cut: AbstractSet[NodeName]) -> bool:
    """Whether a primary under that set can acknowledge nothing more, and the cut ones have all it did."""
    return in_force.can_acknowledge and len(in_force.standbys & cut) >= cuts_needed(in_force)


def weaker(one: SyncSet, other: SyncSet | None) -> SyncSet:
    """A set whose promise is true while a change between the two is under way.

    WAL senders take the new setting at different moments, so a commit may be acknowledged by any mixture.
    A mixture never waits for fewer than the smaller number, nor counts anybody outside of both.
    """
    if other is None:
        return one
    return SyncSet(min(one.acks, other.acks), one.standbys | other.standbys)


def next_change(present: SyncSet, wanted: SyncSet) -> SyncSet:
    """The next of the small changes that lead from one set to another; `wanted` when it is the last.

    Widen before narrowing, and change the number apart from the members: each mixture of the old and the
    new is then covered by the weaker of the two. Between a set that promises nothing and another there is
    nothing to keep, so that goes at once.
    """
    if not present.acks or not wanted.acks:
        return wanted
    if not wanted.standbys <= present.standbys:
        return SyncSet(present.acks, present.standbys | wanted.standbys)
    if wanted.acks < present.acks:
        return SyncSet(wanted.acks, present.standbys)
    return wanted if wanted.acks == present.acks else _narrow_then_raise(present, wanted)


def _narrow_then_raise(present: SyncSet, wanted: SyncSet) -> SyncSet:
    if wanted.standbys != present.standbys:
        return SyncSet(present.acks, wanted.standbys)
    return wanted
