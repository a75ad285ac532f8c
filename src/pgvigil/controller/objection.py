"""The user's own rules may hold an automatic failover; they are asked again a while later."""

from collections.abc import Callable
from typing import Final

from pgvigil.model.record import ClusterRecord, Event, Phase
from pgvigil.model.step import Act, Hold
from pgvigil.model.units import Instant
from pgvigil.ports.contract import Advisor, Clock

OBJECTION_S: Final = 5.0
"""How long an objection of `hooks.before_failover` holds before it is asked again."""


class Objections:
    """What the user's rules last said."""

    def __init__(self, advisor: Advisor | None, clock: Clock) -> None:
        self._advisor, self._clock = advisor, clock
        self._hold: Hold | None = None

    async def against(self, act: Act, record: ClusterRecord, event: Callable[[], Event]) -> Hold | None:
        """Why an act is not begun now; None: nothing speaks against it, or nobody is to be asked."""
        begins = record.phase is Phase.STABLE and act.record and act.record.phase is Phase.FENCING
        if not begins or self._advisor is None or act.rule == "command":
            self._hold = None
            return None
        now = self._clock.now()
        if self._hold is None or self._hold.until is None or now >= self._hold.until:
            if not (reason := await self._advisor.objection(event())):
                return None
            until = Instant(now + OBJECTION_S)
            hint = f"pgvigil failover {record.cluster} does it all the same"
            self._hold = Hold("objected", f"before_failover: {reason}", hint, until, act.evidence)
        return self._hold
