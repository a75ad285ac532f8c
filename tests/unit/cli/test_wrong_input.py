"""Wrong words, values and files: an error that names the place, exit code 2, and nothing changed."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pgvigil.cli import changing
from pgvigil.cli.app import app

GOOD = """\
state_dir: {place}/state
clusters:
  demo:
    nodes: {{pg1: 127.0.0.1, pg2: {{host: 127.0.0.1, port: 5999}}}}
    postgres: {{user: pgvigil, port: 5998}}
  other:
    nodes: {{o1: 127.0.0.1, o2: {{host: 127.0.0.1, port: 5997}}}}
    postgres: {{user: pgvigil, port: 5996}}
"""
LONG = "x" * 10_000


class Here:
    """A directory with a configuration, and commands in it."""

    def __init__(self, place: Path) -> None:
        self.place, self.file = place, place / "pgvigil.yaml"
        self.file.write_text(GOOD.format(place=place))

    def call(self, *words: str) -> Result:
        """The command, with nobody there to answer questions."""
        env = {"COLUMNS": "400", "NO_COLOR": "1", "PGVIGIL_CONFIG": str(self.file)}
        return CliRunner(env=env).invoke(app, list(words))


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path)


CALLS = [
    ("config set demo", "which parameters?"),
    ("config set demo foo", "'foo' is no assignment"),
    ("config set demo =1", "'=1' is no assignment"),
    ("config set nowhere a=1", "there is no cluster 'nowhere'"),
    ("config set demo work_mem=1MB WORK_MEM=2MB --yes", "work_mem is named twice"),
    ("config set demo work_mem=1MB --reset work_mem --yes", "work_mem is named twice"),
    ("config set demo work_mem=1 --timeout -5s", "--timeout must be a duration"),
    ("config set demo work_mem=1 --timeout 5", "--timeout needs a unit"),
    ("config rollback demo --to -1", "'--to'"),
    ("config history demo -n 0", "'--limit' / '-n'"),
    ("config reload demo pg9", "there is no node of demo 'pg9'"),
    ("config check /nonexistent", "cannot read /nonexistent"),
    ("restart demo pg9", "did you mean pg2?"),
    ("restart demo --role boss", "'boss' is not one of 'primary', 'standby'"),
    ("restart demo --at yesterday", "'yesterday' is no time"),
    ("restart demo --at 2020-01-01", "--at: 2020-01-01 00:00:00 is over"),
    ("restart demo --timeout 0s", "--timeout must be more than nothing"),
    ("drill demo --to pg9", "there is no node of demo 'pg9'"),
    ("drill demo --at 25:00", "'25:00' is no time"),
    ("drill", "which cluster?"),
    ("switchover demo --to pg9 --yes", "there is no node of demo 'pg9'"),
    ("maintenance on demo pg9", "there is no node of demo 'pg9'"),
    ("maintenance sideways demo pg1", "'sideways' is not one of 'on', 'off'"),
    ("maintenance on", "missing argument"),
    ("node add", "missing argument"),
    ("node add pg3 --cluster demo", "missing option '--host'"),
    ("node add pg1 --host x --cluster demo", "has pg1 already"),
    ("node add pg3 --host x --port 0 --cluster demo", "nodes.pg3.postgres.port: must be greater"),
    ("node add pg3 --host x:1 --cluster demo", "nodes.pg3.host: must be a name or an address alone"),
    (f"node add {LONG} --host x --cluster demo", "characters)"),
    (f"node add pg3 --host {LONG} --cluster demo", "nodes.pg3.host: must have at most 253 characters"),
    ("node add pg3 --host x --tag silly --cluster demo", "'silly' is not one of 'never_promote'"),
    ("node drop pg9 --cluster demo", "there is no node of demo 'pg9'"),
    ("cluster create demo --node a=b", "has demo already"),
    ("cluster create x --node a", "--node is NODE=HOST"),
    ("cluster create x --node a=b:99999 --yes", "nodes.a.port: must be less"),
    ("cluster drop nowhere", "there is no cluster 'nowhere'"),
    ("clone demo pg9", "there is no node of demo 'pg9'"),
    ("clone demo pg2 --max-rate 1", "--max-rate needs a unit"),
    ("reinit demo pg9 --yes", "there is no node of demo 'pg9'"),
    ("schedule cancel demo x", "a number is expected"),
    ("schedule sideways", "'sideways' is not one of 'list', 'cancel'"),
    ("follow demo pg1 --upstream pg9", "there is no node of demo 'pg9'"),
    ("import patroni /nonexistent", "cannot read /nonexistent"),
    ("import mysql x", "'mysql' is not one of 'patroni'"),
    ("render nonsense", "'nonsense' is not one of 'grants'"),
    ("render grants --major 3", "PostgreSQL 3 is too old"),
    ("replay /nonexistent", "cannot read /nonexistent"),
    ("explain demo x", "an event's number is expected"),
    ("explain demo 99999999999999999999999", "an event's number is expected"),
    ("bootstrap demo --set x", "--set is NAME=VALUE"),
    ("bootstrap demo --on pg9", "there is no node of demo 'pg9'"),
    ("pause demo --for 5", "--for needs a unit"),
    ("nonsense", "no such command 'nonsense'"),
    ("restart --nonsense", "no such option: --nonsense"),
]


@pytest.mark.parametrize(("words", "told"), CALLS, ids=[words[:60] for words, _ in CALLS])
def test_a_wrong_call_is_told_and_changes_nothing(here: Here, words: str, told: str) -> None:
    before = here.file.read_bytes()
    done = here.call(*words.split())
    assert done.exit_code == 2, done.output
    assert done.output.startswith("ERROR:"), done.output
    assert told in " ".join(done.output.split())
    assert len(done.output) < 3000
    assert here.file.read_bytes() == before
    assert os.listdir(here.place) == ["pgvigil.yaml"]


FILES = [
    ("empty", b"", "is empty"),
    ("tabs", b"clusters:\n\tdemo:\n", ":2: has a tab"),
    ("not text", b"a: \xff\xfe\n", "bytes that are no text"),
    ("half", b"[", "has a mistake"),
    ("a list", b"- a\n- b\n", "must be a mapping"),
    ("an anchor in itself", b"a: &a [*a]\n", "an anchor contains itself"),
    ("no unit", b"clusters: {a: {nodes: {x: h}, failover: {max_lag: 16}}}", "needs a unit"),
    ("negative", b"clusters: {a: {nodes: {x: h}, failover: {unreachable_after: -3s}}}", "unreachable_after"),
    ("a long name", f"clusters: {{{LONG[:100]}: {{nodes: {{x: h}}}}}}".encode(), "at most 63"),
]


@pytest.mark.parametrize(("text", "told"), [each[1:] for each in FILES], ids=[each[0] for each in FILES])
def test_a_wrong_file_is_told_by_every_command_that_reads_it(here: Here, text: bytes, told: str) -> None:
    here.file.write_bytes(text)
    for words in ("config check", "node add pg3 --host x --yes", "restart --yes", "status"):
        done = here.call(*words.split())
        assert done.exit_code == 2, (words, done.output)
        assert told in " ".join(done.output.split()), words
        assert len(done.output) < 3000
    assert here.file.read_bytes() == text


@pytest.mark.parametrize("program", ["patroni", "repmgr", "pg_auto_failover"])
@pytest.mark.parametrize("text", [each[1] for each in FILES[:6]], ids=[each[0] for each in FILES[:6]])
def test_a_wrong_file_is_not_imported(here: Here, program: str, text: bytes) -> None:
    foreign = here.place / "foreign"
    foreign.write_bytes(text)
    done = here.call("import", program, str(foreign))
    assert done.exit_code == 2, done.output
    assert "foreign" in done.output


def test_an_option_counts_more_than_the_environment(here: Here) -> None:
    done = here.call("--config", "/nonexistent", "status")
    assert (done.exit_code, "cannot read /nonexistent" in done.output) == (2, True), done.output
    done = here.call("--config", "/nonexistent", "config", "check", "--config", str(here.file))
    assert done.exit_code == 0
    done = here.call("status", "--config", "/nonexistent")
    assert "cannot read /nonexistent" in done.output


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("node add pg3 --host 127.0.0.9 --cluster demo --yes", "pg3 is in the file"),
        ("cluster create third --node t1=127.0.0.9 --yes", "third is in the file"),
    ],
)
def test_interrupted_when_the_file_is_written_it_says_so_and_goes_on_when_given_again(
    here: Here, monkeypatch: pytest.MonkeyPatch, words: str, left: str
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(changing, "reload", interrupt)
        done = here.call(*words.split())
    assert done.exit_code == 130
    assert f"interrupted: {left}; give the command again, it goes on" in done.output
    written = here.file.read_bytes()
    done = here.call(*words.split())
    assert done.exit_code == 0, done.output
    assert "no controller runs" in done.output
    assert here.file.read_bytes() == written
