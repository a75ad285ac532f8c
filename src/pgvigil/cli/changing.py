"""A change of the configuration file: proved, shown as a diff, written, and told the controller."""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from pgvigil.cli.desk import Desk, run_async
from pgvigil.cli.theme import BAD, DIM, GOOD
from pgvigil.errors import Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgvigil.cli.reach import Config

URL = re.compile(r"""([a-zA-Z][a-zA-Z0-9+.-]*)://[^\s'",}\]]+""")
"""Anything like a URL; what follows its scheme may be a secret."""


@dataclass(frozen=True, slots=True)
class Change:
    """The file before and after; `config` is what the new text says, checked."""

    file: Path
    old: str
    new: str
    config: "Config"

    @property
    def diff(self) -> list[str]:
        """As `diff -u` prints it, without the targets of messages: their URLs may be secrets."""
        old, new = (URL.sub(r"\1://…", text).splitlines() for text in (self.old, self.new))
        return list(difflib.unified_diff(old, new, str(self.file), str(self.file), lineterm="", n=2))


def worked_out(desk: Desk, edit: "Callable[[str], str]") -> Change:
    """The change, checked as a whole. Raises ConfigError with every mistake, UsageError; writes nothing."""
    from pgvigil.config.edit import read_text
    from pgvigil.config.load import find, parse

    file = find(desk.config_path)
    old = read_text(file)
    new = edit(old)
    return Change(file, old, new, parse(new.encode(), file))


def show(desk: Desk, change: Change) -> None:
    """The diff, on standard error."""
    for line in change.diff:
        style = {"+": GOOD, "-": BAD}.get(line[:1], DIM) if line[:3] not in ("+++", "---") else DIM
        desk.tell(Text(line, style=style))


def write(change: Change) -> None:
    """Put the new text in place. Raises ConfigError if the file changed meanwhile or cannot be written."""
    from pgvigil.config.edit import replace_text

    replace_text(change.file, change.old, change.new)


def reload(desk: Desk, change: Change) -> str:
    """Have a running controller read it; what changed there. Raises what the controller answers."""
    from pgvigil.api.socket_client import SocketOperations

    operations = SocketOperations(desk.config.socket)
    try:
        run_async(operations.ping())
    except Unreachable:
        return "no controller runs; the next one reads it"
    return f"the controller: {run_async(operations.reload())}"
