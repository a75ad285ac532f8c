import io

import pytest
from rich.console import Console, RenderableType

from pgvigil.cli.report import checks_view, error_view, event_view, history_view, outcome_view
from pgvigil.cli.show import cluster_view, clusters_view, replication_view
from pgvigil.cli.theme import bytes_text, seconds_text
from pgvigil.cli.topology import topology_view
from pgvigil.controller.operations import Json, Outcome, Result
from pgvigil.errors import UsageError
from pgvigil.model.check import CheckItem, CheckLevel
from pgvigil.model.record import SyncSet
from pgvigil.model.units import NodeName
from tests.unit.cli.pictures import (
    every_picture,
    healthy,
    losing_its_primary,
    quorum,
    rejoining,
    two_primaries,
    with_witnesses,
)


def console(width: int = 80, encoding: str = "utf-8") -> Console:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    return Console(file=file, width=width, highlight=False, color_system=None)


def drawn(view: RenderableType, on: Console) -> str:
    with on.capture() as capture:
        on.print(view)
    return capture.get()


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


def test_a_healthy_cluster_fits_80_columns_on_one_line_a_node() -> None:
    on = console(80)
    assert lines(drawn(cluster_view(on, healthy()), on)) == [
        "orders  ● ok  primary pg1 · generation 1 · async",
        "",
        " Node  Role     State      Upstream  Sync      Lag  TL  Prio  Location",
        " pg1   primary  * running                            1   100  berlin",
        " pg2   standby  running    pg1       async     0 B   1   100  berlin",
        " pg3   standby  running    pg1       async  121 kB   1   100  paris",
    ]


# S1-02, S4-03
def test_the_wide_table_has_every_column() -> None:
    on = console(300)
    text = drawn(cluster_view(on, healthy(), wide=True), on)
    header = lines(text)[2].split()
    for title in ("Node", "Role", "State", "Upstream", "Prio", "Location", "TL", "LSN", "Address", "Goal"):
        assert title in header
    assert "host=10.0.0.11 port=5432 user=pgvigil" in text
    assert "read-write" in text


def test_findings_stand_below_with_evidence_and_the_time_they_need() -> None:
    on = console(80)
    text = drawn(cluster_view(on, losing_its_primary()), on)
    assert "? unreachable" in text
    assert "primary lost  db-a  verdict in 800 ms" in text
    assert "· no answer over SQL for 2.2 s" in text
    assert "held  the silence is too short" in text


@pytest.mark.parametrize(
    ("problem", "state", "detail", "told"),
    [
        ("standby_down", "crashed", "", True),
        ("standby_down", "stopped", "", True),
        ("standby_down", "silent", "", False),
        ("standby_down", "crashed", "start is needed", False),
        ("standby_detached", "crashed", "", False),
    ],
)
def test_who_must_bring_a_standby_back_is_told(problem: str, state: str, detail: str, told: bool) -> None:
    on, cluster = console(120), healthy()
    cluster["nodes"][2].update(reported_state=state, detail=detail, progress="")
    finding = {"problem": problem, "node": "pg3", "urgency": "now", "due_s": None, "evidence": ["it is gone"]}
    cluster["findings"].append(finding)
    text = drawn(cluster_view(on, cluster), on)
    assert f"{problem.replace('_', ' ')}  pg3" in text
    assert ("HINT:  see its log; pgvigil rejoin pg3" in text) is told


def test_progress_pause_warning_and_hint_are_shown() -> None:
    on = console(80)
    text = drawn(cluster_view(on, rejoining()), on)
    for part in ("rejoining", "pg3  pg_rewind: 40 %", "paused", "no fencing but hope", "HINT:  find out why"):
        assert part in text


@pytest.mark.parametrize(
    ("cluster", "headline", "note"),
    [
        (quorum(1, "pg2", "pg3"), "ok  primary pg1 · generation 1 · quorum: any 1 of pg2, pg3", ""),
        (
            quorum(1, "pg2", wanted=2),
            "degraded  primary pg1 · generation 1 · quorum: any 1 of pg2",
            "commits wait for any 1 of pg2; 2 are wanted (sync_required)",
        ),
        (
            quorum(0),
            "quorum: no standby acknowledges",
            "no commit is promised: the primary acknowledges alone; bring a standby back",
        ),
        (
            quorum(0, following=SyncSet(1, frozenset({NodeName("pg2")}))),
            "quorum: being set up",
            "no commit is promised yet: it is not proved that commits wait",
        ),
    ],
)
def test_a_quorum_says_who_acknowledges_and_what_is_not_promised(
    cluster: Json, headline: str, note: str
) -> None:
    on = console(120)
    text = drawn(cluster_view(on, cluster), on)
    assert headline in text
    assert note in text
    assert ("▲ quorum" in text) is bool(note)
    assert headline in drawn(topology_view(on, cluster), on)


# S1-08
def test_a_second_primary_is_marked() -> None:
    on = console(80)
    text = drawn(cluster_view(on, two_primaries()), on)
    assert "! running" in text
    assert "stale primary  pg1" in text


# S1-12
def test_witness_hosts_say_what_they_reach_or_why_they_are_of_no_use() -> None:
    on = console(80)
    text = drawn(cluster_view(on, with_witnesses()), on)
    for part in (
        "witness w1  reaches pg1, pg2",
        "witness w2  reaches pg2; does not reach pg1",
        "witness w3  the shell on gate does not answer",
        "witness w4  not asked yet",
    ):
        assert part in text


@pytest.mark.parametrize("width", [40, 80, 120, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_everything_can_be_drawn_everywhere(width: int, encoding: str) -> None:
    on = console(width, encoding)
    for picture in every_picture():
        for view in (cluster_view(on, picture), topology_view(on, picture), replication_view(on, picture)):
            drawn(view, on).encode(encoding)
    drawn(clusters_view(on, every_picture()), on).encode(encoding)


def test_no_line_is_wider_than_the_terminal() -> None:
    on = console(80)
    for picture in every_picture():
        for view in (cluster_view(on, picture), topology_view(on, picture), replication_view(on, picture)):
            assert max(len(line) for line in drawn(view, on).splitlines()) <= 80


def test_the_topology_shows_cascades_below_their_upstream_and_the_detached_apart() -> None:
    on = console(100)
    text = lines(drawn(topology_view(on, rejoining()), on))
    assert text[2].startswith("pg1  primary  * running")
    assert text[3].startswith("├── pg2  standby  running  async")
    assert text[4].startswith("│   └── pg4  standby  running")
    detached = drawn(topology_view(on, losing_its_primary()), on)
    assert "db-b  standby  running  streams from nobody" in detached


# S1-05
def test_replication_shows_both_ends() -> None:
    on = console(120)
    text = lines(drawn(replication_view(on, healthy()), on))
    assert text[2].split()[:5] == ["Standby", "Upstream", "Sender", "Receiver", "Sync"]
    assert text[4].split()[:7] == ["pg3", "pg1", "streaming", "streaming", "async", "121", "kB"]


def event(**data: object) -> Json:
    return {
        "number": 3,
        "cluster": "orders",
        "at": "2026-03-14T09:26:53.250000+00:00",
        "kind": "promoted",
        "level": "alert",
        "node": "pg2",
        "generation": 2,
        "text": "pg2 is primary",
        "evidence": ["its host says so"],
        "hint": "",
        "data": data,
    }


def test_an_event_tells_what_and_why() -> None:
    on = console(120)
    text = drawn(event_view(on, event()), on)
    assert "orders/pg2  #3  promoted  pg2 is primary" in text
    assert "its host says so" in text


# S2-19
def test_history_tells_each_change_of_primary_with_its_price() -> None:
    on = console(160)
    change = event(primary="pg2", previous="pg1", timeline=2, origin="failover", outage_s=0.21, lost_bytes=0)
    text = drawn(history_view(on, [event(), change]), on)
    row = lines(text)[1].split()
    assert len(lines(text)) == 2
    assert row[0] == "2"
    assert row[3:10] == ["pg2", "pg1", "2", "failover", "210", "ms", "nothing"]
    assert "no change" in drawn(history_view(on, [event()]), on)


def test_errors_look_as_in_psql() -> None:
    text = lines(
        drawn(error_view(UsageError("it is not so", detail="two of them", hint="stop one")), console())
    )
    assert text == ["ERROR:   it is not so", "DETAIL:  two of them", "HINT:    stop one"]


def test_a_plan_is_numbered() -> None:
    on = console()
    outcome = Outcome(Result.PLANNED, "pg2 would be primary", plan=("stop pg1", "promote pg2"))
    assert lines(drawn(outcome_view(on, outcome), on)) == [
        "PLAN:  pg2 would be primary",
        "  1. stop pg1",
        "  2. promote pg2",
    ]


def test_checks_name_a_place_once_and_sum_up() -> None:
    on = console()
    items = [
        CheckItem(CheckLevel.OK, "orders/pg1", "logs in"),
        CheckItem(CheckLevel.WARNING, "orders/pg1", "wal_log_hints is off", "set it to on and restart"),
        CheckItem(CheckLevel.ERROR, "orders/pg2", "no login", "create the role"),
    ]
    text = lines(drawn(checks_view(on, items), on))
    assert text[0] == "✓ orders/pg1  logs in"
    assert text[2].strip() == "→ set it to on and restart"
    assert text[-1] == "not ready: 1 error, 1 warning"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 kB"),
        (123_456, "121 kB"),
        (16 * 1024**2, "16 MB"),
        (2**60, "1024 PB"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    assert bytes_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 ms"),
        (0.21, "210 ms"),
        (0.999, "1.0 s"),
        (59.9, "59.9 s"),
        (75, "1 min 15 s"),
        (7200, "2 h"),
        (3 * 86400, "3 d 0 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text
