"""The cluster that is simulated when no configuration is given: the product's defaults, three nodes."""

import random
from dataclasses import replace
from pathlib import Path

from pgvigil.config.schema import ClusterSection
from pgvigil.model.spec import ClusterSpec, NodeSpec, PgCtl, SshShell, Systemd
from pgvigil.sim.world import GATEWAY

DATA_DIR = "/var/lib/postgresql/16/main"
BIN_DIR = "/usr/lib/postgresql/16/bin"


def a_cluster(nodes: int, rng: random.Random) -> ClusterSpec:
    """Nodes with shells and defaults; drawn: a reference target or none, a service manager or none."""
    section = ClusterSection.model_validate(
        {"nodes": {f"pg{number}": f"10.0.0.{10 + number}" for number in range(1, nodes + 1)}}
    )
    spec = section.spec("orders", Path("/"))
    references = (GATEWAY,) if rng.random() < 0.7 else ()
    systemd = rng.random() < 0.4
    failover = replace(spec.failover, max_per=None)
    return replace(
        prepared(spec, systemd=systemd),
        references=references,
        failover=failover,
    )


def prepared(spec: ClusterSpec, *, systemd: bool) -> ClusterSpec:
    """A user's cluster with the places and ways in that the simulation has."""
    return replace(spec, nodes=tuple(_node(node, systemd=systemd) for node in spec.nodes))


def _node(node: NodeSpec, *, systemd: bool) -> NodeSpec:
    control = Systemd("postgresql") if systemd else PgCtl()
    return replace(
        node, data_dir=DATA_DIR, bin_dir=BIN_DIR, shell=SshShell(node.host), control=control, config_file=""
    )
