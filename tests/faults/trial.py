"""One fault run: a guarded cluster with a writer, and what must hold at its end (SAFETY §1)."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby

from tests.faults.product import Product, Sections, running
from tests.lab import Ack, Cluster, LabHost, Writer

QUICK: Sections = {"failover": {"unreachable_after": "1s", "hung_after": "1s"}}
WAIT: Sections = {"fencing": {"unreachable": "wait"}}


class Trial:
    """A cluster, a controller that guards it, and a writer in the controller's namespace."""

    def __init__(self, cluster: Cluster, product: Product, writer: Writer) -> None:
        self.cluster, self.product, self.writer = cluster, product, writer
        self.first = cluster.primary()
        self.controller = cluster.lab.network.controller_address

    @property
    def standbys(self) -> tuple[LabHost, ...]:
        """Those that were standbys at the beginning."""
        return tuple(node for node in self.cluster.nodes if node is not self.first)

    def await_failover(self, *, of: LabHost | None = None) -> LabHost:
        """The next primary after `of` (the first one), once it acknowledges to the writer."""
        old = of or self.first
        new = self.product.await_primary(other_than=old)
        self.await_writes(not_on=(old,))
        return new

    def await_writes(self, *, not_on: tuple[LabHost, ...] = ()) -> Ack:
        """A write that is begun from now on and acknowledged."""
        names = [node.name for node in not_on]
        return self.writer.first_after(time.monotonic(), within_s=60, not_on=names)

    def await_given_up(self, node: LabHost) -> None:
        """The writer has no statement open on that node any more: a late answer is no acknowledgement."""
        self.product.wait_for(lambda: any(e.node == node.name for e in self.writer.ends), "writer gave up")

    def stays(self, *, for_s: float) -> None:
        """During that time nobody else becomes primary, and no change begins."""
        until = time.monotonic() + for_s
        while time.monotonic() < until:
            status = self.product.status()
            told = (status["primary"], status["generation"], status["phase"])
            assert told == (self.first.name, 1, "stable"), self.product.explain(AssertionError(str(told)))
            time.sleep(0.1)

    def stays_held(self, rule: str, *, for_s: float) -> None:
        """During that time the controller holds for that reason, and no primary takes writes in its sight."""
        until = time.monotonic() + for_s
        while time.monotonic() < until:
            decision = self.product.status()["decision"]
            assert decision["rule"] == rule, self.product.explain(AssertionError(str(decision)))
            assert not self.cluster.primaries()
            time.sleep(0.1)

    def ends(
        self,
        primary: LabHost,
        *,
        generation: int,
        lost_at_most: int = 0,
        stray: LabHost | None = None,
    ) -> None:
        """All well again without a human: who is primary, all stream, nothing lost, no two writers.

        `lost_at_most`: in async mode the rows of the last moment go with a host that does not answer.
        `stray`: a primary that could not be fenced while it was out of reach. Back in sight it takes writes
        until its host answers: that is what `fencing.unreachable: promote` accepts, and it must be told.
        """
        self.product.await_healthy()
        self.await_writes()
        self.writer.stop()
        status = self.product.status()
        told = (status["primary"], status["generation"])
        assert told == (primary.name, generation), self.product.explain(AssertionError(str(told)))
        strays = self._strays(stray) if stray else frozenset()
        with self.cluster.lab.connect(primary) as connection:
            lost = [row for row in self.writer.lost(connection) if row not in strays]
        assert len(lost) <= lost_at_most, self.product.explain(AssertionError(f"lost: {lost}"))
        turns = [name for name, _ in groupby(ack.node for ack in self.writer.acks if ack.id not in strays)]
        assert len(turns) <= generation, f"more turns than generations, so two wrote at once: {turns}"
        assert not strays or {"stale_primary", "fence"} & set(self.product.kinds())

    def _strays(self, stray: LabHost) -> frozenset[int]:
        """Rows that the old primary acknowledged while others did; it may be primary again later."""
        acks = self.writer.acks
        others = [ack.acknowledged for ack in acks if ack.node != stray.name]
        return frozenset(
            ack.id for ack in acks if ack.node == stray.name and min(others) < ack.acknowledged < max(others)
        )

    def nothing_happened(self) -> None:
        """The first primary still is it, and nothing was done to anybody but what repairs standbys."""
        self.ends(self.first, generation=1)
        done = {"fence", "cut", "promote", "startprimary"} & set(self.product.kinds())
        assert not done, self.product.explain(AssertionError(str(done)))


@contextmanager
def trial(cluster: Cluster, sections: Sections | None = None) -> Iterator[Trial]:
    """Guard the cluster, write to it, and end both."""
    product = Product(cluster, sections)
    with running(product), cluster.lab.writer(cluster.nodes) as writer:
        yield Trial(cluster, product, writer)


@contextmanager
def writing_from(host: LabHost, cluster: Cluster) -> Iterator[Writer]:
    """A second writer, on that host: a client on its side of every cut."""
    with cluster.lab.writer(cluster.nodes, netns=host.netns) as writer:
        yield writer


def acknowledged_by(writer: Writer, node: LabHost, *, since: float) -> list[Ack]:
    """What that node acknowledged to a write begun after `since`."""
    return [ack for ack in writer.acks if ack.node == node.name and ack.begun >= since]
