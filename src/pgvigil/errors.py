"""Every error meant for a person: what happened, in which detail, what to do.

The class says what the reader can do about it; the instance says what happened. Outcomes that belong
to daily life (no answer, refused, too far behind) are values in `model.sighting`, not errors.
"""

from typing import ClassVar


class PgvigilError(Exception):
    """Base of all our errors. `exit_code` is the command's, `status` the HTTP answer's."""

    exit_code: ClassVar[int] = 1
    status: ClassVar[int] = 500
    hint: str = "the log has the full trace; please report it if it happens again"

    def __init__(self, what: str, *, detail: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what, self.detail, self.hint = what, detail, hint or self.hint

    def __str__(self) -> str:
        return f"{self.what}: {self.detail}" if self.detail else self.what


class ConfigError(PgvigilError):
    """The configuration file is wrong; nothing was started or changed."""

    exit_code, status = 2, 400
    hint = "correct the file and run: pgvigil check"


class UsageError(PgvigilError):
    """The call is wrong; nothing was changed."""

    exit_code, status = 2, 400
    hint = "see: pgvigil --help"


class Unsafe(PgvigilError):
    """Refused, because it could lose data or make two primaries; nothing was changed."""

    exit_code, status = 3, 409
    hint = "see: pgvigil status"


class StepFailed(PgvigilError):
    """A step did not reach its goal; the world is as `detail` says, and the step may be repeated."""

    hint = "the controller looks again and decides anew; see: pgvigil events"


class WorldChanged(StepFailed):
    """The node is no longer what the decision saw: nothing was done. Decide again."""

    hint = "nothing to do: the controller looks again and decides anew"


class TimedOut(PgvigilError):
    """Not finished within its time; it may still finish."""

    exit_code, status = 4, 504
    hint = "see how far it came: pgvigil status"


class Unreachable(PgvigilError):
    """A node, host or controller could not be reached or did not let us in."""

    status = 503
    hint = "check the address, the network and the login: pgvigil check"


class StoreError(PgvigilError):
    """The controller's own state cannot be read or written. Databases are not affected."""

    status = 503
    hint = "databases run on; see docs/operate/store.md"


class Bug(PgvigilError):
    """Something that cannot happen did. The cluster concerned is held."""
