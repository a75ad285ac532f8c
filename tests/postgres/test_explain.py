"""A real failover is explained and replayed, by a running controller and without one."""

import json
from base64 import b64decode
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pgvigil.cli.app import app
from pgvigil.controller.replay import decision_words, replayed
from pgvigil.demo.servers import Server, Servers, config_text
from pgvigil.model.command import FetchRecording, ListRecordings
from pgvigil.model.recording import unpacked
from pgvigil.store.sqlite import SqliteStore
from tests.postgres.guard import cluster_spec, guarding

pytestmark = pytest.mark.postgres
Trio = tuple[Server, Server, Server]


def test_a_failover_is_recorded_explained_and_replayed(
    servers: Servers, trio_of_servers: Trio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = servers.home / "state"
    with guarding(cluster_spec(servers, trio_of_servers), store=SqliteStore(state / "pgvigil.db")) as guard:
        guard.await_health()
        trio_of_servers[0].kill_all()
        guard.await_primary(other_than="pg1")
        guard.await_health()
        (event,) = [e for e in guard.events() if e["kind"] == "primary_crashed"]
        data = guard.order(FetchRecording(event["number"])).data
        assert data["event"]["kind"] == "primary_crashed"
        again = list(replayed(unpacked(b64decode(data["recording"]))))
        assert all(each.same for each in again)
        assert "act primary_crashed" in {decision_words(each.now)[0] for each in again}
        assert guard.order(FetchRecording(999_999)).result == "wrong"
        assert any(each["changed_primary"] for each in guard.order(ListRecordings()).data["recordings"])

    config = tmp_path / "pgvigil.yaml"
    config.write_text(config_text(servers, "test"))
    monkeypatch.setenv("PGVIGIL_CONFIG", str(config))
    runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"})
    told = runner.invoke(app, ["explain", str(event["number"]), "--json"])
    assert told.exit_code == 0, told.output
    then = json.loads(told.stdout)["explained"]
    assert then["rule"] == "act primary_crashed"
    assert {each["node"] for each in then["seen"]} == {"pg1", "pg2", "pg3"}
    file = tmp_path / "crash.recording"
    assert runner.invoke(app, ["recording", "export", str(event["number"]), str(file)]).exit_code == 0
    replay = runner.invoke(app, ["replay", str(file), "--json"])
    assert all(each["same"] for each in json.loads(replay.stdout)["decisions"])
