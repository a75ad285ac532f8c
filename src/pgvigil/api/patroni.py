"""The shapes of Patroni's REST API, for tools that read those. Pure.

Source: Patroni's documentation, "Patroni REST API": `GET /cluster`, `GET /history`.
"""

from collections.abc import Iterable
from typing import Final

from pgvigil.controller.operations import Json
from pgvigil.model.units import Lsn

SYNC_ROLES: Final = {"sync": "sync_standby", "quorum": "quorum_standby"}
"""How a standby acknowledges → its role there; any other is `replica`."""


def cluster_shape(cluster: Json) -> Json:
    """A status as `GET /cluster`."""
    shape: Json = {
        "members": [_member(cluster, node) for node in cluster["nodes"]],
        "scope": cluster["cluster"],
        "pause": cluster["paused"],
    }
    switchovers = [each for each in cluster["scheduled"] if each["what"].startswith("switchover")]
    if switchovers:
        _, _, to = switchovers[0]["what"].partition(" to ")
        shape["scheduled_switchover"] = {"at": switchovers[0]["at"], **({"to": to} if to else {})}
    return shape


def _member(cluster: Json, node: Json) -> Json:
    recorded = node["name"] == cluster["primary"]
    leads = recorded and node["role"] == "primary"
    role = "leader" if leads else "standby_leader" if recorded and cluster["standby_cluster"] else ""
    streaming = bool(node["receiver"]) and node["receiver"]["status"] == "streaming"
    shape: Json = {
        "name": node["name"],
        "role": role or SYNC_ROLES.get(node["sync_state"] or "", "replica"),
        "state": "streaming" if streaming else "running" if node["connection"] != "none" else "stopped",
        "host": node["host"],
        "port": node["port"],
        "timeline": node["timeline"],
        "lsn": node["lsn"],
        "pending_restart": bool(node["pending_restart"]),
        "tags": dict.fromkeys(node["tags"], True),
    }
    if not leads:
        shape["receive_lag"] = _lag(node["lag_bytes"])
        shape["replay_lag"] = shape["lag"] = _lag(node["replay_lag_bytes"])
    return shape


def _lag(known: int | None) -> int | str:
    return "unknown" if known is None else known


def history_shape(changes: Iterable[Json]) -> list[list[int | str]]:
    """Changes of primary as `GET /history`: the timeline that ended, where, why, when, and who leads then."""
    return [_ended(change) for change in changes if int(change["data"]["timeline"] or 0) > 1]


def _ended(change: Json) -> list[int | str]:
    data = change["data"]
    lsn = int(Lsn.parse(str(data["lsn"]))) if data.get("lsn") else 0
    return [int(data["timeline"]) - 1, lsn, change["text"], change["at"], data.get("primary") or ""]
