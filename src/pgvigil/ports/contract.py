"""All seams on one screen: what the controller needs of the outside, and how the outside may fail."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pgvigil.errors import PgvigilError, Unreachable
from pgvigil.model.endpoint import Aim
from pgvigil.model.letter import Answer, Letter
from pgvigil.model.parameter import ParameterVersion, Trial
from pgvigil.model.record import ClusterRecord, Event, Level
from pgvigil.model.recording import Draft, Kept
from pgvigil.model.roster import Census
from pgvigil.model.sighting import Farewell, Silence
from pgvigil.model.spec import NodeSpec
from pgvigil.model.units import ClusterName, Instant, NodeName, SqlState
from pgvigil.model.vantage import Reach

Row = Mapping[str, str | None]
"""Column name → value in PostgreSQL's text format."""


class NoReply(Unreachable):
    """Nothing came back in time; the session is closed."""

    def __init__(self, what: str, silence: Silence, *, detail: str = "") -> None:
        super().__init__(what, detail=detail)
        self.silence = silence


class Rejected(Unreachable):
    """The server spoke but did not open a session."""

    def __init__(self, what: str, sqlstate: SqlState, *, detail: str = "") -> None:
        super().__init__(what, detail=detail)
        self.sqlstate = sqlstate


class SessionEnded(Unreachable):
    """The session ended under the query."""

    def __init__(self, what: str, farewell: Farewell) -> None:
        super().__init__(what, detail=farewell.message)
        self.farewell = farewell


class QueryFailed(PgvigilError):
    """The server answered with an error; the session lives on."""

    def __init__(self, what: str, sqlstate: SqlState, *, detail: str = "", hint: str = "") -> None:
        super().__init__(what, detail=detail, hint=hint)
        self.sqlstate = sqlstate


class ShellLost(Unreachable):
    """The shell did not answer in time, or its connection broke. What was running may still run."""


class ShellRefused(Unreachable):
    """The host lives but did not let us in: wrong key, unknown host key, locked account."""


class Clock(Protocol):
    """The controller's time."""

    def now(self) -> Instant:
        """Monotonic seconds."""
        ...

    def wall(self) -> datetime:
        """UTC, for people only."""
        ...


class Session(Protocol):
    """One libpq session with one node, for one use after another in the order they are asked.

    A session is opened once; when it has ended a new one is made. No await here outlives its `within_s`, and
    one that is cancelled leaves the session to the others: a failover asks whom a repair was asking.
    """

    @property
    def is_open(self) -> bool:
        """Whether queries can be sent."""
        ...

    async def open(self, *, within_s: float) -> None:
        """Connect and log in. Raises NoReply or Rejected."""
        ...

    async def query(self, sql: str, params: Sequence[str | None] = (), *, within_s: float) -> tuple[Row, ...]:
        """One statement with `$1` parameters; prepared at its second use.

        Raises QueryFailed (session lives), SessionEnded, or NoReply (session closed at the deadline).
        """
        ...

    async def ended(self) -> Farewell:
        """Return as soon as the session has ended, noticed by end-of-file, with what was said before."""
        ...

    def close(self) -> None:
        """Close the socket at once, without asking the server. Safe to call twice."""
        ...


@dataclass(frozen=True, slots=True)
class Output:
    """What a program left behind."""

    status: int
    out: bytes = b""
    err: bytes = b""

    @property
    def text(self) -> str:
        """Standard output as text, without the last line end."""
        return self.out.decode(errors="replace").rstrip("\n")

    @property
    def complaint(self) -> str:
        """The last lines of standard error, else of standard output, for people."""
        said = (self.err or self.out).decode(errors="replace").strip()
        return "\n".join(said.splitlines()[-5:])


class Shell(Protocol):
    """A POSIX `sh` on a node's host, running as the database's OS user."""

    async def ask(self, script: str, *, within_s: float) -> Output:
        """Run lines on the one kept `sh`; about 0.2 ms when nothing is forked. It is opened when needed.

        Short and idempotent: one that is given up may still be running. Raises ShellLost or ShellRefused.
        """
        ...

    async def run(
        self,
        script: str,
        *,
        stdin: bytes = b"",
        within_s: float,
        on_line: Callable[[str], None] | None = None,
    ) -> Output:
        """Run a long job in an `sh` of its own, beside the kept one; binary safe both ways.

        Ended with all it started when `within_s` is over or the call is cancelled. `on_line` gets each
        line of standard error as it comes (progress). Raises ShellLost or ShellRefused.
        """
        ...

    def keep(self, kept: bool) -> None:
        """Whether it stays open between uses, as at first; else it is closed soon after the last one."""
        ...

    def close(self) -> None:
        """Drop the connection at once."""
        ...


@dataclass(slots=True)
class NodePorts:
    """The ways to one node. `session` is the kept one; `sight` replaces it when it has ended."""

    spec: NodeSpec
    new_session: Callable[[], Session]
    session: Session
    shell: Shell | None

    def close(self) -> None:
        """Drop session and shell at once; both can be opened again."""
        self.session.close()
        if self.shell is not None:
            self.shell.close()


class Pinger(Protocol):
    """Asks reference targets."""

    async def reaches(self, target: str, *, within_s: float) -> bool:
        """Whether `host` answers a ping, or `host:port` a TCP connect (a refusal is an answer too)."""
        ...


class Store(Protocol):
    """What must survive the controller. Raises StoreError; never blocks the event loop."""

    async def load(self, cluster: ClusterName) -> ClusterRecord | None:
        """The record, None if the cluster was never managed."""
        ...

    async def save(self, record: ClusterRecord, events: Sequence[Event] = ()) -> ClusterRecord:
        """Make record and events durable, together; return the record with its new revision.

        Compare-and-swap: raises StoreError, and stores nothing, unless the stored record still has the
        revision of `record` (0: there is none yet).
        """
        ...

    async def add(self, events: Sequence[Event]) -> None:
        """Append events."""
        ...

    async def events(self, cluster: ClusterName | None, *, limit: int, after: int = 0) -> tuple[Event, ...]:
        """The newest `limit` events with a number above `after`, oldest first."""
        ...

    async def event(self, number: int) -> Event | None:
        """The event of that number; None: there is none, or not any more."""
        ...

    async def keep(self, draft: Draft) -> None:
        """Keep a recording; the oldest make room for it."""
        ...

    async def recordings(self, cluster: ClusterName) -> tuple[Kept, ...]:
        """The recordings that are kept, oldest first."""
        ...

    async def recording(self, cluster: ClusterName, at: datetime) -> bytes | None:
        """The recording of that moment, as a file; None: it was not recorded, or is not kept any more."""
        ...

    async def add_version(self, version: ParameterVersion) -> None:
        """Make a version of a cluster's parameters durable, and forget the trial it comes from.

        Raises StoreError if its number is taken.
        """
        ...

    async def versions(self, cluster: ClusterName, *, limit: int) -> tuple[ParameterVersion, ...]:
        """The newest `limit` versions, oldest first."""
        ...

    async def note_trial(self, cluster: ClusterName, trial: Trial | None) -> None:
        """Make durable that these lines may stand in files of the cluster's nodes. None: no more."""
        ...

    async def trial(self, cluster: ClusterName) -> Trial | None:
        """The trial that was noted last, unless it has become a version or was undone."""
        ...


class Lease(Protocol):
    """Whether this controller is the one that may act on a cluster, by its own clock."""

    def lost(self, cluster: ClusterName) -> str:
        """Why it may not act on it now; empty: it may."""

    def ended(self, cluster: ClusterName) -> str:
        """Why another one may act on it by now; empty: nobody does yet. It is lost some time before."""


class Roster(Lease, Protocol):
    """The controllers that share a fleet, as one of them sees them. Raises StoreError."""

    name: str

    def held(self) -> frozenset[ClusterName]:
        """The clusters whose locks this controller holds."""

    async def announce(self, clusters: Sequence[ClusterName]) -> None:
        """Say that these are configured here."""
        ...

    async def look(self) -> Census:
        """Who is there, and guards what. A lock that is not ours any more is given up."""
        ...

    async def claim(self, cluster: ClusterName) -> bool:
        """Take the cluster's lock if it is free; whether it is ours now."""
        ...

    async def release(self, cluster: ClusterName) -> None:
        """Give the cluster's lock up."""
        ...

    async def publish(self, cluster: ClusterName, status: str) -> None:
        """Let the others know how the cluster is."""
        ...

    async def published(self) -> Mapping[ClusterName, str]:
        """How all guarded clusters are."""
        ...


class Mailbox(Protocol):
    """Letters between controllers that share a fleet. Each is taken once, or never. Raises StoreError."""

    async def post(self, cluster: ClusterName, text: str) -> Letter | None:
        """Hand it to who guards the cluster now; None: nobody does, or it is this controller."""
        ...

    async def withdraw(self, letter: Letter) -> bool:
        """Take our letter back; whether nobody had taken it: then nobody will."""
        ...

    async def answer(self, letter: Letter) -> Answer:
        """How far our letter has come."""
        ...

    async def discard(self, letter: Letter) -> None:
        """Remove the letter and its answer."""
        ...

    async def waiting(self) -> Sequence[Letter]:
        """The letters for us that nobody has taken."""
        ...

    async def take(self, letter: Letter) -> bool:
        """Make it ours to carry out; False: it was withdrawn, or is not for us. StoreError: `reject`."""
        ...

    async def reject(self, letter: Letter, text: str) -> None:
        """Answer a letter whose taking was in doubt, if it was us who took it."""
        ...

    async def tell(self, letter: Letter, text: str, *, last: bool) -> None:
        """Answer a letter that we took."""
        ...

    async def expire(self, letter: Letter) -> None:
        """Wait until an answer has been there for long enough, and remove it."""
        ...


class Peers(Protocol):
    """The other controllers, as places from which nodes are looked at."""

    def others(self, cluster: ClusterName) -> Sequence[str]:
        """Those that live, have the cluster, and run on another host."""
        ...

    async def reach(
        self, peer: str, cluster: ClusterName, nodes: Sequence[NodeName], *, wait_s: float, speak: bool
    ) -> Mapping[NodeName, Reach]:
        """What it finds when it tries to reach them. Raises Unreachable: it said nothing; StoreError."""
        ...


class Notifier(Protocol):
    """Tells people and programs. Never delays or fails a recovery."""

    def tell(self, event: Event) -> None:
        """Queue the event."""
        ...


class Tell(Protocol):
    """Makes an event of what came of telling: of messages and programs of the user's."""

    def __call__(
        self, cluster: ClusterName, kind: str, text: str, level: Level, *, hint: str, target: str
    ) -> None:
        """Keep it and tell it, as any other event."""
        ...


class Advisor(Protocol):
    """The user's own rules."""

    async def objection(self, event: Event) -> str:
        """Why what the event announces should not be done now; empty: no objection. Bounded in time."""
        ...


class Endpoint(Protocol):
    """What clients connect to. Its failures are told and tried again; they never touch a database.

    One call at a time. Each may be cancelled anywhere, and the next one begins with a look at what is there.
    """

    @property
    def name(self) -> str:
        """As the configuration calls it."""
        ...

    async def look(self) -> str:
        """What it is, and that we may move it, in words; nothing is changed. Raises PgvigilError."""
        ...

    async def move(self, aim: Aim) -> str:
        """Make it as the aim says. What was changed, in words; empty: nothing. Raises PgvigilError.

        Called for each new aim, after a failure, and every few seconds besides, for it may have been
        restarted, or changed by others. While `aim.held` clients that wait are not let go.
        """
        ...

    async def hold(self) -> None:
        """Have clients wait until an aim without `held` comes; at once where they cannot be made to.

        Bounded in time. Raises PgvigilError, and then nobody is made to wait.
        """
        ...

    def close(self) -> None:
        """Drop what it keeps open, at once. It can be used again."""
        ...
