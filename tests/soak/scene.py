"""A guarded cluster with a client on every side, what was broken in it, and how it is put right again."""

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.faults.product import NO_COOL_DOWN, Product, Sections
from tests.lab import Ack, Cluster, Lab, LabError, LabHost, Writer, faults
from tests.soak.checker import Event, Reigns

CONTROLLER = "controller"
INTERVAL_S = 0.04
WHOLE_WITHIN_S = 90.0
"""After everything was put right: rejoining by rewind and clone takes seconds, a busy machine its time."""
ANSWERS_WITHIN_S = 20.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What is soaked."""

    protection: str = "quorum"
    nodes: int = 3
    acks: int = 1

    def sections(self) -> Sections:
        """This as parts of a configuration; everything else as by default."""
        chosen: dict[str, object] = {"failover": NO_COOL_DOWN, "protection": self.protection}
        return chosen | ({"sync_required": self.acks} if self.is_quorum else {})

    @property
    def is_quorum(self) -> bool:
        """Whether no acknowledged row may be lost, ever."""
        return self.protection == "quorum"


@dataclass(slots=True)
class Client:
    """A writer on one side: a host's or the controller's. Another takes its place when its host was off."""

    side: str
    writer: Writer
    read: int = 0
    acks: list[Ack] = field(default_factory=list)

    def news(self) -> list[Ack]:
        """What was acknowledged since it was last asked."""
        new = list(self.writer.acks[self.read :])
        self.read += len(new)
        self.acks += new
        return new


class Scene:
    """One lab, its cluster, the controller under test, and all clients there ever were."""

    def __init__(self, lab: Lab, settings: Settings, dice: random.Random) -> None:
        self.lab, self.settings, self.dice = lab, settings, dice
        self.cluster: Cluster = lab.cluster(settings.nodes)
        with lab.connect(self.cluster.primary()) as connection:
            Writer.create_table(connection, "app")
        self.product = Product(self.cluster, settings.sections())
        self.reigns = Reigns()
        self.clients: list[Client] = []
        self.events: list[Event] = []
        self.to_start: set[str] = set()

    @contextmanager
    def running(self) -> Iterator[None]:
        """The controller guards, clients write. Raises LabError."""
        try:
            self.product.start()
            self.await_whole()
            yield
        finally:
            self.product.stop()
            for client in self.clients:
                client.writer.stop()

    @property
    def primary(self) -> LabHost:
        """The primary of record. Raises LabError."""
        name = self.product.status().get("primary")
        return self.cluster.node(str(name)) if name else self.cluster.primary()

    @property
    def standbys(self) -> tuple[LabHost, ...]:
        """All other nodes."""
        primary = self.primary
        return tuple(node for node in self.cluster.nodes if node is not primary)

    def generation(self) -> int:
        """The generation on record, 0 while the controller does not answer."""
        return int(self.product.status().get("generation") or 0)

    def lose_power(self, host: LabHost) -> faults.Fault:
        """The host vanishes, and whatever client it has with it."""
        fault = faults.lose_host(host)
        for client in self.clients:
            if client.side == host.name:
                client.writer.stop()
        return fault

    def heal(self, host: LabHost) -> None:
        """Power, network, every process of the host, and its server if an administrator would start it."""
        if not host.is_on:
            faults.revive_host(host, connected=False)
            if host.name in self.to_start:
                self._start(host)
        faults.thaw(host)
        faults.heal(host)

    def heal_all(self) -> None:
        """Everything that was broken works again; whoever must be started is."""
        for host in self.cluster.nodes:
            self.heal(host)
        if self.product.is_dead():
            self.product.start(healthy=False)
        self.start_servers()

    def start_servers(self) -> None:
        """Start servers that were stopped, as long as nobody else has them in hand."""
        known = {node["name"]: node for node in self.product.status().get("nodes", [])}
        for name in sorted(self.to_start & known.keys()):
            host = self.cluster.node(name)
            if host.postmaster():
                self.to_start.discard(name)
            elif known[name]["reported_state"] != "rebuilding":
                self._start(host)

    @staticmethod
    def _start(host: LabHost) -> None:
        with suppress(LabError):  # pgvigil may be faster, or be at work on it: looked at again
            host.pg_ctl("start", "-W", "-l", str(host.log))

    def await_whole(self) -> None:
        """Return once all is well, for the controller, for us, and for every client. Raises LabError."""
        until = time.monotonic() + WHOLE_WITHIN_S
        while not self.is_whole():
            if time.monotonic() > until:
                raise LabError(self.product.explain(LabError(f"not whole within {WHOLE_WITHIN_S:.0f} s")))
            self.start_servers()
            time.sleep(0.25)
        self.to_start.clear()
        self._renew_clients()
        now = time.monotonic()
        for client in self._alive():
            client.writer.first_after(now, within_s=ANSWERS_WITHIN_S)

    def is_whole(self) -> bool:
        """Whether all nodes serve as they should, and commits are known to wait for whom they should."""
        status = self.product.status()
        if status.get("health") != "ok" or status.get("phase") != "stable":
            return False
        if self.settings.is_quorum and not self._promised(status):
            return False
        found = self.cluster.primaries()
        return [node.name for node in found] == [status["primary"]] and self.cluster.all_stream()

    def _promised(self, status: Mapping[str, Any]) -> bool:
        sync: dict[str, Any] = status.get("sync") or {}
        others = sorted(node.name for node in self.cluster.nodes if node.name != status["primary"])
        acks = min(self.settings.acks, len(others))
        expected = {"acks": acks, "standbys": others, "changing": False}
        return expected.items() <= sync.items()

    def _alive(self) -> list[Client]:
        return [client for client in self.clients if client.writer.runs()]

    def _renew_clients(self) -> None:
        sides = {CONTROLLER: "", **{node.name: node.netns for node in self.cluster.nodes}}
        for side in sides.keys() - {client.side for client in self._alive()}:
            writer = self.lab.writer(self.cluster.nodes, netns=sides[side], interval_s=INTERVAL_S)
            writer.start()
            self.clients.append(Client(side, writer))

    def news(self) -> list[tuple[str, Ack]]:
        """Acknowledgements since the last call, each with the side of the client that heard of it."""
        new = [(client.side, ack) for client in self.clients for ack in client.news()]
        self.reigns.add(ack for _, ack in new)
        return new

    def lost(self) -> list[str]:
        """Rows that were acknowledged and are not there, each told once. Raises psycopg.Error, LabError."""
        with self.lab.connect(self.cluster.primary()) as connection:
            missing = [(client, set(client.writer.newly_lost(connection))) for client in self.clients]
        return [
            f"client at {client.side}: {ack}"
            for client, rows in missing
            for ack in client.acks
            if ack.id in rows
        ]

    def new_events(self) -> list[Event]:
        """Events since the last call. Raises LabError."""
        after = int(self.events[-1]["number"]) if self.events else 0
        new: list[Event] = list(self.product.events(after=after))
        self.events += new
        return new


GOES_WRONG = (LabError, psycopg.Error, OSError)
"""What ends a scene: the lab, a server or a host did not do what it must."""
