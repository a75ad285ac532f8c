"""A pause before the same act is tried again, longer each time: it did not help before."""

import asyncio
from typing import Final

from pgvigil.model.step import Act

BACKOFF_S: Final = (0.0, 0.05, 0.2, 0.5, 1.0, 2.0)


class Hesitation:
    """Remembers what was done last."""

    def __init__(self) -> None:
        self._again = 0
        self._last: tuple[object, ...] = ()

    async def before(self, act: Act) -> None:
        """Wait as long as it is fit before that act."""
        same = (act.rule, act.stages)
        self._again = self._again + 1 if same == self._last and act.record is None else 0
        self._last = same
        await asyncio.sleep(BACKOFF_S[min(self._again, len(BACKOFF_S) - 1)])
