"""Every change of primary, with whose command it was, from a cluster's events. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pgvigil.controller.operations import Json
from pgvigil.controller.status_shape import is_change_of_primary

EVENTS_MAX: Final = 10_000
"""How far back `history` reads: more events than a busy cluster has in a year."""
BEGINNINGS: Final = frozenset({"command", "switchover", "promote_site", "demote_site"})
"""Events that tell of the first step of a change for a command."""


def changes_of_primary(events: Iterable[Mapping[str, Any]]) -> list[Json]:
    """The events that end one, oldest first; `data.by` is who gave the command, if it was one."""
    givers: dict[int, str] = {}
    found = []
    for event in events:
        if event["kind"] in BEGINNINGS and "by" in event["data"]:
            givers[event["generation"]] = event["data"]["by"]
        elif is_change_of_primary(event):
            found.append(_signed(event, givers.get(event["generation"])))
    return found


def _signed(event: Mapping[str, Any], giver: str | None) -> Json:
    return dict(event) if giver is None else {**event, "data": {**event["data"], "by": giver}}
