"""A cluster with a primary becomes a standby cluster of another one, because an operator says so.

While the other one does not take writes: the primary is stopped in good order, and only when the other
cluster has all that it wrote is it on record that this one follows; else the primary is started again. When
the other one does (it was promoted after a disaster), what was written here after that is given up.
"""

from typing import Final

from pgvigil.decide.failover import settled, start
from pgvigil.decide.situation import Situation, is_down
from pgvigil.decide.switchover import CATCH_UP_WITHIN_S, stopping, undo
from pgvigil.errors import Unsafe
from pgvigil.model.command import Refused
from pgvigil.model.record import Fenced, Origin, Phase
from pgvigil.model.sighting import HostAnswer, SenderState
from pgvigil.model.spec import FollowedCluster
from pgvigil.model.step import Act, Checkpoint, Decision, Fence, Hold, Stage, Stop, StopMode
from pgvigil.model.units import Lsn, NodeName, SystemId
from pgvigil.model.vantage import FarLook

KEEP: Final = "it stays as it is"


def begin(situation: Situation) -> Act | Refused:
    """Check everything that can be checked; nothing is changed by a refusal."""
    record, spec, far = situation.record, situation.spec, situation.view.far
    if record.standby_cluster:
        return Refused(Unsafe(f"{spec.name} is a standby cluster already", hint="see: pgvigil status"))
    if spec.standby_of is None:
        hint = f"pgvigil demote-site {spec.name} --standby-of OTHER writes it"
        return Refused(
            Unsafe(f"the file does not say of whom {spec.name} is to be a standby cluster", hint=hint)
        )
    if far is None or not far.nodes:
        hint = "the other cluster must answer: it is to take the place of this one"
        return Refused(Unsafe(f"nobody of cluster {spec.standby_of.name} answers", hint=hint))
    if strangers := _strangers(far, record.system_id):
        detail = f"another system identifier than {record.system_id}: {strangers}"
        return Refused(
            Unsafe("the clusters have no history in common", detail=detail, hint="copy one from the other")
        )
    if far.primary is not None:
        return _given_up(situation, far.primary.name, far.primary.timeline)
    return _in_good_order(situation, spec.standby_of)


def leaving(situation: Situation) -> Decision | None:
    """Phase SWITCHING towards another cluster; None: it is an ordinary switchover."""
    record, there = situation.record, situation.spec.standby_of
    if there is None or record.candidate != there.upstream:
        return None
    if situation.primary.primary:
        return Act("undone", f"{record.primary} still serves: {KEEP}", settled(situation))
    if situation.primary.standby:
        return start(situation, "switchover_stopped", ("it came back as a standby",))
    host = is_down(situation.primary)
    if host is None:
        return stopping(situation)
    if host.control is not None and not host.control.shut_down:
        return start(
            situation, "stop_was_unclean", ("the stopped primary did not write its last checkpoint",)
        )
    return _stopped(situation, host, there)


def _stopped(situation: Situation, host: HostAnswer, there: FollowedCluster) -> Decision:
    """The primary is down: this is a standby cluster as soon as the other one has all of it."""
    far, control, name = situation.view.far, host.control, situation.record.primary
    if control and far and any(n.end > control.checkpoint for n in far.nodes if not n.writes):
        evidence = (
            f"the other cluster has received the shutdown checkpoint of {name} at {control.checkpoint}",
        )
        return _follows(situation, "demote_site", evidence, last=control.checkpoint)
    if situation.silent_s() < CATCH_UP_WITHIN_S:
        return Hold("catching_up", f"cluster {there.name} is receiving the last WAL of {name}")
    return undo(situation, f"cluster {there.name} did not receive the last WAL in time")


def _in_good_order(situation: Situation, there: FollowedCluster) -> Act | Refused:
    """The other cluster streams from here: nothing is lost."""
    record, cluster = situation.record, situation.spec.name
    if not situation.primary.primary or situation.primary.answer is None:
        hint = f"bring it back first, or after a disaster: pgvigil promote-site {there.name}"
        return Refused(Unsafe(f"the primary {record.primary} does not answer", hint=hint))
    if situation.primary.host_answer is None:
        detail = "without it, it cannot be stopped and proved stopped"
        hint = "pgvigil check says how to repair it"
        return Refused(Unsafe(f"there is no working shell on {record.primary}", detail=detail, hint=hint))
    senders = [s for s in situation.primary.answer.senders if s.application_name.startswith(f"{there.name}/")]
    if not any(sender.state is SenderState.STREAMING for sender in senders):
        hint = f"see: pgvigil status {there.name}"
        what = f"cluster {there.name} does not stream from {record.primary}"
        return Refused(Unsafe(what, detail="it would not get the last WAL", hint=hint))
    switching = record.moved(
        Phase.SWITCHING,
        generation=record.next_generation(),
        since=situation.wall,
        began=situation.wall,
        previous=record.primary,
        candidate=there.upstream,
        fenced=None,
    )
    checkpoint = Stage((Checkpoint(record.primary, switching.generation),), must=False)
    stop = Stage((Stop(record.primary, switching.generation, StopMode.FAST),))
    reason = f"stop {record.primary}: {cluster} is to follow cluster {there.name}"
    return Act("demote_site", reason, switching, (checkpoint, checkpoint, stop))


def _given_up(situation: Situation, primary: NodeName, timeline: int) -> Act | Refused:
    """The other cluster was promoted: what this one wrote since is not in it, and is given up."""
    record = situation.record
    if timeline <= record.timeline and not _copied(situation):
        detail = f"its timeline {timeline} is not beyond {record.timeline}"
        hint = (
            "their histories cannot be told apart: stop this one, copy a node of it by hand from there as a "
            "standby, and give the command again"
        )
        return Refused(Unsafe(f"{primary} takes writes, and was not promoted after {record.primary}",
                              detail=detail, hint=hint))  # fmt: skip
    evidence: tuple[str, ...] = (f"{primary} takes writes on timeline {timeline}",)
    if situation.primary.primary:
        evidence += (f"what {record.primary} wrote after the other cluster was promoted is given up",)
    return _follows(situation, "demote_site", evidence)


def _copied(situation: Situation) -> bool:
    """Whether every node of ours that answers streams from the other cluster, or from one that does."""
    roles = [node.standby for node in situation.view.nodes.values() if node.answer]
    streams = [role is not None and role.receiver is not None for role in roles]
    return bool(streams) and all(streams)


def _follows(situation: Situation, rule: str, evidence: tuple[str, ...], last: Lsn = Lsn(0)) -> Act:
    """On record first; then nobody here takes writes any more. `last`: the shutdown checkpoint."""
    record = situation.record
    follows = settled(
        situation,
        generation=record.next_generation(),
        standby_cluster=True,
        origin=Origin.SITE,
        deposed=record.deposed | {record.primary},
        left=frozenset(),
        sync=None,
        sync_next=None,
        fenced=Fenced.STOPPED if is_down(situation.primary) else None,
        primary_lsn=last,
    )
    fence = Fence(record.primary, follows.generation, StopMode.FAST)
    steps = (fence,) if isinstance(situation.primary.host, HostAnswer) else ()
    there = situation.spec.standby_of.name if situation.spec.standby_of else "another cluster"
    reason = f"{situation.spec.name} is a standby cluster of {there} from now on"
    return Act(rule, reason, follows, (Stage(steps),) if steps else (), evidence)


def _strangers(far: FarLook, ours: SystemId) -> str:
    return ", ".join(sorted(node.name for node in far.nodes if node.system_id != ours))
