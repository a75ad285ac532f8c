"""How much a person should care about an event, where that differs from what its level says, and who gets it.

The level of an event is about the event; a message is about the story that it belongs to. The end of a change
of primary interests whoever was woken by its begin; a hold is half a second of patience, or the reason why
nobody serves.
"""

from fnmatch import fnmatchcase
from typing import Final

from pgvigil.model.notify import TargetSpec
from pgvigil.model.record import Event, Level

ENDS: Final = frozenset({"promoted", "came_back", "restarted", "undone", "adopted", "restarted_as_standby"})
"""How what began with an alert ended."""
BLOCKED: Final = frozenset(
    {
        "candidate_silent",
        "commits_wait",
        "cool_down",
        "guard_lease",
        "nobody_fit",
        "nobody_leads",
        "not_automatic",
        "not_fenced",
        "not_lossless",
        "objected",
        "promotion_overdue",
        "restart_loop",
        "standby_cluster_writes",
        "system_foreign",
    }
)
"""Holds in which a human must do something, or nobody serves for as long as they last."""
RESULTS: Final = frozenset(
    {"drill", "drill_ended", "schedule_done", "protected", "promote_site", "demote_site", "rejoined"}
)
"""Results that people wait for; of no urgency."""
PATIENCE: Final = frozenset(
    {
        "catching_up",
        "cutting",
        "host_unheard",
        "leader_silent",
        "looking",
        "primary_restarting",
        "processes_left",
        "restarting",
        "stopping",
        "timeline_unchanged",
    }
)
"""Holds that end by themselves: something is being waited for."""

_RANK: Final = {level: rank for rank, level in enumerate(Level)}


def grade(event: Event) -> Level:
    """How urgent the event is for people."""
    if event.kind in ENDS or event.kind in BLOCKED:
        return Level.ALERT
    if event.kind in RESULTS:
        return max(event.level, Level.WARNING, key=_RANK.__getitem__)
    if event.kind in PATIENCE and event.level is Level.WARNING:
        return Level.INFO
    return event.level


def gravest(grades: "list[Level]") -> Level:
    """The most urgent of them."""
    return max(grades, key=_RANK.__getitem__)


def wanted(event: Event, target: TargetSpec) -> bool:
    """Whether the target is to be told of the event, now or later."""
    if event.data.get("target") == target.name:
        return False  # of its own trouble the others are told
    if any(fnmatchcase(event.kind, pattern) for pattern in target.never):
        return False
    if any(fnmatchcase(event.kind, pattern) for pattern in target.also):
        return True
    return target.level is not None and _RANK[grade(event)] >= _RANK[target.level]
