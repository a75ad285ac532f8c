"""PostgreSQL's parameters over a whole cluster of real servers: seen, reloaded, set, and restarted for."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from threading import Thread

import pytest

from pgvigil.controller.mode import Mode
from pgvigil.controller.operations import Outcome
from pgvigil.demo.servers import Server, Servers, wait_until
from pgvigil.demo.writer import Writer
from pgvigil.model.command import (
    Rejoin,
    ReloadServers,
    RestartServers,
    RollBackParameters,
    SetParameters,
    ShowParameters,
    ShowVersions,
)
from pgvigil.model.parameter import ParameterVersion
from pgvigil.model.spec import Protection
from pgvigil.model.units import NodeName, SystemId
from pgvigil.store.memory import MemoryStore
from pgvigil.store.sqlite import SqliteStore
from tests.postgres.guard import Guard, cluster_spec, guarding
from tests.postgres.test_check import check

pytestmark = pytest.mark.postgres
Trio = tuple[Server, Server, Server]


def shown(guard: Guard, *names: str) -> dict[str, dict[str, object]]:
    outcome = guard.order(ShowParameters(names))
    assert outcome.result == "done", outcome
    return {each["name"]: each for each in outcome.data["parameters"]}


# S2-07
def test_what_differs_and_what_waits_for_a_restart_is_shown(guard: Guard, trio_of_servers: Trio) -> None:
    _, pg2, pg3 = trio_of_servers
    pg2.sql("alter system set work_mem = '9MB'")
    pg3.sql("alter system set max_connections = 150")
    outcome = guard.order(ReloadServers((NodeName("pg2"), NodeName("pg3"))))
    assert outcome.result == "done", outcome
    assert "pg3: waits for a restart: max_connections" in outcome.detail
    found = shown(guard)
    assert found["work_mem"]["differs"]
    assert found["work_mem"]["values"]["pg2"] == "9MB"  # type: ignore[index]  # JSON
    assert found["max_connections"]["pending"] == ["pg3"]
    assert "primary_conninfo" not in found


def test_a_parameter_that_does_not_exist_is_refused_with_a_guess(guard: Guard) -> None:
    outcome = guard.order(ShowParameters(("max_conections",)))
    assert (outcome.result, outcome.hint) == ("wrong", "did you mean max_connections?")


def set_(guard: Guard, *, restart: bool = False, in_place: bool = False, **changes: str | None) -> Outcome:
    errand = SetParameters(changes, "alice@host", restart=restart, in_place=in_place)
    return guard.order(errand, within_s=180)


def shows(servers: Sequence[Server], name: str) -> list[object]:
    return [server.sql(f"show {name}")[0][0] for server in servers]


def breaks(writer: Writer) -> list[tuple[str, str]]:
    """Where a row failed or another node took over: who acknowledged before and after."""
    return [(a.node, b.node) for a, b in pairwise(writer.acks) if a.node != b.node or b.id != a.id + 1]


# S2-07
def test_a_parameter_is_set_everywhere_kept_as_a_version_and_taken_back(
    guard: Guard, trio_of_servers: Trio
) -> None:
    before = shows(trio_of_servers, "work_mem")
    outcome = set_(guard, work_mem="7MB", shared_preload_libraries="auto_explain, pg_stat_statements")
    assert outcome.result == "done", outcome
    assert shows(trio_of_servers, "work_mem") == ["7MB"] * 3
    assert "restart is pending on pg1, pg2, pg3" in outcome.detail
    written = trio_of_servers[0].sql(
        "select setting from pg_file_settings where name = 'shared_preload_libraries'"
    )
    assert written == [("auto_explain, pg_stat_statements",)]
    assert set_(guard, work_mem="7MB").text.startswith("nothing to do")
    assert set_(guard, work_mem="6MB").result == "done"
    (_, second) = guard.order(ShowVersions()).data["versions"]
    assert (second["number"], second["who"]) == (2, "alice@host")
    assert second["changes"] == [{"name": "work_mem", "before": "7MB", "after": "6MB"}]
    assert guard.order(RollBackParameters("bob@host")).result == "done"
    assert shows(trio_of_servers, "work_mem") == ["7MB"] * 3
    assert guard.order(RollBackParameters("bob@host", 0)).result == "done"
    assert shows(trio_of_servers, "work_mem") == before
    files = "select 1 from pg_file_settings where name in ('work_mem', 'shared_preload_libraries')"
    assert [server.sql(files) for server in trio_of_servers] == [[]] * 3
    assert [v["comment"] for v in guard.order(ShowVersions()).data["versions"]][2:] == [
        "back to version 1",
        "back to version 0",
    ]


@pytest.mark.parametrize(
    ("changes", "text", "detail"),
    [
        ({"work_mem": "many"}, "does not take work_mem", "SQLSTATE 22023 on pg1: invalid value"),
        ({"jit": "off", "max_connections": "9999999"}, "max_connections", "outside the valid range"),
        ({"no_such_thing": "1"}, "no parameter 'no_such_thing'", ""),
        ({"primary_conninfo": "host=elsewhere"}, "primary_conninfo is not set", "writes it"),
        ({"port": "5433"}, "port is not set", "each node has its own"),
        ({"max_connections": "3"}, "max_connections = 3 is refused", "would not start"),
        ({"application_name": "a\x01"}, "cannot be shown", ""),
        ({"application_name": "a\udcff"}, "cannot be shown", ""),
        ({"wal_level": "minimal"}, "is refused", "no standby could be fed"),
    ],
)
def test_what_is_refused_changes_nothing(
    guard: Guard, trio_of_servers: Trio, changes: dict[str, str], text: str, detail: str
) -> None:
    files = "select name, setting from pg_file_settings where sourcefile like '%auto.conf' order by 1"
    before = [server.sql(files) for server in trio_of_servers]
    outcome = guard.order(SetParameters(changes, "alice@host"))
    assert outcome.result in ("refused", "wrong"), outcome
    assert text in outcome.text
    assert detail in outcome.detail
    assert [server.sql(files) for server in trio_of_servers] == before
    assert guard.order(ShowVersions()).data["versions"] == []


def test_without_a_shell_the_server_refuses_a_value_with_its_sqlstate(
    servers: Servers, trio_of_servers: Trio
) -> None:
    files = "select name from pg_file_settings where sourcefile like '%auto.conf' and name = 'jit'"
    with guarding(cluster_spec(servers, trio_of_servers, shell=False)) as guard:
        outcome = set_(guard, jit="off", work_mem="many")
    assert outcome.result == "wrong", outcome
    assert "SQLSTATE 22023" in outcome.detail
    assert [server.sql(files) for server in trio_of_servers] == [[]] * 3


def test_with_quorum_who_is_waited_for_is_not_set_by_hand(servers: Servers, trio_of_servers: Trio) -> None:
    spec = replace(cluster_spec(servers, trio_of_servers), protection=Protection.QUORUM)
    with guarding(spec) as guard:
        guard.await_health()
        assert "quorum" in set_(guard, synchronous_standby_names="pg2").detail
        assert "quorum" in set_(guard, synchronous_commit="local").detail


def test_max_connections_goes_up_and_down_and_writers_lose_only_the_gap(
    guard: Guard, trio_of_servers: Trio
) -> None:
    with Writer({s.name: s.conninfo(dbname="postgres") for s in trio_of_servers}) as writer:
        up = set_(guard, max_connections="60", restart=True)
        assert up.result == "done", up
        guard.await_health()
        assert shows(trio_of_servers, "max_connections") == ["60"] * 3
        primary = guard.primary()
        assert primary != "pg1"
        refused = set_(guard, max_connections="40", restart=True)
        assert (refused.result, "add --in-place" in refused.detail) == ("refused", True)
        down = set_(guard, max_connections="40", restart=True, in_place=True)
        assert down.result == "done", down
        guard.await_health()
        writer.stop()
    assert shows(trio_of_servers, "max_connections") == ["40"] * 3
    assert breaks(writer) == [("pg1", primary), (primary, primary)]
    assert writer.lost(trio_of_servers[0].conninfo(dbname="postgres")) == []
    assert (guard.primary(), guard.status()["generation"]) == (primary, 2)


def test_a_raised_limit_is_written_on_the_primary_only_after_its_standbys_run_with_it(
    guard: Guard, trio_of_servers: Trio
) -> None:
    outcome = set_(guard, max_connections="60")
    assert outcome.result == "done", outcome
    assert "written on pg1 only when it is safe there: max_connections" in outcome.detail
    found = shown(guard)["max_connections"]
    assert (found["pending"], found["unwritten"]) == (["pg2", "pg3"], ["pg1"])
    assert guard.order(RestartServers(pending=True), within_s=120).result == "done"
    assert shows(trio_of_servers, "max_connections") == ["60"] * 3
    assert shown(guard)["max_connections"]["unwritten"] == []


def test_status_and_check_tell_what_waits_and_what_drifted(
    guard: Guard, servers: Servers, trio_of_servers: Trio
) -> None:
    trio_of_servers[1].sql("alter system set work_mem = '9MB'")
    trio_of_servers[2].sql("alter system set max_connections = 150")
    assert guard.order(ReloadServers()).result == "done"

    def told() -> dict[str, list[str]]:
        return {node["name"]: node["pending_restart"] for node in guard.status()["nodes"]}

    wait_until(lambda: any(told().values()), within_s=20, what="the next look at what changes rarely")
    assert told() == {"pg1": [], "pg2": [], "pg3": ["max_connections"]}
    items = check(cluster_spec(servers, trio_of_servers))
    texts = [f"{item.place}: {item.what}; {item.fix}" for item in items]
    assert any("changes it: work_mem; see: pgvigil config show" in text for text in texts), texts
    assert any("pg3" in text and "pgvigil restart --pending" in text for text in texts), texts


class DiesThere(SqliteStore):
    """The controller's life ends right before a version would be kept: nothing it does comes any further."""

    async def add_version(self, version: ParameterVersion) -> None:
        await asyncio.Event().wait()


def lines_of(server: Server, name: str) -> list[str]:
    found = server.sql(
        "select setting from pg_file_settings where name = %s and sourcefile like '%%auto.conf'", name
    )
    return [row[0] for row in found]


def test_what_a_controller_tried_when_it_died_is_undone_by_the_next_and_told(
    servers: Servers, trio_of_servers: Trio, tmp_path: Path
) -> None:
    spec, file, (_, pg2, _) = cluster_spec(servers, trio_of_servers), tmp_path / "pgvigil.db", trio_of_servers
    pg2.sql("alter system set jit = off")
    before = shows(trio_of_servers, "work_mem")
    wish = SetParameters({"work_mem": "7MB", "jit": "on", "max_connections": "40"}, "alice@host")
    with guarding(spec, store=DiesThere(file)) as guard:
        guard.await_health()
        Thread(target=guard.order, args=(wish,), kwargs={"within_s": 5.0}, daemon=True).start()
        wait_until(lambda: lines_of(pg2, "max_connections") == ["40"], within_s=20, what="the trial")
    assert (lines_of(pg2, "work_mem"), lines_of(pg2, "jit")) == (["7MB"], ["on"])
    pg2.sql("alter system set max_connections = 41")  # somebody else's by now
    pg2.stop()
    with guarding(spec, store=SqliteStore(file)) as guard:
        wait_until(lambda: "trial_left" in guard.kinds(), within_s=20, what="that it is told")
        pg2.start()
        wait_until(lambda: "trial_undone" in guard.kinds(), within_s=30, what="the undoing")
        (told,) = [e["text"] for e in guard.events() if e["kind"] == "trial_undone"]
        assert "for a controller ended while alice@host had it tried" in told
        assert "pg2: work_mem = 7MB" in told
        assert lines_of(pg2, "work_mem") == []
        assert lines_of(pg2, "jit") == ["off"]
        assert lines_of(pg2, "max_connections") == ["41"]
        assert shows(trio_of_servers, "work_mem") == before
        assert guard.order(ShowVersions()).data["versions"] == []
        guard.await_health()
        assert set_(guard, work_mem="7MB").result == "done"
        assert shows(trio_of_servers, "work_mem") == ["7MB"] * 3
    with guarding(spec, store=SqliteStore(file)) as guard:
        guard.await_health()
        assert guard.kinds().count("trial_undone") == 1
        assert shows(trio_of_servers, "work_mem") == ["7MB"] * 3


def test_the_next_change_undoes_it_too_when_no_controller_runs(
    servers: Servers, trio_of_servers: Trio, tmp_path: Path
) -> None:
    spec, file, (_, pg2, _) = cluster_spec(servers, trio_of_servers), tmp_path / "pgvigil.db", trio_of_servers
    with guarding(spec, store=DiesThere(file), mode=Mode.ORDERS) as guard:
        wish = SetParameters({"work_mem": "7MB"}, "alice@host")
        Thread(target=guard.order, args=(wish,), kwargs={"within_s": 5.0}, daemon=True).start()
        wait_until(lambda: lines_of(pg2, "work_mem") == ["7MB"], within_s=20, what="the trial")
    with guarding(spec, store=SqliteStore(file), mode=Mode.ORDERS) as guard:
        assert guard.order(SetParameters({"jit": "off"}, "bob@host"), dry_run=True).result == "planned"
        assert lines_of(pg2, "work_mem") == ["7MB"], "a rehearsal changes nothing"
        assert set_(guard, jit="off").result == "done"
        assert lines_of(pg2, "work_mem") == []
        assert shows(trio_of_servers, "jit") == ["off"] * 3


def test_nothing_is_done_to_servers_of_another_cluster(servers: Servers, trio_of_servers: Trio) -> None:
    spec, store = cluster_spec(servers, trio_of_servers), MemoryStore()
    with guarding(spec, store=store) as guard:
        guard.await_health()
    record = asyncio.run(store.load(spec.name))
    assert record is not None
    asyncio.run(store.save(replace(record, system_id=SystemId("4711"))))
    for errand in (SetParameters({"work_mem": "7MB"}, "alice@host"), RestartServers(), ReloadServers()):
        with guarding(spec, store=store, wait=False) as guard:  # from its first moment on
            outcome = guard.order(errand)
            assert (outcome.result, outcome.text) == ("refused", "pg1 belongs to another cluster")
    assert "7MB" not in shows(trio_of_servers, "work_mem")


def test_nothing_is_done_while_one_server_belongs_to_another_cluster(
    servers: Servers, trio_of_servers: Trio
) -> None:
    spec, store = cluster_spec(servers, trio_of_servers), MemoryStore()
    with guarding(spec, store=store) as guard:
        guard.await_health()
    stranger = servers.make_primary("stranger", own_system_id=True)
    theirs = replace(cluster_spec(servers, [stranger]).nodes[0], name=NodeName("pg3"))
    with guarding(replace(spec, nodes=(*spec.nodes[:2], theirs)), store=store, wait=False) as guard:
        for errand in (SetParameters({"work_mem": "7MB"}, "alice@host"), RestartServers(), ReloadServers()):
            outcome = guard.order(errand)
            assert (outcome.result, outcome.text) == ("refused", "pg3 belongs to another cluster")
    assert "7MB" not in shows((*trio_of_servers, stranger), "work_mem")


def test_a_value_with_which_no_standby_starts_is_taken_back(guard: Guard, trio_of_servers: Trio) -> None:
    outcome = set_(guard, restart=True, shared_preload_libraries="not_there")
    assert (outcome.result, "config rollback test" in outcome.hint) == ("failed", True), outcome
    (down,) = (server for server in trio_of_servers if not server.is_running())
    assert down.name in ("pg2", "pg3")
    (told,) = (event for event in guard.events() if event["kind"] == "command_failed")
    assert "a change of parameters" in told["text"]

    rehearsed = guard.order(RollBackParameters("alice@host"), dry_run=True)
    assert any(f"on {down.name} through its host" in line for line in rehearsed.plan), rehearsed
    back = guard.order(RollBackParameters("alice@host"), within_s=60)
    assert (back.result, f"pgvigil rejoin test {down.name}" in back.detail) == ("done", True), back
    assert guard.order(Rejoin(NodeName(down.name)), within_s=60).result == "done"
    guard.await_health()
    assert shows(trio_of_servers, "shared_preload_libraries") == ["", "", ""]


def test_what_must_fit_the_primary_is_not_rolled_back_behind_a_server_that_does_not_run(
    guard: Guard, trio_of_servers: Trio
) -> None:
    assert set_(guard, restart=True, max_connections="120").result == "done"
    trio_of_servers[2].stop()

    def known() -> bool:
        outcome = guard.order(RollBackParameters("alice@host"))
        assert outcome.result == "refused", outcome  # also while it is only known that pg3 does not answer
        return outcome.text == "pg3 does not run"

    wait_until(known, within_s=20, what="pg3 to be found stopped")
    assert shows(trio_of_servers[:2], "max_connections") == ["120", "120"]
