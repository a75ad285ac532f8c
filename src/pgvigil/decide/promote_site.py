"""A standby cluster becomes a cluster with a primary of its own, because an operator says so.

Whether the other cluster is gone nobody can prove from here. So it is refused as long as anything of it
lives, and what may be lost is told as far as it is known.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from pgvigil.decide.election import elect
from pgvigil.decide.promotion import absent, promotion_stages, synchronous
from pgvigil.decide.situation import Situation
from pgvigil.errors import Unsafe, UsageError
from pgvigil.model.command import PromoteSite, Refused
from pgvigil.model.record import Origin, Phase
from pgvigil.model.sighting import NodeView
from pgvigil.model.spec import FollowedCluster
from pgvigil.model.step import Act
from pgvigil.model.units import Lsn, NodeName, bytes_text


def begin(situation: Situation, command: PromoteSite) -> Act | Refused:
    """Next generation, phase PROMOTING with the furthest node: from here the controller only goes on."""
    record, spec = situation.record, situation.spec
    if not record.standby_cluster:
        hint = "it takes writes already; take standby_of out of the file, if it is there"
        return Refused(
            Unsafe(f"{spec.name} is no standby cluster: {record.primary} is its primary", hint=hint)
        )
    if command.to is not None and command.to not in situation.view.nodes:
        return Refused(UsageError(f"there is no node {command.to} in {spec.name}"))
    if not command.force and (lives := next(_lives(situation, command), None)):
        return Refused(lives)
    by_hand = situation.view.node(command.to).primary if command.to else None
    if by_hand is not None and command.to is not None and command.handed_over is None:
        return _act(situation, command, command.to, by_hand.flushed)
    if stale := [node.name for node in situation.view.primaries()]:
        hint = f"have it count: pgvigil promote-site {spec.name} --to {stale[0]} --force; or stop it first"
        return Refused(Unsafe(f"{', '.join(stale)} takes writes already", hint=hint))
    any_lag = command.to is None or command.force
    election = elect(
        situation, wanted=command.to, any_lag=any_lag, forced=True, objection=_lacks(command.handed_over)
    )
    if election.chosen is None:
        hint = f"see: pgvigil status {spec.name}"
        return Refused(
            Unsafe("no node is fit to be promoted", detail="; ".join(election.rejected), hint=hint)
        )
    return _act(situation, command, election.chosen, election.at)


def _act(situation: Situation, command: PromoteSite, chosen: NodeName, at: Lsn) -> Act:
    far = situation.view.far
    record = situation.record.moved(
        Phase.PROMOTING,
        generation=situation.record.next_generation(),
        primary=chosen,
        standby_cluster=False,
        origin=Origin.SITE,
        since=situation.wall,
        began=situation.wall,
        previous=None,
        candidate=None,
        deposed=situation.record.deposed - {chosen},
        fenced=None,
        at_least=at,
        forced=command.force,
        primary_lsn=far.heard.end if far and far.heard else Lsn(0),
    )
    record = replace(record, left=absent(replace(situation, record=record), chosen))
    record = synchronous(replace(situation, record=record))
    stages = promotion_stages(replace(situation, record=record), chosen, at)
    reason = f"promote {chosen}: {situation.spec.name} takes writes of its own from now on"
    return Act("promote_site", reason, record, stages, tuple(_known_loss(situation, command, chosen, at)))


def _lacks(last: int | None) -> Callable[[NodeView], str]:
    """What speaks against a node where nothing may be lost: commits before `last` that it does not have."""

    def objection(node: NodeView) -> str:
        if last is None or (node.standby and node.standby.furthest > last):
            return ""
        return f"it has not received the last checkpoint of the other cluster, at {Lsn(last)}"

    return objection


def _known_loss(situation: Situation, command: PromoteSite, chosen: NodeName, at: Lsn) -> Iterator[str]:
    """What is known of what the other cluster wrote and this one does not have."""
    role = situation.view.node(chosen).answer
    timeline = role.role.timeline if role else 0
    yield f"{chosen} has everything up to {at} on timeline {timeline}"
    if command.handed_over is not None:
        yield f"the other cluster's last checkpoint is at {Lsn(command.handed_over)}: all of that is here"
        return
    far = situation.view.far
    if far is None or far.heard is None:
        yield "the other cluster was not heard of: what it wrote beyond that is not known"
        return
    heard = far.heard
    ago_s = situation.view.at - heard.at
    missing = max(0, heard.end - at)
    more = f"at least {bytes_text(missing)} of WAL are not here" if missing else "all of that is here"
    yield f"{heard.name} was at {heard.end} when it was last heard, {ago_s:.0f} s ago: {more}"


def _lives(situation: Situation, command: PromoteSite) -> Iterator[Unsafe]:
    """Signs of life of the other cluster, each with what to do."""
    there, far, cluster = situation.spec.standby_of, situation.view.far, situation.spec.name
    if there is None:
        yield from _feeds(situation, None) if command.handed_over is None else ()
        return
    planned = f"to change places without loss: pgvigil promote-site {cluster} --planned"
    anyway = "if it must be, --force: then both take writes, and those there will be lost"
    if far is not None and far.primary is not None:
        what = f"{far.primary.name} of the cluster that is followed takes writes"
        detail = f"it is at {far.primary.end} on timeline {far.primary.timeline}"
        yield Unsafe(what, detail=detail, hint=f"{planned}; {anyway}")
    if command.handed_over is not None:
        return
    if far is None:
        yield Unsafe(f"cluster {there.name} was not looked at yet", hint="give the command again in a moment")
    elif far.nodes:
        names = ", ".join(node.name for node in far.nodes)
        hint = f"have one of them promoted there: pgvigil failover {there.name}; or {anyway}"
        yield Unsafe(f"{names} answers in recovery, and may be promoted there", hint=hint)
    yield from _feeds(situation, there)


def _feeds(situation: Situation, there: FollowedCluster | None) -> Iterator[Unsafe]:
    """A WAL receiver that is connected to somebody outside: he lives, or was there a moment ago."""
    ours = {(node.host, node.port) for node in situation.spec.nodes}
    for node in situation.standbys():
        receiver = node.standby.receiver if node.standby else None
        if receiver is None or receiver.status != "streaming" or (receiver.host, receiver.port) in ours:
            continue
        silent = (
            f"the last message came {receiver.silent_s:.0f} s ago" if receiver.silent_s is not None else ""
        )
        hint = (
            f"if it is gone, {node.name} notices that within wal_receiver_timeout (60 s): wait for it; "
            "or --force"
        )
        who = f"{receiver.host}:{receiver.port}{f' of cluster {there.name}' if there else ''}"
        yield Unsafe(f"{node.name} still streams from {who}", detail=silent, hint=hint)
