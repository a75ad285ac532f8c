"""`GET /metrics`: every cluster for Prometheus, made from its status when it is asked for.

Positions, lags and states are read there and then, so no gauge is ever older than the answer. Events are
counted from the controller's start on; a node that is gone from the configuration is gone from the answer.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pgvigil import __version__
from pgvigil.api.exposition import Family, Gauges, Sample
from pgvigil.controller.operations import Json, Operations
from pgvigil.controller.status_shape import Health, is_change_of_primary
from pgvigil.model.units import Lsn

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
EVENTS_MAX: Final = 10_000
OUTAGE_BUCKETS: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)

LATE: Final = "By how much the controller's own loop ran late, all told: it has too much to do."

SLOWDOWN: Final = (
    "How many times longer than configured a calm cluster waits to be looked at: 1 is as it ought."
)
ADDED_AT_ONCE: Final = 8
"""So many clusters are written before the loop has its turn: about 1 ms."""

CLUSTER: Final = ["cluster"]
NODE: Final = ["cluster", "node"]


class Metrics:
    """Counts what happens, and turns what is into gauges."""

    def __init__(
        self,
        ops: Operations,
        late_s: Callable[[], float] = lambda: 0.0,
        slowdown: Callable[[], float] = lambda: 1.0,
    ) -> None:
        self._ops = ops
        self._last: int | None = None
        self._one_at_a_time = asyncio.Lock()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Own(late_s, slowdown))
        self._events = Counter(
            "pgvigil_events", "Events since the controller started.", ["cluster", "kind", "level"],
            registry=self._registry,
        )  # fmt: skip
        self._changes = Histogram(
            "pgvigil_outage_seconds",
            "How long writes stood still in a change of primary, as far as the controller saw.",
            ["cluster", "origin"], buckets=OUTAGE_BUCKETS, registry=self._registry,
        )  # fmt: skip
        self._lost = Counter(
            "pgvigil_lost_bytes", "WAL that changes of primary are known to have left behind.", CLUSTER,
            registry=self._registry,
        )  # fmt: skip
        started = Gauge(
            "pgvigil_start_time_seconds", "When the controller started, in seconds since 1970.",
            registry=self._registry,
        )  # fmt: skip
        started.set(time.time())

    async def begin(self) -> None:
        """Count events from now on."""
        newest = await self._ops.events(None, limit=1)
        self._last = int(newest[-1]["number"]) if newest else 0

    async def page(self) -> bytes:
        """The text that Prometheus reads. Raises StoreError when events cannot be read."""
        if self._last is None:
            await self.begin()
        assert self._last is not None
        for event in await self._ops.events(None, limit=EVENTS_MAX, after=self._last):
            self._last = max(self._last, int(event["number"]))
            self._count(event)
        async with self._one_at_a_time:
            gauges = Gauges(FAMILIES)
            for number, cluster in enumerate(await self._ops.status()):
                gauges.add(cluster)
                if number % ADDED_AT_ONCE == 0:  # a thread would take the interpreter from probes
                    await asyncio.sleep(0)
            return generate_latest(self._registry) + gauges.text()

    def _count(self, event: Json) -> None:
        cluster, data = event["cluster"], event["data"]
        self._events.labels(cluster, event["kind"], event["level"]).inc()
        if not is_change_of_primary(event):
            return
        if data.get("outage_s") is not None:
            self._changes.labels(cluster, data["origin"]).observe(float(data["outage_s"]))
        self._lost.labels(cluster).inc(float(data.get("lost_bytes") or 0))


def _whole(name: str, text: str, value: Callable[[Json], float | None]) -> Family:
    """A gauge of a cluster."""

    def read(cluster: Json) -> Iterable[Sample]:
        number = value(cluster)
        return [] if number is None else [([cluster["cluster"]], number)]

    return Family(f"pgvigil_cluster_{name}", text, CLUSTER, read)


def _each(name: str, text: str, value: Callable[[Json, Json], float | None]) -> Family:
    """A gauge of each node, from its cluster and itself."""

    def read(cluster: Json) -> Iterable[Sample]:
        for node in cluster["nodes"]:
            number = value(cluster, node)
            if number is not None:
                yield [cluster["cluster"], node["name"]], number

    return Family(f"pgvigil_node_{name}", text, NODE, read)


def _health(cluster: Json) -> Iterable[Sample]:
    return [([cluster["cluster"], word], float(cluster["health"] == word)) for word in Health]


def _findings(cluster: Json) -> Iterable[Sample]:
    found = {(finding["problem"], finding["node"] or "") for finding in cluster["findings"]}
    return [([cluster["cluster"], *each], 1.0) for each in sorted(found)]


def _slots(cluster: Json) -> Iterable[Sample]:
    for node in cluster["nodes"]:
        for slot in node["slots"]:
            if slot["held_bytes"] is not None:
                yield [cluster["cluster"], node["name"], slot["name"]], float(slot["held_bytes"])


def _is_primary(cluster: Json, node: Json) -> float:
    return float(node["name"] == cluster["primary"] and not cluster["standby_cluster"])


def _receives(_: Json, node: Json) -> float:
    return float(bool(node["receiver"]) and node["receiver"]["status"] == "streaming")


FAMILIES: Final = (
    Family("pgvigil_cluster_health", "1 for the word that holds.", ["cluster", "health"], _health),
    _whole("generation", "How often the primary was changed.", lambda c: c["generation"]),
    _whole("timeline", "The primary's timeline when it was last verified.", lambda c: c["timeline"]),
    _whole("paused", "1 while automatic actions are paused.", lambda c: float(c["paused"])),
    _whole(
        "held", "1 while pgvigil deliberately does nothing.", lambda c: float(c["decision"]["kind"] == "hold")
    ),
    _whole(
        "standby", "1 for a standby cluster, which has no primary.", lambda c: float(c["standby_cluster"])
    ),
    _whole("changing", "1 during a change of primary.", lambda c: float(c["phase"] != "stable")),
    _whole(
        "sync_acks",
        "How many standbys have every acknowledged commit; 0: nothing is promised.",
        lambda c: c["sync"] and float(c["sync"]["acks"]),
    ),
    Family(
        "pgvigil_endpoint_right",
        "1 for an endpoint that leads where clients belong.",
        ["cluster", "endpoint"],
        lambda c: [([c["cluster"], e["name"]], float(e["state"] == "ok")) for e in c["endpoints"]],
    ),
    Family("pgvigil_finding", "1 for each finding there is.", ["cluster", "problem", "node"], _findings),
    _each("up", "1 if it answered the last look.", lambda _, n: float(n["connection"] != "none")),
    _each("is_primary", "1 for the primary of record.", _is_primary),
    _each(
        "writable", "1 if it answers out of recovery.", lambda _, n: float(n["connection"] == "read-write")
    ),
    _each("receives", "1 if its WAL receiver streams.", _receives),
    _each("timeline", "The timeline it is on.", lambda _, n: n["timeline"]),
    _each(
        "wal_bytes",
        "Its position in the WAL, as bytes since 0/0; its rate is the WAL rate.",
        lambda _, n: n["lsn"] and float(Lsn.parse(n["lsn"])),
    ),
    _each("receive_lag_bytes", "WAL not yet received.", lambda _, n: n["lag_bytes"]),
    _each("replay_lag_bytes", "WAL not yet visible to queries.", lambda _, n: n["replay_lag_bytes"]),
    _each("replay_lag_seconds", "The same in time, as its upstream says.", lambda _, n: n["lag_s"]),
    _each("last_seen_seconds", "Since its last answer.", lambda _, n: n["last_seen_s"]),
    _each("probe_seconds", "How long its last answer took.", lambda _, n: n["probe_s"]),
    _each("clock_skew_seconds", "Its host's clock minus ours.", lambda _, n: n["clock_skew_s"]),
    _each("maintenance", "1 while somebody works on it.", lambda _, n: float(n["maintenance"])),
    _each(
        "pending_restart",
        "Parameters that wait for a restart.",
        lambda _, n: float(len(n["pending_restart"])),
    ),
    Family(
        "pgvigil_slot_held_bytes",
        "WAL that a replication slot holds back.",
        ["cluster", "node", "slot"],
        _slots,
    ),
)
"""All gauges. A value that is not known has no sample."""


class _Own(Collector):
    """The controller itself."""

    def __init__(self, late_s: Callable[[], float], slowdown: Callable[[], float]) -> None:
        self._late_s, self._slowdown = late_s, slowdown

    def collect(self) -> Iterator[Metric]:
        """What it says of itself."""
        yield InfoMetricFamily("pgvigil_build", "Which pgvigil this is.", {"version": __version__})
        yield CounterMetricFamily("pgvigil_controller_late_seconds", LATE, self._late_s())
        yield GaugeMetricFamily("pgvigil_controller_slowdown", SLOWDOWN, self._slowdown())
