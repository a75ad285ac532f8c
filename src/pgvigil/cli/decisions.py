"""The tables by which the core decides, as a part of docs/concepts/how-it-decides.md.

`python -m pgvigil.cli.decisions` prints it; a test says when the page is not current.
"""

import ast
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Final

from pgvigil.decide.engine import REACTIONS, Holding
from pgvigil.decide.failover import SUDDEN, VERDICTS
from pgvigil.judge.engine import PRIMARY_ROWS
from pgvigil.model.diagnosis import Problem

BEGIN: Final = "<!-- Made by: python -m pgvigil.cli.decisions. Change the tables of the core instead. -->"
END: Final = "<!-- End of what is made. -->"
ELSEWHERE: Final = "nothing about the primary: repaired or led anew beside it, or told"


def decision_tables() -> str:
    """What explains a silent primary, and what follows from each problem, in Markdown."""
    lines = [
        BEGIN,
        "",
        "Why a primary is silent: the first that applies.",
        "",
        "| | explanation | in short |",
        "|---|---|---|",
        *(
            f"| {place} | `{row.__name__}` | {_first_line(row)} |"
            for place, row in enumerate(PRIMARY_ROWS, 1)
        ),
        "",
        "What follows from a problem. *Verdict*: the primary may be replaced without being asked for that; "
        "*at any time*: also in the middle of a switchover.",
        "",
        "| problem | what it is | verdict | what follows |",
        "|---|---|---|---|",
        *(
            f"| `{each.value}` | {_meanings()[each]} | {_verdict(each)} | {_follows(each)} |"
            for each in Problem
        ),
        "",
        END,
    ]
    return "\n".join(lines)


def _first_line(described: object) -> str:
    """Without what only points elsewhere."""
    return re.sub(r" \((SAFETY[^)]*|row \d+)\)", "", (inspect.getdoc(described) or "").splitlines()[0])


def _verdict(problem: Problem) -> str:
    if problem in SUDDEN:
        return "at any time"
    return "yes" if problem in VERDICTS else ""


def _follows(problem: Problem) -> str:
    reaction = REACTIONS.get(problem)
    if reaction is None:
        return ELSEWHERE
    return f"hold: {reaction.hint}" if isinstance(reaction, Holding) else _first_line(reaction)


def _meanings() -> Mapping[Problem, str]:
    """What the source says of each problem."""
    return {Problem[name]: " ".join(text.split()) for name, text in _described(inspect.getsource(Problem))}


def _described(source: str) -> Iterator[tuple[str, str]]:
    """The names that a class body assigns, each with the text that stands behind it."""
    (klass,) = ast.parse(source).body
    assert isinstance(klass, ast.ClassDef)
    for assigned, text in zip(klass.body, klass.body[1:], strict=False):
        match assigned, text:
            case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(value=str(said))):
                yield name, said
            case _:
                continue


if __name__ == "__main__":
    sys.stdout.write(decision_tables() + "\n")
