"""What quorum mode promises of acknowledged commits (SAFETY §1: I2, I3), asked at every acknowledgement.

Every commit of which a server told its client that it is safe is on every primary that this controller
makes afterwards; and no server tells so of a commit that the newest primary does not have. Two kinds are no
promise: what a session asked to be acknowledged alone, and what an operator accepted to lose. What was
acknowledged while no standby was asked for counts too: then there is no failover unless nothing can be lost.

A word that was on its way when the standbys were cut may arrive late: the newest primary has that commit.
"""

from typing import TYPE_CHECKING

from pgvigil.model.record import ClusterRecord, Phase
from pgvigil.model.spec import Protection
from pgvigil.sim.synchrony import NAMES, Told
from pgvigil.sim.wal import Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgvigil.sim.server import Server
    from pgvigil.sim.world import World


class Promises:
    """Watches the acknowledgements of one world. `broken(rule, text)` is told of each broken promise."""

    def __init__(self, world: "World", broken: "Callable[[str, str], None]") -> None:
        self._world, self._broken = world, broken
        self._kept: list[tuple[Record, str]] = []
        self._newest: Server | None = None
        self.void = world.spec.protection is not Protection.QUORUM
        """Nothing is promised (any more): not this mode, or a human promoted a node by hand."""

    def acknowledged(self, server: "Server", record: Record, told: Told) -> None:
        """A server tells a client that its commit is safe."""
        if self.void or told is Told.LOCAL:
            return
        self._kept.append((record, server.name))
        newest = self._newest
        if newest is None or newest is server or newest.data.term <= record.term or newest.data.has(record):
            return
        text = f"{server.name} acknowledges row {record.row} ({told}), which {newest.name} does not have"
        self._broken("I2", f"{text}: that was promoted before")

    def serves(self, server: "Server", record: ClusterRecord) -> None:
        """The primary of record takes writes: it has all that anybody acknowledged."""
        if record.forced:
            self._kept.clear()
        if self.void:
            return
        self._newest = server
        to = record.sync_next
        if record.phase is Phase.PROMOTING and to and server.data.settings.get(NAMES, "") != to.setting:
            self._broken("I3", f"{server.name} takes writes and does not wait for {to}")
        lost = [(each, name) for each, name in self._kept if not server.data.has(each)]
        if lost:
            rows = ", ".join(f"{each.row} ({name})" for each, name in lost[:5])
            self._broken("I3", f"{server.name} takes writes without {len(lost)} acknowledged rows: {rows} …")
            self._kept = [each for each in self._kept if each not in lost]
