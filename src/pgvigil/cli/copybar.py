"""The bar of a copy: bytes, rate and time left, on a terminal that can draw; else a line now and then."""

from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from rich.console import Console

from pgvigil.cli.theme import NOTE, bytes_text, seconds_text
from pgvigil.model.progress import Copied

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

STEPS: Final = 10
"""Without a terminal every tenth part is told."""


def copied_text(copied: Copied) -> str:
    """How far it is, for people."""
    text = f"{bytes_text(copied.done_kb * 1024)} of {bytes_text(copied.total_kb * 1024)}"
    if copied.rate_kb_s is not None and copied.left_s is not None:
        left = f"{copied.left_s} s" if copied.left_s < 60 else seconds_text(float(copied.left_s))
        text += f", {bytes_text(copied.rate_kb_s * 1024)}/s, {left} left"
    return text


class CopyBar:
    """A bar on the last line, made when the first copy is told of."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._told = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def show(self, copied: Copied) -> str:
        """Draw it; or the line to print, empty when there is nothing new to say."""
        if self._console.is_terminal:
            self._draw(copied)
            return ""
        if copied.percent * STEPS // 100 == self._told:
            return ""
        self._told = copied.percent * STEPS // 100
        return f"copy from {copied.source}: {copied.percent} %, {copied_text(copied)}"

    def _draw(self, copied: Copied) -> None:
        if self._progress is None:
            from rich.progress import BarColumn, Progress, TextColumn  # help needs none

            columns = (
                TextColumn("copy from {task.fields[source]}"),
                BarColumn(complete_style=NOTE),
                TextColumn("{task.percentage:>3.0f} %  {task.fields[text]}"),
            )
            self._progress = Progress(*columns, console=self._console)
            self._task = self._progress.add_task("copy", total=100, source=copied.source, text="")
            self._progress.start()
        # the estimate may fall short of what comes: the bar waits at its end then
        assert self._task is not None
        self._progress.update(
            self._task, completed=copied.percent, source=copied.source, text=copied_text(copied)
        )
