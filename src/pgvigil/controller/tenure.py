"""Whether this controller may act on its cluster, where several share a fleet (SAFETY of etcd: leases).

Checked when a decision is made, while its stages run, and by every step right before each of its effects.
Only what comes after a promotion that has succeeded goes on without a confirmed lease, until another
controller may act: it is what a successor would do, too, and leaves clients without a primary the shorter.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from pgvigil.act.engine import Outcome
from pgvigil.errors import StoreError
from pgvigil.model.record import ClusterRecord
from pgvigil.model.step import Hold, Promote
from pgvigil.model.units import ClusterName
from pgvigil.ports.contract import Lease

LOOK_S: Final = 0.25
"""While stages run, the lease is looked at this often, whatever happens."""
HINT: Final = (
    "databases run on and are watched; it acts again when etcd answers, or another controller does: "
    "see docs/operate/several-controllers.md"
)


class Tenure:
    """One cluster's. Without a lease (a single controller) everything is allowed always."""

    def __init__(self, lease: Lease | None, cluster: ClusterName, *, acts: bool = True) -> None:
        """`acts`: whether this controller is to do more than look."""
        self._lease, self._cluster, self._acts = lease, cluster, acts
        self._promoted = False
        self._stale = False

    @property
    def look_s(self) -> float | None:
        """How long stages may run without a look at the lease; None: as long as they like."""
        return LOOK_S if self._lease else None

    def acts(self) -> bool:
        """Whether this controller is in charge of the cluster now."""
        return self._acts and not self.lost()

    def lost(self) -> str:
        """Why nothing may be begun; empty: it may."""
        return self._lease.lost(self._cluster) if self._lease else ""

    def objection(self) -> str:
        """Why a step may not have its effect now; empty: it may."""
        if self._promoted and self._lease:
            return self._lease.ended(self._cluster)
        return self.lost()

    def begin(self) -> None:
        """Stages begin."""
        self._promoted = False

    def note(self, outcome: Outcome) -> None:
        """A step has ended."""
        if isinstance(outcome.step, Promote) and outcome.error is None:
            self._promoted = True

    async def hold(self, load: Callable[[], Awaitable[ClusterRecord | None]]) -> Hold | ClusterRecord | None:
        """What to decide instead, while there is no lease; the record read anew when there is one again.

        None: nothing has happened to the lease.
        """
        self._promoted = False
        if why := self.lost():
            self._stale = True
            return Hold("lease_lost", f"nothing is begun: {why}", HINT)
        if not self._stale:
            return None
        try:
            record = await load()
        except StoreError as error:
            return Hold(
                "lease_lost", f"nothing is begun before the record is read again: {error}", error.hint
            )
        self._stale = False
        return record
