"""Arbitrary worlds: every combination of looks, records and wishes that types allow, likely or not."""

from dataclasses import replace
from datetime import timedelta
from typing import Final

from hypothesis import strategies as st

from pgvigil.decide.situation import Situation
from pgvigil.judge.engine import diagnose
from pgvigil.model.command import (
    Command,
    Failover,
    FollowUpstream,
    Maintenance,
    Pause,
    PromoteNode,
    Rejoin,
    RestartPrimary,
    Resume,
    Switchover,
)
from pgvigil.model.record import ClusterRecord, Fenced, Origin, Phase, SyncSet
from pgvigil.model.sighting import (
    Answer,
    ClusterView,
    ControlFile,
    Facts,
    Farewell,
    HostAnswer,
    HostLook,
    HostSilent,
    NoAnswer,
    NodeView,
    NoShell,
    Postmaster,
    Primary,
    Receiver,
    Refusal,
    Sender,
    SenderState,
    Silence,
    Slot,
    SqlLook,
    Standby,
    Unseen,
)
from pgvigil.model.spec import AfterCrash, ClusterSpec, Protection, Tag, WhenUnreachable
from pgvigil.model.step import RebuildMethod
from pgvigil.model.units import Generation, Instant, Lsn, NodeName, SqlState, SystemId, Timeline
from pgvigil.model.vantage import Reach, References, Witness
from tests.builders import (
    DATA_DIR,
    NOW,
    SYSTEM,
    WALL,
    Cluster,
    a_cluster,
    changed_node,
    changed_record,
    changed_spec,
    claims_primary,
    crashed,
    on_host,
    receiver_lost,
    refuses,
    seen,
    witnessed,
)
from tests.unit.judge.scenes import control, frozen, lost, refused_alone, stopped, without_shells

NAMES: Final = tuple(NodeName(name) for name in ("pg1", "pg2", "pg3", "pg4"))

instants = st.sampled_from([0.0, 0.1, 0.9, 1.1, 2.0, 3.0, 4.0, 5.5, 11.0, 70.0]).map(
    lambda s: Instant(NOW - s)
)
lsns = st.sampled_from([0, 1, 0x5000148, 0x50001C0, 0x9000000]).map(Lsn)
timelines = st.sampled_from([1, 1, 1, 2, 3]).map(Timeline)
systems = st.sampled_from([SYSTEM, SYSTEM, SYSTEM, SYSTEM, SystemId("1")])
sqlstates = st.sampled_from(["57P01", "57P02", "57P03", "53300", "28P01", "XX000"]).map(SqlState)
farewells = st.none() | st.builds(
    Farewell, sqlstate=st.none() | sqlstates, source=st.sampled_from(["", "secure_read", "ProcessInterrupts"])
)
hosts_and_ports = st.sampled_from([f"10.0.0.{10 + n}" for n in range(1, 6)])
conninfos = st.just("") | hosts_and_ports.map(lambda host: f"host={host} port=5432 user=replicator")
names = st.sampled_from(NAMES)
some_names = st.frozensets(names, max_size=3)

receivers = st.builds(
    Receiver,
    pid=st.just(7),
    status=st.sampled_from(["streaming", "starting"]),
    timeline=timelines,
    host=hosts_and_ports,
    port=st.just(5432),
    slot=st.just(""),
    silent_s=st.none() | st.sampled_from([0.01, 1.0, 9.0, 70.0]),
)
slots = st.builds(
    Slot,
    name=st.sampled_from(["pg1", "pg2", "pg3", "other"]),
    physical=st.booleans(),
    active=st.booleans(),
    restart=st.none() | lsns,
    wal_status=st.just("reserved"),
)
facts = st.builds(
    Facts,
    server_version=st.just(160004),
    system_id=systems,
    data_dir=st.just(DATA_DIR),
    settings=st.sampled_from([{}, {"recovery_min_apply_delay": "5min"}]),
    slots=st.lists(slots, max_size=2).map(tuple),
)
primaries = st.builds(Primary, timeline=timelines, written=lsns, flushed=lsns)
standbys = st.builds(
    Standby,
    timeline=timelines,
    received=st.none() | lsns,
    replayed=st.none() | lsns,
    receiver=st.none() | receivers,
    conninfo=conninfos,
    replay_paused=st.booleans(),
)
senders = st.builds(
    Sender,
    pid=st.just(9),
    application_name=st.sampled_from(NAMES),
    address=hosts_and_ports,
    state=st.sampled_from(SenderState),
    sent=lsns,
    flushed=lsns,
    replayed=lsns,
    sync_state=st.just("async"),
    replay_lag_s=st.none(),
)
controls = st.none() | st.builds(
    ControlFile,
    system_id=st.just(SYSTEM),
    timeline=timelines,
    checkpoint=lsns,
    shut_down=st.booleans(),
    in_recovery=st.booleans(),
)
host_looks: st.SearchStrategy[HostLook] = st.one_of(
    st.just(NoShell()),
    st.builds(HostSilent, at=instants, since=instants, refused=st.booleans()),
    st.builds(
        HostAnswer,
        at=instants,
        postmaster=st.sampled_from(Postmaster),
        pid=st.just(4711),
        strays=st.sampled_from([(), (), (5,)]),
        standby_signal=st.booleans(),
        control=controls,
        marker=st.sampled_from(["", "", "clone"]),
    ),
)
witnesses = st.builds(Witness, vantage=names, at=instants, reach=st.sampled_from(Reach))


def answers(name: NodeName) -> st.SearchStrategy[Answer]:
    return st.builds(
        Answer,
        node=st.just(name),
        at=instants,
        took_s=st.just(0.01),
        role=primaries | standbys,
        facts=facts,
        senders=st.lists(senders, max_size=2).map(tuple),
    )


def sql_looks(name: NodeName) -> st.SearchStrategy[SqlLook]:
    node = st.just(name)
    return st.one_of(
        answers(name),
        st.builds(Refusal, node=node, at=instants, since=instants, sqlstate=sqlstates, message=st.just("no")),
        st.builds(
            NoAnswer,
            node=node,
            at=instants,
            since=instants,
            silence=st.sampled_from(Silence),
            farewell=farewells,
        ),
        st.just(Unseen(name)),
    )


def node_views(name: NodeName) -> st.SearchStrategy[NodeView]:
    return st.builds(
        NodeView,
        name=st.just(name),
        sql=sql_looks(name),
        host=host_looks,
        last=st.none() | answers(name),
        witnesses=st.lists(witnesses, max_size=2).map(tuple),
        receiver_lost_at=st.none() | instants,
    )


views = st.builds(
    ClusterView,
    at=st.just(NOW),
    nodes=st.fixed_dictionaries({name: node_views(name) for name in NAMES[:3]}),
    references=st.builds(References, at=instants, asked=st.just(2), reached=st.integers(0, 2))
    | st.just(References(NOW)),
    late_s=st.sampled_from([0.0, 0.0, 0.7]),
)

sync_sets: st.SearchStrategy[SyncSet | None] = st.none() | some_names.flatmap(
    lambda chosen: st.builds(
        SyncSet, acks=st.integers(min(1, len(chosen)), len(chosen)), standbys=st.just(chosen)
    )
)
"""Who is on record as acknowledging; nobody at all among them."""

records = st.builds(
    ClusterRecord,
    cluster=st.just(a_cluster().spec.name),
    generation=st.integers(1, 9).map(Generation),
    phase=st.sampled_from(Phase),
    primary=st.sampled_from([*NAMES[:3]] * 5 + [NAMES[3]]),
    system_id=st.just(SYSTEM),
    timeline=timelines,
    origin=st.sampled_from(Origin),
    since=st.none() | st.sampled_from([0.0, 5.0, 70.0]).map(lambda s: WALL - timedelta(seconds=s)),
    candidate=st.none() | names,
    deposed=some_names,
    fenced=st.none() | st.sampled_from(Fenced),
    at_least=lsns,
    forced=st.sampled_from([False, False, True]),
    paused=st.booleans(),
    paused_until=st.none() | st.sampled_from([WALL - timedelta(1), WALL + timedelta(1)]),
    failovers=st.sampled_from([(), (WALL,) * 3]),
    primary_lsn=lsns,
    sync=sync_sets,
    sync_next=sync_sets,
    maintenance=some_names,
)


@st.composite
def specs(draw: st.DrawFn) -> ClusterSpec:
    cluster = a_cluster("pg1* pg2 pg3")
    for name in NAMES[:3]:
        cluster = changed_node(
            cluster,
            name,
            shell=draw(st.sampled_from([cluster.spec.node(name).shell, None])),
            tags=draw(st.sampled_from([frozenset(), frozenset({Tag.NEVER_PROMOTE})])),
            priority=draw(st.sampled_from([100, 0, 200])),
        )
    policy = replace(
        cluster.spec.failover,
        automatic=draw(st.sampled_from([True, True, False])),
        after_crash=draw(st.sampled_from(AfterCrash)),
        auto_rejoin=draw(st.booleans()),
        max_per=draw(st.sampled_from([cluster.spec.failover.max_per, None])),
    )
    fencing = replace(cluster.spec.fencing, unreachable=draw(st.sampled_from(WhenUnreachable)))
    protection = draw(st.sampled_from(Protection))
    wished = changed_spec(cluster, failover=policy, fencing=fencing, protection=protection)
    return changed_spec(wished, sync_required=draw(st.sampled_from([1, 2])), degrade=draw(st.booleans())).spec


worlds = st.builds(Cluster, spec=specs(), record=records, view=views)
"""Anything at all."""

WELL: Final = a_cluster("pg1* pg2 pg3")
BARE: Final = without_shells(WELL)
LOST: Final = witnessed(lost(WELL), "pg1", Reach.NO_REPLY, ["pg2"])
DOWN: Final = on_host(crashed(WELL, "pg1"), "pg1", control=control(shut_down=False))
SCENES: Final = (
    WELL,
    LOST,
    frozen(WELL),
    DOWN,
    on_host(DOWN, "pg1", standby_signal=True),
    stopped(WELL),
    stopped(WELL, for_s=11.0),
    receiver_lost(refused_alone(BARE)),
    witnessed(lost(BARE), "pg1", Reach.NO_REPLY, ["pg3"]),
    claims_primary(LOST, "pg2", timeline=2),
    claims_primary(WELL, "pg3", timeline=2),
    refuses(WELL, "pg1", "57P03", for_s=11.0),
)


@st.composite
def troubled(draw: st.DrawFn) -> Cluster:
    """A known scene in any phase, with up to two of its values replaced by arbitrary ones."""
    cluster = draw(st.sampled_from(SCENES))
    phase = draw(st.sampled_from([Phase.STABLE, Phase.STABLE, *Phase]))
    since = WALL - timedelta(seconds=draw(st.sampled_from([0.1, 5.0, 70.0])))
    primary = NodeName("pg2") if phase is Phase.PROMOTING else cluster.record.primary
    candidate = NodeName("pg2") if phase is Phase.SWITCHING else None
    forced = draw(st.sampled_from([False, False, False, True]))
    cluster = changed_record(
        cluster, phase=phase, since=since, primary=primary, candidate=candidate, forced=forced
    )
    if draw(st.booleans()):
        cluster = changed_spec(cluster, protection=Protection.QUORUM)
        cluster = changed_record(cluster, sync=draw(sync_sets), sync_next=draw(sync_sets))
    for name in draw(st.sets(st.sampled_from(NAMES[:3]), max_size=2)):
        view = draw(node_views(name))
        part = draw(st.sampled_from(["sql", "host", "witnesses", "receiver_lost_at"]))
        cluster = seen(cluster, name, **{part: getattr(view, part)})
    if draw(st.booleans()):
        cluster = replace(cluster, spec=draw(specs()))
    return cluster


anything = worlds | troubled()

commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(Switchover, to=st.none() | names),
    st.builds(Failover, to=st.none() | names, force=st.booleans()),
    st.builds(Rejoin, node=names, method=st.sampled_from(RebuildMethod), force=st.booleans()),
    st.builds(FollowUpstream, node=names, upstream=names),
    st.builds(PromoteNode, node=names),
    st.just(RestartPrimary()),
    st.builds(Pause, until=st.none()),
    st.builds(Resume),
    st.builds(Maintenance, node=names, on=st.booleans()),
)


def situation(cluster: Cluster) -> Situation:
    diagnosis = diagnose(cluster.spec, cluster.record, cluster.view)
    return Situation(cluster.spec, cluster.record, cluster.view, diagnosis, WALL)
