"""What a cluster's loop does while its record cannot be written: nothing new, with the reason, and try again.

A change may not begin, nor go on to its next phase, without a durable record (DESIGN §1.5): a successor of
this controller would not know of it. Watching goes on, and so does what a phase on record already allows.
"""

from typing import Final

from pgvigil.errors import StoreError
from pgvigil.model.record import ClusterRecord, Phase
from pgvigil.model.step import Act, Hold
from pgvigil.model.units import Instant

AGAIN_S: Final = 1.0


class Unwritten:
    """The newest failure to save, until one succeeds."""

    def __init__(self) -> None:
        self._hold: Hold | None = None

    def holds(self, act: Act, now: Instant) -> Hold | None:
        """Why this act is not tried now; None: go on. What needs no record is never held."""
        due = self._hold.until if self._hold else None
        return self._hold if act.record is not None and due is not None and now < due else None

    def failed(self, error: StoreError, act: Act, record: ClusterRecord | None, now: Instant) -> Hold:
        """A save failed: what is held, and until when."""
        stopped = record is not None and record.phase is not Phase.STABLE
        what = f"the change of primary cannot go on ({record.phase})" if stopped and record else ""
        reason = f"{what or 'nothing can be begun'}, its record cannot be written: {error}"
        self._hold = Hold("store_failed", reason, error.hint, Instant(now + AGAIN_S), act.evidence)
        return self._hold

    def saved(self) -> None:
        """The store works."""
        self._hold = None
