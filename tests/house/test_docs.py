"""The documentation says something of everything a person may meet, and nothing that is not there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from pgvigil.act.engine import EFFECTS
from pgvigil.cli.app import app
from pgvigil.cli.decisions import decision_tables
from pgvigil.cli.reference import cli_reference
from pgvigil.config.load import load
from pgvigil.decide.engine import REACTIONS
from pgvigil.decide.failover import SUDDEN, VERDICTS
from pgvigil.model.diagnosis import Problem
from pgvigil.model.record import Fenced, phase_diagram

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SOURCE = ROOT / "src" / "pgvigil"
PAGES = (ROOT / "README.md", ROOT / "README.zh-CN.md", *sorted(DOCS.rglob("*.md")))
WRITTEN = tuple(page for page in PAGES if page != DOCS / "reference" / "cli.md")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
"""Written from a run of the benchmarks, which a fresh clone may not have had yet."""
TELLING = {"tell", "_tell", "_event"}
"""Methods that make an event of a kind."""
LINK = re.compile(r"\]\(([^)\s]+)\)")
LEFT_OUT = {"decisions", "zh-CN"}
"""Folders whose pages the guide names as a whole, or leads to in the other language."""


def page(path: str) -> str:
    return (DOCS / path).read_text(encoding="utf-8")


def in_code(text: str) -> set[str]:
    """What stands between backticks."""
    return set(re.findall(r"`([^`\n]+)`", FENCE.sub("", text)))


def rows_of(text: str) -> set[str]:
    """What stands between backticks in the first column of its tables."""
    return in_code("\n".join(re.findall(r"^\| (`[^|]+)\|", text, re.MULTILINE)))


def rules(*folders: str, of: str) -> set[str]:
    """The names given to `Hold`s or `Act`s; for a choice of problems, none."""
    found: set[str] = set()
    for path in (file for folder in folders for file in (SOURCE / folder).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == of and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    found.add(str(first.value))
                else:
                    known = ("finding.problem.value", "first.problem.value", "rule")
                    assert ast.unparse(first) in known, f"{path.name}: a name this test cannot read"
    return found


def starts() -> set[str]:
    """The names under which a failover begins."""
    found: set[str] = set()
    for path in (SOURCE / "decide").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("start", "failover.start"):
                named = [word.value for word in node.args[1:2] if isinstance(word, ast.Constant)]
                found.update(str(name) for name in named)
    found |= {problem.value for problem in VERDICTS}
    found |= {f"candidate_{problem.value}" for problem in VERDICTS}
    return found | {f"switchover_{problem.value}" for problem in SUDDEN}


def holds() -> set[str]:
    of_problems = {problem.value for problem in (*REACTIONS, Problem.SYSTEM_FOREIGN)}
    return rules("decide", "controller", of="Hold") | (of_problems - {Problem.PRIMARY_REPLACED.value})


def steps() -> set[str]:
    """What came of each kind of step."""
    names = {kind.__name__.lower() for kind in EFFECTS}
    return names | {f"{name}_failed" for name in names}


def told() -> set[str]:
    """The kinds of events that are neither decisions nor outcomes."""
    found: set[str] = set()
    for path in (file for folder in ("controller", "ports") for file in (SOURCE / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in TELLING:
                words = [word.value for word in node.args[:2] if isinstance(word, ast.Constant)]
                found |= {str(word) for word in words if re.fullmatch("[a-z]+(_[a-z]+)*", str(word))}
    return found


def kinds() -> set[str]:
    """Every kind of event but those of holds."""
    found = {f"found_{problem.value}" for problem in Problem}
    return found | rules("decide", "controller", of="Act") | starts() | steps() | told()


def test_names_are_found() -> None:
    assert {"not_fenced", "nobody_fit", "looking", "primary_crashed"} <= holds()
    assert {"promoted", "taken_over", "switchover"} <= rules("decide", "controller", of="Act")
    assert {"restart_failed", "command", "switchover_primary_lost"} <= starts()
    assert {"order_denied", "endpoint_failed", "notify_works", "loop_failed", "callback_failed"} <= told()


def test_every_hold_says_what_to_do() -> None:
    text = page("operate/failover.md")
    missing = {name for name in holds() if f"`{name}`" not in text}
    assert not missing, f"docs/operate/failover.md has no row for {sorted(missing)}"


def test_every_problem_is_in_the_table() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \|", page("concepts/how-it-decides.md"), re.MULTILINE))
    assert rows == {problem.value for problem in Problem}


def test_every_event_is_described() -> None:
    by_rule = {f"{name}_failed" for name in steps()} | {f"found_{problem.value}" for problem in Problem}
    missing = (holds() | kinds() | {"seen", "found_PROBLEM"}) - by_rule - in_code(page("reference/events.md"))
    assert not missing, f"docs/reference/events.md lacks {sorted(missing)}"


def test_every_event_is_in_the_runbook_and_no_other() -> None:
    text = page("operate/runbook.md")
    shared = {f"{before}_{problem.value}" for problem in VERDICTS for before in ("candidate", "switchover")}
    listed = in_code(text)
    events = rows_of(page("reference/events.md")) - {"found_PROBLEM"}
    missing = (kinds() | events) - shared - listed
    assert not missing, f"docs/operate/runbook.md has no row for {sorted(missing)}"
    strange = rows_of(text) - kinds() - events - {"candidate_", "switchover_"}
    assert not strange, f"docs/operate/runbook.md has rows for what never happens: {sorted(strange)}"
    assert "(failover.md#it-did-not-fail-over)" in text, "holds are there, row by row"


def test_the_chinese_runbook_has_the_rows_of_the_english_one() -> None:
    for name in ("operate/runbook.md", "operate/failover.md"):
        english, chinese = page(name), page(f"zh-CN/{name}")
        assert rows_of(chinese) == rows_of(english)
        assert in_code(english) & kinds() <= in_code(chinese)


def test_every_way_of_fencing_is_described() -> None:
    assert {each.value for each in Fenced} <= in_code(page("concepts/fencing.md"))


def test_every_command_is_mentioned_where_people_read() -> None:
    commands: dict[str, object] = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group
    shown = {name for name, command in commands.items() if not getattr(command, "hidden", False)}
    text = "\n".join(path.read_text(encoding="utf-8") for path in WRITTEN)
    missing = {name for name in shown - {"version"} if f"pgvigil {name}" not in text}
    assert not missing, f"no page but the reference speaks of {sorted(missing)}"


def test_every_command_shown_exists() -> None:
    commands = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]  # a group
    for path in WRITTEN:
        for language, block in FENCE.findall(path.read_text(encoding="utf-8")):
            if language == "sh":
                told = set(re.findall(r"^\s*pgvigil ([a-z][a-z-]*)", block, re.MULTILINE))
                assert told <= commands, f"{path.name}: {sorted(told - commands)}"


def test_the_reference_of_commands_is_the_generated_one() -> None:
    assert page("reference/cli.md") == cli_reference(), (
        "run: .venv/bin/python -m pgvigil.cli.reference > docs/reference/cli.md"
    )


def test_the_diagram_of_phases_is_the_generated_one() -> None:
    assert f"```mermaid\n{phase_diagram()}\n```" in page("concepts/how-it-decides.md"), (
        "put what pgvigil.model.record.phase_diagram() gives into docs/concepts/how-it-decides.md"
    )


def test_the_tables_of_decisions_are_the_generated_ones() -> None:
    assert decision_tables() in page("concepts/how-it-decides.md"), (
        "put what .venv/bin/python -m pgvigil.cli.decisions prints into docs/concepts/how-it-decides.md"
    )


def links() -> Iterator[tuple[Path, str]]:
    for path in PAGES:
        for target in LINK.findall(FENCE.sub("", path.read_text(encoding="utf-8"))):
            if "://" not in target and not target.startswith("mailto:"):
                yield path, target


def anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_link_leads_somewhere() -> None:
    broken = []
    for path, target in links():
        place, _, anchor = target.partition("#")
        there = (path.parent / place).resolve() if place else path
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(f"{path.relative_to(ROOT)}: {target}")
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("index", ["docs/README.md", "docs/zh-CN/README.md"])
def test_the_guide_leads_to_every_page_in_its_language(index: str) -> None:
    led = {
        (path.parent / target.partition("#")[0]).resolve() for path, target in links() if path == ROOT / index
    }
    english = [p for p in (*DOCS.glob("*.md"), *DOCS.glob("*/*.md")) if p.parent.name not in LEFT_OUT]
    wanted = set(english) - {DOCS / "README.md"}
    if "zh-CN" in index:
        twins = {page: DOCS / "zh-CN" / page.relative_to(DOCS) for page in wanted}
        wanted = {twin if twin.exists() else page for page, twin in twins.items()}
    assert wanted <= led, f"{index} does not lead to {sorted(str(p.relative_to(ROOT)) for p in wanted - led)}"


def test_every_page_named_in_a_hint_exists() -> None:
    text = "\n".join(path.read_text() for path in SOURCE.rglob("*.py"))
    named = set(re.findall(r"docs/[\w/-]+\.md", text))
    assert named
    assert {name for name in named if not (ROOT / name).is_file()} == set()


def examples() -> Iterator[tuple[str, str]]:
    for path in PAGES:
        blocks = [
            block for language, block in FENCE.findall(path.read_text(encoding="utf-8")) if language == "yaml"
        ]
        for number, block in enumerate(blocks, 1):
            yield f"{path.relative_to(ROOT)}:{number}", block


@pytest.mark.parametrize("block", [pytest.param(block, id=name) for name, block in examples()])
def test_examples_of_configuration_are_accepted(block: str, tmp_path: Path) -> None:
    cluster = (
        ""
        if re.search("^clusters:", block, re.MULTILINE)
        else "clusters: {orders: {nodes: {pg1: 10.0.0.11}}}\n"
    )
    file = tmp_path / "pgvigil.yaml"
    file.write_text(cluster + block)
    assert load(file).clusters
