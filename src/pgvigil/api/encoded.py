"""Statuses as text, made once for all who ask: a status is the same object until more is known."""

import json

from pgvigil.controller.operations import Json


class Encoded:
    """The text of each cluster's last status. Whoever reads a status changes nothing in it."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Json, bytes]] = {}

    def of(self, status: Json) -> bytes:
        """The status as compact JSON."""
        name = str(status["cluster"])
        kept = self._kept.get(name)
        if kept is None or kept[0] is not status:
            text = json.dumps(status, separators=(",", ":"), ensure_ascii=False, default=str)
            kept = self._kept[name] = (status, text.encode(errors="backslashreplace"))
        return kept[1]
