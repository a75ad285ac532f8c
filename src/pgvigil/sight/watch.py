"""Watches a whole cluster: sessions, shells, witnesses and references, side by side into one view."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

from pgvigil.model.record import Paths
from pgvigil.model.sighting import (
    Answer,
    ClusterView,
    HostAnswer,
    HostLook,
    HostSilent,
    NoAnswer,
    NodeView,
    Silence,
    SqlLook,
)
from pgvigil.model.spec import ClusterSpec, NodeSpec
from pgvigil.model.units import Instant, NodeName
from pgvigil.model.vantage import Reach, References, Touch, Witness
from pgvigil.ports.contract import Clock, NodePorts, Peers, Pinger, Shell, ShellLost, ShellRefused
from pgvigil.ports.host import program, quoted
from pgvigil.sight.bell import News, heard
from pgvigil.sight.calm import says_nothing_new
from pgvigil.sight.far import FarWatch
from pgvigil.sight.guard import CutOffWatch, GuardWatch
from pgvigil.sight.own_loop import TELL_S, OwnLoop
from pgvigil.sight.peers import PeerWatch
from pgvigil.sight.shell import HostWatch
from pgvigil.sight.shells import Shells
from pgvigil.sight.sql import SqlWatch
from pgvigil.sight.streams import Streams
from pgvigil.sight.witness import WitnessHost

WITNESS_EVERY_S = 0.3
WITNESS_HOST_S = 1.0
"""How long a witness host waits for an answer, each time: its failure may be all there is."""
TOUCH_EVERY_S = 0.1
TOUCH_CROWD_S = 1.0
"""The longest pause between them, where a crowd of nodes is silent."""
TOUCH_S = 0.25
"""A TCP connect that takes longer than this, over a network that is fine again, is none. It is not given
up: over a slow network it gets through later, and says then that the host lives."""
REFERENCES_EVERY_S = 5.0


class ClusterWatch:
    """All vantage points of one cluster. `news` is set whenever something was seen that may matter.

    `suspect` names the node whose silence sets everybody to work: the primary of record. `grants`: renew
    the leases of the guards, as only the controller that is in charge of the cluster may. `far`: the nodes of
    the cluster that this one is to follow. `own_loop`: measured for many clusters; None: for this one.
    While it is `calm`, looks that only tell of positions that moved on are no news.
    """

    def __init__(
        self,
        spec: ClusterSpec,
        nodes: Mapping[NodeName, NodePorts],
        pinger: Pinger,
        clock: Clock,
        paths: Callable[[NodeName], Paths],
        witnesses: Mapping[str, Shell] | None = None,
        *,
        grants: Callable[[], bool] = lambda: False,
        far: Mapping[NodeName, NodePorts] | None = None,
        own_loop: OwnLoop | None = None,
        shells: Shells | None = None,
        peers: Peers | None = None,
    ) -> None:
        self._spec, self._nodes, self._pinger, self._clock, self._paths = spec, nodes, pinger, clock, paths
        self._own_loop, self._measures = own_loop or OwnLoop(clock), own_loop is None
        self._shells = shells or Shells(clock)
        self.calm = False
        self._alarm = asyncio.Event()
        self._witness_hosts = [
            WitnessHost(name, shell, clock, WITNESS_HOST_S) for name, shell in (witnesses or {}).items()
        ]
        self.news = News(self._own_loop.wheel)
        self._peers = (
            PeerWatch(spec, peers, clock, self._silent, self._answering, self._heard) if peers else None
        )
        self._far = FarWatch(far or {}, clock, self.news.set)
        self.suspect: NodeName | None = None
        self._sql = {
            name: SqlWatch(
                ports,
                spec.timings,
                clock,
                self._sql_news(name),
                self._own_loop,
                lambda: not self._alarm.is_set(),
            )
            for name, ports in nodes.items()
        }
        self._host = {
            name: HostWatch(spec, ports, clock, self._paths_of(name), self.news.set, self._shells)
            for name, ports in nodes.items()
        }
        self._guard = {
            name: GuardWatch(spec, ports, clock, self._paths_of(name), self.news.set, grants=grants)
            for name, ports in nodes.items()
        }
        self._cut_off = CutOffWatch(spec, nodes, clock, lambda name: self._sql[name].look, self.news.set)
        self._streams = Streams()
        self._unheard: dict[NodeName, Instant] = {}
        self._witnesses: dict[NodeName, dict[str, Witness]] = {}
        self._touches: dict[NodeName, Touch] = {}
        self._references = References(Instant(0.0))
        self._sound_since = Instant(0.0)

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            for sql in self._sql.values():
                group.create_task(sql.run())
            for shell in self._host.values():
                group.create_task(shell.run())
            for guard in self._guard.values():
                group.create_task(guard.run())
            group.create_task(self._cut_off.watch(lambda: self.suspect))
            group.create_task(self._watch_references())
            group.create_task(self._ask_witnesses())
            for host in self._witness_hosts:
                group.create_task(host.run(self._answering, self.news.set, self._shells))
                group.create_task(self._ask_witness_host(host))
            if self._peers:
                group.create_task(self._peers.run(self._alarm))
            group.create_task(self._touch_suspect())
            if self._measures:
                group.create_task(self._own_loop.run())
            group.create_task(self._far.run())

    def view(self) -> ClusterView:
        """The newest looks at all nodes, side by side."""
        now = self._clock.now()
        nodes = {name: self._node_view(name) for name in self._nodes}
        for name, node in nodes.items():
            if not node.speaks:
                self._unheard[name] = now
                nodes[name] = replace(node, unheard_at=now)
        late_s, far = self._own_loop.late_s(), self._far.look
        heard = any(node.speaks for node in nodes.values())
        if late_s >= TELL_S or not self._references.sound or not heard:
            self._sound_since = now
        witnesses = {host.name: host.look for host in self._witness_hosts}
        return ClusterView(now, nodes, self._references, late_s, self._sound_since, witnesses, far)

    @property
    def slowdown(self) -> float:
        """How many times less often it need be judged without news; 1 unless it is calm."""
        return self._own_loop.ease() if self.calm else 1.0

    async def look(self, *, within_s: float) -> None:
        """Look at everything once more, and return when that is done or `within_s` is over.

        Who was out of reach is looked at too, but not waited for.
        """
        tasks = [asyncio.ensure_future(self._look_at(name)) for name in self._nodes]
        if self._far.answers:
            tasks.append(asyncio.ensure_future(self._far.again()))
        try:
            await asyncio.wait(tasks, timeout=within_s)
        finally:
            for task in tasks:
                task.cancel()

    async def _look_at(self, name: NodeName) -> None:
        """SQL first, then the host: its word only counts if it is younger than the silence."""
        sql, host = self._sql[name], self._host[name]
        if _out_of_reach(sql.look):
            sql.wake()
        else:
            await sql.again()
        if _out_of_reach(host.look):
            host.wake()
        elif self._matters(name):
            await host.again()

    def forget_facts(self) -> None:
        """Settings or slots were changed: ask for them again at the next look."""
        for sql in self._sql.values():
            sql.forget_facts()

    def need_hosts(self, needed: bool) -> None:
        """Whether the hosts' word may be needed now, though SQL answers."""
        for host in self._host.values():
            host.need(needed)

    @property
    def knows_hosts(self) -> bool:
        """Whether what is known of all hosts is as young as if their shells were kept."""
        return all(host.is_known for host in self._host.values())

    def wake_host(self, name: NodeName) -> None:
        """Something was changed on that host: look at it again."""
        self._host[name].wake()

    def slow_host(self, name: NodeName) -> HostAnswer | None:
        """The newest answer of that host that has disk space, clock and program directory."""
        return self._host[name].slow

    def learnt_paths(self, name: NodeName) -> Paths:
        """Where the node keeps its data and programs: as configured or remembered, else as it said itself."""
        known, last, slow = self._paths(name), self._sql[name].last, self._host[name].slow
        if known.data_dir and known.bin_dir and known.config_file:
            return known
        return replace(
            known,
            data_dir=known.data_dir or (last.facts.data_dir if last else ""),
            bin_dir=known.bin_dir or (slow.bin_dir if slow else ""),
            config_file=known.config_file or (last.facts.settings.get("config_file", "") if last else ""),
        )

    def _matters(self, name: NodeName) -> bool:
        """Whether a host's word is needed now: where SQL answers, it is not."""
        return not isinstance(self._sql[name].look, Answer)

    def _paths_of(self, name: NodeName) -> Callable[[], Paths]:
        def paths() -> Paths:
            return self.learnt_paths(name)

        return paths

    def _node_view(self, name: NodeName) -> NodeView:
        sql, host = self._sql[name], self._host[name].look
        return NodeView(
            name=name,
            sql=sql.look,
            host=host,
            last=sql.last,
            witnesses=tuple(self._witnesses.get(name, {}).values()),
            touch=self._touches.get(name),
            guard=self._guard[name].look,
            cut_off=self._cut_off.of(name),
            receiver_lost_at=self._streams.lost_at(name),
            streams_since=self._streams.since(name),
            idle_slots=self._streams.idle_slots(name),
            missed=self._streams.missed(name),
            owed_since=self._streams.owed(name),
            unheard_at=self._unheard.get(name),
        )

    def _sql_news(self, name: NodeName) -> Callable[[], None]:
        before: SqlLook | None = None

        def news() -> None:
            nonlocal before
            look = self._sql[name].look
            new, before = not says_nothing_new(before, look), look
            troubled = not isinstance(look, Answer)
            self._host[name].trouble(troubled)
            if isinstance(look, NoAnswer) and name == self.suspect and not self._alarm.is_set():
                self._raise_alarm(name)
            if not troubled:
                self._witnesses.pop(name, None)
                self._touches.pop(name, None)
            self._streams.note(name, look)
            if new or not self.calm or self._streams.owes_long(name, self._clock.now()):
                self.news.set()

        return news

    def _raise_alarm(self, name: NodeName) -> None:
        """The primary fell silent: everybody looks at once."""
        self._alarm.set()
        for other, sql in self._sql.items():
            if other != name:
                sql.wake()

    async def _ask_witnesses(self) -> None:
        """While the suspect is silent, its standbys' shells try to reach it."""
        while True:
            await self._alarm.wait()
            name = self.suspect
            look = self._sql[name].look if name else None
            if name is None or not isinstance(look, NoAnswer):
                self._alarm.clear()
                continue
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(WITNESS_EVERY_S))
                for other in self._nodes:
                    if other != name and isinstance(self._sql[other].look, Answer):
                        group.create_task(self._ask_witness(other, name))

    async def _ask_witness(self, vantage: NodeName, name: NodeName) -> None:
        shell, target = self._nodes[vantage].shell, self._spec.node(name)
        if shell is None or target.host.startswith("/") or self._host[vantage].must_wait:
            return
        wait = self._witness_wait_s
        ready = program(self.learnt_paths(vantage).bin_dir, "pg_isready")
        script = f"timeout {wait:.2f} {ready} -q -t 3 -h {quoted(target.host)} -p {target.port} </dev/null"
        begun = self._clock.now()
        try:
            output = await shell.run(script, within_s=wait + 1.0)
        except (ShellLost, ShellRefused):
            return
        reach = {0: Reach.ACCEPTS, 1: Reach.REJECTS, 2: Reach.NO_REPLY, 124: Reach.NO_REPLY}.get(
            output.status
        )
        if reach is not None:
            self._note_word(name, Witness(vantage, begun, reach))
            self.news.set()

    def _silent(self) -> NodeName | None:
        """The primary, while it does not answer us."""
        name = self.suspect
        return name if name is not None and isinstance(self._sql[name].look, NoAnswer) else None

    def _heard(self, name: NodeName, word: Witness) -> None:
        self._note_word(name, word)
        self.news.set()

    def _note_word(self, name: NodeName, word: Witness) -> None:
        """The newest word of a vantage point, and when it last got through."""
        words = self._witnesses.setdefault(name, {})
        before = words.get(word.vantage)
        reached_at = word.at if word.reach.through else before.reached_at if before else None
        words[word.vantage] = replace(word, reached_at=reached_at)

    @property
    def _witness_wait_s(self) -> float:
        """How long another vantage point waits for the suspect, each time."""
        return min(self._spec.timings.unreachable_after.total_seconds() / 3, 1.0)

    def _answering(self) -> list[NodeSpec]:
        return [node for node in self._spec.nodes if isinstance(self._sql[node.name].look, Answer)]

    async def _ask_witness_host(self, host: WitnessHost) -> None:
        """While the suspect is silent, a host without PostgreSQL tries to reach it, and others beside it."""
        while True:
            await self._alarm.wait()
            name = self.suspect
            if name is not None and isinstance(self._sql[name].look, NoAnswer):
                word = await host.testify(self._spec.node(name), self._answering())
                if word is not None and isinstance(self._sql[name].look, NoAnswer):
                    self._note_word(name, word)
                self.news.set()
            await asyncio.sleep(WITNESS_EVERY_S)

    async def _touch_suspect(self) -> None:
        """While the suspect is silent, see again and again whether TCP connects: cheap, and from here."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._alarm.wait()
                if (name := self.suspect) is not None:
                    group.create_task(self._touch(name))
                await asyncio.sleep(max(TOUCH_EVERY_S, min(self._own_loop.crowd_s(), TOUCH_CROWD_S)))

    async def _touch(self, name: NodeName) -> None:
        target, begun = self._spec.node(name), self._clock.now()
        host = f"[{target.host}]" if ":" in target.host else target.host
        limit = max(TOUCH_S, self._spec.timings.unreachable_after.total_seconds())
        pending = asyncio.ensure_future(self._pinger.reaches(f"{host}:{target.port}", within_s=limit))
        try:
            await asyncio.wait({pending}, timeout=TOUCH_S)
            self._note_touch(name, begun, reached=pending.done() and pending.result())
            if not pending.done() and await pending:
                self._note_touch(name, begun, reached=True)
        finally:
            pending.cancel()

    def _note_touch(self, name: NodeName, begun: Instant, *, reached: bool) -> None:
        """The newest attempt, and when any of them last got through."""
        if isinstance(self._sql[name].look, Answer):
            return
        newest = self._touches.get(name)
        reached_at = newest.reached_at if newest else None
        if newest is None or begun >= newest.at:
            newest = Touch(begun, reached)
        self._touches[name] = replace(newest, reached_at=self._clock.now() if reached else reached_at)
        self.news.set()

    async def _watch_references(self) -> None:
        """Ask our own reference targets now and then, and at once when the primary falls silent."""
        targets = self._spec.references
        while targets:
            begun = self._clock.now()
            limit = min(self._spec.timings.unreachable_after.total_seconds() / 3, 1.0)
            answers = await asyncio.gather(*(self._pinger.reaches(t, within_s=limit) for t in targets))
            self._references = References(begun, len(targets), sum(answers))
            self.news.set()
            alarmed = self._alarm.is_set()
            await self._sleep_or_alarm(WITNESS_EVERY_S if alarmed else REFERENCES_EVERY_S, alarmed=alarmed)

    async def _sleep_or_alarm(self, seconds: float, *, alarmed: bool) -> None:
        await (asyncio.sleep(seconds) if alarmed else heard(self._alarm, seconds))


def _out_of_reach(look: SqlLook | HostLook) -> bool:
    """Whether not even TCP connected, or its host's shell did not answer: that may last."""
    return isinstance(look, HostSilent) or (isinstance(look, NoAnswer) and look.silence is Silence.TIMED_OUT)
