"""`promote-site` and `demote-site` as people give them: with a running controller and its file."""

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from pgvigil.demo.servers import Server, Servers, wait_until
from pgvigil.demo.writer import Writer
from tests.postgres.service import Service
from tests.postgres.sites import DR, MAIN, Sites, make_sites, sites_text

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(300)]


@pytest.fixture
def sites(servers: Servers) -> Sites:
    made = make_sites(servers)
    servers.account.write(servers.home / "pgvigil.yaml", sites_text(made))
    made.main[0].sql("create table t (a int)")
    return made


@pytest.fixture
def service(sites: Sites) -> Iterator[Service]:
    with Service(sites.servers) as service:
        for name in (MAIN, DR):
            await_that(service, name, lambda status: status["health"] == "ok", "to be well")
        yield service


def await_that(
    service: Service, cluster: str, fact: Any, what: str, *, within_s: float = 60
) -> dict[str, Any]:
    seen: list[dict[str, Any]] = []

    def there() -> bool:
        found = service.of(cluster)
        seen.append(found)
        return bool(found and fact(found))

    try:
        wait_until(there, within_s=within_s, what=f"{cluster} {what}", every_s=0.1)
    except Exception as late:
        late.add_note(f"{ {k: v for k, v in seen[-1].items() if k != 'nodes'} }\n{service.log[-6000:]}")
        raise
    return seen[-1]


def followed(servers: Servers) -> dict[str, Any]:
    """Who follows whom, as the file says."""
    clusters = yaml.safe_load(Path(servers.home / "pgvigil.yaml").read_text())["clusters"]
    return {name: each.get("standby_of") for name, each in clusters.items()}


def rows(server: Server) -> int:
    return int(server.sql("select count(*) from t")[0][0])


def slow_promotion(servers: Servers, node: str, line: str) -> None:
    """Have that node of `dr` promoted by a line that takes its time."""
    file = Path(servers.home / "pgvigil.yaml")
    config = yaml.safe_load(file.read_text())
    config["clusters"][DR]["nodes"][node]["postgres"]["promote_command"] = line
    servers.account.write(file, yaml.safe_dump(config, sort_keys=False))


def is_whole(status: dict[str, Any]) -> bool:
    """All is well, and every node but the primary streams."""
    primary = {"" if status["standby_cluster"] else status["primary"]}
    streams = {node["name"] for node in status["nodes"] if node["receiver"]}
    return status["health"] == "ok" and streams == {node["name"] for node in status["nodes"]} - primary


def in_recovery(server: Server) -> bool:
    return bool(server.sql("select pg_is_in_recovery()")[0][0])


def await_rows(server: Server, count: int) -> None:
    def there() -> bool:
        return rows(server) == count

    wait_until(there, within_s=30, what=f"{server.name} to have {count} rows", every_s=0.05)


def test_after_a_disaster_one_site_is_promoted_and_the_other_one_follows_when_it_returns(
    servers: Servers, sites: Sites, service: Service
) -> None:
    (a1, _), (b1, b2) = sites.main, sites.dr
    a1.sql("insert into t select generate_series(1, 10)")
    wait_until(lambda: rows(b2) == 10, within_s=20, what="the rows to arrive")
    refused = service.command("promote-site", DR, "--yes")
    assert refused.returncode == 3, refused
    assert "main/a1 of the cluster that is followed takes writes" in refused.stderr
    assert service.command("pause", MAIN, "--yes").returncode == 0  # or it would start its servers again
    for server in sites.dr:
        server.freeze()
    a1.sql("insert into t values (11)")
    for server in sites.main:
        server.kill_all()
    for server in sites.dr:
        server.thaw()
    await_that(service, DR, lambda status: not status["standby_of"]["answers"], "to see nobody there")
    rehearsed = service.command("promote-site", DR, "--dry-run")
    assert rehearsed.returncode == 0, rehearsed
    assert "when it was last heard" in " ".join(rehearsed.stdout.split())
    done = service.command("promote-site", DR, "--yes", "--json")
    assert done.returncode == 0, done
    assert "b1 has everything up to" in json.loads(done.stdout)["detail"]
    assert followed(servers) == {MAIN: DR, DR: None}
    b1.sql("insert into t values (100)")
    wait_until(lambda: rows(b2) == rows(b1), within_s=20, what="b2 to follow")
    for server in sites.main:
        server.start()
    told = await_that(
        service, MAIN, lambda s: any(f["problem"] == "site_not_standby" for f in s["findings"]), "to be told"
    )
    assert told["standby_cluster"] is False
    a1.sql("insert into t values (12)")
    assert service.command("resume", MAIN).returncode == 0
    demoted = service.command("demote-site", MAIN, "--yes")
    assert demoted.returncode == 0, demoted
    await_that(service, MAIN, lambda s: s["standby_cluster"] and is_whole(s), "to follow", within_s=120)
    b1.sql("insert into t values (101)")
    for server in sites.main:
        await_rows(server, rows(b1))
        assert server.sql("select pg_is_in_recovery()") == [(True,)]


def test_two_sites_change_places_under_a_writer_and_back_and_nothing_is_lost(
    servers: Servers, sites: Sites, service: Service
) -> None:
    everybody = (*sites.main, *sites.dr)
    with Writer({server.name: server.conninfo() for server in everybody}) as writer:
        for promoted, other in ((DR, MAIN), (MAIN, DR)):
            done = service.command("promote-site", promoted, "--planned", "--yes")
            assert done.returncode == 0, done
            assert followed(servers) == {other: promoted, promoted: None}
            for name in (promoted, other):
                await_that(service, name, is_whole, "to be well", within_s=90)
        wait_until(lambda: len(writer.acks) > 50, within_s=20, what="more writes")
    primary = sites.main if not in_recovery(sites.main[0]) else sites.main[::-1]
    assert writer.lost(primary[0].conninfo()) == []
    assert [server.name for server in everybody if not in_recovery(server)] == [primary[0].name]


def test_changing_places_is_undone_when_the_other_site_does_not_get_everything(
    servers: Servers, sites: Sites, service: Service
) -> None:
    (a1, _), dr = sites.main, sites.dr
    refused = service.command("promote-site", DR, "--planned", "--force", "--yes")
    assert refused.returncode == 2, refused
    planned = service.command("promote-site", DR, "--planned", "--dry-run")
    assert planned.returncode == 0, planned
    assert followed(servers) == {MAIN: None, DR: MAIN}
    for server in dr:
        server.freeze()
    failed = service.command("promote-site", DR, "--planned", "--yes")
    assert failed.returncode in (1, 3), failed
    for server in dr:
        server.thaw()
    assert followed(servers) == {MAIN: None, DR: MAIN}
    await_that(service, MAIN, lambda status: status["health"] == "ok", "to be well")
    a1.sql("insert into t values (1)")
    await_rows(dr[-1], 1)


def test_a_controller_that_is_killed_while_it_promotes_a_site_goes_on_when_it_is_back(
    servers: Servers, sites: Sites, service: Service
) -> None:
    b1, b2 = sites.dr
    assert service.command("pause", MAIN, "--yes").returncode == 0
    for server in sites.main:
        server.kill_all()
    await_that(service, DR, lambda status: not status["standby_of"]["answers"], "to see nobody there")
    slowly = f"sleep 3; {b1.bin_dir}/pg_ctl promote -W -s -D {b1.data_dir}"
    slow_promotion(servers, "b1", slowly)
    assert service.command("reload").returncode == 0
    await_that(service, DR, lambda status: status["health"] in ("ok", "degraded"), "to be guarded again")
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(service.command, "promote-site", DR, "--yes", "--timeout", "10s")
        await_that(service, DR, lambda status: status["phase"] == "promoting", "to be promoted")
        service.stop(signal.SIGKILL)
        asked.result()
    service.start()
    status = await_that(
        service, DR, lambda s: s["phase"] == "stable" and not s["standby_cluster"], "to be promoted"
    )
    assert (status["primary"], status["generation"]) == ("b1", 2)
    b1.sql("insert into t values (1)")
    await_rows(b2, 1)
    again = service.command("promote-site", DR, "--yes")
    assert again.returncode == 0, again
    assert followed(servers) == {MAIN: DR, DR: None}


def test_what_commands_say_of_a_standby_cluster_and_its_way_is_kept_right(
    sites: Sites, service: Service
) -> None:
    (a1, a2), (b1, b2) = sites.main, sites.dr
    status = service.command("status", DR)
    assert "standby cluster of main" in status.stdout
    assert "* leader" in status.stdout
    assert "main/a1 takes writes" in status.stdout
    assert "b1  standby  * leader" in service.command("topology", DR).stdout
    checked = service.command("check", DR)
    assert "a standby cluster of main: b1 streams from there" in checked.stdout, checked
    assert "no node takes writes" not in checked.stdout
    uri = service.command("uri", DR).stdout
    assert all(f":{server.port}" in uri for server in (a1, a2, b1, b2))
    assert service.command("failover", DR, "--yes").returncode == 3
    assert service.command("promote", DR, "b2", "--yes").returncode == 3
    assert service.command("demote-site", DR, "--yes").returncode == 3
    ways = f"port={a1.port},{a2.port}"
    wait_until(lambda: ways in conninfo(b1), within_s=10, what="b1 to know both nodes")
    b2.kill_all()
    b2.start()
    await_that(service, DR, is_whole, "to be whole")
    dropped = service.command("node", "drop", "a2", "--cluster", MAIN, "--yes")
    assert dropped.returncode == 0, dropped
    wait_until(lambda: f"port={a1.port} " in conninfo(b1), within_s=30, what="b1 to know of a1 alone")
    a1.sql("insert into t values (1)")
    await_rows(b2, 1)


def conninfo(server: Server) -> str:
    return str(server.sql("show primary_conninfo")[0][0])
