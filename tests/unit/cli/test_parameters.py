"""`config` and `restart`: what is asked of the controller, and what is shown of its answer."""

import sys
from pathlib import Path

import pytest

from pgvigil.cli.change import as_lines, assignments, who
from pgvigil.controller.operations import Outcome, Result
from pgvigil.errors import UsageError
from pgvigil.model.command import (
    Command,
    ReloadServers,
    RestartServers,
    RollBackParameters,
    SetParameters,
    ShowParameters,
    ShowVersions,
)
from pgvigil.model.command import Role as NodeRole
from pgvigil.model.units import NodeName
from tests.unit.cli.test_commands import Place

PG2 = NodeName("pg2")
VERSION = {
    "number": 4,
    "at": "2026-03-14T02:30:00+00:00",
    "who": "alice@db",
    "comment": "more memory",
    "settings": {"work_mem": "16MB", "jit": None},
    "changes": [{"name": "work_mem", "before": None, "after": "16MB"}],
}
SHOWN = {
    "cluster": "orders",
    "version": 4,
    "nodes": [
        {"name": "pg1", "role": "primary", "detail": "", "pending_restart": [], "mistakes": []},
        {
            "name": "pg2",
            "role": "standby",
            "detail": "",
            "pending_restart": ["max_connections"],
            "mistakes": [],
        },
        {"name": "pg3", "role": "unknown", "detail": "no route", "pending_restart": [], "mistakes": []},
    ],
    "parameters": [
        {
            "name": "max_connections",
            "values": {"pg1": "100", "pg2": "100"},
            "written": {"pg2": "200"},
            "wanted": "200",
            "unwritten": ["pg1"],
            "pending": ["pg2"],
            "needs_restart": True,
            "differs": False,
        }
    ],
}


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ("config set work_mem=8MB --yes", SetParameters({"work_mem": "8MB"}, who())),
        (
            "config set orders a.b=x=y jit= --reset c --comment why --restart --in-place --yes",
            SetParameters({"a.b": "x=y", "jit": "", "c": None}, who(), "why", restart=True, in_place=True),
        ),
        ("config rollback --to 3 --restart --yes", RollBackParameters(who(), 3, restart=True)),
        ("config rollback --yes", RollBackParameters(who())),
        ("config reload pg2 --yes", ReloadServers((PG2,))),
        ("restart --pending --yes", RestartServers(pending=True)),
        ("restart orders pg2 --yes", RestartServers((PG2,))),
        ("restart --below-version 17.6 --yes", RestartServers(below_version=170006)),
        (
            "restart pg2 --below-version 16 --pending --yes",
            RestartServers((PG2,), pending=True, below_version=160000),
        ),
        ("restart --role primary --in-place --yes", RestartServers(role=NodeRole.PRIMARY, in_place=True)),
    ],
)
def test_a_command_asks_the_controller_for_just_that(place: Place, words: str, command: Command) -> None:
    result = place.run(*words.split())
    assert result.exit_code == 0, result.output
    assert [given for _, given, _, _ in place.ops.orders] == [command]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("config set --yes", "which parameters?"),
        ("config set work_mem=1MB jit --yes", "'jit' is no assignment"),
        ("config set nowhere work_mem=1MB --yes", "there is no cluster 'nowhere'"),
        ("config reload pg9 --yes", "there is no node of orders 'pg9'"),
        ("restart pg9 --yes", "there is no node of orders 'pg9'"),
        ("restart --below-version latest --yes", "--below-version: 'latest' is no version"),
        ("config set work_mem=1MB", "nobody is here to confirm it"),
    ],
)
def test_a_wrong_call_is_told_and_asks_for_nothing(place: Place, words: str, complaint: str) -> None:
    result = place.run(*words.split())
    assert (result.exit_code, place.ops.orders) == (2, [])
    assert complaint in result.output


def test_parameters_are_shown_with_what_waits(place: Place) -> None:
    place.ops.outcome = Outcome(Result.DONE, "a restart is pending on pg2", data=SHOWN)
    result = place.run("config", "show", "max_connections")
    assert place.ops.orders[0][1] == ShowParameters(("max_connections",))
    for part in ("pg1 (primary)", "100 → 200 *", "100 -", "?", "pg3 does not tell: no route"):
        assert part in result.output


def test_versions_are_shown_with_who_and_why(place: Place) -> None:
    place.ops.outcome = Outcome(Result.DONE, "1 versions", data={"versions": [VERSION]})
    result = place.run("config", "history", "-n", "3")
    assert place.ops.orders[0][1] == ShowVersions(3)
    for part in ("4", "alice@db", "more memory", "work_mem: not set → '16MB'"):
        assert part in result.output


def test_what_is_edited_becomes_a_change(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changed, added; and taken out, which resets it."""
    settings = {**VERSION, "settings": {"work_mem": "16MB", "jit": "off"}}
    place.ops.outcome = Outcome(Result.DONE, "done", data={"versions": [settings]})
    script = tmp_path / "editor.py"
    script.write_text(
        "import sys; f = sys.argv[1]; t = open(f).read(); assert \"jit = 'off'\" in t\n"
        "open(f, 'w').write(\"work_mem = '32MB'\\nlog_line_prefix = 'it''s %m ' # why\\n\")"
    )
    monkeypatch.setenv("VISUAL", f"{sys.executable} {script}")
    result = place.run("config", "edit", "--yes")
    assert result.exit_code == 0, result.output
    changes = {"work_mem": "32MB", "log_line_prefix": "it's %m ", "jit": None}
    assert place.ops.orders[-1][1] == SetParameters(changes, who())


def test_what_is_written_for_the_editor_reads_back_the_same() -> None:
    settings = {"work_mem": "16MB", "log_line_prefix": "%m 'x' #", "jit": None}
    assert assignments(as_lines("orders", settings)) == {"work_mem": "16MB", "log_line_prefix": "%m 'x' #"}
    with pytest.raises(UsageError, match="line 2 is no parameter"):
        assignments("jit = off\nwork_mem")
