import io
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner, Result

from pgvigil.cli import desk as desk_module
from pgvigil.cli.app import app
from pgvigil.cli.desk import Desk
from pgvigil.cli.logs import set_up_logging
from pgvigil.cli.reach import Config, Discovered, Reach
from pgvigil.cli.schedule import moment
from pgvigil.cli.switchover import candidates
from pgvigil.controller import operations
from pgvigil.controller.operations import Outcome
from pgvigil.errors import ConfigError, Unreachable, Unsafe, UsageError
from pgvigil.model.check import CheckItem, CheckLevel
from pgvigil.model.command import (
    CancelScheduled,
    Drill,
    Failover,
    FollowUpstream,
    Maintenance,
    Pause,
    PromoteNode,
    Rejoin,
    Resume,
    Switchover,
)
from pgvigil.model.face import HttpSpec
from pgvigil.model.guard import GuardReport
from pgvigil.model.notify import TargetSpec
from pgvigil.model.spec import CheckpointPace, ClusterSpec, Fencing, Tag, WhenUnreachable
from pgvigil.model.step import Copying, RebuildMethod
from pgvigil.model.units import ClusterName, NodeName
from tests.builders import a_cluster, changed_node, changed_spec, lagging
from tests.fake_operations import FakeOperations
from tests.unit.cli.pictures import healthy, shape

DONE = operations.Result.DONE


@dataclass
class Configured:
    clusters: tuple[ClusterSpec, ...] = (a_cluster().spec,)
    socket: Path = Path("/nowhere/control.sock")
    log_format: str = "text"
    log_level: str = "info"
    http: HttpSpec | None = None
    notify: Mapping[ClusterName, Sequence[TargetSpec]] = field(default_factory=dict)


@dataclass
class Place:
    """A terminal with a configuration and a controller; what a test wants otherwise it sets."""

    config: Config | ConfigError = field(default_factory=Configured)
    ops: FakeOperations = field(default_factory=lambda: FakeOperations(clusters=[healthy()]))
    items: list[CheckItem] = field(default_factory=list)
    raises: BaseException | None = None
    unwell: tuple[str, ...] = ()
    """Nodes whose guard is not as it should be."""
    ssh_key: str = ""
    """What `discover` was told to try."""

    def run(self, *words: str, **options: Any) -> Result:
        ways = (self._operations, self._operations, self._run, self._discover, self._check)
        desk = Desk(reach=Reach(self._load, *ways, self._guard, self._demo))
        runner = CliRunner(env={"COLUMNS": "100", "NO_COLOR": "1"})
        return runner.invoke(app, list(words), obj=desk, **options)

    def _load(self, path: Path | None) -> Config:
        if isinstance(self.config, ConfigError):
            raise self.config
        return self.config

    @asynccontextmanager
    async def _operations(
        self, config: Config, clusters: Sequence[ClusterName]
    ) -> AsyncIterator[FakeOperations]:
        if self.raises:
            raise self.raises
        yield self.ops

    def _demo(self, keep: bool, as_json: bool) -> int:
        return 0 if keep and not as_json else 1

    async def _run(self, *_: object) -> None:
        if self.raises:
            raise self.raises

    async def _discover(self, dsn: str, name: str, ssh_key: str) -> Discovered:
        self.ssh_key = ssh_key
        return Discovered(f"# from {dsn}\n", tuple(self.items))

    async def _guard(
        self, spec: ClusterSpec, action: str, names: list[NodeName], dry_run: bool
    ) -> list[GuardReport]:
        where = names or [node.name for node in spec.nodes]
        text = f"{action}{', only to say' if dry_run else ''}"
        return [GuardReport(name, name not in self.unwell, text, "do it again") for name in where]

    async def _check(self, config: Config, clusters: Sequence[ClusterName]) -> list[CheckItem]:
        return self.items


@pytest.fixture
def place() -> Iterator[Place]:
    yield Place()
    structlog.reset_defaults()
    logging.getLogger().handlers.clear()


def test_status_draws_and_tells_json(place: Place) -> None:
    drawn = place.run("status")
    assert drawn.exit_code == 0
    assert "* running" in drawn.stdout
    told = place.run("status", "orders", "--json")
    assert json.loads(told.stdout) == [healthy()]


@pytest.mark.parametrize("alias", ["list", "show"])
def test_status_has_the_names_others_know(place: Place, alias: str) -> None:
    assert place.run(alias).stdout == place.run("status").stdout


PG2 = NodeName("pg2")


# S0-12
@pytest.mark.parametrize(
    ("words", "command"),
    [
        ("switchover --to pg2", Switchover(PG2)),
        ("switchover orders", Switchover()),
        ("failover --to pg2 --force", Failover(PG2, force=True)),
        ("rejoin pg2", Rejoin(PG2)),
        ("rejoin orders pg2 --method rewind", Rejoin(PG2, RebuildMethod.REWIND)),
        ("rejoin orders pg2 --method start", Rejoin(PG2, RebuildMethod.START)),
        ("clone pg2", Rejoin(PG2, RebuildMethod.CLONE)),
        (
            "clone pg2 --from pg3 --max-rate 50MB --checkpoint spread",
            Rejoin(
                PG2,
                RebuildMethod.CLONE,
                copying=Copying(NodeName("pg3"), 50 * 2**20, CheckpointPace.SPREAD),
            ),
        ),
        ("reinit orders pg2", Rejoin(PG2, RebuildMethod.CLONE, force=True)),
        ("follow pg2 pg3", FollowUpstream(PG2, NodeName("pg3"))),
        ("follow orders pg2 --upstream pg3", FollowUpstream(PG2, NodeName("pg3"))),
        ("promote orders pg2", PromoteNode(PG2)),
        ("maintenance on pg2", Maintenance(PG2, on=True)),
        ("drill orders --to pg2", Drill(PG2)),
        ("schedule cancel orders #57", CancelScheduled(57)),
        ("schedule cancel 57", CancelScheduled(57)),
        ("maintenance off orders pg2", Maintenance(PG2, on=False)),
        ("pause", Pause()),
    ],
)
def test_every_verb_gives_its_order(place: Place, words: str, command: object) -> None:
    told = place.run(*words.split(), "--yes")
    assert told.exit_code == 0, told.output
    assert place.ops.orders[0][:3] == ("orders", command, False)
    assert "pg2 is primary of orders" in told.stdout
    assert "promoting pg2" in told.stderr


def test_resume_needs_no_confirmation(place: Place) -> None:
    assert place.run("resume").exit_code == 0
    assert place.ops.orders[0][1] == Resume()


def test_a_pause_can_end_by_itself(place: Place) -> None:
    place.run("pause", "--for", "2h", "--yes")
    command = place.ops.orders[0][1]
    assert isinstance(command, Pause)
    assert command.until is not None
    assert timedelta(hours=1.9) < command.until - datetime.now(command.until.tzinfo) < timedelta(hours=2.1)


def test_timeouts_have_units(place: Place) -> None:
    place.run("failover", "--yes", "--timeout", "1.5min")
    assert place.ops.orders[0][3] == 90.0
    assert place.run("failover", "--yes", "--timeout", "90").exit_code == 2


@pytest.mark.parametrize(
    ("result", "code"),
    [("done", 0), ("failed", 1), ("refused", 3), ("timed_out", 4)],
)
def test_exit_codes_follow_the_outcome(place: Place, result: str, code: int) -> None:
    place.ops.outcome = Outcome(operations.Result(result), "this came of it", "in detail", "do that")
    told = place.run("failover", "--yes")
    assert told.exit_code == code
    assert "this came of it" in told.output
    assert "in detail" in told.output
    assert "do that" in told.output


def test_a_dry_run_prints_the_plan_and_asks_nobody(place: Place) -> None:
    place.ops.outcome = Outcome(operations.Result.PLANNED, "pg2 would be primary", plan=("stop pg1",))
    told = place.run("failover", "--dry-run")
    assert told.exit_code == 0
    assert "1. stop pg1" in told.stdout
    assert [dry for *_, dry, _ in place.ops.orders] == [True]


@pytest.mark.parametrize("words", ["failover", "switchover", "clone pg2", "pause"])
def test_without_a_person_and_without_yes_nothing_is_ordered(place: Place, words: str) -> None:
    told = place.run(*words.split())
    assert told.exit_code == 2
    assert "--yes" in told.stderr
    assert place.ops.orders == []


def planned(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk_module, "may_ask", lambda: True)
    place.ops.outcome = Outcome(operations.Result.PLANNED, "would", plan=("stop pg1", "promote pg2"))


def test_a_person_sees_the_plan_and_may_say_no(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    planned(place, monkeypatch)
    told = place.run("failover", input="n\n")
    assert told.exit_code == 1
    assert "2. promote pg2" in told.stderr
    assert "nothing was changed" in told.stderr
    assert [dry for *_, dry, _ in place.ops.orders] == [True]


# S2-04
def test_switchover_asks_for_the_candidate_and_shows_the_topology_before(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned(place, monkeypatch)
    told = place.run("switchover", input="pg3\ny\n")
    assert "└── pg3" in told.stderr
    assert [(order[1], order[2]) for order in place.ops.orders] == [
        (Switchover(NodeName("pg3")), True),
        (Switchover(NodeName("pg3")), False),
    ]


def test_leaving_a_question_changes_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    planned(place, monkeypatch)
    told = place.run("failover", input="")
    assert told.exit_code == 130
    assert "interrupted: nothing was changed" in told.stderr
    assert [dry for *_, dry, _ in place.ops.orders] == [True]


# S2-04
def test_switchover_shows_the_topology_after(place: Place) -> None:
    assert place.run("switchover", "--yes").stderr.count("pg1  primary") == 2


def test_switchover_can_be_bound_to_the_present_primary(place: Place) -> None:
    assert place.run("switchover", "--from", "pg2", "--yes").exit_code == 2
    assert place.run("switchover", "--from", "pg1", "--yes").exit_code == 0


def test_candidates_are_fit_and_the_best_comes_first() -> None:
    cluster = changed_node(a_cluster("pg1* pg2 pg3 pg4"), "pg4", tags=frozenset({Tag.NEVER_PROMOTE}))
    cluster = lagging(cluster, "pg2", 4096)
    assert candidates(cluster.spec, shape(cluster)) == ["pg3", "pg2"]
    cluster = changed_node(cluster, "pg2", priority=200)
    assert candidates(cluster.spec, shape(cluster)) == ["pg2", "pg3"]


NOON = datetime(2026, 3, 14, 12, tzinfo=timezone(timedelta(hours=1)))


@pytest.mark.parametrize(
    ("text", "hours"), [("13:00", 1), ("11:00", 23), ("2026-03-14 12:30", 0.5), ("2026-03-14T13:00Z", 2)]
)
def test_a_moment_is_read_in_the_readers_zone(text: str, hours: float) -> None:
    assert moment(text, NOON) - NOON == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["soon", "25:00", "2026-03-13 12:00", "2026-02-30 12:00"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        moment(text, NOON)


def test_json_needs_yes_and_prints_only_the_outcome(place: Place) -> None:
    assert place.run("switchover", "--json").exit_code == 2
    told = place.run("switchover", "--json", "--yes")
    assert json.loads(told.stdout)["result"] == "done"
    assert told.stderr == ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("status ordres", "did you mean orders?"),
        ("failover --to pgg2 --yes", "did you mean pg2?"),
        ("rejoin a b c --yes", "a node"),
        ("follow pg2 --yes", "2 nodes"),
        ("follow pg2 --upstream pgg3 --yes", "did you mean pg3?"),
        ("follow orders pg2 pg3 --upstream pg3 --yes", "a node"),
    ],
)
def test_wrong_names_are_usage_errors_with_a_guess(place: Place, words: str, says: str) -> None:
    told = place.run(*words.split())
    assert told.exit_code == 2
    assert says in told.stderr


def test_with_several_clusters_changes_need_a_name(place: Place) -> None:
    place.config = Configured((a_cluster().spec, a_cluster(name="billing").spec))
    told = place.run("failover", "--yes")
    assert told.exit_code == 2
    assert "orders, billing" in told.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Unsafe("no", detail="d", hint="h"), 3),
        (Unreachable("nobody", hint="h"), 1),
        (ExceptionGroup("several", [Unreachable("nobody"), ExceptionGroup("x", [UsageError("no")])]), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_what_is_raised_ends_in_a_message_and_a_code(place: Place, error: BaseException, code: int) -> None:
    place.raises = error
    told = place.run("status")
    assert told.exit_code == code
    assert "Traceback" not in told.output
    assert any(word in told.stderr for word in ("ERROR:", "REFUSED:", "interrupted"))


def test_an_error_of_ours_beside_a_bug_is_not_swallowed(place: Place) -> None:
    place.raises = ExceptionGroup("both", [Unsafe("no"), ZeroDivisionError()])
    assert isinstance(place.run("status").exception, ExceptionGroup)


def test_errors_are_json_for_programs(place: Place) -> None:
    place.raises = Unsafe("no", detail="d")
    told = place.run("status", "--json")
    assert json.loads(told.stdout)["error"]["kind"] == "Unsafe"


def test_a_wrong_configuration_ends_with_2(place: Place) -> None:
    place.config = ConfigError("line 3 is wrong")
    told = place.run("status")
    assert told.exit_code == 2
    assert "line 3 is wrong" in told.stderr


@pytest.mark.parametrize(
    ("level", "code"), [(CheckLevel.OK, 0), (CheckLevel.WARNING, 0), (CheckLevel.ERROR, 1)]
)
def test_check_fails_only_when_not_ready(place: Place, level: CheckLevel, code: int) -> None:
    place.items = [CheckItem(level, "orders/pg1", "as it is", "mend it")]
    told = place.run("check")
    assert told.exit_code == code
    assert "mend it" in told.stdout
    assert json.loads(place.run("check", "--json").stdout)[0]["level"] == level


def test_discover_writes_a_file_but_never_over_one(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "pgvigil.yaml"
    assert place.run("discover", "host=pg1", "-o", str(file)).exit_code == 0
    assert file.read_text() == "# from host=pg1\n"
    assert place.run("discover", "host=pg1", "-o", str(file)).exit_code == 2
    assert place.run("discover", "host=pg1").stdout == "# from host=pg1\n"


@pytest.mark.parametrize("there", [False, True], ids=["missing", "a folder"])
def test_discover_with_a_key_that_cannot_be_read_says_so_and_asks_nobody(
    place: Place, tmp_path: Path, there: bool
) -> None:
    key = tmp_path / "id_nobody"
    if there:
        key.mkdir()
    told = place.run("discover", "host=pg1", "--ssh-key", str(key))
    assert told.exit_code == 2
    words = "".join(told.stderr.split())  # a long path is told over several lines
    assert f"cannotreadthekey{key}" in words, told.stderr
    assert told.stdout == ""


def test_discover_names_the_key_from_wherever_it_was_called(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "id_ops").write_text("a key")
    monkeypatch.chdir(tmp_path)
    assert place.run("discover", "host=pg1", "--ssh-key", "id_ops").exit_code == 0
    assert place.ssh_key == str(tmp_path / "id_ops")


def told_events() -> list[dict[str, Any]]:
    event: dict[str, Any] = {"cluster": "orders", "at": "2026-03-14T09:26:53+00:00", "kind": "seen"}
    event["level"] = "info"
    event |= {"node": None, "generation": 1, "text": "pg2 streams", "evidence": [], "hint": ""}
    change = {"primary": "pg2", "timeline": 2, "origin": "failover"}
    return [{**event, "number": 1, "data": {}}, {**event, "number": 2, "data": change}]


def test_events_and_history(place: Place) -> None:
    place.ops.told = told_events()
    assert place.run("events").stdout.count("pg2 streams") == 2
    assert [json.loads(line)["number"] for line in place.run("events", "--json").stdout.splitlines()] == [
        1,
        2,
    ]
    assert [e["number"] for e in json.loads(place.run("history", "--json").stdout)] == [2]
    assert "failover" in place.run("history").stdout


def test_uri_version_render_and_help(place: Place) -> None:
    assert place.run("uri").stdout.startswith("postgresql://10.0.0.11:5432,")
    assert place.run("version").stdout.startswith("pgvigil ")
    assert 'GRANT pg_monitor TO "pgvigil"' in place.run("render", "grants").stdout
    assert place.run("demo", "--keep").exit_code == 0
    assert "Exit codes" in place.run("--help").stdout
    for command in app.registered_commands:
        assert command.callback is not None
        assert "Example: `pgvigil " in (command.callback.__doc__ or "") or command.name == "uri"


def test_run_ends_with_the_message_of_what_ended_it(place: Place) -> None:
    place.raises = Unsafe("another controller holds the state")
    told = place.run("run")
    assert told.exit_code == 3
    assert "another controller" in told.stderr


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pgvigil.cli.app import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'asyncio', 'asyncssh', 'psycopg', 'pydantic', 'structlog', 'yaml', 'sqlite3'}\n"
        "print(sorted(heavy & sys.modules.keys()), file=sys.stderr)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stderr.strip() == "[]"


@pytest.mark.parametrize("as_json", [True, False])
def test_a_log_that_nobody_reads_any_more_ends_nothing(
    as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logging(as_json=as_json)
    structlog.get_logger().info("promoted", node="pg2")
    logging.getLogger("asyncssh").warning("odd %s", "thing")
    told = capsys.readouterr().err
    assert "promoted" in told
    assert "odd thing" in told
    assert [json.loads(line) for line in told.splitlines()] if as_json else "node=pg2" in told
    gone = io.StringIO()
    gone.close()
    monkeypatch.setattr(sys, "stderr", gone)
    structlog.get_logger().info("unheard")
    structlog.reset_defaults()
    logging.getLogger().handlers.clear()


def guarded(place: Place) -> Place:
    fencing = Fencing(WhenUnreachable.WAIT, guard=True)
    place.config = Configured(clusters=(changed_spec(a_cluster(), fencing=fencing).spec,))
    return place


def test_guards_are_installed_on_all_nodes_or_on_those_named(place: Place) -> None:
    told = guarded(place).run("guard", "install", "--yes", "--json")
    assert told.exit_code == 0
    assert [(each["node"], each["text"]) for each in json.loads(told.stdout)] == [
        (name, "install") for name in ("pg1", "pg2", "pg3")
    ]
    told = place.run("guard", "remove", "orders", "pg2", "--dry-run")
    assert "remove, only to say" in told.stdout
    assert "pg3" not in told.stdout
    assert place.run("guard", "status", "pg3").exit_code == 0


def test_a_guard_that_is_not_well_is_told_with_what_to_do(place: Place) -> None:
    place.unwell = ("pg2",)
    told = guarded(place).run("guard", "status")
    assert told.exit_code == 1
    assert "do it again" in told.stdout


def test_no_guard_is_installed_that_nobody_would_renew(place: Place) -> None:
    told = place.run("guard", "install", "--yes")
    assert told.exit_code == 3
    assert "guard: true" in told.stderr
