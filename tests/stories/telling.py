"""Tells a story: facts about a cluster come in line by line, what is found and decided goes out.

    cluster: pg1* pg2 pg3          a healthy cluster, everything seen a moment ago
    pg1: refused                   what is seen from now on; the clock is set with `at`
    at 1.2 s                       so much later, everything that answers was looked at again
    carry out                      the decided act's record is saved
    proved                         the change of who commits wait for is seen to be in force
    >>                             replaced by the diagnosis and the decision

The words of a fact are the keys of `SEEN`, `RECORD` and `WISHES`; a few take a number.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from pgvigil.decide.engine import decide, order
from pgvigil.decide.situation import Situation
from pgvigil.decide.synchrony import confirmed
from pgvigil.errors import PgvigilError
from pgvigil.judge.engine import diagnose
from pgvigil.model.command import Directive, Failover, Refused, Switchover
from pgvigil.model.diagnosis import Finding
from pgvigil.model.sighting import (
    ControlFile,
    Farewell,
    HostAnswer,
    HostSilent,
    NoAnswer,
    NodeView,
    NoShell,
    Postmaster,
    Refusal,
    Silence,
    Standby,
    Unseen,
)
from pgvigil.model.spec import Protection, Tag, WhenUnreachable
from pgvigil.model.step import Act, Hold, Plan, Rest, SetSync, sentence
from pgvigil.model.units import Instant, Lsn, NodeName, SqlState, Timeline
from pgvigil.model.vantage import Reach, Touch, Witness
from tests.builders import (
    HERE,
    NOW,
    SYSTEM,
    WALL,
    Cluster,
    a_cluster,
    a_standby,
    changed_node,
    changed_spec,
    claims_primary,
    in_role,
    said,
    seen,
)

ANSWERS: Final = "answers"


@dataclass(frozen=True, slots=True)
class Told:
    """Where the story is."""

    cluster: Cluster
    act: Act | None = None
    command: Directive | None = None

    @property
    def elapsed_s(self) -> float:
        return self.cluster.view.at - NOW


def told(lines: Sequence[str]) -> Iterator[str]:
    """The story's own lines, each `>>` replaced by what comes out at that point."""
    story = Told(a_cluster())
    asked = False
    for line in lines:
        if line.startswith(">>"):
            if not asked:
                outcome, story = outcome_of(story)
                yield from (f">> {text}" for text in outcome)
            asked = True
            continue
        asked = False
        yield line
        if line.strip() and not line.startswith("#"):
            story = heard(story, line)


def heard(story: Told, line: str) -> Told:
    """The story after one fact. Raises ValueError for a line that is none."""
    subject, _, fact = (part.strip() for part in line.partition(":"))
    cluster = story.cluster
    if line.startswith("at "):
        return replace(story, cluster=moved_to(cluster, float(line.split()[1])))
    if line == "carry out":
        return carried_out(story)
    if line == "proved":
        return proved(story)
    if subject == "cluster":
        return replace(story, cluster=a_cluster(fact))
    if subject == "wish":
        return replace(story, cluster=WISHES[fact](cluster))
    if subject == "asked":
        return replace(story, command=asked_for(fact))
    if subject == "references":
        reached = {"reached": 1, "not reached": 0}[fact]
        references = replace(cluster.view.references, at=cluster.view.at, asked=1, reached=reached)
        return replace(story, cluster=replace(cluster, view=replace(cluster.view, references=references)))
    for node in subject.split(", "):
        if node not in cluster.view.nodes:
            raise ValueError(f"{line!r} is no fact of this story")
        cluster = told_of(cluster, node, fact)
    return replace(story, cluster=cluster)


def told_of(cluster: Cluster, node: str, fact: str) -> Cluster:
    """A cluster of which one more thing is seen."""
    for words, see in SEEN.items():
        if fact == words:
            return see(cluster, node)
        if words.endswith(" …") and fact.startswith(words[:-1]):
            return see(cluster, node, fact.removeprefix(words[:-1]))
    raise ValueError(f"{node} cannot be: {fact!r}")


def outcome_of(story: Told) -> tuple[list[str], Told]:
    """What is found and decided now, in words, and the story with that decision."""
    cluster = story.cluster
    wall = WALL + timedelta(seconds=story.elapsed_s)
    diagnosis = diagnose(cluster.spec, cluster.record, cluster.view)
    situation = Situation(cluster.spec, cluster.record, cluster.view, diagnosis, wall)
    texts = [finding_text(finding, cluster.view.at) for finding in diagnosis.findings]
    if story.command is not None:
        answer = order(situation, story.command)
        texts += [refused(answer.error)] if isinstance(answer, Refused) else []
        plan = Plan(answer if isinstance(answer, Act) else Rest())
    else:
        plan = decide(situation)
    texts += plan_texts(plan)
    return texts, replace(story, act=plan.decision if isinstance(plan.decision, Act) else None, command=None)


def finding_text(finding: Finding, at: Instant) -> str:
    due = f" in {finding.due - at:.1f} s" if finding.due is not None and finding.due > at else ""
    evidence = "; ".join(finding.evidence)
    return f"{finding.problem} {finding.node or 'here'} ({finding.urgency}{due}): {evidence}"


def plan_texts(plan: Plan) -> Iterator[str]:
    match plan.decision:
        case Act(rule=rule, reason=reason, record=record, stages=stages):
            yield f"act {rule}: {reason}"
            if record is not None:
                sets = ""
                if record.sync:
                    sets = f", covered by {record.sync}" + (
                        f" and {record.sync_next}" if record.sync_next else ""
                    )
                primary = f"primary {record.primary}{sets}"
                yield f"    record: generation {record.generation}, {record.phase}, {primary}"
            for number, stage in enumerate(stages, 1):
                yield from (f"    {number}. {sentence(step)}" for step in stage.steps)
        case Hold(rule=rule, reason=reason, hint=hint):
            yield f"hold {rule}: {reason}" + (f" ({hint})" if hint else "")
        case Rest():
            yield "rest"
    yield from (f"beside: {sentence(step)}" for step in plan.repairs)


def refused(error: PgvigilError) -> str:
    return f"refused: {error.what}" + (f" ({error.detail})" if error.detail else "")


def carried_out(story: Told) -> Told:
    """The act's record is saved; what its steps do is told as facts."""
    if story.act is None:
        raise ValueError("nothing was decided that could be carried out")
    record = story.act.record or story.cluster.record
    return replace(story, cluster=replace(story.cluster, record=record), act=None)


def proved(story: Told) -> Told:
    """The primary is seen with the set on its way, and that is noted as in force."""
    cluster, record = story.cluster, story.cluster.record
    if record.sync_next is None:
        raise ValueError("no change of who commits wait for is under way")
    noted = confirmed(record, SetSync(record.primary, record.generation, record.sync_next))
    assert noted is not None
    return replace(
        story, cluster=waits(replace(cluster, record=noted), record.primary, record.sync_next.setting)
    )


def asked_for(text: str) -> Directive:
    verb, *words = text.split()
    force = "--force" in words
    to = next((NodeName(word) for word in words if not word.startswith("--")), None)
    return Switchover(to) if verb == "switchover" else Failover(to, force)


def moved_to(cluster: Cluster, seconds: float) -> Cluster:
    """So long after the story began: whatever answered is looked at again, whatever was silent stays so."""
    at = Instant(NOW + seconds)
    passed = at - cluster.view.at
    references = replace(cluster.view.references, at=at)
    nodes = {name: aged(node, at, passed) for name, node in cluster.view.nodes.items()}
    return replace(cluster, view=replace(cluster.view, at=at, nodes=nodes, references=references))


def aged(node: NodeView, at: Instant, passed: float) -> NodeView:
    assert not isinstance(node.sql, Unseen), "a story tells something of every node"
    sql, host = replace(node.sql, at=at), node.host
    if isinstance(host, HostAnswer | HostSilent):
        host = replace(host, at=at)
    if node.standby and node.standby.receiver and node.answer:
        receiver = node.standby.receiver
        silent_s = (receiver.silent_s or 0.0) + passed
        role = replace(node.standby, receiver=replace(receiver, silent_s=silent_s))
        sql = replace(node.answer, at=at, role=role)
    witnesses = tuple(replace(witness, at=at) for witness in node.witnesses)
    touch = replace(node.touch, at=at) if node.touch else None
    return replace(node, sql=sql, host=host, witnesses=witnesses, touch=touch)


def fell_silent(silence: Silence, farewell: Farewell | None = None) -> Callable[[Cluster, str], Cluster]:
    """Nothing comes back; the silence lasts since the node last answered or said something else."""

    def see(cluster: Cluster, node: str) -> Cluster:
        before, at = cluster.view.node(NodeName(node)).sql, cluster.view.at
        since = before.since if isinstance(before, NoAnswer) else at
        said_before = before.farewell if isinstance(before, NoAnswer) else None
        look = NoAnswer(NodeName(node), at, since, silence, farewell or said_before)
        touch = Touch(at, reached=silence is not Silence.TIMED_OUT)
        return seen(cluster, node, sql=look, touch=touch)

    return see


def speaks(sqlstate: str, message: str) -> Callable[[Cluster, str], Cluster]:
    def see(cluster: Cluster, node: str) -> Cluster:
        before, at = cluster.view.node(NodeName(node)).sql, cluster.view.at
        since = before.since if isinstance(before, NoAnswer | Refusal) else at
        return seen(cluster, node, sql=Refusal(NodeName(node), at, since, SqlState(sqlstate), message))

    return see


def hosted(postmaster: Postmaster, *, down: bool, clean: bool = False) -> Callable[[Cluster, str], Cluster]:
    def see(cluster: Cluster, node: str) -> Cluster:
        control = ControlFile(SYSTEM, Timeline(1), HERE, clean, in_recovery=False) if down else None
        pid = None if postmaster is Postmaster.STOPPED else 4711
        frozen = cluster.view.at if postmaster is Postmaster.FROZEN else None
        look = HostAnswer(cluster.view.at, postmaster, pid, frozen, control=control)
        return seen(cluster, node, host=look)

    return see


def host_silent(cluster: Cluster, node: str) -> Cluster:
    return seen(cluster, node, host=HostSilent(cluster.view.at, cluster.view.at, refused=False))


def no_shell(cluster: Cluster, node: str) -> Cluster:
    return seen(changed_node(cluster, node, shell=None), node, host=NoShell())


def marked(cluster: Cluster, node: str) -> Cluster:
    host = cluster.view.node(NodeName(node)).host_answer
    assert host is not None
    return seen(cluster, node, host=replace(host, standby_signal=True))


def lost_receiver(cluster: Cluster, node: str) -> Cluster:
    return seen(in_role(cluster, node, receiver=None), node, receiver_lost_at=cluster.view.at)


def cut(cluster: Cluster, node: str) -> Cluster:
    return in_role(cluster, node, receiver=None, conninfo="")


def tested(reach: Reach) -> Callable[[Cluster, str, str], Cluster]:
    def see(cluster: Cluster, node: str, target: str) -> Cluster:
        others = tuple(w for w in cluster.view.node(NodeName(target)).witnesses if w.vantage != node)
        return seen(cluster, target, witnesses=(*others, Witness(node, cluster.view.at, reach)))

    return see


def streams_from(cluster: Cluster, node: str, upstream: str) -> Cluster:
    """It answers as a standby of that node, on that node's timeline, with everything."""
    above = cluster.view.node(NodeName(upstream))
    timeline = above.primary.timeline if above.primary else cluster.record.timeline
    role = a_standby(cluster.spec.node(NodeName(upstream)), node, HERE, timeline)
    return answering(cluster, node, role)


def answering(cluster: Cluster, node: str, role: Standby) -> Cluster:
    last = cluster.view.node(NodeName(node)).last
    assert last is not None
    cluster = seen(cluster, node, sql=replace(last, at=cluster.view.at, role=role), receiver_lost_at=None)
    return said(cluster, node)


def takes_writes(cluster: Cluster, node: str, timeline: str) -> Cluster:
    last = cluster.view.node(NodeName(node)).last
    assert last is not None
    cluster = seen(cluster, node, sql=replace(last, at=cluster.view.at), witnesses=())
    return claims_primary(cluster, node, timeline=int(timeline))


def received(cluster: Cluster, node: str, more: str) -> Cluster:
    at = Lsn(HERE + int(more.split()[0]))
    return in_role(cluster, node, received=at, replayed=at)


def waits(cluster: Cluster, node: str, names: str) -> Cluster:
    """Its synchronous_standby_names."""
    return in_role(cluster, node, sync_names=names)


def sends_no_more(cluster: Cluster, node: str, standby: str) -> Cluster:
    answer = cluster.view.node(NodeName(node)).answer
    assert answer is not None
    return said(cluster, node, senders=tuple(s for s in answer.senders if s.application_name != standby))


SEEN: Final[dict[str, Callable[..., Cluster]]] = {
    "closed": fell_silent(Silence.CLOSED, Farewell()),
    "closed, says it is stopped": fell_silent(
        Silence.CLOSED, Farewell(SqlState("57P01"), "terminating connection due to administrator command")
    ),
    "refused": fell_silent(Silence.REFUSED),
    "overdue": fell_silent(Silence.OVERDUE),
    "timed out": fell_silent(Silence.TIMED_OUT),
    "mute": fell_silent(Silence.MUTE),
    "says it is starting up": speaks("57P03", "the database system is starting up"),
    "says it is shutting down": speaks("57P03", "the database system is shutting down"),
    "says the password is wrong": speaks("28P01", "password authentication failed"),
    "host says running": hosted(Postmaster.RUNNING, down=False),
    "host says frozen": hosted(Postmaster.FROZEN, down=False),
    "host says crashed": hosted(Postmaster.CRASHED, down=True),
    "host says stopped cleanly": hosted(Postmaster.STOPPED, down=True, clean=True),
    "host does not answer": host_silent,
    "no shell": no_shell,
    "marked as a standby": marked,
    "lost its upstream": lost_receiver,
    "cut": cut,
    "reaches …": tested(Reach.ACCEPTS),
    "cannot reach …": tested(Reach.NO_REPLY),
    "streams from …": streams_from,
    "takes writes on timeline …": takes_writes,
    "received …": received,
    "commits wait for …": waits,
    "sends no more to …": sends_no_more,
}

WISHES: Final[dict[str, Callable[[Cluster], Cluster]]] = {
    "protection: quorum": lambda cluster: changed_spec(cluster, protection=Protection.QUORUM),
    "protection: async": lambda cluster: changed_spec(cluster, protection=Protection.ASYNC),
    "fencing.unreachable: wait": lambda cluster: changed_spec(
        cluster, fencing=replace(cluster.spec.fencing, unreachable=WhenUnreachable.WAIT)
    ),
    "not automatic": lambda cluster: changed_spec(
        cluster, failover=replace(cluster.spec.failover, automatic=False)
    ),
    "never promote pg3": lambda cluster: changed_node(cluster, "pg3", tags=frozenset({Tag.NEVER_PROMOTE})),
}
