import io

import pytest
from rich.console import Console

from pgvigil.cli.story import HEADING_WIDTH, heading


@pytest.mark.parametrize(("width", "drawn"), [(60, 60), (1000, HEADING_WIDTH)])
def test_a_heading_is_as_wide_as_a_terminal_but_not_as_a_pipe(width: int, drawn: int) -> None:
    file = io.StringIO()
    heading(Console(file=file, width=width), "kill -9: every process of pg1")
    (line,) = file.getvalue().splitlines()
    assert line.startswith("kill -9: every process of pg1 ─")
    assert len(line.rstrip()) == drawn
