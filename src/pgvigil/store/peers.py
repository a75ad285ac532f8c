"""Controllers as places from which others have nodes looked at: questions and answers in etcd.

`look/TO/NUMBER` asks, `seen/FROM/NUMBER` answers. Nothing hangs on their being carried out once, so they
go beside the transactions of records, and delay none. Names of nodes go over, never addresses: each looks at
what its own configuration has.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from uuid import uuid4

from pgvigil.errors import StoreError, Unreachable, UsageError
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.units import ClusterName, NodeName
from pgvigil.model.vantage import Reach
from pgvigil.ports.answers import reach_from_here
from pgvigil.store.roster import EtcdRoster
from pgvigil.store.transactions import Key

LOOK_S: Final = 0.2
"""Between two looks for questions, and for an answer."""
SPARE_S: Final = 2.0
"""So much longer than the attempts themselves an answer is waited for."""
AT_ONCE: Final = 64
"""So many questions are answered at once; what is asked beyond that goes unanswered."""
ASKED_AT_ONCE: Final = 32
"""So many of ours are under way at once: when everything is silent, etcd is not buried in questions."""
WAIT_MAX_S: Final = 5.0
NODES_MAX: Final = 100
KEPT_S: Final = 10.0
"""So long an answer is there for who asked."""


class EtcdPeers:
    """`ports.contract.Peers` in etcd."""

    def __init__(self, roster: EtcdRoster) -> None:
        self._keys, self._roster = roster.keys, roster
        self._answering = self._asked = 0

    def others(self, cluster: ClusterName) -> Sequence[str]:
        """The other live controllers that have the cluster, and look at it from another host."""
        return self._roster.elsewhere(cluster)

    async def reach(
        self, peer: str, cluster: ClusterName, nodes: Sequence[NodeName], *, wait_s: float, speak: bool
    ) -> Mapping[NodeName, Reach]:
        """Have it try to reach these nodes. Raises Unreachable: it said nothing; StoreError."""
        if self._asked >= ASKED_AT_ONCE:
            raise Unreachable(f"{peer} is not asked: too many questions are under way")
        number, me = uuid4().hex, self._roster.name
        fields = {"from": me, "cluster": cluster, "nodes": list(nodes), "wait_s": wait_s, "speak": speak}
        self._asked += 1
        try:
            await self._put(f"look/{peer}/{number}", fields)
            async with asyncio.timeout(wait_s + SPARE_S):
                while (answer := await self._keys.get(f"seen/{me}/{number}")) is None:  # noqa: ASYNC110
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            await self._delete(f"look/{peer}/{number}")
            raise Unreachable(f"{peer} does not say what it sees") from None
        finally:
            self._asked -= 1
        try:
            return {NodeName(name): Reach(word) for name, word in json.loads(answer.value).items()}
        except (ValueError, AttributeError) as wrong:
            raise Unreachable(f"what {peer} says is not understood", detail=str(wrong)) from wrong

    async def attend(self, spec: Callable[[ClusterName], ClusterSpec]) -> None:
        """Answer what the others ask, until cancelled. `spec`: of a cluster; raises UsageError."""
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    for key in await self._keys.below(f"look/{self._roster.name}/"):
                        await self._delete(key.name)
                        if self._answering < AT_ONCE:
                            self._answering += 1
                            group.create_task(self._answer(key, spec))
                except StoreError:
                    await asyncio.sleep(LOOK_S)  # who watches the lease tells of it
                await asyncio.sleep(LOOK_S)

    async def _answer(self, question: Key, spec: Callable[[ClusterName], ClusterSpec]) -> None:
        """Say what came of it, for a while; what cannot be read, or told, goes unanswered."""
        try:
            asker, told = await self._looked(json.loads(question.value), spec)
        except (ValueError, KeyError, TypeError, UsageError):
            return
        finally:
            self._answering -= 1
        key = f"seen/{asker}/{question.name.rpartition('/')[2]}"
        try:
            await self._put(key, told)
            await asyncio.sleep(KEPT_S)
            await self._delete(key)
        except StoreError:
            return  # it goes with our lease

    async def _looked(
        self, fields: Mapping[str, Any], spec: Callable[[ClusterName], ClusterSpec]
    ) -> tuple[str, Mapping[str, str]]:
        names = set(fields["nodes"][:NODES_MAX])
        wait_s, speak = min(float(fields["wait_s"]), WAIT_MAX_S), bool(fields["speak"])
        nodes = [node for node in spec(ClusterName(fields["cluster"])).nodes if node.name in names]
        found = await asyncio.gather(
            *(reach_from_here(node.host, node.port, wait_s=wait_s, speak=speak) for node in nodes)
        )
        told = {str(node.name): reach.value for node, reach in zip(nodes, found, strict=True)}
        return str(fields["from"]), told

    async def _put(self, key: str, fields: Mapping[str, object]) -> None:
        if not self._roster.lease:
            raise StoreError("this controller has no lease in etcd", hint="it takes another by itself")
        put = self._keys.put(key, json.dumps(fields), lease=self._roster.lease)
        await self._keys.gateway.ask("/v3/kv/put", put["request_put"])

    async def _delete(self, key: str) -> None:
        await self._keys.gateway.ask("/v3/kv/deleterange", self._keys.delete(key)["request_delete_range"])
