"""Since when each standby streams or owes WAL, and what it missed: what one look alone cannot tell."""

from collections.abc import Mapping
from typing import Final

from pgvigil.model.sighting import Answer, Facts, Missed, Primary, SqlLook, Standby
from pgvigil.model.units import Instant, Lsn, NodeName

OWED_LONG_S: Final = 1.0
MISSED_AFTER_S: Final = 5.0
"""So long without a WAL receiver that streams, and the upstream counts as missed."""
FORGOTTEN_AFTER_S: Final = 3600.0
"""A standby that has streamed for that long after a miss has a clean sheet again."""


class Streams:
    """The memory of one cluster's replication; this controller's own, gone with it."""

    def __init__(self) -> None:
        self._lost: dict[NodeName, Instant] = {}
        self._since: dict[NodeName, Instant] = {}
        self._missed: dict[NodeName, dict[str, Missed]] = {}
        self._facts: dict[NodeName, Facts] = {}
        """Whose slots were noted last."""
        self._idle: dict[NodeName, Mapping[str, Instant]] = {}
        self._counted: dict[NodeName, tuple[str, Instant]] = {}
        self._owed: dict[NodeName, Mapping[str, Instant]] = {}
        self._confirmed: dict[NodeName, Mapping[str, Lsn | None]] = {}

    def note(self, node: NodeName, look: SqlLook) -> None:
        """The newest look at a node over SQL."""
        if isinstance(look, Answer):
            self._note_slots(node, look)
            self._note_senders(node, look)
        match look:
            case Answer(role=Standby(receiver=receiver, conninfo=conninfo), at=at):
                if receiver is None or receiver.status != "streaming":
                    self._detached(node, conninfo, at)
                else:
                    self._streaming(node, at)
            case Answer():
                self._lost.pop(node, None)
                self._since.pop(node, None)
            case _:
                self._since.pop(node, None)

    def lost_at(self, node: NodeName) -> Instant | None:
        """When this standby was first seen without the WAL receiver it had; None while it has one."""
        return self._lost.get(node)

    def since(self, node: NodeName) -> Instant | None:
        """Since when it has been seen to stream without a break; None: it does not."""
        return self._since.get(node)

    def missed(self, node: NodeName) -> Mapping[str, Missed]:
        """The upstreams it was pointed at in vain."""
        return dict(self._missed.get(node, {}))

    def idle_slots(self, node: NodeName) -> Mapping[str, Instant]:
        """Since when nobody has been seen to use each slot there that is not in use."""
        return dict(self._idle.get(node, {}))

    def owed(self, node: NodeName) -> Mapping[str, Instant]:
        """Since when each standby that this node streams to owes it WAL, and confirms none."""
        return self._owed.get(node, {})

    def owes_long(self, node: NodeName, now: Instant) -> bool:
        """Whether a standby that this node streams to owes it WAL, and has confirmed none, for long."""
        return any(now - since > OWED_LONG_S for since in self.owed(node).values())

    def _note_slots(self, node: NodeName, look: Answer) -> None:
        if self._facts.get(node) is look.facts:
            return
        self._facts[node] = look.facts
        before = self._idle.get(node, {})
        idle = (slot.name for slot in look.facts.slots if not slot.active)
        self._idle[node] = {name: before.get(name, look.at) for name in idle}

    def _note_senders(self, node: NodeName, look: Answer) -> None:
        if not look.senders:
            self._owed.pop(node, None)
            self._confirmed.pop(node, None)
            return
        end = look.role.flushed if isinstance(look.role, Primary) else Lsn(0)
        confirmed = {sender.application_name: sender.flushed for sender in look.senders}
        before, owed = self._confirmed.get(node, {}), self._owed.get(node, {})
        self._owed[node] = {
            name: owed.get(name, look.at) if name in before and before[name] == at else look.at
            for name, at in confirmed.items()
            if (at or Lsn(0)) < end
        }
        self._confirmed[node] = confirmed

    def _streaming(self, node: NodeName, at: Instant) -> None:
        self._lost.pop(node, None)
        since = self._since.setdefault(node, at)
        if at - since >= FORGOTTEN_AFTER_S:
            self._missed.pop(node, None)

    def _detached(self, node: NodeName, conninfo: str, at: Instant) -> None:
        """One spell without streaming counts once, however long it lasts."""
        self._since.pop(node, None)
        lost = self._lost.setdefault(node, at)
        if not conninfo or at - lost < MISSED_AFTER_S:
            return
        missed, spell = self._missed.setdefault(node, {}), (conninfo, lost)
        before = missed[conninfo].times if conninfo in missed else 0
        missed[conninfo] = Missed(at, before + (self._counted.get(node) != spell))
        self._counted[node] = spell
