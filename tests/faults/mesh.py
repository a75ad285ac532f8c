"""Three controllers and three servers of etcd, each on a host of its own, over one cluster with a writer."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from uuid import uuid4

from pgvigil.model.roster import Peer, chosen
from pgvigil.model.units import ClusterName
from tests.etcd import Etcd
from tests.faults.product import CLUSTER, Product, Sections
from tests.lab import Cluster, LabHost, Writer, await_that
from tests.lab.netns import in_netns

CONTROLLERS = ("ctl1", "ctl2", "ctl3")
MEMBERS = ("etcd1", "etcd2", "etcd3")
LEASE_S = 3


@contextmanager
def members(cluster: Cluster) -> Iterator[tuple[Etcd, tuple[LabHost, ...]]]:
    """Three servers of etcd that agree, and their hosts."""
    lab = cluster.lab
    hosts = tuple(lab.add_witness(name) for name in MEMBERS)
    home = Path(lab.dir) / f"etcd-{uuid4().hex[:6]}"
    home.mkdir()

    def before(number: int | None) -> Sequence[str]:
        return in_netns(lab.network.controller if number is None else hosts[number].netns, [])

    urls = tuple(f"http://{host.address}:2379" for host in hosts)
    peers = tuple(f"http://{host.address}:2380" for host in hosts)
    etcd = Etcd(home, urls, peers, before=before)
    try:
        etcd.start()
        etcd.await_health()
        yield etcd, hosts
    finally:
        etcd.stop()


class Mesh:
    """The controllers, by name, and what must hold whatever happens to them."""

    def __init__(
        self,
        cluster: Cluster,
        etcd: Etcd,
        etcd_hosts: tuple[LabHost, ...],
        writer: Writer,
    ) -> None:
        self.cluster, self.etcd, self.etcd_hosts, self.writer = cluster, etcd, etcd_hosts, writer
        self.hosts = {name: cluster.lab.add_witness(name) for name in CONTROLLERS}
        prefix = f"/{uuid4().hex[:8]}"
        self.controllers = {
            name: Product(cluster, store=self._store(name, prefix), host=host)
            for name, host in self.hosts.items()
        }

    def _store(self, name: str, prefix: str) -> Sections:
        endpoints = [f"{host.address}:2379" for host in self.etcd_hosts]
        where = {"endpoints": endpoints, "name": name, "prefix": prefix}
        return {"kind": "etcd", **where, "lease": f"{LEASE_S}s", "retry": "1s"}

    def __getitem__(self, name: str) -> Product:
        return self.controllers[name]

    def heirs(self) -> list[str]:
        """The controllers in the order in which the cluster falls to them."""
        left, order = list(CONTROLLERS), []
        while left:
            peers = [Peer(name, "", frozenset({ClusterName(CLUSTER)}), 60.0) for name in left]
            order.append(chosen(ClusterName(CLUSTER), peers) or "")
            left.remove(order[-1])
        return order

    def await_guarded(self, *by: str, seen_by: str = "") -> None:
        """Until one of those guards the cluster, in another's eyes or its own, and all is well."""
        product = self[seen_by or by[0]]

        def there() -> bool:
            status = product.status()
            holds = status.get("decision", {}).get("rule") in ("lease_lost", "not_guarded")
            return status.get("controller") in by and not holds and product.is_content()

        product.wait_for(there, f"{' or '.join(by)} guards a healthy cluster", 60)

    def await_generation(self, number: int, *, seen_by: str) -> LabHost:
        """The primary of that generation, once all is well with it and it acknowledges."""
        product = self[seen_by]
        product.wait_for(
            lambda: product.status().get("generation") == number, f"generation {number}", within_s=60
        )
        product.await_healthy()
        self.writer.first_after(time.monotonic(), within_s=60)
        primary = self.cluster.node(str(product.status()["primary"]))
        assert primary in self.cluster.primaries()
        return primary

    def stays(self, generation: int, *, for_s: float, seen_by: str) -> None:
        """During that time no change begins, and writes go on."""
        until = time.monotonic() + for_s
        while time.monotonic() < until:
            status = self[seen_by].status()
            told = (status.get("generation"), status.get("phase"))
            assert told == (generation, "stable"), self[seen_by].explain(AssertionError(str(told)))
            time.sleep(0.1)
        self.writer.first_after(time.monotonic() - 1.0, within_s=30)

    def hold(self) -> bool:
        """Whether the controller that guards the cluster holds for want of a lease, and no other acts."""
        rules = [each.status()["decision"]["rule"] for each in self.controllers.values()]
        return "lease_lost" in rules and set(rules) <= {"lease_lost", "not_guarded"}

    def stays_without_a_primary(self, *, for_s: float) -> None:
        """During that time nobody is promoted, and no controller begins anything."""
        until = time.monotonic() + for_s
        while time.monotonic() < until:
            assert not self.cluster.primaries()
            assert self.hold(), [each.status()["decision"] for each in self.controllers.values()]
            time.sleep(0.1)

    def await_caught_up(self, primary: LabHost, standby: LabHost) -> None:
        """Until the standby has all that the primary has written until now."""
        written = self.cluster.value(primary, "select pg_current_wal_lsn()")
        asked = f"select pg_last_wal_replay_lsn() >= '{written}'"
        await_that(lambda: self.cluster.value(standby, asked) is True, 60, "the standby has caught up")

    def await_killed(self, *names: str) -> None:
        """Until all of these have died at the points at which they were to."""
        await_that(
            lambda: all(self[name].is_dead() for name in names), 60, f"{', '.join(names)} die", every_s=0.05
        )

    def sees_a_crash(self) -> bool:
        """Whether a controller has found that the primary crashed."""
        return any(each.found("primary_crashed") for each in self.controllers.values())

    def ends(self, generation: int, *, seen_by: str, lost_at_most: int = 0) -> None:
        """All is well, nothing is lost, each generation was promoted once, and never two acknowledged.

        `lost_at_most`: in async mode the rows of the last moment go with a host that does not answer.
        """
        primary = self.await_generation(generation, seen_by=seen_by)
        self.writer.stop()
        with self.cluster.lab.connect(primary) as connection:
            lost = self.writer.lost(connection)
        assert len(lost) <= lost_at_most, self[seen_by].explain(AssertionError(f"lost: {lost}"))
        turns = [name for name, _ in groupby(ack.node for ack in self.writer.acks)]
        assert len(turns) <= generation, f"more turns than generations, so two wrote at once: {turns}"
        promoted = [e["generation"] for e in self[seen_by].events() if e["kind"] == "promoted"]
        assert promoted == list(range(2, generation + 1)), promoted


@contextmanager
def mesh(cluster: Cluster) -> Iterator[Mesh]:
    """Etcd runs and a writer writes; no controller runs yet. All end afterwards."""
    with members(cluster) as (etcd, hosts), cluster.lab.writer(cluster.nodes) as writer:
        made = Mesh(cluster, etcd, hosts, writer)
        try:
            yield made
        finally:
            for product in made.controllers.values():
                product.stop()
