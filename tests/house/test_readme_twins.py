"""What there is in English and Chinese says the same: same headings, code, rows of tables."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHINESE = ROOT / "docs" / "zh-CN"
TWINS = ("README.md", "README.zh-CN.md")
PAGES = sorted(str(page.relative_to(CHINESE)) for page in CHINESE.rglob("*.md"))
ROW = re.compile(r"^\|")
FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})(.*)$")
HEADING = re.compile(r"^(#{1,6})\s")


def outline(text: str) -> tuple[list[int], list[str]]:
    """The levels of the headings in order, and the language of each fenced block of code in order."""
    levels: list[int] = []
    blocks: list[str] = []
    closing = ""
    for line in text.splitlines():
        fence = FENCE.match(line)
        if closing:
            if fence and fence[1].startswith(closing) and not fence[2].strip():
                closing = ""
        elif fence:
            closing = fence[1]
            blocks.append(fence[2].strip())
        elif heading := HEADING.match(line):
            levels.append(len(heading[1]))
    assert not closing, "a block of code is never closed"
    return levels, blocks


def test_outline_sees_headings_outside_of_code_only() -> None:
    assert outline("# a\n```sh\n# no\n```\n## b\n~~~\n```\n~~~\n") == ([1, 2], ["sh", ""])


@pytest.mark.parametrize("name", TWINS)
def test_readme_exists(name: str) -> None:
    assert (ROOT / name).is_file(), f"{name} is missing; it is the twin of {', '.join({*TWINS} - {name})}"


@pytest.mark.parametrize(("part", "what"), [(0, "levels of headings"), (1, "blocks of code")])
def test_readmes_have_the_same_outline(part: int, what: str) -> None:
    missing = [name for name in TWINS if not (ROOT / name).is_file()]
    assert not missing, f"nothing to compare with: {', '.join(missing)} is missing"
    english, chinese = (outline((ROOT / name).read_text(encoding="utf-8"))[part] for name in TWINS)
    assert english == chinese, f"{what} differ: {TWINS[0]} {english}, {TWINS[1]} {chinese}"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_in_chinese_is_as_the_english_one(page: str) -> None:
    english, chinese = (ROOT / "docs" / page).read_text(), (CHINESE / page).read_text()
    assert outline(chinese) == outline(english)
    assert code(chinese) == code(english), "blocks of code differ"
    assert words_of_tables(chinese) == words_of_tables(english), "first columns of tables differ"


def code(text: str) -> list[str]:
    """What stands in fences, without comments."""
    blocks = re.findall(r"^```.*?^```$", text, re.MULTILINE | re.DOTALL)
    return [re.sub(r"\s+# .*$", "", block, flags=re.MULTILINE) for block in blocks]


def words_of_tables(text: str) -> list[list[str]]:
    """Of each row of a table the names in its first column, which are the same in all languages."""
    return [
        sorted(re.findall(r"`([^`]+)`", line.split("|")[1])) for line in text.splitlines() if ROW.match(line)
    ]
