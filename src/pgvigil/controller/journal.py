"""Saves the record before any effect, and tells people what happened, each thing once.

Events that explain a decision go into the store together with the record; all others are written behind,
so that telling never delays acting.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

from pgvigil.act.engine import Outcome
from pgvigil.errors import StoreError
from pgvigil.model.diagnosis import Diagnosis, Urgency
from pgvigil.model.record import ClusterRecord, Event, Level
from pgvigil.model.sighting import (
    Answer,
    ClusterView,
    HostAnswer,
    HostSilent,
    NoAnswer,
    NodeView,
    NoShell,
    Refusal,
)
from pgvigil.model.step import (
    Act,
    AdvanceSlots,
    Decision,
    Fence,
    Hold,
    Nudge,
    Promote,
    Rebuild,
    Rescue,
    Rest,
    StartPrimary,
    sentence,
    step_node,
)
from pgvigil.model.units import ClusterName, Generation, NodeName
from pgvigil.ports.contract import Clock, Notifier, Store


class Log(Protocol):
    """What we need of a structured logger."""

    def info(self, event: str, **fields: object) -> object:
        """Write one line."""
        ...

    def warning(self, event: str, **fields: object) -> object:
        """Write one line."""
        ...


PENDING_AT_MOST: Final = 10_000
"""Events that wait to be written; more are dropped, and that is logged."""
CARRIED: Final = 20
"""So many events that wait are written together with a record, before the one that explains it."""
AGAIN_S: Final = 2.0
"""Events that could not be written are tried again this soon."""
ALERTS: Final = (Fence, Promote, Rescue, StartPrimary, Rebuild)
"""Steps whose failure a human should hear of at once."""
LEVELS: Final = {
    "sync_lowered": Level.WARNING,
    "sync_drifted": Level.WARNING,
    "maintenance": Level.WARNING,
    "schedule_missed": Level.WARNING,
}
"""Rules that people should hear of although they change no primary."""
QUIET: Final = frozenset({"timeline", "learnt", "as_before"})
"""Rules that change the record but are no news."""


class Journal:
    """One cluster's history as it happens."""

    def __init__(
        self, cluster: ClusterName, store: Store, clock: Clock, log: Log, notifiers: Sequence[Notifier] = ()
    ) -> None:
        self._cluster, self._store, self._clock, self._log = cluster, store, clock, log
        self._notifiers = notifiers
        self._decision: Decision = Rest()
        self._seen: dict[NodeName, str] = {}
        self._found: frozenset[tuple[object, ...]] = frozenset()
        self._pending: asyncio.Queue[Event] = asyncio.Queue(maxsize=PENDING_AT_MOST)
        self._unwritten: list[Event] = []
        self._writing = asyncio.Lock()
        self.trouble = ""
        """Why events cannot be written; empty: they can."""
        self._listeners: list[Callable[[Event], None]] = []

    async def run(self) -> None:
        """Write events behind, until cancelled. What cannot be written is kept and tried again."""
        while True:
            if not self._unwritten:
                event = await self._pending.get()  # meanwhile `flush` may have begun another list
                self._unwritten.append(event)
            try:
                await self._write()
            except StoreError as error:
                self._troubled(error)
                await asyncio.sleep(AGAIN_S)
                continue
            if self.trouble:
                self.trouble = ""
                self._log.info("events_kept_again", cluster=self._cluster)

    def _troubled(self, error: StoreError) -> None:
        """Events cannot be written: in the log and to programs, once. They wait in memory."""
        if not self.trouble:
            text = f"events cannot be written: {error}; databases run on, and no change can begin"
            event = self._event("store_failed", text, Level.ALERT, Generation(0), ())
            self._tell(replace(event, hint=error.hint))
        self.trouble = str(error)

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Call `listener` with every event from now on; returns how to stop that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def flush(self) -> None:
        """Write what is pending, before somebody reads events, and at the end."""
        try:
            await self._write()
        except StoreError as error:
            self._troubled(error)

    async def _write(self) -> None:
        """Write all that waits, each event once, whoever asks. Raises StoreError; then it waits on."""
        async with self._writing:
            while not self._pending.empty() and len(self._unwritten) < PENDING_AT_MOST:
                self._unwritten.append(self._pending.get_nowait())
            if written := tuple(self._unwritten):
                await self._store.add(written)
                del self._unwritten[: len(written)]  # meanwhile `run` may have appended another

    async def decided(self, act: Act, generation: Generation) -> ClusterRecord | None:
        """Make the act's record durable, with the reason; on return effects may begin. Raises StoreError."""
        event = None
        if act.rule not in QUIET and self._is_news(act):
            changes = act.record is not None and act.record.generation != generation
            level = Level.ALERT if changes else LEVELS.get(act.rule, Level.INFO)
            number = act.record.generation if act.record else generation
            steps = "; ".join(sentence(s) for stage in act.stages for s in stage.steps)
            data = {**dict(act.data), **({"steps": steps} if steps else {})}
            event = self._event(act.rule, act.reason, level, number, act.evidence, data=data)
        self._decision = act
        if act.record is None:
            if event:
                self._later(event)
            return None
        if event is None:
            return await self._store.save(act.record)
        saved = await self._save(act.record, event)
        self._tell(event)
        return saved

    async def _save(self, record: ClusterRecord, event: Event) -> ClusterRecord:
        """Save it with its event, and with those told before that nobody writes yet: numbers go with time.

        It never waits for a writing of events; one that has begun is let into the store first.
        """
        if self._writing.locked():
            await asyncio.sleep(0)
        carried: list[Event] = []
        while not self._pending.empty() and len(carried) < CARRIED:
            carried.append(self._pending.get_nowait())
        try:
            saved = await self._store.save(record, (*carried, event))
        except BaseException:
            self._unwritten += carried
            raise
        return saved

    def announce(self, act: Act, generation: Generation) -> Event:
        """The event that tells of an act, before it is decided."""
        return self._event(act.rule, act.reason, Level.ALERT, generation, act.evidence)

    def held(self, hold: Hold, generation: Generation) -> None:
        """Tell that nothing is done, and why: once, until the reason changes."""
        if self._is_news(hold):
            event = self._event(hold.rule, f"hold: {hold.reason}", Level.WARNING, generation, hold.evidence)
            self._later(replace(event, hint=hold.hint))
        self._decision = hold

    def rested(self) -> None:
        """All is well again."""
        self._decision = Rest()

    def outcome(self, outcome: Outcome, generation: Generation) -> None:
        """Tell what came of a step."""
        step, error = outcome.step, outcome.error
        if isinstance(step, Nudge | AdvanceSlots) and error is None:
            return
        data = {"took_s": round(outcome.took_s, 4), **outcome.facts}
        name = type(step).__name__.lower()
        if error is None:
            text, level, hint = sentence(step), Level.INFO, ""
        else:
            text, hint = f"failed: {sentence(step)}: {error}", error.hint
            level = Level.ALERT if isinstance(step, ALERTS) else Level.WARNING
            name = f"{name}_failed"
        event = self._event(name, text, level, generation, (), step_node(step), data)
        self._later(replace(event, hint=hint))

    def notice(self, view: ClusterView, diagnosis: Diagnosis, generation: Generation) -> None:
        """Tell what was seen, where it differs from before: the evidence as it comes in."""
        for name, node in view.nodes.items():
            words = describe(node)
            before = self._seen.get(name)
            if words != before:
                self._seen[name] = words
                if before is not None:
                    self._later(self._event("seen", f"{name}: {words}", Level.INFO, generation, (), name))
        found = frozenset((f.problem, f.node, f.urgency) for f in diagnosis.findings)
        for finding in diagnosis.findings:
            if (finding.problem, finding.node, finding.urgency) not in self._found:
                level = Level.WARNING if finding.urgency is Urgency.TELL else Level.INFO
                where = f"{finding.node}: " if finding.node else ""
                text = f"{where}{finding.problem.replace('_', ' ')} ({finding.urgency})"
                kind = f"found_{finding.problem}"
                self._later(self._event(kind, text, level, generation, finding.evidence, finding.node))
        self._found = found

    def tell(
        self,
        kind: str,
        text: str,
        level: Level,
        generation: Generation,
        *,
        hint: str = "",
        data: Mapping[str, str | int | float | None] | None = None,
    ) -> None:
        """Tell something that is neither decision nor outcome."""
        self._later(replace(self._event(kind, text, level, generation, (), data=data), hint=hint))

    def synchronous(self, record: ClusterRecord) -> None:
        """Tell that a change of who acknowledges is in force, and since when on record."""
        assert record.sync is not None
        if record.sync.acks:
            text = f"commits on {record.primary} are acknowledged by {record.sync}; none can be lost"
            self.tell("protected", text, Level.INFO, record.generation)
        else:
            text = f"commits on {record.primary} wait for no standby"
            hint = "bring a standby back; commits wait for it again by themselves"
            self.tell("unprotected", text, Level.WARNING, record.generation, hint=hint)

    def _is_news(self, decision: Act | Hold) -> bool:
        before = self._decision
        same_kind = type(before) is type(decision)
        if not same_kind or not isinstance(before, Act | Hold):
            return True
        changed = isinstance(decision, Act) and decision.record is not None
        return changed or (before.rule, before.reason) != (decision.rule, decision.reason)

    def _event(
        self,
        kind: str,
        text: str,
        level: Level,
        generation: Generation,
        evidence: tuple[str, ...],
        node: NodeName | None = None,
        data: Mapping[str, str | int | float | None] | None = None,
    ) -> Event:
        return Event(
            cluster=self._cluster,
            at=self._clock.wall(),
            kind=kind,
            text=text,
            level=level,
            node=node,
            generation=generation,
            evidence=evidence,
            data=data or {},
        )

    def _later(self, event: Event) -> None:
        try:
            self._pending.put_nowait(event)
        except asyncio.QueueFull:
            self._log.warning("events_dropped", cluster=self._cluster, pending=self._pending.qsize())
        self._tell(event)

    def _tell(self, event: Event) -> None:
        fields = {"cluster": event.cluster, "generation": event.generation, "text": event.text}
        if event.node:
            fields["node"] = event.node
        if event.evidence:
            fields["evidence"] = "; ".join(event.evidence)
        if event.hint:
            fields["hint"] = event.hint
        write = self._log.info if event.level is Level.INFO else self._log.warning
        write(event.kind, **fields, **{k: v for k, v in event.data.items() if v not in ("", None)})
        for notifier in self._notifiers:
            notifier.tell(event)
        for listener in tuple(self._listeners):
            listener(event)


def describe(node: NodeView) -> str:
    """The newest looks at a node in a few words, without what changes all the time."""
    match node.sql:
        case Answer():
            words = "answers as a primary" if node.primary else "answers as a standby"
            if node.standby and node.standby.receiver is None:
                words += " without a WAL receiver"
            return words
        case Refusal(sqlstate=state):
            words = f"refuses us (SQLSTATE {state})"
        case NoAnswer(silence=silence, farewell=bye):
            said = f", having said {bye.sqlstate}" if bye and bye.sqlstate else ""
            words = f"no answer ({silence}{said})"
        case _:
            return "not looked at yet"
    match node.host:
        case HostAnswer(postmaster=postmaster, strays=strays):
            words += f"; host: postmaster {postmaster}" + (
                f", {len(strays)} {'process' if len(strays) == 1 else 'processes'} left" if strays else ""
            )
        case HostSilent(refused=refused):
            words += "; host: " + ("refuses our shell" if refused else "no answer")
        case NoShell():
            pass
    return words
