"""The section that says how copies of nodes are made: `clone`."""

import re
from datetime import timedelta
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from pgvigil.config.section import Section
from pgvigil.config.units import Duration, Size, Text
from pgvigil.model.spec import CheckpointPace, Cloning

PLACEHOLDERS: Final = (
    "new_dir",
    "data_dir",
    "bin_dir",
    "cluster",
    "node",
    "host",
    "port",
    "source",
    "source_host",
    "source_port",
)
"""What a clone command may name in braces."""
SLOWEST: Final = 32 * 1024
FASTEST: Final = 1024 * 1024 * 1024
"""The bounds of `pg_basebackup --max-rate`."""


def _command(text: str) -> str:
    words = set(re.findall(r"(?<!\$)\{(\w+)\}", text))
    if unknown := sorted(words - set(PLACEHOLDERS)):
        raise ValueError(f"knows no {{{unknown[0]}}}; there are {', '.join(PLACEHOLDERS)}")
    if "new_dir" not in words:
        raise ValueError("must name {new_dir}, the empty directory that the copy goes to")
    return text


def copy_rate(value: int) -> int:
    """Bytes a second that pg_basebackup can be held to. Raises ValueError."""
    if value and not SLOWEST <= value <= FASTEST:
        raise ValueError("must be 0B (no limit), or from 32kB to 1GB a second")
    return value


class CloneSection(Section):
    """How copies of nodes are made, by pgvigil of its own accord and by `pgvigil clone`."""

    max_rate: Annotated[Size, AfterValidator(copy_rate)] = Field(
        default=0, description="At most so much a second is copied, from 32kB to 1GB; `0B`: no limit."
    )
    checkpoint: CheckpointPace = Field(
        default=CheckpointPace.FAST,
        description="The checkpoint before the copy: `fast` at once; `spread` slowly, which spares the "
        "source's disks and delays the copy by minutes.",
    )
    command: Annotated[Text, AfterValidator(_command)] | None = Field(
        default=None,
        description="Shell line of yours, run on the node in place of pg_basebackup, such as a restore by "
        "pgBackRest, Barman or WAL-G. It has to fill the empty directory {new_dir}; also known are "
        + ", ".join(f"{{{name}}}" for name in PLACEHOLDERS[1:])
        + ".",
    )
    command_timeout: Duration = Field(
        default=timedelta(hours=23), description="The command is ended, and the copy has failed, after this."
    )

    def spec(self) -> Cloning:
        """The same, as the core knows it."""
        return Cloning(self.max_rate, self.checkpoint, self.command or "", self.command_timeout)
