"""Healthy values to start a test from: build a whole cluster, then change one thing.

    c = a_cluster("pg1* pg2 pg3")                  # pg1 is primary, the others stream from it
    c = silent(c, "pg1", Silence.REFUSED)          # ... and now nobody listens on pg1's port
    c = on_host(c, "pg1", postmaster=Postmaster.CRASHED, pid=None)
    diagnosis = judge(c.spec, c.record, c.view)

Every helper returns a new `Cluster`; `changed_spec`, `changed_record` and `changed_node` take the
fields of the value itself, for everything the named helpers do not say.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pgvigil.model.record import ClusterRecord, Origin, Paths, Phase
from pgvigil.model.shell import SshShell
from pgvigil.model.sighting import (
    Answer,
    ClusterView,
    Facts,
    Farewell,
    HostAnswer,
    HostLook,
    HostSilent,
    NoAnswer,
    NodeView,
    Postmaster,
    Primary,
    Receiver,
    Refusal,
    Sender,
    SenderState,
    Silence,
    Slot,
    Standby,
)
from pgvigil.model.spec import (
    AfterCrash,
    ClusterSpec,
    FailoverPolicy,
    Fencing,
    NodeSpec,
    Protection,
    Rate,
    Replication,
    Timings,
    WhenUnreachable,
    slot_name,
)
from pgvigil.model.units import (
    ClusterName,
    Generation,
    Instant,
    Lsn,
    NodeName,
    SqlState,
    SystemId,
    Timeline,
)
from pgvigil.model.vantage import Reach, References, Touch, Witness

NOW = Instant(1_000.0)
WALL = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)
SYSTEM = SystemId("7412345678901234567")
HERE = Lsn.parse("0/5000148")
DATA_DIR = "/var/lib/postgresql/16/main"
BIN_DIR = "/usr/lib/postgresql/16/bin"

TIMINGS = Timings(
    probe_interval=timedelta(seconds=1),
    suspect_after=timedelta(seconds=1),
    probe_timeout=timedelta(seconds=2),
    connect_timeout=timedelta(seconds=2),
    shell_timeout=timedelta(seconds=2),
    unreachable_after=timedelta(seconds=3),
    hung_after=timedelta(seconds=5),
    restart_grace=timedelta(seconds=10),
)
POLICY = FailoverPolicy(
    automatic=True,
    after_crash=AfterCrash.FAILOVER,
    max_lag_bytes=16 * 1024 * 1024,
    max_per=Rate(3, timedelta(minutes=15)),
    rescue_max_bytes=1024 * 1024 * 1024,
    rescue_timeout=timedelta(seconds=30),
    auto_rejoin=True,
)


@dataclass(frozen=True, slots=True)
class Cluster:
    """What one turn of the loop starts from."""

    spec: ClusterSpec
    record: ClusterRecord
    view: ClusterView


def a_cluster(nodes: str = "pg1* pg2 pg3", *, name: str = "orders", at: Lsn = HERE) -> Cluster:
    """A healthy cluster, managed in generation 1 on timeline 1; `*` marks the primary.

    `pg2@berlin` gives a node a location. All standbys stream from the primary without lag.
    """
    words = nodes.split()
    primary = NodeName(next(word for word in words if "*" in word).replace("*", "").partition("@")[0])
    specs = tuple(a_node(i, *word.replace("*", "").partition("@")[::2]) for i, word in enumerate(words, 1))
    spec = ClusterSpec(
        name=ClusterName(name),
        nodes=specs,
        protection=Protection.ASYNC,
        replication=Replication(conninfo=(("user", "replicator"),)),
        timings=TIMINGS,
        failover=POLICY,
        fencing=Fencing(unreachable=WhenUnreachable.PROMOTE),
    )
    record = ClusterRecord(
        cluster=spec.name,
        generation=Generation(1),
        phase=Phase.STABLE,
        primary=primary,
        system_id=SYSTEM,
        timeline=Timeline(1),
        revision=1,
        origin=Origin.FIRST_SEEN,
        since=WALL - timedelta(hours=1),
        paths={node.name: Paths(DATA_DIR, BIN_DIR) for node in specs},
    )
    views = {
        node.name: NodeView(node.name, sql := _answer(spec, node, primary, at), _alive(), last=sql)
        for node in specs
    }
    return Cluster(spec, record, ClusterView(NOW, views, References(NOW, asked=1, reached=1)))


def a_node(number: int, name: str, location: str = "") -> NodeSpec:
    """Node `name` at 10.0.0.(10+number), reached over SSH."""
    host = f"10.0.0.{10 + number}"
    return NodeSpec(
        name=NodeName(name),
        host=host,
        port=5432,
        conninfo=(("user", "pgvigil"), ("dbname", "postgres"), ("passfile", "/etc/pgvigil/pgpass")),
        data_dir=DATA_DIR,
        bin_dir=BIN_DIR,
        shell=SshShell(host, user="postgres"),
        location=location,
    )


def _alive() -> HostAnswer:
    return HostAnswer(
        NOW, Postmaster.RUNNING, pid=4711, wal_free_bytes=50 * 1024**3, clock_s=WALL.timestamp()
    )


def a_primary(at: Lsn = HERE, timeline: int = 1) -> Primary:
    """The role of a primary that has written and flushed up to `at`."""
    return Primary(Timeline(timeline), written=at, flushed=at)


def a_standby(upstream: NodeSpec, slot: str, at: Lsn = HERE, timeline: int = 1) -> Standby:
    """The role of a standby that streams from `upstream` and has all up to `at`."""
    receiver = Receiver(812, "streaming", Timeline(timeline), upstream.host, upstream.port, slot, 0.4)
    conninfo = f"host={upstream.host} port={upstream.port} user=replicator"
    return Standby(Timeline(timeline), at, at, receiver, conninfo, replay_paused=False)


def a_sender(node: NodeSpec, at: Lsn = HERE, *, sync_state: str = "async") -> Sender:
    """A WAL sender that serves `node` without lag."""
    return Sender(911, node.name, node.host, SenderState.STREAMING, at, at, at, sync_state, 0.001)


def _answer(spec: ClusterSpec, node: NodeSpec, primary: NodeName, at: Lsn) -> Answer:
    others = spec.others(primary)
    if node.name == primary:
        slots = tuple(Slot(slot_name(other.name), True, True, at, "reserved", held=0) for other in others)
        facts = Facts(160004, SYSTEM, DATA_DIR, _settings(), slots)
        senders = tuple(a_sender(other, at) for other in others)
        return Answer(node.name, NOW, 0.002, a_primary(at), facts, senders)
    facts = Facts(160004, SYSTEM, DATA_DIR, _settings())
    return Answer(node.name, NOW, 0.002, a_standby(spec.node(primary), slot_name(node.name), at), facts)


def _settings() -> dict[str, str]:
    return {
        "wal_level": "replica",
        "wal_log_hints": "on",
        "full_page_writes": "on",
        "hot_standby": "on",
        "max_wal_senders": "10",
        "max_replication_slots": "10",
        "synchronous_standby_names": "",
        "synchronous_commit": "on",
    }


def changed_spec(cluster: Cluster, **changes: Any) -> Cluster:
    """With other fields in the spec."""
    return replace(cluster, spec=replace(cluster.spec, **changes))


def changed_node(cluster: Cluster, node: str, **changes: Any) -> Cluster:
    """With other fields in one node's spec."""
    nodes = tuple(replace(n, **changes) if n.name == node else n for n in cluster.spec.nodes)
    return changed_spec(cluster, nodes=nodes)


def changed_record(cluster: Cluster, **changes: Any) -> Cluster:
    """With other fields in the record."""
    return replace(cluster, record=replace(cluster.record, **changes))


def seen(cluster: Cluster, node: str, **changes: Any) -> Cluster:
    """With other fields in one node's view."""
    name = NodeName(node)
    nodes = {**cluster.view.nodes, name: replace(cluster.view.node(name), **changes)}
    return replace(cluster, view=replace(cluster.view, nodes=nodes))


def said(cluster: Cluster, node: str, **changes: Any) -> Cluster:
    """With other fields in one node's answer."""
    answer = cluster.view.node(NodeName(node)).answer
    assert answer is not None, f"{node} does not answer"
    answer = replace(answer, **changes)
    return seen(cluster, node, sql=answer, last=answer)


def in_role(cluster: Cluster, node: str, **changes: Any) -> Cluster:
    """With other fields in the role of one node's answer, such as `receiver=None`."""
    answer = cluster.view.node(NodeName(node)).answer
    assert answer is not None, f"{node} does not answer"
    return said(cluster, node, role=replace(answer.role, **changes))


def claims_primary(cluster: Cluster, node: str, at: Lsn = HERE, timeline: int = 1) -> Cluster:
    """One node answers out of recovery."""
    return said(cluster, node, role=a_primary(at, timeline), senders=())


def silent(
    cluster: Cluster,
    node: str,
    silence: Silence = Silence.REFUSED,
    *,
    for_s: float = 0.0,
    farewell: Farewell | None = None,
) -> Cluster:
    """Nothing came back from one node, since `for_s` seconds."""
    since = Instant(cluster.view.at - for_s)
    touch = Touch(cluster.view.at, reached=silence is not Silence.TIMED_OUT)
    look = NoAnswer(NodeName(node), cluster.view.at, since, silence, farewell)
    return seen(cluster, node, sql=look, touch=touch)


def refuses(cluster: Cluster, node: str, sqlstate: str, message: str = "", *, for_s: float = 0.0) -> Cluster:
    """One node's server speaks but lets us not in."""
    since = Instant(cluster.view.at - for_s)
    look = Refusal(NodeName(node), cluster.view.at, since, SqlState(sqlstate), message)
    return seen(cluster, node, sql=look)


def on_host(cluster: Cluster, node: str, **changes: Any) -> Cluster:
    """With other fields in what one node's host said."""
    answer = cluster.view.node(NodeName(node)).host_answer or _alive()
    if changes.get("postmaster") is Postmaster.FROZEN:
        changes = {"frozen_since": Instant(answer.at - 1.0), **changes}
    return seen(cluster, node, host=replace(answer, **changes))


def host_silent(cluster: Cluster, node: str, *, for_s: float = 0.0, refused: bool = False) -> Cluster:
    """One node's shell does not answer."""
    since = Instant(cluster.view.at - for_s)
    return seen(cluster, node, host=HostSilent(cluster.view.at, since, refused))


def crashed(cluster: Cluster, node: str) -> Cluster:
    """One node's postmaster was killed; its host says so and nobody listens."""
    return on_host(silent(cluster, node, Silence.REFUSED), node, postmaster=Postmaster.CRASHED, pid=None)


def vanished(cluster: Cluster, node: str, *, for_s: float = 5.0) -> Cluster:
    """One node's host is gone: neither SQL nor shell come through."""
    return host_silent(silent(cluster, node, Silence.TIMED_OUT, for_s=for_s), node, for_s=for_s)


def receiver_lost(cluster: Cluster, nodes: Iterable[str] = (), *, ago_s: float = 0.1) -> Cluster:
    """Standbys (all that answer, when none are named) have lost their WAL receiver."""
    names = tuple(nodes) or tuple(name for name, view in cluster.view.nodes.items() if view.standby)
    for name in names:
        cluster = in_role(cluster, name, receiver=None)
        cluster = seen(cluster, name, receiver_lost_at=Instant(cluster.view.at - ago_s))
    return cluster


def witnessed(cluster: Cluster, node: str, reach: Reach, by: Iterable[str]) -> Cluster:
    """Other vantage points tried to reach one node's port."""
    tests = tuple(Witness(vantage, cluster.view.at, reach) for vantage in by)
    return seen(cluster, node, witnesses=tests)


def lagging(cluster: Cluster, node: str, lag_bytes: int) -> Cluster:
    """One standby streams, that many bytes behind the primary (both ends say so)."""
    upstream = cluster.view.node(cluster.record.primary)
    assert upstream.primary is not None
    assert upstream.answer is not None
    there = Lsn(upstream.primary.flushed - lag_bytes)
    senders = tuple(
        replace(s, sent=there, flushed=there, replayed=there) if s.application_name == node else s
        for s in upstream.answer.senders
    )
    cluster = said(cluster, cluster.record.primary, senders=senders)
    return in_role(cluster, node, received=there, replayed=there)


def cascade(cluster: Cluster, node: str, upstream: str) -> Cluster:
    """One standby streams from another standby instead of the primary."""
    below, above = cluster.spec.node(NodeName(node)), cluster.spec.node(NodeName(upstream))
    upper = cluster.view.node(above.name).answer
    primary = cluster.view.node(cluster.record.primary).answer
    assert upper is not None
    assert primary is not None
    rest = tuple(s for s in primary.senders if s.application_name != node)
    cluster = said(cluster, cluster.record.primary, senders=rest)
    cluster = said(cluster, upstream, senders=(*upper.senders, a_sender(below)))
    return said(cluster, node, role=a_standby(above, slot_name(below.name)))


def later(cluster: Cluster, seconds: float) -> Cluster:
    """The same sightings, judged that much later: all of them have aged."""
    at = Instant(cluster.view.at + seconds)
    return replace(cluster, view=replace(cluster.view, at=at))


def host_look(cluster: Cluster, node: str, look: HostLook) -> Cluster:
    """With a host look of its own, such as `NoShell()`."""
    return seen(cluster, node, host=look)
