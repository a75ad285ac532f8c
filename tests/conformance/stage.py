"""Three nodes, real or simulated, on which a script is played: pg1, a primary, and its standbys pg2 and pg3.

What a script sees and most of what it does goes through the ports that the controller uses, with the
product's own statements and shell lines. What comes to servers from outside (kills, clients) differs.
What is noted leaves out what may differ: positions, processes, moments.
"""

import asyncio
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pgvigil.act import fence, service
from pgvigil.act.bench import Place
from pgvigil.act.settings import upstream_settings, write
from pgvigil.model.sighting import Answer, Farewell, HostAnswer, Primary, Receiver, Sender, Standby
from pgvigil.model.spec import ClusterSpec, NodeSpec, slot_name
from pgvigil.model.step import StopMode
from pgvigil.model.units import Instant, Lsn, NodeName
from pgvigil.ports.contract import NoReply, QueryFailed, Rejected, Session, SessionEnded, Shell
from pgvigil.sight import probe

NODES = ("pg1", "pg2", "pg3")
OPEN_S = 1.5
SETTINGS = ("primary_slot_name", "hot_standby", "wal_level", "recovery_min_apply_delay")
Note = Mapping[str, object]


@dataclass(frozen=True)
class Seen:
    """One look at a node over both ways."""

    sql: str
    """`answers`, or how it did not: SQLSTATE or silence."""
    answer: Answer | None
    host: HostAnswer

    @property
    def primary(self) -> Primary | None:
        return self.answer.role if self.answer and isinstance(self.answer.role, Primary) else None

    @property
    def standby(self) -> Standby | None:
        return self.answer.role if self.answer and isinstance(self.answer.role, Standby) else None

    @property
    def receiver(self) -> Receiver | None:
        return self.standby.receiver if self.standby else None

    @property
    def end(self) -> Lsn:
        """How far it has come, as far as it tells."""
        if self.primary:
            return self.primary.flushed
        return self.standby.furthest if self.standby else Lsn(0)


class Commit(ABC):
    """A client's commit that may have to wait."""

    row: int

    @abstractmethod
    def state(self) -> str:
        """`waiting`, `acknowledged`, `cancelled` (a warning), or `ended` with its session."""

    @abstractmethod
    async def cancel(self) -> None:
        """The client waits no longer."""


class Never(AssertionError):
    """What the script waits for does not come."""


class Stage(ABC):
    """Where a script is played. `notes`: what was seen, in order."""

    spec: ClusterSpec
    patience_s: float

    def __init__(self) -> None:
        self.notes: list[tuple[str, Note]] = []
        self._rows = 0

    # what comes from outside

    @abstractmethod
    def new_session(self, node: str) -> Session: ...

    @abstractmethod
    def shell(self, node: str) -> Shell: ...

    @abstractmethod
    async def kill_all(self, node: str) -> None: ...

    @abstractmethod
    async def kill_postmaster(self, node: str) -> None: ...

    @abstractmethod
    async def freeze(self, node: str) -> None: ...

    @abstractmethod
    async def thaw(self, node: str) -> None: ...

    @abstractmethod
    async def insert(self, node: str, row: int) -> None:
        """A client commits a row."""

    @abstractmethod
    async def commit(self, node: str) -> "Commit":
        """A client begins to commit a row; returns once that is known to wait, or to have ended."""

    @abstractmethod
    async def has_row(self, node: str, commit: "Commit") -> bool:
        """Whether that row is there and visible."""

    @abstractmethod
    async def reload_is_over(self, node: str) -> None:
        """Every process of a server has taken note of the last reload."""

    @abstractmethod
    async def at_rest(self, node: str) -> None:
        """No backend is about to send: one that is says nothing when its server stops at once."""

    @abstractmethod
    async def fill(self, node: str) -> None:
        """Clients take all connections."""

    @abstractmethod
    async def shut_out(self, node: str) -> None:
        """pg_hba.conf does not let us in any more."""

    # through the ports

    def node(self, name: str) -> NodeSpec:
        return self.spec.node(NodeName(name))

    def place(self, name: str) -> Place:
        node = self.node(name)
        return Place(node, self.shell(name), node.data_dir, node.bin_dir, "")

    def upstream(self, host: str, port: int) -> str:
        """Which node that is; empty: none."""
        found = (node.name for node in self.spec.nodes if (node.host, node.port) == (host, port))
        return next(found, "")

    async def write_rows(self, node: str, count: int = 1) -> None:
        """Rows that no other node has unless it streams."""
        for _ in range(count):
            self._rows += 1
            await self.insert(node, self._rows)

    async def keep(self, node: str) -> Session:
        """An open session, as the controller keeps one; its backend waits for us."""
        session = self.new_session(node)
        await session.open(within_s=self.patience_s)
        await self.at_rest(node)
        return session

    async def sql(self, node: str, text: str, *params: str) -> str:
        """One statement; what became of it."""
        session = self.new_session(node)
        await session.open(within_s=self.patience_s)
        try:
            await session.query(text, params, within_s=self.patience_s)
        except QueryFailed as failed:
            return failed.sqlstate
        finally:
            session.close()
        return "done"

    async def alter(self, node: str, settings: Mapping[str, str]) -> None:
        """As `act.settings.set_running` does it."""
        for name, value in settings.items():
            assert await self.sql(node, f"alter system set {name} = '{value}'") == "done"
        assert await self.sql(node, "select pg_reload_conf()") == "done"

    async def names(self, node: str, text: str) -> None:
        """Set `synchronous_standby_names`; on return it is in force."""
        await self.alter(node, {"synchronous_standby_names": text})
        await self.reload_is_over(node)

    async def commits(self, label: str, node: str) -> Commit:
        """Begin a commit, and note how it fares."""
        commit = await self.commit(node)
        self.tell(label, commit=commit.state())
        return commit

    async def ends(self, label: str, commit: Commit) -> None:
        """Wait until a commit has ended, and note how."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self.patience_s
        while commit.state() == "waiting":
            if loop.time() > until:
                raise Never(f"{label}: it still waits")
            await asyncio.sleep(0.02)
        self.tell(label, commit=commit.state())

    async def synchronous(self, label: str, node: str) -> None:
        """Note who counts there."""
        seen = await self.see(node)
        told = sorted((s.application_name, s.sync_state) for s in _senders(seen))
        self.tell(label, senders=told)

    async def follow(self, node: str, upstream: str) -> None:
        """As `act.replication.follow` does it."""
        await self.slot(upstream, node)
        await self.alter(node, upstream_settings(self.spec, NodeName(node), NodeName(upstream)))

    async def cut(self, node: str) -> None:
        """As `act.replication.cut` does it; on return its receiver is gone."""
        await self.alter(node, upstream_settings(self.spec, NodeName(node), None))
        await self.until(node, lambda seen: seen.receiver is None)

    async def slot(self, node: str, of: str) -> str:
        """Create the slot of one node on another."""
        return await self.sql(
            node, "select pg_create_physical_replication_slot($1, true)", slot_name(NodeName(of))
        )

    async def drop_slot(self, node: str, of: str) -> str:
        text = (
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots "
            "where slot_name = $1 and not active and slot_type = 'physical'"
        )
        return await self.sql(node, text, slot_name(NodeName(of)))

    async def stop(self, node: str, mode: StopMode) -> None:
        """As `act.service` does it, to its end."""
        await service.stop(self.place(node), mode)

    async def start(self, node: str) -> None:
        """As `act.service` does it; on return it lets us in."""
        place = self.place(node)
        await service.free_pid(place, await place.look())
        output = await place.run(service._start_line(place), within_s=60.0)
        assert not output.status, output.complaint
        await self.until(node, lambda seen: seen.answer is not None)

    async def make_standby(self, node: str, upstream: str) -> None:
        """Write, with the server down, what makes it a standby of another node; as `act.rebuild` does it."""
        if upstream:
            await self.slot(upstream, node)
        target = NodeName(upstream) if upstream else None
        await write(self.place(node), dict(upstream_settings(self.spec, NodeName(node), target)))
        await self.place(node).must(fence.signal_line(self.place(node)), "standby.signal", within_s=5.0)

    async def promote(self, node: str) -> None:
        """As `act.replication.promote` does it, to its end."""
        assert await self.sql(node, "select pg_promote(false)") == "done"
        await self.until(node, lambda seen: seen.primary is not None)

    # looking

    async def see(self, node: str) -> Seen:
        """Look at a node over SQL with a new session, and through its host."""
        sql, answer = "answers", None
        session = self.new_session(node)
        try:
            await session.open(within_s=OPEN_S)
            answer = await self._ask(node, session)
        except NoReply as failure:
            sql = f"silent: {failure.silence}"
        except Rejected as failure:
            sql = f"rejected: {failure.sqlstate}"
        except SessionEnded:
            sql = "ended"
        finally:
            session.close()
        return Seen(sql, answer, await self.place(node).look(within_s=10.0))

    async def _ask(self, node: str, session: Session) -> Answer:
        (facts,) = await session.query(probe.FACTS, (probe.settings_argument(),), within_s=self.patience_s)
        (row,) = await session.query(probe.PROBE, within_s=self.patience_s)
        names = {
            int(r["pid"] or 0): (r["application_name"] or "", r["client_addr"] or "")
            for r in await session.query(probe.SENDER_NAMES, within_s=self.patience_s)
        }
        return Answer(
            NodeName(node),
            Instant(0.0),
            0.0,
            probe.read_role(row),
            probe.read_facts(facts),
            probe.read_senders(probe.told_senders(row), names),
        )

    async def until(self, node: str, fact: Callable[[Seen], bool]) -> Seen:
        """Look until it is so. Raises Never."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self.patience_s
        while not fact(seen := await self.see(node)):
            if loop.time() > until:
                raise Never(f"{node} at the end: {self.note_of(seen)}")
            await asyncio.sleep(0.05)
        return seen

    async def streaming(self, node: str, upstream: str) -> None:
        """Until it streams from there, has all that one has, and that one knows."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self.patience_s
        while True:
            above, below = await self.see(upstream), await self.see(node)
            sender = next((s for s in _senders(above) if s.application_name == node), None)
            receiver = below.receiver
            if (
                receiver is not None
                and self.upstream(receiver.host, receiver.port) == upstream
                and sender is not None
                and sender.state == "streaming"
                and below.end == above.end == (sender.flushed or Lsn(0))
            ):
                return
            if loop.time() > until:
                raise Never(f"{upstream}: {self.note_of(above)}\n{node}: {self.note_of(below)}")
            await asyncio.sleep(0.05)

    async def all_streaming(self) -> None:
        """As it was in the beginning."""
        for standby in ("pg2", "pg3"):
            await self.streaming(standby, "pg1")

    # noting

    def tell(self, label: str, **told: object) -> None:
        """Note anything."""
        self.notes.append((label, told))

    async def note(self, label: str, *nodes: str) -> None:
        """Note how these nodes (none: all) look now."""
        for node in nodes or NODES:
            self.notes.append((f"{label}: {node}", self.note_of(await self.see(node))))

    async def order(self, label: str, *nodes: str) -> None:
        """Note how far these nodes have come, in comparison."""
        ends = [(await self.see(node)).end for node in nodes]
        words = [
            "=" if one == other else "<" if one < other else ">" for one, other in itertools.pairwise(ends)
        ]
        text = " ".join(word for pair in zip(nodes, [*words, ""], strict=True) for word in pair).strip()
        self.notes.append((label, {"order": text}))

    async def note_farewell(self, label: str, session: Session) -> None:
        """Note how a kept session ended, and what a query on it gets then."""
        async with asyncio.timeout(self.patience_s):
            said: Farewell = await session.ended()
        try:
            await session.query("select pg_is_in_recovery() as recovering", within_s=self.patience_s)
            after = "answered"
        except (SessionEnded, NoReply) as failure:
            after = type(failure).__name__
        self.tell(label, sqlstate=said.sqlstate, source=said.source, after=after)
        session.close()

    async def note_query(self, label: str, session: Session, within_s: float = OPEN_S) -> None:
        """Note what a query on a kept session gets."""
        try:
            await session.query("select pg_is_in_recovery() as recovering", within_s=within_s)
            got = "answered"
        except NoReply as failure:
            got = f"NoReply {failure.silence}"
        except SessionEnded as failure:
            got = f"SessionEnded {failure.farewell.sqlstate}"
        self.tell(label, got=got)

    def note_of(self, seen: Seen) -> Note:
        """What both kinds of servers must agree on."""
        note: dict[str, object] = {"sql": seen.sql, **self._host_note(seen.host)}
        if seen.primary:
            note |= {"role": "primary", "timeline": seen.primary.timeline}
        if role := seen.standby:
            words = dict(word.partition("=")[::2] for word in role.conninfo.split())
            points_at = self.upstream(words.get("host", ""), int(words.get("port", "0")))
            note |= {"role": "standby", "timeline": role.timeline, "paused": role.replay_paused}
            note |= {"points_at": points_at, "receiver": None}
            note |= {"ever_received": role.received is not None}
        if receiver := seen.receiver:
            upstream = self.upstream(receiver.host, receiver.port)
            note["receiver"] = (receiver.status, receiver.timeline, upstream, receiver.slot)
        if seen.answer:
            note["senders"] = sorted((s.application_name, str(s.state), s.sync_state) for s in _senders(seen))
            facts = seen.answer.facts
            note["settings"] = {name: facts.settings.get(name, "") for name in SETTINGS}
            note["slots"] = sorted(
                (s.name, s.physical, s.active, s.restart is not None, s.wal_status) for s in facts.slots
            )
        return note

    def _host_note(self, host: HostAnswer) -> Note:
        control = host.control
        return {
            "postmaster": str(host.postmaster),
            "pid_file": host.pid is not None,
            "strays": bool(host.strays),
            "signal": host.standby_signal,
            "marker": host.marker,
            "data_dir": host.data_dir_ok,
            "control": control and (control.shut_down, control.in_recovery, control.timeline),
        }


def _senders(seen: Seen) -> tuple[Sender, ...]:
    return seen.answer.senders if seen.answer else ()
