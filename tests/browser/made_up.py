"""A controller with many made-up clusters, some in trouble, all writing. For tests, benches, pictures."""

import asyncio
import copy
import math
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pgvigil.controller.operations import Giver, Json, Outcome, Result
from pgvigil.controller.replay import decision_words
from pgvigil.controller.status import status_json
from pgvigil.model.command import Command, FetchRecording
from pgvigil.model.diagnosis import Diagnosis
from pgvigil.model.recording import unpacked
from pgvigil.model.step import Plan, Rest
from pgvigil.model.units import ClusterName
from tests.builders import WALL, a_cluster

NAMES: Sequence[str] = (
    "orders", "billing", "identity", "catalog", "search", "sessions", "ledger", "shipping", "pricing",
    "reviews", "inventory", "payments", "analytics", "mail", "audit", "geo",
)  # fmt: skip
PLACES: Sequence[str] = ("fra", "ams", "sin", "iad", "gru")
MB = 1024 * 1024


def cluster_names(count: int) -> list[str]:
    """As many names as wanted, such as a company of that size would have."""
    return [
        f"{NAMES[i % len(NAMES)]}-{PLACES[i // len(NAMES) % len(PLACES)]}"
        + (f"-{i // (len(NAMES) * len(PLACES)) + 1}" if i >= len(NAMES) * len(PLACES) else "")
        for i in range(count)
    ]


def healthy(name: str) -> Json:
    """A cluster of three, well."""
    c = a_cluster()
    body = status_json(
        replace(c.spec, name=ClusterName(name)), c.record, c.view, Diagnosis(()), Plan(Rest()),
        wall=WALL, paused=False, busy={},
    )  # fmt: skip
    for i, node in enumerate(body["nodes"]):
        node["location"] = ("fra-a", "fra-b", "fra-c")[i]
    body["since"] = (datetime.now(UTC) - timedelta(days=2)).isoformat()
    return body


def _decides(
    body: Json, health: str, kind: str, rule: str, reason: str, hint: str = "", *evidence: str
) -> None:
    body["health"] = health
    body["decision"].update(kind=kind, rule=rule, reason=reason, hint=hint, evidence=list(evidence))


def _loose(node: Json, state: str, detail: str) -> None:
    node.update(state=state, role="unknown", receiver=None, upstream=None, sync_state=None, connection="none")
    node.update(detail=detail, last_seen_s=312.0, lag_bytes=None, lag_s=None, replay_lag_bytes=None)


def held(body: Json) -> None:
    """The primary's host is lost, and nobody may be promoted."""
    _loose(body["nodes"][0], "? unreachable", "no answer (timed out); shell: no answer")
    for node in body["nodes"][1:]:
        node.update(receiver=None, upstream=None, sync_state=None)
    _decides(
        body, "held", "hold", "not_fenced",
        "pg1 does not answer, and nothing proves that it takes no writes",
        "look at the host of pg1; when it is off for sure: pgvigil failover --force",
        "no vantage point reaches pg1 (3 of 3)", "pg2 and pg3 have lost their WAL receivers",
    )  # fmt: skip


def down(body: Json) -> None:
    """The primary's server is gone, no standby is fit."""
    _loose(body["nodes"][0], "- failed", "refused; host: postmaster crashed")
    for node in body["nodes"][1:]:
        node.update(receiver=None, upstream=None, sync_state=None, lag_bytes=None, tags=["never_promote"])
    _decides(
        body, "down", "hold", "nobody_fit", "no standby may be promoted: both carry never_promote",
        "take the tag off one of them, or start pg1: pgvigil rejoin pg1", "pg1: refused; postmaster crashed",
    )  # fmt: skip


def changing(body: Json) -> None:
    """A failover is under way."""
    _loose(body["nodes"][0], "- failed", "closed; host: postmaster crashed")
    body["phase"] = "fencing"
    _decides(
        body, "changing", "act", "primary_crashed", "pg1 is to be replaced", "",
        "our session ended; its host says the postmaster (9420) is gone",
    )  # fmt: skip
    body["decision"]["steps"] = ["cut pg2 from the old primary", "stop PostgreSQL on pg1 (immediate)"]


def degraded(body: Json) -> None:
    """A standby is being cloned."""
    body["nodes"][2].update(
        state="rejoining", receiver=None, upstream=None, lag_bytes=None,
        progress="copied 4718592 of 12582912 kB (37 %)", sync_state=None,
    )  # fmt: skip
    body["health"] = "degraded"
    body["findings"] = [
        {"problem": "standby_detached", "node": "pg3", "urgency": "tell", "due_s": None,
         "evidence": ["pg3 is being cloned from pg2"]}
    ]  # fmt: skip


def quorum(body: Json) -> None:
    """Commits wait for a standby, and one more streams from that."""
    body["protection"] = "quorum"
    body["sync"] = {"acks": 1, "standbys": ["pg2", "pg3"], "wanted_acks": 1, "changing": False}
    for node in body["nodes"][1:]:
        node["sync_state"] = "quorum"
    body["endpoints"] = [
        {
            "name": name,
            "state": "ok",
            "primary": "pg1",
            "wanted": "pg1",
            "generation": 1,
            "detail": "",
            "hint": "",
        }
        for name in ("haproxy", "pgbouncer")
    ]
    far = copy.deepcopy(body["nodes"][2])
    far.update(
        name="pg4", host="10.1.0.14", upstream="pg3", sync_state="async", location="ams-a", tags=["reporting"]
    )
    body["nodes"].append(far)


def paused(body: Json) -> None:
    """An operator works on it."""
    body["paused"] = True
    body["paused_until"] = "2026-03-14T11:00:00+00:00"


TROUBLES: Sequence[tuple[int, Callable[[Json], None]]] = (
    (2, held), (7, down), (11, changing), (5, degraded), (19, degraded), (0, quorum), (23, paused),
)  # fmt: skip


class MadeUp:
    """Implements `Operations`. Positions grow with each look, as those of busy clusters do."""

    def __init__(self, count: int, *, well: bool = False) -> None:
        self.clusters = [healthy(name) for name in cluster_names(count)]
        for place, change in TROUBLES:
            if place < count and (not well or change in (quorum, paused)):
                change(self.clusters[place])
        self.told: list[Json] = []
        self.orders: list[tuple[Command, bool]] = []
        """Each with whether it was only rehearsed."""
        self._began = datetime.now(UTC)
        self._recording = b""

    async def status(self, cluster: ClusterName | None = None) -> list[Json]:
        """All of them, as they are now."""
        now = datetime.now(UTC)
        passed = (now - self._began).total_seconds()
        chosen = [each for each in self.clusters if cluster in (None, each["cluster"])]
        return [_moved(each, i, passed, now) for i, each in enumerate(chosen)]

    async def order(
        self, cluster: ClusterName, command: Command, *, dry_run: bool, within_s: float,
        progress: Callable[[str], None], by: Giver | None = None,
    ) -> Outcome:  # fmt: skip
        """Nothing comes of it but an outcome."""
        self.orders.append((command, dry_run))
        if isinstance(command, FetchRecording):
            event = next(each for each in self.told if each["number"] == command.event)
            return Outcome(Result.DONE, event["text"], data=self._recorded(event))
        plan = (
            "checkpoint on pg1",
            "stop PostgreSQL on pg1 (fast)",
            "promote pg2",
            "start pg1 as a standby of pg2",
        )
        if dry_run:
            return Outcome(Result.PLANNED, "pg2 becomes primary instead of pg1", plan=plan)
        for line in plan:
            progress(line)
            await asyncio.sleep(0.05)
        return Outcome(Result.DONE, "pg2 is primary", plan=plan)

    async def events(self, cluster: ClusterName | None, *, limit: int, after: int = 0) -> list[Json]:
        """What was put into `told`."""
        chosen = [e for e in self.told if cluster in (None, e["cluster"]) and e["number"] > after]
        return chosen[-limit:]

    def tell(
        self, cluster: str, kind: str, level: str, text: str, *, ago_s: float = 0.0, **more: object
    ) -> None:
        """One more event."""
        at = datetime.now(UTC) - timedelta(seconds=ago_s)
        body = {
            "number": len(self.told) + 1, "cluster": cluster, "at": at.isoformat(), "kind": kind,
            "level": level, "node": None, "generation": 1, "text": text, "evidence": [],
            "hint": "", "data": {}, **more,
        }  # fmt: skip
        self.told.append(body)

    def tell_a_story(self) -> None:
        """Events of some days: a crash and its failover in the first cluster, trouble in others."""
        self._recording = (Path(__file__).parents[1] / "recordings" / "crash.recording").read_bytes()
        orders = self.clusters[0]["cluster"]
        for ago_s, cluster, kind, level, text, evidence in (
            (200_000, orders, "taken_over", "info", "pg2 is primary of orders, guarded from now on", []),
            (
                90_000,
                orders,
                "primary_crashed",
                "alert",
                "pg2 has crashed and is to be replaced",
                ["our session ended", "its host says the postmaster (9420) is gone"],
            ),
            (89_999.8, orders, "fence", "info", "stop PostgreSQL on pg2 (immediate)", []),
            (
                89_999.7,
                orders,
                "promote",
                "info",
                "promote pg1: it is the furthest (0/502FDD0)",
                ["fenced: stopped"],
            ),
            (
                89_999.6,
                orders,
                "promoted",
                "alert",
                "pg1 is primary on timeline 2; writes stood still for 240 ms",
                [],
            ),
            (89_998, orders, "rejoined", "info", "pg2 is a streaming standby again", []),
            (
                5_400,
                orders,
                "standby_lagging",
                "warning",
                "pg4 is 48 MB behind",
                ["replay position 0/5C00000"],
            ),
            (5_100, orders, "cleared", "info", "pg4 has caught up", []),
            (700, "sessions-fra", "rebuild", "info", "clone pg3 from pg2", []),
            (640, "catalog-ams", "rebuild", "info", "clone pg3 from pg2", []),
            (
                320,
                "identity-fra",
                "found_primary_lost",
                "alert",
                "pg1 does not answer from any vantage point",
                [],
            ),
            (
                314,
                "identity-fra",
                "not_fenced",
                "alert",
                "pg1 does not answer, and nothing proves that it takes no writes",
                ["no vantage point reaches pg1 (3 of 3)"],
            ),
            (
                130,
                "shipping-fra",
                "nobody_fit",
                "alert",
                "no standby may be promoted: both carry never_promote",
                [],
            ),
            (2, "payments-fra", "primary_crashed", "alert", "pg1 is to be replaced", ["our session ended"]),
        ):
            self.tell(cluster, kind, level, text, ago_s=ago_s, evidence=evidence)

    def _recorded(self, event: Json) -> Json:
        """An event with its recording; that of a crash is one of the recordings kept for tests."""
        if not self._recording or event["kind"] != "primary_crashed":
            return {"event": event, "recording": None}
        frames = unpacked(self._recording).frames
        then = next(
            frame.wall for frame in frames if decision_words(frame.decided)[0].endswith(event["kind"])
        )
        return {"event": {**event, "at": then.isoformat()}, "recording": b64encode(self._recording).decode()}


def _moved(cluster: Json, number: int, passed: float, now: datetime) -> Json:
    """A cluster some seconds later: WAL written at its own rate, standbys a little behind."""
    body = copy.copy(cluster)
    body["at"] = now.isoformat()
    rate = 40_000 * (1 + number % 7)
    swell = 9.0 * math.sin(passed / 15 + number) + 2.0 * math.sin(passed / 4.1)
    written = int(rate * (passed + swell + 12.0))
    nodes = []
    for i, node in enumerate(cluster["nodes"]):
        moved = dict(node)
        if moved["lsn"]:
            moved["lsn"] = f"{(number + 3):X}/{(0x5000000 + written):X}"
        if moved["lag_bytes"] is not None:
            late = 1.3 + math.sin(passed / 11 + i * 2 + number) + 0.3 * math.sin(passed / 1.9 + i)
            moved["lag_bytes"] = int(max(0.0, late) * rate * 0.1 * i)
            moved["lag_s"] = moved["lag_bytes"] / rate / 4
        nodes.append(moved)
    body["nodes"] = nodes
    return body
