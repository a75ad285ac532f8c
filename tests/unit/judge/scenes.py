"""Scenes for the tests of the core: what `tests.builders` has no word for."""

from dataclasses import replace

from pgvigil.judge.engine import diagnose
from pgvigil.model.diagnosis import Diagnosis
from pgvigil.model.sighting import ControlFile, Farewell, NoShell, Postmaster, Silence, Standby
from pgvigil.model.units import Instant, Lsn, NodeName, SqlState, Timeline
from pgvigil.model.vantage import References
from tests.builders import (
    HERE,
    SYSTEM,
    Cluster,
    changed_node,
    host_look,
    host_silent,
    in_role,
    on_host,
    receiver_lost,
    silent,
)

STOPPED_BY_ADMIN = Farewell(SqlState("57P01"), "terminating connection due to administrator command")
POSTMASTER_DIED = Farewell(
    SqlState("57P01"), "terminating connection due to unexpected postmaster exit", "secure_read"
)
OTHER_CRASHED = Farewell(
    SqlState("57P02"), "terminating connection because of crash of another server process"
)
NOTHING_SAID = Farewell()


def explained(cluster: Cluster) -> str:
    """What is found of the primary of record, with its urgency; `well` if nothing is."""
    found = judged(cluster)
    words = [f"{f.problem} {f.urgency}" for f in found.findings if f.node == cluster.record.primary]
    return ", ".join(words) or "well"


def judged(cluster: Cluster) -> Diagnosis:
    return diagnose(cluster.spec, cluster.record, cluster.view)


def without_shells(cluster: Cluster) -> Cluster:
    """No node has a shell."""
    for name in cluster.view.nodes:
        cluster = host_look(changed_node(cluster, name, shell=None), name, NoShell())
    return cluster


def quiet(cluster: Cluster, *nodes: str, silent_s: float = 30.0) -> Cluster:
    """Standbys (all, when none are named) keep their receivers, which have heard nothing for so long."""
    streaming = (n for n, view in cluster.view.nodes.items() if view.standby and view.standby.receiver)
    for name in nodes or tuple(streaming):
        role = cluster.view.node(NodeName(name)).standby
        assert role is not None
        assert role.receiver is not None
        cluster = in_role(cluster, name, receiver=replace(role.receiver, silent_s=silent_s))
    return cluster


def refused_alone(cluster: Cluster, *, farewell: Farewell = NOTHING_SAID, for_s: float = 0.1) -> Cluster:
    """Nobody listens on the primary's port, as far as we see; nobody else noticed anything."""
    return silent(cluster, cluster.record.primary, Silence.REFUSED, for_s=for_s, farewell=farewell)


def lost(cluster: Cluster, *, for_s: float = 5.0) -> Cluster:
    """The primary's host is gone for us; the standbys' receivers have not noticed yet."""
    name = cluster.record.primary
    cluster = quiet(silent(cluster, name, Silence.TIMED_OUT, for_s=for_s))
    if cluster.spec.node(name).shell is None:
        return cluster
    return host_silent(cluster, name, for_s=for_s)


def frozen(cluster: Cluster, *, for_s: float = 6.0) -> Cluster:
    """The primary's processes are stopped (SIGSTOP)."""
    name = cluster.record.primary
    return on_host(
        quiet(silent(cluster, name, Silence.MUTE, for_s=for_s)), name, postmaster=Postmaster.FROZEN
    )


def stopped(cluster: Cluster, *, for_s: float = 0.5, farewell: Farewell = STOPPED_BY_ADMIN) -> Cluster:
    """The primary was stopped in an orderly way."""
    name = cluster.record.primary
    cluster = receiver_lost(silent(cluster, name, Silence.REFUSED, for_s=for_s, farewell=farewell))
    if cluster.spec.node(name).shell is None:
        return cluster
    return on_host(cluster, name, postmaster=Postmaster.STOPPED, pid=None, control=control())


def control(
    at: Lsn = HERE, *, timeline: int = 1, shut_down: bool = True, in_recovery: bool = False
) -> ControlFile:
    """The control file of a server that does not run."""
    return ControlFile(SYSTEM, Timeline(timeline), at, shut_down, in_recovery)


def referred(cluster: Cluster, asked: int, reached: int, *, ago_s: float = 0.0) -> Cluster:
    """What our own reference targets said."""
    references = References(Instant(cluster.view.at - ago_s), asked, reached)
    return replace(cluster, view=replace(cluster.view, references=references))


def running_late(cluster: Cluster, late_s: float) -> Cluster:
    """Our own loop ran late."""
    return replace(cluster, view=replace(cluster.view, late_s=late_s))


def role_of(cluster: Cluster, node: str) -> Standby:
    """The role of a node that answers in recovery."""
    role = cluster.view.node(NodeName(node)).standby
    assert role is not None
    return role
