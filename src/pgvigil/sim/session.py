"""Simulated libpq sessions: `contract.Session` over the simulated network, bound to one controller's life.

A request travels, is carried out where it arrives, and the reply travels back: each half may be lost. What
was sent stays sent when the asker gives up.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from pgvigil.model.sighting import Farewell, Silence
from pgvigil.model.units import SqlState
from pgvigil.ports.contract import NoReply, QueryFailed, Rejected, Row, SessionEnded
from pgvigil.sim.server import AT_ONCE, KILLED, Server, State
from pgvigil.sim.statements import HARMLESS, Answer, execute

if TYPE_CHECKING:
    from pgvigil.sim.life import Life

CANNOT_CONNECT_NOW = "57P03"
SENDS_S = 0.02
"""How long a backend may be busy with sending after its answer has left.

Stopped at once then, it says nothing (`PqCommBusy` in PostgreSQL's pqcomm.c). Real ones take as long only on
a starved machine."""


class SimSession:
    """One session of one controller with one simulated server."""

    def __init__(self, life: "Life", server: Server) -> None:
        self._life, self._server, self._world = life, server, server.world
        self._home, self._host = life.place, server.host.name
        self._open = False
        self._boot = 0
        self.pid = 0
        self.wait_event = ""
        """What its backend waits for, as pg_stat_activity tells."""
        self._sends_until = 0.0
        self._farewell: Farewell | None = None
        self._ended = asyncio.Event()
        self._asks: dict[asyncio.Future[tuple[Row, ...]], asyncio.TimerHandle] = {}

    @property
    def is_open(self) -> bool:
        """Whether queries can be sent."""
        return self._open

    def __hash__(self) -> int:
        return id(self)

    async def open(self, *, within_s: float) -> None:
        """Connect and log in. Raises NoReply or Rejected."""
        self._life.lives()
        outcome: asyncio.Future[Silence | str] = asyncio.get_running_loop().create_future()
        heard = [Silence.TIMED_OUT]
        self._send(lambda: self._knock(outcome, heard))
        try:
            async with asyncio.timeout(within_s):
                said = await outcome
        except TimeoutError:
            self._finish(Farewell(message="never opened"))
            raise NoReply(f"{self._server.name} did not let us in", heard[0]) from None
        except asyncio.CancelledError:
            self._finish(Farewell(message="never opened"))
            raise
        if isinstance(said, Silence):
            raise NoReply(f"{self._server.name} did not let us in", said)
        if said:
            raise Rejected(f"{self._server.name} did not let us in", SqlState(said), detail=said)
        if self._farewell:
            raise NoReply(f"{self._server.name} closed the session", Silence.CLOSED)
        self._open = True

    def _send(self, arrive: Callable[[], None]) -> None:
        self._life.sends(self._home, self._host, lambda: arrive() if self._server.host.alive else None)

    def _reply(self, arrive: Callable[[], None]) -> None:
        self._world.network.send(self._host, self._home, arrive)

    def _knock(self, outcome: "asyncio.Future[Silence | str]", heard: list[Silence]) -> None:
        """The first packet reaches the host: somebody listens there, or nobody."""
        server = self._server
        if not server.up:
            self._reply(lambda: _set(outcome, Silence.REFUSED))
            return
        if server.frozen:
            self._reply(lambda: heard.__setitem__(0, Silence.MUTE))
        server.reached(lambda: self._let_in(outcome))

    def _let_in(self, outcome: "asyncio.Future[Silence | str]") -> None:
        server, said = self._server, ""
        if server.state is not State.RUNNING:
            said = CANNOT_CONNECT_NOW
        elif server.rejects:
            said = server.rejects
        elif not self._farewell:
            server.backends[self] = None
            self._boot = server.host.boots
            self.pid = server.world.new_pid()
            self._sends()
        self._reply(lambda: _set(outcome, said))

    async def query(self, sql: str, params: Sequence[str | None] = (), *, within_s: float) -> tuple[Row, ...]:
        """One statement. Raises QueryFailed, SessionEnded, or NoReply (session closed at the deadline)."""
        self._life.lives()
        if not self._open:
            raise self._gone()
        if sql not in HARMLESS:
            self._life.acts(f"{sql} on {self._server.name}")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[tuple[Row, ...]] = loop.create_future()
        self._asks[answer] = loop.call_later(within_s, self._overdue)
        values = tuple(params)
        self._send(lambda: self._asked(sql, values, answer))
        return await answer  # cancelled: its answer is thrown away, but must come in its time

    def _asked(
        self, sql: str, params: tuple[str | None, ...], answer: "asyncio.Future[tuple[Row, ...]]"
    ) -> None:
        server = self._server
        if self not in server.backends and not server.strays:
            self._reply(lambda: self._finish(Farewell()))
            return
        server.reached(lambda: self._carry_out(sql, params, answer))

    def _carry_out(
        self, sql: str, params: tuple[str | None, ...], answer: "asyncio.Future[tuple[Row, ...]]"
    ) -> None:
        if self not in self._server.backends:
            return
        execute(self, sql, params, partial(self._send_answer, answer))

    def _send_answer(self, answer: "asyncio.Future[tuple[Row, ...]]", rows: Answer) -> None:
        self._sends()
        self._reply(lambda: self._answered(answer, rows))

    def _sends(self) -> None:
        self._sends_until = self._world.loop.time() + SENDS_S

    def _answered(self, answer: "asyncio.Future[tuple[Row, ...]]", rows: Answer) -> None:
        if timer := self._asks.pop(answer, None):
            timer.cancel()
        if answer.done():
            return
        if isinstance(rows, QueryFailed):
            answer.set_exception(rows)
        else:
            answer.set_result(rows)

    @property
    def server(self) -> Server:
        """The one that it is a session with."""
        return self._server

    @property
    def life(self) -> "Life":
        """Whose it is."""
        return self._life

    def _overdue(self) -> None:
        for answer in tuple(self._asks):
            if not answer.done():
                answer.set_exception(NoReply(f"{self._server.name} did not answer in time", Silence.OVERDUE))
        self._finish(Farewell(message="closed by us: no answer in time"))

    async def ended(self) -> Farewell:
        """Return as soon as the session has ended, with what was said before."""
        await self._ended.wait()
        assert self._farewell is not None
        return self._farewell

    def bye(self, farewell: Farewell) -> None:
        """The server ended it: we hear of that when its words arrive."""
        said = KILLED if farewell is AT_ONCE and self._world.loop.time() < self._sends_until else farewell
        self._reply(lambda: self._finish(said))

    def close(self) -> None:
        """Close at once."""
        self._finish(Farewell(message="closed by us"))

    def _finish(self, farewell: Farewell) -> None:
        if self._farewell is None:
            self._farewell, self._open = farewell, False
            self._server.backends.pop(self, None)
            asks, self._asks = self._asks, {}
            for answer, timer in asks.items():
                timer.cancel()
                if not answer.done():
                    answer.set_exception(self._gone())
            self._ended.set()

    def _gone(self) -> SessionEnded:
        return SessionEnded(f"{self._server.name} has no session with us", self._farewell or Farewell())


def _set(outcome: "asyncio.Future[Silence | str]", value: Silence | str) -> None:
    if not outcome.done():
        outcome.set_result(value)
