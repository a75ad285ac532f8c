"""Every command line that the documentation shows is one that `pgvigil` takes. Nothing is run."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from pgvigil.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    *(ROOT / name for name in ("README.md", "README.zh-CN.md", "SECURITY.md")),
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name != "cli.md"),
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TYPED = re.compile(r"(?:^|[$|;&(]|\bsudo -u \w+) ?(pgvigil [^\n]*)", re.MULTILINE)
INLINE = re.compile(r"`(pgvigil [a-z][^`\n]*)`")
ENDS = {"|", "||", "&&", "&", ";", ">", ">>", "<", "(", ")"}
PLACEHOLDERS = re.compile(r"[\[\]…{}]|\b[A-Z]+ \||/[A-Z]|\.\.\.")
"""A line with one of these shows a form, not a call."""


def words_of(line: str) -> list[str]:
    """The words behind `pgvigil`, up to a pipe, a redirection, another command or a comment."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split = True
    words = []
    for word in lexer:
        if word in ENDS:
            break
        words.append(word)
    return words[1:]


def lines_of(text: str) -> Iterator[str]:
    """Command lines in blocks and in running text."""
    for language, block in FENCE.findall(text):
        if language in ("sh", "", "console", "text"):
            joined = block.replace("\\\n", " ")
            yield from (line for line in TYPED.findall(joined) if language == "sh" or f"$ {line}" in joined)
    yield from (line for line in INLINE.findall(FENCE.sub("", text)))


def shown() -> Iterator[tuple[str, str]]:
    for path in PAGES:
        if path.exists():
            for line in dict.fromkeys(lines_of(path.read_text(encoding="utf-8"))):
                if not PLACEHOLDERS.search(line.partition(" #")[0]):
                    yield str(path.relative_to(ROOT)), line


@cache
def everything() -> Any:
    """All commands. Typer's types of these are private to it."""
    return typer.main.get_command(app)


def parse(words: list[str]) -> None:
    """As `pgvigil` reads its arguments, without doing anything. Raises what typer raises for a wrong call."""
    command = everything()
    context = command.context_class(command, info_name="pgvigil")
    while isinstance(command, TyperGroup):
        if not words or words[0] in ("--help", "--version"):
            return  # a family of commands is spoken of
        name, found, words = command.resolve_command(context, words)
        assert found is not None
        command, context = found, found.context_class(found, parent=context, info_name=name)
    if words and words[0] != "--help":
        command.parse_args(context, words)


def test_command_lines_are_found() -> None:
    text = "```sh\nA=1 x | pgvigil check a  # why\npgvigil run\n```\nSay `pgvigil pause orders`.\n"
    assert list(lines_of(text)) == ["pgvigil check a  # why", "pgvigil run", "pgvigil pause orders"]
    assert words_of("pgvigil check 'a b' | cat  # why") == ["check", "a b"]
    assert len(list(shown())) > 150


@pytest.mark.parametrize(
    "words", ["swichover", "switchover --two pg2", "token add deploy --access king", "config sett a=b"]
)
def test_a_line_that_is_wrong_is_noticed(words: str) -> None:
    with pytest.raises(TyperException):
        parse(words.split())


@pytest.mark.parametrize(("page", "line"), [pytest.param(*each, id=" ".join(each)) for each in shown()])
def test_a_command_line_of_the_documentation_is_taken(page: str, line: str) -> None:
    try:
        parse(words_of(line))
    except TyperException as wrong:
        pytest.fail(f"{page}: {line}: {wrong}", pytrace=False)
