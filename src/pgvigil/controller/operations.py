"""What faces may ask of a controller: one Protocol, served in-process and over the socket."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Any, Final, Protocol

from pgvigil.model.command import Command
from pgvigil.model.units import ClusterName

Json = dict[str, Any]
"""A JSON object; the shapes are documented where they are made (`controller.status`)."""


class Result(StrEnum):
    """How a command ended; the CLI's exit codes follow from it (DESIGN §6)."""

    DONE = auto()
    PLANNED = auto()
    """`dry_run`: nothing was changed."""
    FAILED = auto()
    REFUSED = auto()
    """It would not be safe; nothing was done."""
    WRONG = auto()
    """The call is wrong: a node, parameter or value that there is not; nothing was done."""
    TIMED_OUT = auto()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a command, for people and programs."""

    result: Result
    text: str
    detail: str = ""
    hint: str = ""
    plan: tuple[str, ...] = ()
    """The steps as sentences: those that would be done, or were done."""
    data: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Giver:
    """Who gives a command, and from where."""

    who: str
    """`user alice`, `token deploy`, `certificate dba-laptop`."""
    whence: str
    """`http 10.0.0.5`, `socket`, `command line`."""


NOBODY_NAMED: Final = Giver("somebody", "this process")


class Operations(Protocol):
    """A controller, as faces see it."""

    async def status(self, cluster: ClusterName | None = None) -> list[Json]:
        """One object a cluster, as `controller.status.status_json` makes it. Raises UsageError."""
        ...

    async def order(
        self,
        cluster: ClusterName,
        command: Command,
        *,
        dry_run: bool,
        within_s: float,
        progress: Callable[[str], None],
        by: Giver | None = None,
    ) -> Outcome:
        """Carry out a command; `progress` gets sentences while it runs. Raises UsageError.

        `by`: None is whoever runs this process; behind a socket the controller sees by itself who it is.
        """
        ...

    async def events(self, cluster: ClusterName | None, *, limit: int, after: int = 0) -> list[Json]:
        """The newest events with a number above `after`, oldest first."""
        ...
