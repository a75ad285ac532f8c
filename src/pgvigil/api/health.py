"""Health checks for load balancers and keepalived: Patroni's names and codes, from a cluster's status. Pure.

200 means yes, 503 no. What is proved (crashed, hung, replaced, being rebuilt) is a no at once. What is
only out of our sight is not: as long as this controller may be the one who is cut off, everybody keeps
the role it had, so that a controller in trouble takes nobody out of service.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pgvigil.config.units import size
from pgvigil.controller.status_shape import ClusterStatus, NodeStatus, State
from pgvigil.errors import UsageError
from pgvigil.model.diagnosis import Problem
from pgvigil.model.record import Phase
from pgvigil.model.spec import Tag

PATRONI_TAGS: Final = {
    "nofailover": Tag.NEVER_PROMOTE,
    "noloadbalance": Tag.NO_LOAD_BALANCE,
    "nosync": Tag.NEVER_SYNC,
    "clonefrom": Tag.CLONE_SOURCE,
}
UNKNOWN: Final = frozenset({State.UNREACHABLE, State.NO_LOGIN, State.UNSEEN})
"""Nothing is proved: neither that it serves, nor that it does not."""
OWN_TROUBLE: Final = frozenset({Problem.CONTROLLER_ISOLATED, Problem.CONTROLLER_LATE})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a check demands beside the role: `?lag=16MB&replication_state=streaming&tag_clonefrom=true`."""

    lag_bytes: int | None = None
    """At most so much WAL not yet replayed, or, with `?mode=write`, not yet received."""
    received: bool = False
    streaming: bool = False
    tags: tuple[tuple[str, bool], ...] = ()


def wanted(query: Mapping[str, str]) -> Wanted:
    """What the query of a request demands. Raises UsageError that names a value it does not understand.

    Names it does not know are left alone: load balancers and monitors like to add some.
    """
    state, mode = query.get("replication_state", ""), query.get("mode", "apply")
    if state not in ("", "streaming"):
        raise _wrong(f"replication_state={state}: streaming is expected")
    if mode not in ("apply", "write"):
        raise _wrong(f"mode={mode}: apply or write is expected")
    lag = _lag(query["lag"]) if "lag" in query else None
    tags = tuple(_tag(name, text) for name, text in query.items() if name.startswith("tag_"))
    return Wanted(lag, mode == "write", state == "streaming", tags)


def _wrong(detail: str) -> UsageError:
    return UsageError("the request is wrong", detail=detail)


def _lag(text: str) -> int:
    try:
        return int(text) if text.isascii() and text.isdigit() else size(text)
    except ValueError as wrong:
        raise _wrong(f"lag={text}: {wrong}") from wrong


def _tag(name: str, text: str) -> tuple[str, bool]:
    if text.lower() not in ("true", "false"):
        raise _wrong(f"{name}={text}: true or false is expected")
    tag = name.removeprefix("tag_")
    return str(PATRONI_TAGS.get(tag, tag)), text.lower() == "true"


@dataclass(frozen=True, slots=True)
class Case:
    """One node of one cluster, and what is demanded of it."""

    cluster: ClusterStatus
    node: NodeStatus
    wanted: Wanted = Wanted()

    @property
    def is_primary(self) -> bool:
        """Where clients that write belong, unless it is proved not to serve."""
        if self.node["name"] != self.cluster["serves"]:
            return False
        if self.cluster["phase"] == Phase.PROMOTING:
            return True  # verified at the node itself, before any look could show it
        return self.node["state"] == State.PRIMARY or self.node["state"] in UNKNOWN

    @property
    def is_standby(self) -> bool:
        """A standby that serves reads, or did when this controller lost sight of everybody."""
        if self.node["goal_state"] != "standby" or self.node["maintenance"]:
            return False
        return self.node["state"] in (State.RUNNING, State.LEADER) or (self._served() and self._blind())

    @property
    def leads(self) -> bool:
        """The leader of a standby cluster, as long as it answers."""
        return self.cluster["standby_cluster"] and self.node["state"] == State.LEADER

    def _served(self) -> bool:
        return self.node["state"] in UNKNOWN and self.node["last_seen_s"] is not None

    def _blind(self) -> bool:
        """Whether it may be us who do not see: nobody answers, or our own network or machine is in doubt."""
        if self.node["state"] == State.NO_LOGIN:
            return True
        if any(finding["problem"] in OWN_TROUBLE for finding in self.cluster["findings"]):
            return True
        return all(node["state"] in UNKNOWN for node in self.cluster["nodes"])

    @property
    def balances(self) -> bool:
        """A standby that the user lets take reads."""
        return self.is_standby and Tag.NO_LOAD_BALANCE not in self.node["tags"]

    @property
    def near(self) -> bool:
        """Whether it is no further behind than demanded, and streams if that is demanded."""
        lag = self.node["lag_bytes"] if self.wanted.received else self.node["replay_lag_bytes"]
        if self.wanted.lag_bytes is not None and (lag is None or lag > self.wanted.lag_bytes):
            return False
        return self.streams or not self.wanted.streaming

    @property
    def tagged(self) -> bool:
        """Whether it has the tags that are demanded, and lacks those that it must lack."""
        return all((tag in self.node["tags"]) == there for tag, there in self.wanted.tags)

    @property
    def streams(self) -> bool:
        """Whether its WAL receiver streams, as far as we saw."""
        receiver = self.node["receiver"]
        return receiver is not None and receiver["status"] == "streaming"

    @property
    def sync(self) -> str:
        """Its upstream's word for how it acknowledges: `sync`, `quorum`, `potential`, `async` or nothing."""
        return self.node["sync_state"] or ""


def _reads(case: Case) -> bool:
    return case.balances and case.near


Check = Callable[[Case], bool]

CHECKS: Final[Mapping[str, Check]] = {
    "primary": lambda case: case.is_primary,
    "leader": lambda case: case.is_primary,
    "read-write": lambda case: case.is_primary,
    "master": lambda case: case.is_primary,
    "standby-leader": lambda case: case.leads,
    "replica": _reads,
    "standby": _reads,
    "read-only": lambda case: case.is_primary or _reads(case),
    "sync": lambda case: _reads(case) and case.sync == "sync",
    "synchronous": lambda case: _reads(case) and case.sync == "sync",
    "quorum": lambda case: _reads(case) and case.sync == "quorum",
    "async": lambda case: _reads(case) and case.sync not in ("sync", "quorum"),
    "asynchronous": lambda case: _reads(case) and case.sync not in ("sync", "quorum"),
    "read-only-sync": lambda case: case.is_primary or (_reads(case) and case.sync == "sync"),
    "read-only-quorum": lambda case: case.is_primary or (_reads(case) and case.sync == "quorum"),
    "health": lambda case: case.is_primary or case.node["connection"] != "none",
    "readiness": lambda case: case.is_primary or (case.is_standby and case.streams and case.near),
}
"""Path → whether the answer is 200. `liveness` is about this controller and none of them."""


def passes(check: str, case: Case) -> bool:
    """Whether the node passes the check of that name. Raises KeyError for a name that is not in CHECKS."""
    return CHECKS[check](case) and case.tagged


def cluster_passes(check: str, cluster: ClusterStatus, demand: Wanted) -> bool:
    """Whether any node of the cluster does: for one check of a whole cluster."""
    return any(passes(check, Case(cluster, node, demand)) for node in cluster["nodes"])
