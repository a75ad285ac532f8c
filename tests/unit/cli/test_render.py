"""`pgvigil render` as it is called; what it writes is examined in tests/unit/config/test_renderings.py."""

from pathlib import Path
from typing import Protocol

import pytest
import yaml
from typer.testing import CliRunner, Result

from pgvigil.cli.app import app

FILE = """\
state_dir: /var/lib/pgvigil
clusters:
  orders:
    nodes: {pg1: 127.0.0.1, pg2: {host: 127.0.0.1, port: 5433, control: {systemd: pg.service, sudo: true}}}
    postgres: {user: watcher}
"""
BOUNCER = """\
    endpoints:
      - pgbouncer: {host: /run/pgbouncer, user: watcher, databases: [app], file: /etc/pgbouncer/orders.ini}
"""


class Run(Protocol):
    """Calls `pgvigil render` with a configuration, or without one."""

    def __call__(self, *words: str, file: str | None = FILE) -> Result: ...


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)

    def call(*words: str, file: str | None = FILE) -> Result:
        if file is not None:
            (tmp_path / "pgvigil.yaml").write_text(file)
        return CliRunner(env={"COLUMNS": "120", "NO_COLOR": "1", "SHELL": "/bin/bash"}).invoke(
            app, ["render", *words]
        )

    return call


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("grants",), 'GRANT pg_monitor TO "watcher"'),
        (("pg_hba",), "host  postgres     watcher  127.0.0.1/32  scram-sha-256"),
        (("pg_hba", "--controller", "10.9.9.9"), "watcher  10.9.9.9/32"),
        (("sudoers",), "NOPASSWD: /usr/bin/systemctl stop pg.service"),
        (("systemd",), "pgvigil.yaml\nExecReload=/bin/kill -HUP $MAINPID"),
        (("systemd", "--user", "ha"), "User=ha\nStateDirectory=pgvigil"),
        (("certificates", "orders"), "issue watcher /CN=watcher"),
        (("completion",), "_pgvigil_completion()"),
        (("completion", "--shell", "fish"), "complete "),
    ],
)
def test_it_is_written_on_standard_output(run: Run, words: tuple[str, ...], expected: str) -> None:
    done = run(*words)
    assert done.exit_code == 0, done.stderr
    assert expected in done.stdout


def test_pgbouncer_gets_what_its_endpoint_needs(run: Run) -> None:
    done = run("pgbouncer", file=FILE + BOUNCER)
    assert "%include /etc/pgbouncer/orders.ini" in done.stdout
    assert "admin_users = watcher" in done.stdout
    assert run("pgbouncer").exit_code == 2


HTTP = "http: {listen: 0.0.0.0:8010}\n"


def test_keepalived_and_prometheus_need_a_way_to_the_controller(run: Run) -> None:
    assert "http: {listen: 0.0.0.0:8009}" in run("keepalived").stderr  # it listens for its own host only
    done = run("keepalived", "--controller", "10.0.0.5", file=HTTP + FILE)
    assert "url=http://10.0.0.5:8010/clusters/orders" in done.stdout
    assert (
        'targets: ["10.0.0.5:8010"]' in run("prometheus", "--controller", "10.0.0.5", file=HTTP + FILE).stdout
    )
    assert run("prometheus", file="http: {listen: off}\n" + FILE).exit_code == 2


def test_what_prometheus_gets_is_a_whole_configuration(run: Run) -> None:
    tokens = "http: {listen: 127.0.0.1:8009, reads_need_token: true, tokens: /etc/pgvigil/tokens}\n"
    text = run("prometheus", file=tokens + FILE).stdout
    (job,) = yaml.safe_load(text)["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["127.0.0.1:8009"]}]
    assert "credentials_file" in job["authorization"]


def test_without_a_configuration_the_unit_is_that_of_the_usual_places(run: Run) -> None:
    done = run("systemd", file=None)
    assert "run --config /etc/pgvigil/pgvigil.yaml" in done.stdout
    assert "StateDirectory=pgvigil" in done.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("systemd", "orders"), "one unit runs all clusters"),
        (("pg_hba", "sales"), "there is no cluster 'sales'"),
        (("everything",), "invalid value"),
    ],
)
def test_a_wrong_call_is_told(run: Run, words: tuple[str, ...], told: str) -> None:
    done = run(*words)
    assert done.exit_code == 2
    assert told in done.stderr


def test_rights_to_rewind_are_given_where_pg_rewind_logs_in(run: Run) -> None:
    script = run("grants", file=FILE.replace("user: watcher", "user: watcher, dbname: ops")).stdout
    first, _, second = script.partition('\\connect "ops"')
    assert '\\connect "postgres"' in first
    assert "pg_read_binary_file" in first
    assert "pg_promote" in first
    assert "pg_promote" in second


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("pgvigil status ", ["orders", "sales"]),
        ("pgvigil status s", ["sales"]),
        ("pgvigil rejoin ", ["orders", "sales", "pg1", "pg2"]),
        ("pgvigil rejoin orders pg", ["pg1", "pg2"]),
        ("pgvigil clone pg2", ["pg2"]),
        ("pgvigil status --config nowhere.yaml ", []),
    ],
)
def test_names_are_completed(
    typed: str, offered: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pgvigil.yaml").write_text("clusters: {orders: {nodes: {pg1: a}}, sales: {nodes: {pg2: b}}}")
    words = typed.split()
    asked = {"COMP_WORDS": typed, "COMP_CWORD": str(len(words) - (not typed.endswith(" ")))}
    done = CliRunner(env={"_PGVIGIL_COMPLETE": "complete_bash", **asked}).invoke(app, prog_name="pgvigil")
    assert done.stdout.split() == offered, done.output
