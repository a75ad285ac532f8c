"""Which way back a stopped node needs, judged from its control file and its upstream's history. No I/O.

A timeline of the node is part of the upstream's history up to the fork. The fork is the end of a record
that both have, so a node that has no record at the fork or behind it has nothing the upstream lacks: it
is started and streams. One that has was written to by itself, and must be rewound.
"""

import re
from dataclasses import dataclass
from typing import Final

from pgvigil.model.sighting import ControlFile
from pgvigil.model.step import RebuildMethod
from pgvigil.model.units import History, Lsn

_RECORD: Final = re.compile(r"\blsn: ([0-9A-F]{1,8}/[0-9A-F]{1,8})")
_NOTHING: Final = re.compile(r"could not find a valid record|could not (?:find|open|locate) (?:WAL )?file")


@dataclass(frozen=True, slots=True)
class Needed:
    """The mildest method that can work, and why."""

    method: RebuildMethod
    reason: str


def fork(control: ControlFile, history: History | None) -> Lsn | None:
    """Where the node's timeline left the upstream's history; None: it is no part of it, or still goes on."""
    if history is None or control.timeline == history.timeline:
        return None
    return history.reaches(control.timeline)


def has_record(dump: str) -> bool | None:
    """What `pg_waldump -s FORK -n 1` says in C locale: a record there, none, or (None) nothing to go by.

    WAL has no gaps: without a record that begins at the fork, recovery reaches none behind it.
    """
    if _RECORD.search(dump):
        return True
    return False if _NOTHING.search(dump) else None


def needed(control: ControlFile, history: History | None, beyond: bool | None) -> Needed:
    """`history`: the upstream's, None if unreadable. `beyond`: whether the node has a record at the fork.

    In doubt pg_rewind looks for itself: it does nothing where nothing diverged.
    """
    if history is None:
        return Needed(RebuildMethod.REWIND, "the upstream's timeline history could not be read")
    here = f"timeline {control.timeline}"
    if control.timeline == history.timeline:
        if control.in_recovery:
            return Needed(RebuildMethod.START, f"it was a standby on {here}, as its upstream is")
        return Needed(
            RebuildMethod.CLONE,
            f"it was out of recovery on {here}, its upstream's: no fork explains it",
        )
    at = fork(control, history)
    if at is None:
        return Needed(RebuildMethod.REWIND, f"its {here} is no part of the upstream's history")
    if control.checkpoint >= at:
        return Needed(
            RebuildMethod.REWIND, f"its checkpoint {control.checkpoint} lies behind the fork at {at}"
        )
    if beyond is None:
        return Needed(RebuildMethod.REWIND, f"it cannot be told where its WAL ends; the fork is at {at}")
    if beyond:
        return Needed(RebuildMethod.REWIND, f"it has WAL behind the fork at {at}")
    return Needed(RebuildMethod.START, f"its WAL ends at or before the fork at {at}")
