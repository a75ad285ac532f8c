"""Two clusters of real servers, one of which follows the other, and one controller for both."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import yaml

from pgvigil.demo.servers import Server, Servers, config_text
from pgvigil.model.spec import ClusterSpec, FollowedCluster
from pgvigil.model.units import NodeName
from tests.postgres.guard import cluster_spec

MAIN, DR = "main", "dr"


@dataclass(frozen=True)
class Sites:
    """`main` has a1 (its primary) and the others after it; `dr` has b1 (its leader) and those after it."""

    servers: Servers
    main: tuple[Server, ...]
    dr: tuple[Server, ...]

    def specs(self) -> tuple[ClusterSpec, ClusterSpec]:
        """Both clusters as pgvigil is told of them."""
        main = cluster_spec(self.servers, self.main, name=MAIN)
        return main, follower(cluster_spec(self.servers, self.dr, name=DR), main)


def follower(spec: ClusterSpec, of: ClusterSpec) -> ClusterSpec:
    """The cluster with `standby_of: <of>`."""
    nodes = tuple(replace(node, name=NodeName(f"{of.name}/{node.name}"), upstream=None) for node in of.nodes)
    return replace(spec, standby_of=FollowedCluster(of.name, nodes, spec.replication.conninfo))


def make_sites(
    servers: Servers, main: Sequence[str] = ("a1", "a2"), dr: Sequence[str] = ("b1", "b2")
) -> Sites:
    """The servers of both, streaming: those of `dr` in a cascade below its first one."""
    primary = servers.make_primary(main[0])
    with ThreadPoolExecutor() as pool:
        rest = list(pool.map(lambda name: servers.add_standby(name, primary), main[1:]))
        leader = servers.add_standby(dr[0], primary, slot=False)
        below = list(pool.map(lambda name: servers.add_standby(name, leader), dr[1:]))
    for standby in (*rest, leader):
        standby.wait_streaming(primary)
    for standby in below:
        standby.wait_streaming(leader)
    return Sites(servers, (primary, *rest), (leader, *below))


def sites_text(sites: Sites) -> str:
    """`pgvigil.yaml` for both."""
    everything = yaml.safe_load(config_text(sites.servers))
    (settings,) = everything["clusters"].values()
    nodes = settings.pop("nodes")
    clusters = {
        name: {**settings, "nodes": {server.name: nodes[server.name] for server in servers}}
        for name, servers in ((MAIN, sites.main), (DR, sites.dr))
    }
    clusters[DR]["standby_of"] = MAIN
    return str(yaml.safe_dump({**everything, "clusters": clusters}, sort_keys=False))
