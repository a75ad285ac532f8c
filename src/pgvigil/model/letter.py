"""What one controller asks of another that guards a cluster, and what that one answers."""

from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Final

from pgvigil.model.units import ClusterName

LETTER_MAX: Final = 500_000
"""Characters of what is asked: far above any command, below half of what etcd takes at once."""
ANSWER_MAX: Final = 8_000_000
"""Characters of what came of it: a recording has at most 1.4 million."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A command on its way. It is only for who holds the lock of the cluster that is named here."""

    number: str
    """Random; no two letters have the same."""
    sender: str
    to: str
    cluster: ClusterName
    lock: int
    """etcd's revision at which `to` took the cluster's lock."""
    text: str


class Way(StrEnum):
    """How far a letter has come."""

    WAITS = auto()
    """Nobody has taken it yet."""
    STRAYS = auto()
    """Nobody has taken it, and who it was for does not guard the cluster any more."""
    TAKEN = auto()
    ANSWERED = auto()
    """The last word on it is there."""
    GONE = auto()
    """Neither it nor an answer is there: a controller lost its lease meanwhile."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How far a letter has come, and what its taker told last."""

    way: Way
    text: str = ""
