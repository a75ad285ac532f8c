"""How much a controller may do."""

from enum import StrEnum, auto


class Mode(StrEnum):
    """What a controller may do."""

    GUARD = auto()
    """Everything."""
    ORDERS = auto()
    """Carry out commands, and finish what was begun; nothing of its own accord."""
    LOOK = auto()
    """Nothing but look and say what it would decide."""
