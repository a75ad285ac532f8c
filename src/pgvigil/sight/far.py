"""Looks at the cluster that a standby cluster follows: who takes writes there, and how far they are.

Nothing is concluded from its silence but that it is silent: whether it is gone a human says. A session a
node, opened again when it has ended.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from pgvigil.model.units import Lsn, NodeName, SystemId, Timeline
from pgvigil.model.vantage import FarLook, FarNode
from pgvigil.ports.contract import Clock, NodePorts, NoReply, QueryFailed, Rejected, SessionEnded

EVERY_S: Final = 1.0
WITHIN_S: Final = 2.0
_ASK: Final = """
select s.r as recovering,
  case when s.r then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
    else pg_current_wal_flush_lsn() end as end,
  case when s.r then (select timeline_id from pg_control_checkpoint())
    else ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int end as timeline,
  (select system_identifier from pg_control_system()) as system_id
from (select pg_is_in_recovery() as r) s
"""


class FarWatch:
    """All nodes of the cluster that is followed, side by side. `look` is the newest round."""

    def __init__(
        self, nodes: Mapping[NodeName, NodePorts], clock: Clock, on_news: Callable[[], None]
    ) -> None:
        self._nodes, self._clock, self._on_news = nodes, clock, on_news
        self._asking = asyncio.Lock()
        self.look: FarLook | None = None
        """None: not looked yet, or there is nobody to look at."""

    @property
    def answers(self) -> bool:
        """Whether somebody there answered last time, or nobody was asked yet."""
        return self.look is None or bool(self.look.nodes)

    async def run(self) -> None:
        """Watch until cancelled."""
        while self._nodes:
            await self.again()
            await asyncio.sleep(EVERY_S)

    async def again(self) -> None:
        """Look once more, now."""
        if not self._nodes:
            return
        async with self._asking:
            before = self.look
            found = await asyncio.gather(*(self._ask(ports) for ports in self._nodes.values()))
            look = FarLook(self._clock.now(), tuple(node for node in found if node is not None))
            heard = look.primary or (before.heard if before else None)
            self.look = FarLook(look.at, look.nodes, heard)
        if before is None or _who(before) != _who(self.look):
            self._on_news()

    async def _ask(self, ports: NodePorts) -> FarNode | None:
        """What a node says; None: nothing came back, or it refuses us."""
        begun = self._clock.now()
        try:
            if not ports.session.is_open:
                ports.session.close()
                ports.session = ports.new_session()
                await ports.session.open(within_s=WITHIN_S)
            (row,) = await ports.session.query(_ASK, within_s=WITHIN_S)
        except (NoReply, Rejected, SessionEnded, QueryFailed):
            return None
        return FarNode(
            ports.spec.name,
            begun,
            row["recovering"] == "f",
            Lsn.parse(row["end"] or "0/0"),
            Timeline(int(row["timeline"] or 0)),
            SystemId(row["system_id"] or ""),
        )


def _who(look: FarLook) -> frozenset[tuple[NodeName, bool]]:
    return frozenset((node.name, node.writes) for node in look.nodes)
