"""What every store keeps at most, and what every store answers to a record that was changed meanwhile."""

from typing import Final

from pgvigil.errors import StoreError
from pgvigil.model.parameter import ParameterVersion
from pgvigil.model.record import ClusterRecord

EVENTS_KEPT: Final = 100_000
"""Events of all clusters together; older ones are dropped. About 50 MB, years of a quiet fleet."""

RECORDINGS_KEPT: Final = 200
"""Recordings of all clusters together without a change of primary; older ones are dropped."""

CHANGES_KEPT: Final = 200
"""The same for those with one."""

RECORDING_AT_MOST: Final = 1024 * 1024
"""Bytes of one, packed; a larger one is not kept. Mostly they have some ten thousand."""

WAITING_AT_MOST: Final = 10_000
"""Calls that may wait for a stalled disk. Beyond that a call fails at once instead of filling the memory."""


def record_changed(record: ClusterRecord, stored: int) -> StoreError:
    """The error of a save whose record is not made from the one that is stored (`stored`: its revision)."""
    return StoreError(
        f"the record of {record.cluster} was changed by somebody else",
        detail=f"it was read at revision {record.revision} and is now at {stored}",
        hint="nothing was stored; it is read again before anything is done",
    )


def version_taken(version: ParameterVersion) -> StoreError:
    """Somebody else stored a version of that number meanwhile; nothing was stored."""
    return StoreError(
        f"version {version.number} of the parameters of {version.cluster} exists already",
        hint="see: pgvigil config history; then give the command again",
    )
