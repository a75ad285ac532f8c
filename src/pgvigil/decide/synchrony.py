"""Who commits wait for (`protection: quorum`): the set is kept at what is wanted and there, step by step.

Every change is on record before it is made, and counts only when it is confirmed (SAFETY §3). Only a primary
that answers is changed, so an isolated one keeps waiting.
"""

import re
from dataclasses import replace
from typing import Final

from pgvigil.decide.quorum import next_change, weaker
from pgvigil.decide.situation import Situation, fed_by_standby
from pgvigil.model.record import ALONE, NOBODY, ClusterRecord, Phase, SyncSet
from pgvigil.model.sighting import Answer, NoAnswer, NodeView, Refusal, Sender, SenderState
from pgvigil.model.spec import ClusterSpec, Protection
from pgvigil.model.step import Act, Decision, Hold, SetSync, Stage
from pgvigil.model.units import NodeName

LEFT_AFTER_S: Final = 0.3
"""A standby that no longer streams is waited for so long: a reconnect is quicker."""
HELD_UP_S: Final = 1.0
"""One that owes WAL and has confirmed none for so long is no commit in flight: it stands still."""


def upkeep(situation: Situation) -> Decision | None:
    """What is to be changed or told about the synchronous set while the primary serves; None: nothing."""
    if situation.record.is_paused(situation.wall):
        return _drifted_while_paused(situation) if situation.primary.primary else None
    if situation.spec.protection is not Protection.QUORUM:
        return _let_go(situation)
    if situation.primary.primary is None:
        return None
    return _drifted(situation) or _change(situation) or _waiting(situation)


def after_promotion(spec: ClusterSpec, chosen: NodeName, followers: frozenset[NodeName]) -> SyncSet | None:
    """Who the next primary waits for from its first commit on; None: not managed.

    `followers`: those that are sure not to be ahead of it. One that is would claim to have flushed what it
    never got (PostgreSQL 17 and 18: internals/conformance.md).
    """
    if spec.protection is not Protection.QUORUM:
        return None
    return _sized(spec, chosen, followers & _able(spec, chosen))


def confirmed(record: ClusterRecord, step: SetSync) -> ClusterRecord | None:
    """The record once a change was seen to be in force on the primary that serves; None: not that one."""
    if record.phase is not Phase.STABLE or step.node != record.primary or record.sync_next != step.to:
        return None
    return replace(record, sync=step.to, sync_next=None)


def forgotten(spec: ClusterSpec) -> dict[str, object]:
    """What is on record for a primary whose set we did not set ourselves."""
    sync = ALONE if spec.protection is Protection.QUORUM else None
    return {"sync": sync, "sync_next": None}


def _let_go(situation: Situation) -> Act | None:
    """The user went from `quorum` to `async`: nobody is waited for, then the setting is theirs again."""
    record = situation.record
    if record.sync is None:
        return None
    if record.sync == ALONE and record.sync_next is None:
        reason = "synchronous_standby_names is yours again (protection: async)"
        return Act("sync_released", reason, replace(record, sync=None))
    return _set(situation, ALONE, "protection is async now")


def _drifted(situation: Situation) -> Act | None:
    """Somebody else changed the setting, or it was never ours: nothing is promised until it is put right."""
    record = situation.record
    if record.sync is not None and _is_ours(situation):
        return None
    changed = replace(record, sync=ALONE, sync_next=_wanted(situation, ALONE))
    if record.sync is None:
        return _act(situation, changed, "protection: quorum begins")
    return replace(_act(situation, changed, _whose(situation)), rule="sync_drifted")


def _drifted_while_paused(situation: Situation) -> Act | None:
    """Then it is left as it is, but what is on record may not promise more than is in force."""
    record = situation.record
    if record.sync is None or record.sync == ALONE or _is_ours(situation):
        return None
    reason = f"{_whose(situation)}; no commit is promised until pgvigil resume"
    return Act("sync_drifted", reason, replace(record, sync=ALONE, sync_next=None))


def _whose(situation: Situation) -> str:
    role = situation.primary.primary
    assert role is not None
    return f"somebody else set synchronous_standby_names of {situation.record.primary} to '{role.sync_names}'"


def _is_ours(situation: Situation) -> bool:
    """Whether what is set keeps what is on record; while a change is under way it may be the old or the new.

    One that was given up in between may be set as well: then it is told by what it promises.
    """
    record, role = situation.record, situation.primary.primary
    assert record.sync is not None
    assert role is not None
    if record.sync_next is None:
        return role.sync_names == record.sync.setting
    both, told = weaker(record.sync, record.sync_next), re.match(r"ANY (\d+) \(", role.sync_names)
    named = frozenset(NodeName(name) for name in re.findall(r'"([^"]+)"', role.sync_names)) - {NOBODY}
    found = SyncSet(int(told[1]), named) if told else ALONE
    keeps = found.acks >= both.acks and named <= both.standbys and found.setting == role.sync_names
    return not both.acks or keeps


def _change(situation: Situation) -> Act | None:
    """The next small change, the one under way again, or another in its place if the world has changed."""
    record = situation.record
    assert record.sync is not None
    present = weaker(record.sync, record.sync_next)
    target = _wanted(situation, present)
    if record.sync_next is not None:
        if target == record.sync_next or next_change(present, target) == record.sync_next:
            if _cannot_be_confirmed(situation, record.sync_next):
                return None
            return _act(situation, record, "the change under way is not confirmed yet")
        return _set(situation, next_change(present, target), _reason(situation, present, target))
    if target == record.sync:
        return None
    return _set(situation, next_change(present, target), _reason(situation, present, target))


def _set(situation: Situation, to: SyncSet, reason: str) -> Act:
    record = situation.record
    assert record.sync is not None
    changed = replace(record, sync=weaker(record.sync, record.sync_next), sync_next=to)
    return _act(situation, changed, reason)


def _act(situation: Situation, changed: ClusterRecord, reason: str) -> Act:
    assert changed.sync_next is not None
    step = SetSync(changed.primary, changed.generation, changed.sync_next)
    rule = "sync_lowered" if not changed.sync_next.acks else "sync_set"
    record = changed if changed != situation.record else None
    return Act(rule, f"commits are to wait for {changed.sync_next}: {reason}", record, (Stage((step,)),))


def _reason(situation: Situation, present: SyncSet, target: SyncSet) -> str:
    if gone := sorted(present.standbys - target.standbys):
        why = (f"{name} {_absence(situation, name)}" for name in gone)
        return "; ".join(why)
    if come := sorted(target.standbys - present.standbys):
        return f"{', '.join(come)} {'streams' if len(come) == 1 else 'stream'}"
    return f"sync_required is {situation.spec.sync_required}, {len(target.standbys)} are there"


def _absence(situation: Situation, name: NodeName) -> str:
    node = situation.view.nodes.get(name)
    if node is None or not situation.spec.node(name).may_acknowledge():
        return "is not to be waited for any more"
    if node.answer is None:
        return "does not answer"
    return "does not stream" if _sender(situation, name) is None else "streams, and confirms nothing"


def _cannot_be_confirmed(situation: Situation, to: SyncSet) -> bool:
    """Without `degrade`: it is set, and too few standbys are there to prove anything by their answers."""
    role = situation.primary.primary
    is_set = role is not None and role.sync_names == to.setting
    return is_set and not situation.spec.degrade and len(_here(situation, to)) < to.acks


def _waiting(situation: Situation) -> Hold | None:
    """Without `degrade` commits wait when too few standbys are left: say so."""
    asked = situation.record.sync_next or situation.record.sync
    assert asked is not None
    here = _here(situation, asked)
    if len(here) >= asked.acks:
        return None
    away = ", ".join(sorted(_able(situation.spec, situation.record.primary) - here))
    reason = f"commits wait: {len(here)} of {asked.acks} standbys that acknowledge are there"
    hint = f"bring back {away}, or set degrade: true and reload pgvigil"
    return Hold("commits_wait", reason, hint, evidence=(f"waited for: {asked}", f"away: {away}"))


def _here(situation: Situation, to: SyncSet) -> frozenset[NodeName]:
    """Who acknowledges: the primary has a lost standby as streaming until `wal_sender_timeout` (60 s)."""
    return frozenset(
        name for name in to.standbys if _sender(situation, name) and not _has_left(situation, name)
    )


def _wanted(situation: Situation, present: SyncSet) -> SyncSet:
    """The set that would be right for who is there now."""
    spec, primary = situation.spec, situation.record.primary
    able = _able(spec, primary)
    stay = {name for name in present.standbys & able if not _has_left(situation, name)}
    come = {name for name in able - present.standbys if _has_come(situation, name)}
    there = frozenset(stay | come)
    if not spec.degrade and len(there) < spec.sync_required:
        there = present.standbys & able | there
    return _sized(spec, primary, there)


def _sized(spec: ClusterSpec, primary: NodeName, there: frozenset[NodeName]) -> SyncSet:
    acks = min(spec.sync_required, len(there)) if spec.degrade else spec.sync_required
    return SyncSet(acks, there) if acks else ALONE


def _able(spec: ClusterSpec, primary: NodeName) -> frozenset[NodeName]:
    return frozenset(node.name for node in spec.others(primary) if node.may_acknowledge())


def _sender(situation: Situation, name: NodeName) -> Sender | None:
    """The primary's WAL sender of that standby, if it streams and its acknowledgements count."""
    answer = situation.primary.answer
    senders = answer.senders if answer else ()
    return next((s for s in senders if s.application_name == name and s.state is SenderState.STREAMING), None)


def _has_come(situation: Situation, name: NodeName) -> bool:
    """Whether a standby has caught up and streams; we must be able to cut it, so it must answer us.

    One that claims to have more than it was sent is ahead of the primary, on a timeline that ended: it
    would acknowledge what it never got. Claims only grow by what is really flushed, so one that was within
    what the primary had once claims nothing wrong of what the primary writes from then on. One under
    maintenance may go at any moment: it stays in the set until it leaves, and comes back when that is over.
    """
    node, sender = situation.view.nodes.get(name), _sender(situation, name)
    if node is None or node.standby is None or sender is None or not situation.is_ours(node):
        return False
    if name in situation.record.maintenance:
        return False
    if _owes_s(situation, name) >= HELD_UP_S:
        return False
    return sender.flushed is not None and sender.sent is not None and sender.flushed <= sender.sent


def _has_left(situation: Situation, name: NodeName) -> bool:
    """Whether a standby is not worth waiting for any more.

    As long as the primary still has it as streaming although it is silent for us, it is kept, unless it owes
    WAL and stands still. Where others are enough it goes then in any case: in a failover we could not cut it.
    One that answers us, and has owed WAL for as long as makes a host count as lost, is cut off from the
    primary: the primary itself notices only after `wal_sender_timeout` (60 s).
    """
    node, sender = situation.view.nodes.get(name), _sender(situation, name)
    if node is None:
        return True
    if sender is None:
        return _away_s(situation, node) >= LEFT_AFTER_S
    patience_s = situation.spec.timings.unreachable_after.total_seconds()
    owes_s = _owes_s(situation, name)
    if owes_s >= patience_s:
        return True
    if not isinstance(node.sql, NoAnswer) or situation.view.at - node.sql.since < patience_s:
        return False
    return owes_s >= HELD_UP_S or _others_suffice(situation, name)


def _owes_s(situation: Situation, name: NodeName) -> float:
    """For how long a standby has confirmed nothing of what it owes the primary; 0: it owes nothing."""
    since = situation.primary.owed_since.get(name)
    return 0.0 if since is None else situation.view.at - since


def _others_suffice(situation: Situation, name: NodeName) -> bool:
    spec, primary = situation.spec, situation.record.primary
    others = {n for n in _able(spec, primary) - {name} if _has_come(situation, n)}
    return len(others) >= spec.sync_required


def _away_s(situation: Situation, node: NodeView) -> float:
    """For how long a standby has not streamed, as far as is known; nothing known counts as long."""
    match node.sql:
        case NoAnswer(since=since) | Refusal(since=since):
            return situation.view.at - since
        case Answer() if node.receiver_lost_at is not None:
            return situation.view.at - node.receiver_lost_at
        case Answer() if node.standby and node.standby.receiver and not fed_by_standby(situation, node):
            return node.standby.receiver.silent_s or 0.0  # the two looks are of different moments
        case _:
            return float("inf")
