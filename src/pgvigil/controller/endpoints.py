"""Keeps endpoints pointed at the truth: the newest aim counts, each endpoint goes its own way to it.

Nobody waits for an endpoint, but for a planned change of primary, which has clients held first. What goes
wrong here, a bug among it, is told and tried again, and reaches no database and no recovery.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Final

from pgvigil.controller.journal import Journal
from pgvigil.controller.status_shape import EndpointState, EndpointStatus
from pgvigil.controller.tenure import Tenure
from pgvigil.errors import PgvigilError, StepFailed
from pgvigil.model.endpoint import Aim
from pgvigil.model.record import Level
from pgvigil.model.units import Generation, Instant, NodeName
from pgvigil.ports.contract import Clock, Endpoint
from pgvigil.sight.bell import heard

MOVE_S: Final = 5.0
"""One attempt is given up after this."""
HOLD_S: Final = 60.0
"""So is an attempt to hold clients; each endpoint has a shorter limit of its own."""
LOOK_AGAIN_S: Final = 5.0
"""An endpoint that is as it ought to be is looked at again after this."""
BACKOFF_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Pause before the next attempt, after so many failures in a row."""
TELL_AFTER: Final = 3
"""So many failures in a row are told: one that is just being reloaded is no news."""
BUG: Final = "the log has more; please report it if it happens again"


class Endpoints:
    """All endpoints of one cluster."""

    def __init__(self, endpoints: Sequence[Endpoint], journal: Journal, clock: Clock, tenure: Tenure) -> None:
        """Where several controllers share clusters, nothing is moved without the `tenure`'s leave."""
        self._courses = [_Course(each, journal, clock, tenure) for each in endpoints]

    def point(self, aim: Aim) -> None:
        """From now on this is where clients belong. Returns at once."""
        for course in self._courses:
            course.point(aim)

    async def run(self) -> None:
        """Move endpoints until cancelled; what was begun then is done again by whoever comes next."""
        async with asyncio.TaskGroup() as group:
            for course in self._courses:
                group.create_task(course.run())

    async def hold(self) -> None:
        """Have clients wait, everywhere it can be done. Raises StepFailed: then nothing may be stopped.

        Where it was done, the next aim without `held` lets them go.
        """
        held = await asyncio.gather(*(course.hold() for course in self._courses), return_exceptions=True)
        for course, error in zip(self._courses, held, strict=True):
            if error is not None:
                what, hint = _told(error, HOLD_S)
                raise StepFailed(f"{course.name} does not have clients wait", detail=what, hint=hint)

    async def settled(self, *, within_s: float) -> None:
        """Until every endpoint is as it ought to be, or the time is over."""
        waits = [asyncio.ensure_future(course.settled.wait()) for course in self._courses]
        if waits:
            _, late = await asyncio.wait(waits, timeout=within_s)
            for wait in late:
                wait.cancel()

    def close(self) -> None:
        """Drop what they keep open, at once."""
        for course in self._courses:
            course.close()

    def status(self) -> list[EndpointStatus]:
        """How each endpoint is."""
        return [course.status() for course in self._courses]


class _Course:
    """One endpoint on its way to where it ought to lead."""

    def __init__(self, endpoint: Endpoint, journal: Journal, clock: Clock, tenure: Tenure) -> None:
        self._endpoint, self._journal, self._clock, self._tenure = endpoint, journal, clock, tenure
        self.name = endpoint.name
        self.settled = asyncio.Event()
        self._aim: Aim | None = None
        self._given_at: Instant = clock.now()
        self._news = asyncio.Event()
        self._turn = asyncio.Lock()
        self._leads_to: NodeName | None = None
        self._known = False
        self._failures, self._trouble, self._hint, self._told = 0, "", "", ""

    def point(self, aim: Aim) -> None:
        if aim == self._aim:
            return
        if aim.concerns_writes(self._aim):
            self._given_at = self._clock.now()
            self._failures = 0
        self._aim = aim
        self.settled.clear()
        self._news.set()

    async def run(self) -> None:
        while True:
            await self._wait()
            self._news.clear()
            if (aim := self._aim) is not None and not self._tenure.objection():
                await self._attempt(aim)

    async def _wait(self) -> None:
        """Until there is a new aim, or it is time to try or to look again."""
        pause = BACKOFF_S[min(self._failures, len(BACKOFF_S)) - 1] if self._failures else LOOK_AGAIN_S
        await heard(self._news, pause)

    async def _attempt(self, aim: Aim) -> None:
        """One attempt, ended when a newer aim says otherwise."""
        work = asyncio.ensure_future(self._bounded(self._endpoint.move(aim), MOVE_S))
        try:
            while not work.done():
                news = asyncio.ensure_future(self._news.wait())
                await asyncio.wait({work, news}, return_when=asyncio.FIRST_COMPLETED)
                news.cancel()
                if work.done():
                    break
                if self._aim is not None and self._aim.concerns_writes(aim):
                    return
                await asyncio.wait({work})  # only the standbys changed: they have time
        finally:
            work.cancel()
            await asyncio.wait({work})
        if error := work.exception():
            self._failed(aim, error)
        else:
            self._moved(aim, work.result() or "")

    def close(self) -> None:
        self._endpoint.close()

    async def hold(self) -> None:
        await self._bounded(self._endpoint.hold(), HOLD_S)

    async def _bounded(self, work: "Coroutine[object, object, str | None]", within_s: float) -> str | None:
        async with self._turn, asyncio.timeout(within_s):
            return await work

    def _moved(self, aim: Aim, changed: str) -> None:
        if self._told:
            changed = changed or "answers again, and is as it ought to be"
        self._failures, self._trouble, self._hint, self._told = 0, "", "", ""
        self._leads_to, self._known = aim.primary, True
        if self._aim == aim:
            self.settled.set()
        if changed:
            data = {
                "endpoint": self.name,
                "primary": aim.primary,
                "took_s": round(self._clock.now() - self._given_at, 4),
            }
            text = f"endpoint {self.name}: {changed}"
            self._journal.tell("endpoint_moved", text, Level.INFO, aim.generation, data=data)

    def _failed(self, aim: Aim, error: BaseException) -> None:
        self._trouble, self._hint = _told(error, MOVE_S)
        self._failures += 1
        if self._failures < TELL_AFTER or self._trouble == self._told:
            return
        self._told = self._trouble
        lost = not self._known or self._leads_to != aim.primary
        text = f"endpoint {self.name} cannot be moved: {self._trouble}"
        self._journal.tell(
            "endpoint_failed",
            f"{text}; it is tried again",
            Level.ALERT if lost else Level.WARNING,
            aim.generation,
            hint=self._hint,
            data={"endpoint": self.name, "primary": aim.primary},
        )

    def status(self) -> EndpointStatus:
        if self._trouble:
            state = EndpointState.FAILED
        elif not self._known:
            state = EndpointState.UNSEEN
        else:
            state = EndpointState.OK if self.settled.is_set() else EndpointState.MOVING
        return EndpointStatus(
            name=self.name,
            state=state,
            primary=self._leads_to,
            wanted=self._aim.primary if self._aim else None,
            generation=self._aim.generation if self._aim else Generation(0),
            detail=self._trouble,
            hint=self._hint,
        )


def _told(error: BaseException, within_s: float) -> tuple[str, str]:
    """What went wrong and what to do, for people; a failure that nobody foresaw is named as it is."""
    match error:
        case PgvigilError():
            return str(error), error.hint
        case TimeoutError():
            return f"it did not answer within {within_s:g} s", "see: pgvigil check"
        case _:
            return f"{type(error).__name__}: {error}", BUG
