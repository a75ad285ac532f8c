"""Simulated streaming replication: the WAL receiver of a standby, and a stream from its upstream.

A standby may stream from an upstream that has all of the standby's WAL; it follows through timelines. One
that has records of its own is turned away for ever, and so is one whose next WAL was recycled. Where its
timeline was left before those records its receiver is let in, but waits. A stream lives at both ends: each
learns of the other's end by a message, or by its silence.
"""

from typing import TYPE_CHECKING, Final, Literal

from pgvigil.sim.synchrony import Names
from pgvigil.sim.wal import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgvigil.sim.server import Server

RETRY_S: Final = 5.0
"""`wal_retrieve_retry_interval`."""
SILENT_FOR_S: Final = 60.0
CONNECT_S: Final = 127.0
"""Until the kernel gives a connect up."""
STATUS_S: Final = 10.0
"""`wal_receiver_status_interval`: a standby says this often how far it is."""
POINTERS: Final = ("primary_conninfo", "primary_slot_name")
"""The settings that a startup process hands to a receiver."""


class Stream:
    """One replication connection. `above` sends, `below` receives."""

    def __init__(self, above: "Server", below: "Receiving", pid: int, slot: str) -> None:
        self.above, self.below, self.pid, self.slot = above, below, pid, slot
        self.sent = len(below.server.data.wal)
        self.flushed = 0
        """What the standby has said that it has on disk; 0: nothing yet."""
        self.names, self.priority = Names(), 0
        """`synchronous_standby_names` as this WAL sender last read it, and its `sync_priority`."""
        self._started = False
        self._turns = self._turned = False
        """Whether the standby is about to ask for the next timeline, and whether it has asked."""
        self.heard = above.world.loop.time()
        self._network = above.world.network
        self._open = True

    @property
    def counts(self) -> bool:
        """Whether its standby is one of those that may acknowledge: listed, streaming, heard of."""
        return bool(self.priority and self._started and self.flushed)

    def push(self) -> None:
        """Send what is there and was not sent. Where a timeline ends, the standby asks for the next one."""
        wal, self._started = self.above.data.wal, True
        if not self._open or self._turns or self.sent >= len(wal):
            return
        timeline = wal[self.sent].timeline
        if self.sent and wal[self.sent - 1].timeline != timeline and not self._turned:
            self._turns = True
            self.above.later(self.above.world.turn_s(), self._turn)
            return
        end = next((i for i in range(self.sent, len(wal)) if wal[i].timeline != timeline), len(wal))
        batch, self.sent, self._turned = tuple(wal[self.sent : end]), end, False
        below = self.below.server
        self._network.send(self.above.host.name, below.host.name, lambda: self._arrived(batch))
        if end < len(wal):
            self.push()

    def _turn(self) -> None:
        self._turns, self._turned = False, True
        self.push()

    def _arrived(self, batch: tuple[Record, ...]) -> None:
        server = self.below.server
        if server.host.alive:
            server.reached(lambda: self.below.received(self, batch))

    def acknowledge(self, end: int) -> None:
        """The standby has flushed up to there: tell above."""
        below = self.below.server.host.name

        def heard() -> None:
            if self._open:
                self.flushed, self.heard = max(self.flushed, end), self.above.world.loop.time()
                if self.slot in self.above.data.slots:
                    self.above.data.slots[self.slot] = self.flushed
                self.above.sync.heard(self)

        def arrived() -> None:
            if self._open and self.above.host.alive:
                self.above.reached(heard)

        self._network.send(below, self.above.host.name, arrived)

    def close_from_above(self) -> None:
        """The sender ends; the standby learns of it if it can."""
        self._open = False
        self.above.senders.pop(self.pid, None)
        below = self.below
        self._network.send(self.above.host.name, below.server.host.name, lambda: self._ended())

    def _ended(self) -> None:
        server = self.below.server
        if server.host.alive:
            server.reached(lambda: self.below.lost(self))

    def close_from_below(self) -> None:
        """The receiver ends; the sender learns of it if it can."""
        above = self.above

        def gone() -> None:
            if above.host.alive:
                above.reached(lambda: self._gone())

        self._network.send(self.below.server.host.name, above.host.name, gone)

    def _gone(self) -> None:
        self._open = False
        self.above.senders.pop(self.pid, None)


Reply = Stream | Literal["ended"] | None
"""What an upstream answers: it sends; or the asker's timeline ended before its WAL does; or it refuses."""


class Receiving:
    """The receiving side of a standby: at most one stream, or a connect under way."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.stream: Stream | None = None
        self.waits_at: Server | None = None
        """The upstream at which a receiver waits: this server's timeline ended there before its own WAL."""
        self.pid = 0
        self.heard = self._told = 0.0
        self.ever = False
        """Whether WAL was asked for since the server started: from then on a received position is told."""
        self.pointers: Mapping[str, str] = {}
        """Where to stream from, as the startup process last read it."""
        self._signalled = False
        self._attempt = 0
        self._connecting_since: float | None = None
        self._tried = -RETRY_S

    def begin(self) -> None:
        """The standby started."""
        self.ever, self._tried, self._signalled = False, -RETRY_S, False
        self.pointers = self._read()
        self._connect()

    def signal(self) -> None:
        """The startup process is told of new settings. Until it runs, it starts no receiver.

        But one that it has asked for already may come up with the old settings, and stream.
        """
        self._signalled = True
        self.server.later(self.server.world.scheduled_s(), self._reload)

    def _reload(self) -> None:
        """The startup process takes note: another upstream or slot means another receiver."""
        self._signalled = False
        before, self.pointers = self.pointers, self._read()
        if before != self.pointers and self.server.in_recovery and self.server.state == "running":
            self.changed()
        elif self._connecting_since is None and self.server.state == "running":
            self._connect()  # it was woken from its pause

    def _read(self) -> dict[str, str]:
        return {name: self.server.data.settings.get(name, "") for name in POINTERS}

    def end(self) -> None:
        """End whatever is under way."""
        self._attempt += 1
        self._connecting_since = None
        self._wait_no_more()
        if self.stream is not None:
            self.stream.close_from_below()
            self.stream = None

    def forget(self) -> None:
        """The host is gone."""
        self._attempt += 1
        self._connecting_since, self.stream, self.waits_at = None, None, None

    def changed(self) -> None:
        """`primary_conninfo` or the slot is another: begin anew."""
        self.end()
        self._connect()

    def lost(self, stream: Stream) -> None:
        """The upstream ended that stream."""
        if stream is self.stream:
            self.stream = None
            self.server.later(0.005, self._connect)

    def received(self, stream: Stream, batch: tuple[Record, ...]) -> None:
        """New WAL, written and flushed here."""
        data = self.server.data
        if stream is not self.stream:
            return
        if batch[0].start > data.end:  # what came before was given up on the way: the connection is broken
            self.end()
            self.server.later(0.005, self._connect)
            return
        if batch[0].start != data.end:
            return
        data.wal.extend(batch)
        self.heard = self._told = self.server.world.loop.time()
        stream.acknowledge(int(data.end))
        self.server.flow()

    def tick(self) -> None:
        """Try again, or give up."""
        now = self.server.world.loop.time()
        if self.stream is not None:
            if now - self.heard > SILENT_FOR_S:
                self.end()
                self._connect()
            elif now - self._told > STATUS_S:
                self._told = now
                self.stream.acknowledge(int(self.server.data.end))
        elif self._connecting_since is not None:
            if now - self._connecting_since > CONNECT_S:
                self._attempt += 1
                self._connecting_since = None
        elif now - self._tried >= RETRY_S:
            self._connect()

    def _connect(self) -> None:
        server, world = self.server, self.server.world
        above = world.upstream_of(server)
        self._tried = world.loop.time()
        if above is None or self.stream is not None or self._signalled or not server.in_recovery:
            return
        self._attempt += 1
        self.ever = True
        self._connecting_since = self._tried
        attempt, slot = self._attempt, self.pointers.get("primary_slot_name", "")
        world.network.send(server.host.name, above.host.name, lambda: self._asked(above, attempt, slot))

    def _asked(self, above: "Server", attempt: int, slot: str) -> None:
        """The request reaches the upstream's host."""
        if not above.host.alive:
            return
        if not above.up:
            self._answer(above, attempt, None)
            return
        above.reached(lambda: self._answer(above, attempt, self._serve(above, attempt, slot)))

    def _serve(self, above: "Server", attempt: int, slot: str) -> Reply:
        """The upstream makes a sender, unless it cannot serve this standby."""
        taken = {stream.slot for stream in above.senders.values()}
        known = not slot or (slot in above.data.slots and slot not in taken)
        if attempt != self._attempt or above.state != "running" or not known:
            return None
        if self.server.data.beyond_its_timeline_in(above.data):
            return "ended"
        if not self.server.data.within(above.data) or self.server.data.end < above.data.oldest:
            return None
        stream = Stream(above, self, above.world.new_pid(), slot)
        above.senders[stream.pid] = stream
        above.sync.sender_reads(stream)
        return stream

    def _answer(self, above: "Server", attempt: int, reply: Reply) -> None:
        server = self.server
        ways = above.host.name, server.host.name
        server.world.network.send(*ways, lambda: server.reached(lambda: self._answered(attempt, reply)))

    def _answered(self, attempt: int, reply: Reply) -> None:
        if attempt != self._attempt or not self.server.in_recovery:
            if isinstance(reply, Stream):
                reply.close_from_below()
            return
        self._connecting_since = None
        if reply == "ended":
            self._wait()
            return
        self._wait_no_more()
        if reply is not None:
            self.stream, self.pid = reply, self.server.world.new_pid()
            self.heard = self._told = self.server.world.loop.time()
            reply.acknowledge(int(self.server.data.end))
            reply.push()

    def _wait(self) -> None:
        """The receiver stays, and so does a sender for it that does nothing."""
        server, world = self.server, self.server.world
        self.pid = self.pid if self.waits_at else world.new_pid()
        self.waits_at, self.heard = world.upstream_of(server), world.loop.time()
        if self.waits_at is not None:
            self.waits_at.unused.setdefault(self, world.new_pid())

    def _wait_no_more(self) -> None:
        above, self.waits_at = self.waits_at, None
        if above is not None:
            there = above

            def gone() -> None:
                there.unused.pop(self, None)

            self.server.world.network.send(self.server.host.name, there.host.name, gone)
