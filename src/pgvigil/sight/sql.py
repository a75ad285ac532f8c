"""Keeps one session with a node and turns what it says, or its silence, into looks.

The reaction to an end of the session does not wait for the next probe: the socket is watched. A probe
that is late is not given up; new sessions are tried beside it, and the first of the two that answers wins.
"""

import asyncio
from collections.abc import Callable

from pgvigil.model.sighting import (
    Answer,
    Facts,
    Farewell,
    NoAnswer,
    Refusal,
    SenderState,
    Silence,
    SqlLook,
    Unseen,
)
from pgvigil.model.spec import Timings
from pgvigil.model.units import Instant, SqlState
from pgvigil.ports.contract import (
    Clock,
    NodePorts,
    NoReply,
    QueryFailed,
    Rejected,
    Row,
    Session,
    SessionEnded,
)
from pgvigil.sight import probe
from pgvigil.sight.bell import Bell, Watchdog
from pgvigil.sight.own_loop import OwnLoop

FACTS_EVERY_S = 10.0
RETRY_S = 0.1
"""Pause between attempts while a node is silent: a new primary or a returning node is seen soon."""
CONNECT_TURNS = 5
"""Connecting takes so many turns of our own loop, each as late as it is."""
RETRY_LONG_S = 1.0
"""The longest pause while our own loop keeps up: `judge.controller_unfit` wants a look every two seconds."""
RETRY_LONG_AFTER_S = 30.0


class SqlWatch:
    """One node over SQL. `look` is the newest look; `on_news` is called whenever it has changed.

    While it is `relaxed` (no verdict waits for looks), a loop that cannot keep up looks less often.
    """

    def __init__(
        self,
        ports: NodePorts,
        timings: Timings,
        clock: Clock,
        on_news: Callable[[], None],
        own_loop: OwnLoop | None = None,
        relaxed: Callable[[], bool] = lambda: False,
    ) -> None:
        self._own_loop, self._relaxed = own_loop or OwnLoop(clock), relaxed
        self._ports, self._timings, self._clock, self._on_news = ports, timings, clock, on_news
        self.look: SqlLook = Unseen(ports.spec.name)
        self.last: Answer | None = None
        self._facts: Facts | None = None
        self._facts_row: Row = {}
        self._facts_at = Instant(0.0)
        self._names: dict[int, tuple[str, str]] = {}
        self._farewell: Farewell | None = None
        self._wanted = self._silent = False
        self._place = self._own_loop.place()
        self._bell, self._patience = Bell(self._own_loop.wheel), Bell(self._own_loop.wheel)
        self._watchdog = Watchdog(self._own_loop.wheel, self._suspect)
        self._asked: tuple[Session, Instant] | None = None
        self._beside: asyncio.Task[None] | None = None
        self._ending: tuple[Session, asyncio.Task[Farewell]] | None = None
        self._begun = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    async def run(self) -> None:
        """Watch until cancelled; the session is closed then."""
        try:
            while True:
                self._wanted = False
                self._begun += 1
                await self._once()
                self._tell_waiting()
                await self._pause()
        finally:
            self._count(False)
            self._ports.session.close()
            if self._ending:
                self._ending[1].cancel()

    async def again(self) -> None:
        """Look now, and return when a look that was begun after this call is complete."""
        complete: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((self._begun + 1, complete))
        self.wake()
        await complete

    def wake(self) -> None:
        """Look now, without waiting for it."""
        self._wanted = True
        self._bell.ring()

    def _tell_waiting(self) -> None:
        """Whoever waits for a look that was begun after he asked has it now."""
        for target, complete in self._waiting:
            if target <= self._begun and not complete.done():
                complete.set_result(None)
        self._waiting = [one for one in self._waiting if not one[1].done()]

    async def _once(self) -> None:
        if not self._ports.session.is_open and not await self._reconnect(self._clock.now()):
            return
        await self._probe()

    async def _pause(self) -> None:
        """Until the next probe is due, the session ends, or somebody wants a look now."""
        match self.look:
            case Answer():
                interval_s = self._timings.probe_interval.total_seconds()
                delay = self._own_loop.pause_s(interval_s, self._place, calm=self._relaxed())
            case NoAnswer(since=since) | Refusal(since=since):
                delay = self._retry_s(self._clock.now() - since)
            case _:
                delay = RETRY_S
        session = self._ports.session
        was_open = session.is_open
        if was_open:
            self._watch_end(session)
            if not self._wanted:
                await self._bell.wait(delay)
        elif not isinstance(self.look, Answer) and not self._wanted:
            await self._bell.wait(delay)
        if not session.is_open and (was_open or isinstance(self.look, Answer)):
            self._end(await session.ended())

    def _retry_s(self, silent_s: float) -> float:
        """The pause before the next attempt: short, unless that was in vain for long, or a crowd wants it."""
        crowd_s, longest_s = self._own_loop.crowd_s(), RETRY_LONG_S * self._own_loop.slowdown
        if silent_s <= RETRY_LONG_AFTER_S and crowd_s <= RETRY_S:
            return RETRY_S
        pause_s = longest_s if silent_s > RETRY_LONG_AFTER_S else min(crowd_s, longest_s)
        return self._own_loop.spread(pause_s)

    def _watch_end(self, session: Session) -> None:
        """Ring when it ends: one task for as long as a session lasts, for thousands are watched."""
        if self._ending is None or self._ending[0] is not session:
            if self._ending:
                self._ending[1].cancel()
            self._ending = session, asyncio.ensure_future(session.ended())
            self._ending[1].add_done_callback(self._bell.ring)

    def _end(self, farewell: Farewell) -> None:
        self._farewell = farewell
        self._publish_silence(Silence.CLOSED, self._clock.now())

    async def _reconnect(self, begun: Instant) -> bool:
        """One attempt at a new session; publishes why it failed."""
        session = self._ports.new_session()
        try:
            await session.open(within_s=self._connect_s() + CONNECT_TURNS * self._own_loop.late_s())
        except NoReply as failure:
            self._publish_silence(failure.silence, begun)
            return False
        except Rejected as failure:
            self._publish_refusal(failure.sqlstate, failure.detail or failure.what)
            return False
        self._ports.session.close()
        self._ports.session = session
        self._facts = None
        return True

    def _connect_s(self) -> float:
        """Short enough that an attempt ends well before silence becomes a verdict.

        Once TCP got through, the whole way to a session is waited for: over a slow network it takes several
        round trips, and an attempt at a host that died meanwhile counts as one at a hung server.
        """
        timings = self._timings
        if isinstance(self.look, NoAnswer) and self.look.silence is Silence.MUTE:
            return max(timings.connect_timeout, timings.hung_after).total_seconds()
        return min(timings.connect_timeout, timings.unreachable_after / 2).total_seconds()

    async def _probe(self) -> None:
        """Ask, and conclude from what comes of it; while that is late, `_try_beside` is at work."""
        begun, session = self._clock.now(), self._ports.session
        self._asked = session, begun
        self._watchdog.set(self._timings.suspect_after.total_seconds())
        outcome: Answer | SessionEnded | NoReply | QueryFailed
        try:
            outcome = await self._ask(session)
        except (SessionEnded, NoReply, QueryFailed) as failure:
            outcome = failure
        finally:
            self._watchdog.off()
            await self._end_beside()
        if self._ports.session is session:  # else a new one has taken its place
            self._conclude(outcome, begun)

    def _suspect(self) -> None:
        """The answer is late."""
        assert self._asked is not None
        self._beside = asyncio.ensure_future(self._try_beside(*self._asked))

    async def _try_beside(self, session: Session, begun: Instant) -> None:
        """The late probe counts as silence; new sessions are tried until one takes its session's place."""
        owed_s = self._own_loop.late_s()
        while owed_s > 0:  # we did not listen all the time: that is not its silence
            missed_s = self._own_loop.missed_s
            await self._patience.wait(owed_s)
            owed_s = self._own_loop.missed_s - missed_s
        try:
            self._publish_silence(Silence.OVERDUE, begun)
            while True:
                if (wait_s := self._own_loop.attempt_s()) > 0:
                    await asyncio.sleep(wait_s)
                if await self._reconnect(begun):
                    return
                await asyncio.sleep(self._retry_s(self._clock.now() - begun))
        except Exception:
            session.close()  # who waits for its answer hears of it
            raise

    async def _end_beside(self) -> None:
        beside, self._beside = self._beside, None
        if beside is None:
            return
        beside.cancel()
        await asyncio.wait({beside})
        if not beside.cancelled():
            beside.result()

    def _conclude(self, outcome: Answer | SessionEnded | NoReply | QueryFailed, begun: Instant) -> None:
        match outcome:
            case Answer():
                self._publish(outcome)
            case SessionEnded(farewell=farewell):
                self._end(farewell)
            case NoReply(silence=silence):
                self._publish_silence(silence, begun)
            case QueryFailed():
                self._publish_refusal(outcome.sqlstate, str(outcome))

    async def _ask(self, session: Session) -> Answer:
        limit = self._timings.probe_timeout.total_seconds()
        begun = self._clock.now()
        if self._facts is None or begun - self._facts_at > self._facts_every_s():
            self._facts = await self._learn_facts(session, begun, limit)
            begun = self._clock.now()
        (row,) = await session.query(probe.PROBE, within_s=limit)
        took = self._clock.now() - begun
        told = probe.told_senders(row)
        if told:
            await self._learn_names(session, told, limit)
        senders = probe.read_senders(told, self._names) if told else ()
        copied = senders and any(sender.state is SenderState.BACKUP for sender in senders)
        backups = await session.query(probe.BACKUPS, within_s=limit) if copied else ()
        return Answer(
            node=self._ports.spec.name,
            at=begun,
            took_s=took,
            role=probe.read_role(row),
            facts=self._facts,
            senders=senders,
            backups=probe.read_backups(backups) if backups else (),
        )

    def _facts_every_s(self) -> float:
        return FACTS_EVERY_S * (self._own_loop.ease() if self._relaxed() else 1.0)

    async def _learn_facts(self, session: Session, begun: Instant, limit: float) -> Facts:
        (row,) = await session.query(probe.FACTS, (probe.settings_argument(),), within_s=limit)
        same, self._facts_row, self._facts_at = row == self._facts_row, row, begun
        return self._facts if self._facts and same else probe.read_facts(row)

    async def _learn_names(self, session: Session, told: list[probe.Told], limit: float) -> None:
        if any(sender["pid"] not in self._names for sender in told):
            rows = await session.query(probe.SENDER_NAMES, within_s=limit)
            self._names = {
                int(r["pid"] or 0): (r["application_name"] or "", r["client_addr"] or "") for r in rows
            }

    def _count(self, silent: bool) -> None:
        self._own_loop.silent += silent - self._silent
        self._silent = silent

    def forget_facts(self) -> None:
        """Settings or slots were changed: ask again at the next look."""
        self._facts_at = Instant(-FACTS_EVERY_S * 2)

    def _publish_silence(self, silence: Silence, begun: Instant) -> None:
        since = self.look.since if isinstance(self.look, NoAnswer) else begun
        now = self._clock.now()
        self._publish(NoAnswer(self._ports.spec.name, now, since, silence, self._farewell))

    def _publish_refusal(self, sqlstate: SqlState, message: str) -> None:
        look, now = self.look, self._clock.now()
        same = isinstance(look, NoAnswer) or (isinstance(look, Refusal) and look.sqlstate == sqlstate)
        since = look.since if same and isinstance(look, NoAnswer | Refusal) else now
        self._publish(Refusal(self._ports.spec.name, now, since, sqlstate, message))

    def _publish(self, look: SqlLook) -> None:
        self._count(isinstance(look, NoAnswer))
        if isinstance(look, Answer):
            self.last, self._farewell = look, None
        self.look = look
        self._on_news()
