"""What Prometheus gets, and that our alerts and our dashboard ask for nothing else."""

import asyncio
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from pgvigil.api.metrics import ADDED_AT_ONCE, Metrics
from pgvigil.controller.operations import Json
from pgvigil.controller.status import status_json
from pgvigil.model.diagnosis import Diagnosis, Finding, Problem
from pgvigil.model.step import Hold, Plan, Rest
from pgvigil.model.units import NodeName
from tests.builders import WALL, Cluster, a_cluster, crashed, lagging, vanished
from tests.fake_operations import FakeOperations

MONITORING = Path(__file__).parents[3] / "monitoring"
C = a_cluster("pg1* pg2 pg3")
PROMOTED: Json = {
    "cluster": "orders", "kind": "promoted", "level": "alert",
    "data": {"origin": "failover", "timeline": 2, "outage_s": 0.15, "lost_bytes": 4096},
}  # fmt: skip


def status(cluster: Cluster, plan: Plan = Plan(Rest()), *findings: Finding) -> Json:  # noqa: B008  # a value
    return status_json(
        cluster.spec,
        cluster.record,
        cluster.view,
        Diagnosis(findings),
        plan,
        wall=WALL,
        paused=False,
        busy={},
    )


def samples(*pages: FakeOperations) -> dict[str, float]:
    """All samples of the last page, `name{label=value,…}` → number."""

    async def whole() -> bytes:
        ops = FakeOperations()
        metrics = Metrics(ops, lambda: 1.5, lambda: 2.5)
        await metrics.begin()
        page = b""
        for each in pages:
            ops.clusters, ops.told = each.clusters, each.told
            page = await metrics.page()
        return page

    found = {}
    for family in text_string_to_metric_families(asyncio.run(whole()).decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_the_leader_of_a_standby_cluster_is_no_primary() -> None:
    site = status(C)
    site["standby_cluster"] = True
    found = samples(FakeOperations([site]))
    assert found["pgvigil_cluster_standby{cluster=orders}"] == 1
    assert found["pgvigil_node_is_primary{cluster=orders,node=pg1}"] == 0


def test_a_healthy_cluster() -> None:
    found = samples(FakeOperations([status(C)]))
    assert found["pgvigil_cluster_health{cluster=orders,health=ok}"] == 1
    assert found["pgvigil_cluster_health{cluster=orders,health=down}"] == 0
    primaries = [found[f"pgvigil_node_is_primary{{cluster=orders,node={n}}}"] for n in ("pg1", "pg2", "pg3")]
    assert primaries == [1, 0, 0]
    assert found["pgvigil_node_receives{cluster=orders,node=pg2}"] == 1
    assert found["pgvigil_node_replay_lag_bytes{cluster=orders,node=pg2}"] == 0
    assert "pgvigil_node_replay_lag_bytes{cluster=orders,node=pg1}" not in found
    assert found["pgvigil_cluster_generation{cluster=orders}"] == 1
    assert found["pgvigil_controller_late_seconds_total{}"] == 1.5
    assert found["pgvigil_controller_slowdown{}"] == 2.5


def test_what_a_label_says_is_read_as_it_was_said() -> None:
    cluster, name = status(C), 'a"b\\c\nd'
    cluster["endpoints"] = [{"name": name, "state": "ok"}]
    assert (
        samples(FakeOperations([cluster]))[f"pgvigil_endpoint_right{{cluster=orders,endpoint={name}}}"] == 1
    )


async def turns_of_the_loop(clusters: int) -> int:
    """How often others have had their turn while a page is made."""
    whole = status(C)
    metrics, turns = Metrics(FakeOperations([{**whole, "cluster": f"c{n}"} for n in range(clusters)])), 0
    page = asyncio.ensure_future(metrics.page())
    while not page.done():
        turns += 1
        await asyncio.sleep(0)
    assert page.result().count(b"pgvigil_cluster_generation{") == clusters
    return turns


def test_the_page_of_a_fleet_is_not_made_in_one_go() -> None:
    assert asyncio.run(turns_of_the_loop(200)) > 200 / ADDED_AT_ONCE


def test_an_endpoint_that_leads_astray_shows() -> None:
    cluster = status(C)
    cluster["endpoints"] = [{"name": "haproxy", "state": "ok"}, {"name": "pgbouncer", "state": "failed"}]
    found = samples(FakeOperations([cluster]))
    assert found["pgvigil_endpoint_right{cluster=orders,endpoint=haproxy}"] == 1
    assert found["pgvigil_endpoint_right{cluster=orders,endpoint=pgbouncer}"] == 0


def test_trouble_shows() -> None:
    hold = Plan(Hold("nobody_fit", "no standby is fit", ""))
    finding = Finding(Problem.PRIMARY_CRASHED, NodeName("pg1"), ())
    found = samples(FakeOperations([status(crashed(lagging(C, "pg3", 4096), "pg1"), hold, finding)]))
    assert found["pgvigil_cluster_held{cluster=orders}"] == 1
    assert found["pgvigil_finding{cluster=orders,node=pg1,problem=primary_crashed}"] == 1
    assert found["pgvigil_node_up{cluster=orders,node=pg1}"] == 0
    assert found["pgvigil_node_writable{cluster=orders,node=pg1}"] == 0


def test_events_are_counted_from_the_start_and_each_once() -> None:
    events = [{**PROMOTED, "number": number} for number in (1, 2)]
    ops = FakeOperations([status(C)], events)
    found = samples(ops, ops)
    assert found["pgvigil_events_total{cluster=orders,kind=promoted,level=alert}"] == 2
    assert found["pgvigil_lost_bytes_total{cluster=orders}"] == 8192
    assert found["pgvigil_outage_seconds_bucket{cluster=orders,le=0.2,origin=failover}"] == 2
    assert found["pgvigil_outage_seconds_bucket{cluster=orders,le=0.1,origin=failover}"] == 0


def test_a_cluster_that_went_is_told_of_no_more() -> None:
    found = samples(FakeOperations([status(C)]), FakeOperations([]))
    assert not [name for name in found if "orders" in name]


def test_a_node_that_was_never_seen_has_no_numbers() -> None:
    gone = vanished(C, "pg3")
    unseen = status(gone)
    for node in unseen["nodes"]:
        if node["name"] == "pg3":
            node.update(last_seen_s=None, lsn=None, probe_s=None, lag_bytes=None, timeline=None)
    found = samples(FakeOperations([unseen]))
    assert found["pgvigil_node_up{cluster=orders,node=pg3}"] == 0
    assert "pgvigil_node_wal_bytes{cluster=orders,node=pg3}" not in found


def asked_for(text: str) -> set[str]:
    return set(re.findall(r"pgvigil_[a-z_]+", text))


def known() -> set[str]:
    events = [{**PROMOTED, "number": 1}]
    slot = {
        "name": "a", "active": False, "wal_status": "", "held_bytes": 1, "physical": True, "failover": False,
        "synced": False,
    }  # fmt: skip
    whole = status(C, Plan(Rest()), Finding(Problem.STANDBY_DOWN, NodeName("pg2"), ()))
    whole["nodes"][0]["slots"] = [slot]
    whole["endpoints"] = [{"name": "haproxy", "state": "ok"}]
    whole["sync"] = {"acks": 1, "standbys": [], "wanted_acks": 1, "changing": False}
    return {name.split("{")[0] for name in samples(FakeOperations([whole], events))}


def test_the_alerts_ask_for_what_there_is() -> None:
    groups = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) >= 8
    for rule in rules:
        assert asked_for(rule["expr"]) <= known(), rule["alert"]
        assert rule["annotations"].keys() == {"summary", "description"}
        assert rule["labels"]["severity"] in ("info", "warning", "critical")


def test_the_dashboard_asks_for_what_there_is() -> None:
    dashboard = json.loads((MONITORING / "grafana.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert asked_for(" ".join(asked)) <= known()
    places = [tuple(panel["gridPos"].values()) for panel in dashboard["panels"]]
    assert len(places) == len(set(places)) >= 10


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool (Debian: prometheus) is not there")
def test_promtool_takes_the_alerts() -> None:
    subprocess.run(["promtool", "check", "rules", str(MONITORING / "alerts.yml")], check=True)
