"""Callers who gave a command and may not: each address is told of now and then, so that nobody can flood."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pgvigil.controller.operations import Giver
from pgvigil.model.units import ClusterName

EVERY_S: Final = 60.0
"""The same address about the same cluster is told of so often; what comes between is counted."""
ADDRESSES_MAX: Final = 1_000
"""So many are told apart; with more the oldest is forgotten."""
TOLD_MAX: Final = 30
"""So many are told of within `EVERY_S`, whoever they are."""

Tell = Callable[[ClusterName, str, Giver, str, int], None]


@dataclass(slots=True)
class _Known:
    told: float
    untold: int = 0


class Denials:
    """Counts, and tells at a bounded rate."""

    def __init__(self, tell: Tell, now: Callable[[], float] = time.monotonic) -> None:
        self._tell, self._now = tell, now
        self._known: dict[tuple[ClusterName, str], _Known] = {}
        self._window, self._told = now(), 0

    def tell(self, cluster: ClusterName, command: str, by: Giver, why: str) -> None:
        """Somebody was refused."""
        at, key = self._now(), (cluster, by.whence)
        if at - self._window >= EVERY_S:
            self._window, self._told = at, 0
        known = self._known.pop(key, None)
        if self._told >= TOLD_MAX or (known and at - known.told < EVERY_S):
            known = known or _Known(at - EVERY_S)
            known.untold += 1
            self._keep(key, known)
            return
        self._told += 1
        self._keep(key, _Known(at))
        self._tell(cluster, command, by, why, known.untold if known else 0)

    def _keep(self, key: tuple[ClusterName, str], known: _Known) -> None:
        self._known[key] = known
        if len(self._known) > ADDRESSES_MAX:
            del self._known[next(iter(self._known))]
