"""What `check` and `discover` find: whether a cluster is ready to be protected, item by item."""

from dataclasses import dataclass
from enum import StrEnum, auto


class CheckLevel(StrEnum):
    """How much an item matters, mildest first."""

    OK = auto()
    ADVICE = auto()
    """It works; it would work better otherwise."""
    WARNING = auto()
    """Protected, but not in every case."""
    ERROR = auto()
    """Not protected before this is mended."""


@dataclass(frozen=True, slots=True)
class CheckItem:
    """One thing that was looked at: where, what was found, and how to mend it (empty when it is fine)."""

    level: CheckLevel
    place: str
    """A cluster, a node, or `orders/pg1`."""
    what: str
    fix: str = ""


def worst(items: tuple[CheckItem, ...] | list[CheckItem]) -> CheckLevel:
    """The gravest level among the items; OK when there are none."""
    order = list(CheckLevel)
    return max((item.level for item in items), key=order.index, default=CheckLevel.OK)
