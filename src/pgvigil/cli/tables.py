"""Tables without lines that leave out their least needed columns until they fit the terminal."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from pgvigil.cli.theme import DIM

Shape = Mapping[str, Any]
"""An object in one of the shapes of `controller.status_shape`."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: how to fill it, and when it may be left out for want of room."""

    title: str
    cell: Callable[[Shape], Text | str]
    drop: int = 0
    """The highest number is left out first; 0: never."""
    justify: Literal["left", "right"] = "left"
    folds: bool = False
    """Long cells go on in the next line instead of being cut."""


def fitting_table(
    console: Console, columns: Sequence[Column], rows: Sequence[Shape], *, wide: bool = False
) -> Table:
    """The richest table that fits the console; `wide`: every column. Empty columns are left out."""
    used = [column for column in columns if any(str(column.cell(row)) for row in rows)]
    limits = sorted({column.drop for column in used} | {0}, reverse=True)
    table = Table()
    for limit in limits:
        table = _table([column for column in used if column.drop <= limit], rows)
        if wide or Measurement.get(console, console.options, table).maximum < console.width:
            break
    return table


def _table(columns: Sequence[Column], rows: Sequence[Shape]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=DIM)
    for column in columns:
        table.add_column(column.title, justify=column.justify, overflow="fold", no_wrap=not column.folds)
    for row in rows:
        table.add_row(*(column.cell(row) for column in columns))
    return table


def hanging(mark: Text, body: RenderableType) -> RenderableType:
    """A mark with a body beside it that wraps under itself."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column()
    grid.add_row(mark, body)
    return grid
