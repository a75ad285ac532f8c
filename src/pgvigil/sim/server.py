"""A simulated PostgreSQL server: starting, serving, stopping, dying, promoting; its sessions and its WAL.

What the network brings is handed to `reached`: a frozen server answers when it is continued. A server that is
killed leaves its pid file, one that is stopped does not. Streaming is in `streaming`.
"""

from collections.abc import Callable
from enum import StrEnum, auto
from typing import TYPE_CHECKING, Final, Protocol

from pgvigil.model.sighting import Farewell
from pgvigil.model.spec import NodeSpec
from pgvigil.model.units import NodeName, SqlState
from pgvigil.sim.streaming import Receiving, Stream
from pgvigil.sim.synchrony import Answer, Synchrony
from pgvigil.sim.wal import DataDirectory, Kind, Record

if TYPE_CHECKING:
    from pgvigil.sim.host import Host
    from pgvigil.sim.world import World

TICK_S: Final = 1.0
SILENT_FOR_S: Final = 60.0
"""`wal_sender_timeout` and `wal_receiver_timeout`."""
IDLE_RECORD_S: Final = 15.0
"""A primary without clients writes something this often."""
CHECKPOINT_S: Final = 60.0
SIGNALLED_S: Final = 0.0003
"""The postmaster signals one process after another: less than it takes to open a session."""

KILLED: Final = Farewell()
STOPPED: Final = Farewell(
    SqlState("57P01"), "terminating connection due to administrator command", "ProcessInterrupts"
)
AT_ONCE: Final = Farewell(SqlState("57P01"), "immediate shutdown command", "quickdie")
ORPHANED: Final = Farewell(SqlState("57P01"), "unexpected postmaster exit", "secure_read")


class State(StrEnum):
    """Where in its life a server is."""

    DOWN = auto()
    STARTING = auto()
    RUNNING = auto()
    STOPPING = auto()


class Backend(Protocol):
    """The server's end of a session."""

    pid: int
    wait_event: str

    def bye(self, farewell: Farewell) -> None:
        """The server ended it."""
        ...


class Server:
    """One node's server process tree and its data directory."""

    def __init__(self, world: "World", spec: NodeSpec, host: "Host", data: DataDirectory) -> None:
        self.world, self.spec, self.host, self.data = world, spec, host, data
        self.name: NodeName = spec.name
        self.state = State.DOWN
        self.frozen = False
        self.in_recovery = False
        self.rejects = ""
        """SQLSTATE with which new sessions are turned away."""
        self.strays: tuple[int, ...] = ()
        self.settings: dict[str, str] = {}
        """In effect for sessions, as of the last reload."""
        self.backends: dict[Backend, None] = {}
        self.senders: dict[int, Stream] = {}
        self.unused: dict[Receiving, int] = {}
        """WAL senders (process numbers) whose receivers wait."""
        self.receiving = Receiving(self)
        self.sync = Synchrony(self)
        self.serving_since = -1.0
        """Since when it takes writes without a break."""
        self.supervised = False
        """A service manager starts it again when it dies."""
        self._life = 0
        self._queued: list[Callable[[], None]] = []
        self._promoting = False
        self._wrote = 0.0
        self._checkpointed = 0.0

    @property
    def up(self) -> bool:
        """Whether its postmaster lives (frozen or not) on a living host."""
        return self.host.alive and self.state is not State.DOWN

    @property
    def takes_writes(self) -> bool:
        """Whether a client that reaches it can commit now."""
        living = self.state is State.RUNNING or bool(self.strays)
        return self.host.alive and living and not self.in_recovery and not self.frozen

    def reached(self, work: Callable[[], None]) -> None:
        """Something came over the network: now, or when a frozen server goes on."""
        if self.frozen:
            self._queued.append(work)
        else:
            work()

    def later(self, delay_s: float, work: Callable[[], None]) -> None:
        """Do something later in this life of the server."""
        life = self._life

        def due() -> None:
            if life == self._life:
                self.reached(lambda: work() if life == self._life else None)

        self.world.loop.call_later(delay_s, due)

    # life and death

    def start(self) -> str:
        """Start as the data directory says. Returns why not; empty: it starts."""
        if self.state is not State.DOWN or self.strays:
            return "Is another postmaster already running in the data directory?"
        if self.data.marker == "rewind":
            return "data directory has invalid permissions"
        self._life += 1
        crashed = not self.data.state.startswith("shut down")
        self.state, self.frozen, self._promoting = State.STARTING, False, False
        self.in_recovery = True
        self.data.pid = self.world.new_pid()
        self.settings = dict(self.data.settings)
        self.sync.begin()
        self.world.say(self.name, "starts as " + ("standby" if self.data.standby_signal else "primary"))
        rng = self.world.rng
        self.later(rng.uniform(0.05, 0.3) + (rng.uniform(0.0, 2.0) if crashed else 0.0), self._started)
        return ""

    def _started(self) -> None:
        if self.state is not State.STARTING:
            return
        self.state = State.RUNNING
        self._wrote = self._checkpointed = self.world.loop.time()
        if self.data.standby_signal:
            self.data.state = "in archive recovery"
            self.receiving.begin()
        else:
            self.data.state = "in production"
            self._serve()
            self.data.append(Kind.CHECKPOINT, 0x78)
            self._checkpoint()
        self.world.say(self.name, "accepts connections as " + ("standby" if self.in_recovery else "primary"))
        self.later(self.world.rng.uniform(0.2, TICK_S), self._tick)

    def _serve(self) -> None:
        self.in_recovery = False
        self.data.standby_signal = False
        self.serving_since = self.world.loop.time()
        self.world.rules.serves(self)

    def stop(self) -> None:
        """Fast stop: the last checkpoint goes to every standby that is connected."""
        if self.state is State.STARTING:
            self._end(STOPPED, pid_file=False)
        if self.state is not State.RUNNING:
            return
        self.state = State.STOPPING
        self.world.say(self.name, "stops")
        self._farewell(STOPPED)
        self.sync.end()
        self.receiving.end()
        if self.in_recovery:
            self._end(STOPPED, pid_file=False, state="shut down in recovery")
            return
        record = self.data.append(Kind.SHUTDOWN, 0x78)
        self._checkpoint(record)
        for stream in tuple(self.senders.values()):
            stream.push()
        self.later(0.03, lambda: self._stopped_when_sent(record))

    def _stopped_when_sent(self, record: Record) -> None:
        if self.state is not State.STOPPING:
            return
        self._drop_silent()
        if any(stream.flushed < record.end for stream in self.senders.values()):
            self.later(0.03, lambda: self._stopped_when_sent(record))
        else:
            self._end(STOPPED, pid_file=False, state="shut down")

    def stop_at_once(self) -> None:
        """Immediate stop: as a crash, but the pid file goes."""
        if self.state is not State.DOWN:
            self._end(AT_ONCE, pid_file=False)

    def kill(self) -> None:
        """SIGKILL to all processes."""
        if self.state is not State.DOWN or self.strays:
            self._end(KILLED, pid_file=True)

    def kill_postmaster(self) -> None:
        """SIGKILL to the postmaster alone: its children notice, some a little later."""
        if self.state is not State.RUNNING or self.frozen:
            return self.kill()
        self._farewell(ORPHANED)
        pid = self.world.new_pid()
        self._end(ORPHANED, pid_file=True, quiet=True)
        self.strays = (pid,)
        self.world.say(self.name, "has lost its postmaster")
        self.world.loop.call_later(self.world.rng.uniform(0.0, 0.5), self._stray_ends, pid)
        return None

    def _stray_ends(self, pid: int) -> None:
        if self.strays == (pid,):
            self.strays = ()
            self.sync.end()

    def power_off(self) -> None:
        """The host is gone: nobody is told anything."""
        self._life += 1
        self.state, self.strays, self.frozen = State.DOWN, (), False
        self.backends.clear()
        self._queued.clear()
        self.receiving.forget()
        self.sync.forget()
        self.senders.clear()
        self.unused.clear()
        self.serving_since = -1.0

    def _end(
        self, farewell: Farewell, *, pid_file: bool, state: str | None = None, quiet: bool = False
    ) -> None:
        self._life += 1
        self.state, self.strays, self.frozen = State.DOWN, (), False
        self.serving_since = -1.0
        self._queued.clear()
        was_up, self.data.state = self.data.state, state or self.data.state
        if was_up == "in archive recovery":
            self.data.min_timeline = self.data.timeline
        if not pid_file:
            self.data.pid = None
        self.world.say(self.name, f"is down ({self.data.state})")
        if not quiet:
            self._farewell(farewell)
        self.sync.end()
        self.receiving.end()
        for stream in tuple(self.senders.values()):
            stream.close_from_above()
        self.senders.clear()
        self.unused.clear()
        if self.supervised and state is None:
            self.world.loop.call_later(self.world.rng.uniform(0.05, 3.0), self._supervise)

    def _supervise(self) -> None:
        if self.supervised and self.host.alive and self.state is State.DOWN and not self.start():
            self.world.say(self.name, "was started by its service manager")

    def _farewell(self, farewell: Farewell) -> None:
        backends, self.backends = self.backends, {}
        for backend in backends:
            backend.bye(farewell)

    def freeze(self) -> None:
        """SIGSTOP to all processes."""
        if self.state is not State.DOWN:
            self.frozen = True

    def thaw(self) -> None:
        """SIGCONT."""
        if not self.frozen:
            return
        self.frozen = False
        if self.serving_since >= 0.0:
            self.serving_since = self.world.loop.time()
        queued, self._queued = self._queued, []
        for work in queued:
            work()

    # writing

    def commit(self, row: int, told: Answer, *, local: bool = False) -> Record:
        """A client's row, flushed here and sent on; 0: no row. `told`: see `Synchrony.commit`."""
        self._wrote = self.world.loop.time()
        kind = Kind.ROW if row else Kind.OTHER
        record = self.data.append(kind, self.world.rng.randrange(80, 400), row=row)
        self.flow()
        self.sync.commit(record, told, local=local)
        return record

    def flow(self) -> None:
        """Send what is new to whom it is streamed."""
        for stream in tuple(self.senders.values()):
            stream.push()

    def checkpoint_now(self) -> None:
        """CHECKPOINT."""
        if not self.in_recovery:
            self._checkpoint(self.data.append(Kind.CHECKPOINT, 0x78))
            self.flow()

    def _checkpoint(self, record: Record | None = None) -> None:
        record, data = record or self.data.wal[-1], self.data
        if self.world.recycles:
            data.oldest = max(data.oldest, min([data.checkpoint, *data.slots.values()]))
        self.data.checkpoint, self.data.checkpoint_timeline = record.start, record.timeline
        self.data.min_timeline = 0
        self._checkpointed = self.world.loop.time()

    def _tick(self) -> None:
        """What servers do of their own accord."""
        if self.state is not State.RUNNING:
            return
        now = self.world.loop.time()
        self._drop_silent()
        if self.in_recovery:
            self.receiving.tick()
        elif now - self._checkpointed > CHECKPOINT_S:
            self.checkpoint_now()
        elif now - self._wrote > IDLE_RECORD_S:
            self._wrote = now
            self.data.append(Kind.OTHER, 0x38)
            self.flow()
        self.later(TICK_S, self._tick)

    def _drop_silent(self) -> None:
        """`wal_sender_timeout`."""
        now = self.world.loop.time()
        for stream in tuple(self.senders.values()):
            if now - stream.heard > SILENT_FOR_S and stream.flushed < self.data.end:
                stream.close_from_above()

    # changing

    def reload(self) -> None:
        """`pg_reload_conf()`: a moment later the postmaster reads the file and signals all processes.

        New sessions see what it read. The others are signalled within an instant, and have the new settings
        before they do anything else; what runs only now and then takes note when it runs.
        """
        self.later(self.world.rng.uniform(0.0003, 0.015), self._reload)

    def _reload(self) -> None:
        self.later(self.world.rng.uniform(0.0, SIGNALLED_S), self._sessions_reload)
        self.receiving.signal()
        self.sync.signal()

    def _sessions_reload(self) -> None:
        self.settings = dict(self.data.settings)

    def promote(self) -> None:
        """`pg_promote(false)`: asked; done a while later."""
        if self._promoting or not self.in_recovery or self.state is not State.RUNNING:
            return
        self._promoting = True
        self.later(self.world.promotion_s(), self._promoted)

    def _promoted(self) -> None:
        if self.state is not State.RUNNING or not self.in_recovery:
            return
        self.receiving.end()
        for record in self.data.carried:
            if record.start == self.data.end:
                self.data.wal.append(record)
        self.data.carried = []
        self.data.append(Kind.PROMOTED, 0x38, timeline=self.data.timeline + 1, term=self.world.new_term())
        self.data.state = "in production"
        self.data.min_timeline = self.data.timeline  # the end-of-recovery record notes it in the control file
        self._promoting = False
        self._serve()
        self.world.say(self.name, f"takes writes on timeline {self.data.timeline}")
        self.flow()
        for stream in self.senders.values():
            self.sync.soon_reads(stream)
        self.later(self.world.rng.uniform(0.05, 2.0), self.checkpoint_now)
