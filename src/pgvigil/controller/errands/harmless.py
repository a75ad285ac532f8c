"""Finds out when writes stand still, and leaves nothing behind: no table, no right, no message is needed.

Every few milliseconds each node is asked for a transaction number (`txid_current()`, manual: 9.27.5), unless
it is in recovery. A server gives one only while it takes writes, and ends that transaction with a commit
record in its WAL, as it ends every write. It does not wait until that record is on disk, nor for a standby:
with `protection: quorum` a client may wait a little longer than is measured here.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from pgvigil.errors import PgvigilError
from pgvigil.model.units import Instant, NodeName
from pgvigil.ports.contract import Clock, NodePorts

EVERY_S: Final = 0.01
ANSWER_S: Final = 1.0
CONNECT_S: Final = 1.0
WRITE: Final = "select case when pg_is_in_recovery() then null else txid_current() end as number"


@dataclass(frozen=True, slots=True)
class Ack:
    """A node gave a number: it took writes between these two instants."""

    node: NodeName
    begun: Instant
    done: Instant


@dataclass(slots=True)
class HarmlessWriter:
    """All that was acknowledged, while `run` runs."""

    nodes: Mapping[NodeName, NodePorts]
    clock: Clock
    acks: list[Ack] = field(default_factory=list)

    async def run(self) -> None:
        """Ask every node until cancelled, each over a session of its own."""
        async with asyncio.TaskGroup() as group:
            for name, ports in self.nodes.items():
                group.create_task(self._ask(name, ports))

    async def _ask(self, name: NodeName, ports: NodePorts) -> None:
        session = ports.new_session()
        try:
            while True:
                with contextlib.suppress(PgvigilError):  # it does not answer now: that is what is measured
                    if not session.is_open:
                        session.close()
                        session = ports.new_session()
                        await session.open(within_s=CONNECT_S)
                    begun = self.clock.now()
                    (row,) = await session.query(WRITE, within_s=ANSWER_S)
                    if row["number"] is not None:
                        self.acks.append(Ack(name, begun, self.clock.now()))
                await asyncio.sleep(EVERY_S)
        finally:
            session.close()


def longest_gap(acks: Sequence[Ack], since: Instant) -> float | None:
    """The longest time between two acknowledgements from `since` on, seconds; None: too few of them."""
    times = sorted(ack.done for ack in acks if ack.done >= since)
    gaps = [later - sooner for sooner, later in pairwise(times)]
    return max(gaps, default=None)
