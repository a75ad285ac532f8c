"""The clusters that are simulated: the product's defaults without a configuration, else the user's own."""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

from pgvigil.config.schema import ClusterSection
from pgvigil.model.shell import SshShell
from pgvigil.model.spec import ClusterSpec, Fencing, Hooks, NodeSpec, PgCtl, Protection, Systemd
from pgvigil.sim.world import GATEWAY

DATA_DIR = "/var/lib/postgresql/16/main"
BIN_DIR = "/usr/lib/postgresql/16/bin"


def a_cluster(nodes: int, rng: random.Random, protection: Protection = Protection.ASYNC) -> ClusterSpec:
    """Nodes with shells and defaults.

    Drawn: a reference target or none, a service manager or none; how many have to acknowledge, and whether
    fewer will do.
    """
    section = ClusterSection.model_validate(
        {"nodes": {f"pg{number}": f"10.0.0.{10 + number}" for number in range(1, nodes + 1)}}
    )
    spec = section.spec("orders", Path("/"))
    references = (GATEWAY,) if rng.random() < 0.7 else ()
    systemd = rng.random() < 0.4
    if protection is Protection.QUORUM:
        required, degrade = rng.randint(1, nodes - 1), rng.random() < 0.7
        spec = replace(spec, protection=protection, sync_required=required, degrade=degrade)
    return replace(
        spec,
        nodes=tuple(_node(node, node.host, systemd=systemd, reached=True) for node in spec.nodes),
        references=references,
        failover=replace(spec.failover, max_per=None),
    )


def prepared(spec: ClusterSpec) -> ClusterSpec:
    """A user's cluster with the places and ways in that the simulation has.

    Names, policies, timings, priorities, tags, protection and who has a shell stay. Every node gets a host of
    its own, and programs of the user's (commands, hooks) are left out: nobody can know what they would do.
    """
    shared = Counter(node.host for node in spec.nodes)
    return replace(
        spec,
        nodes=tuple(
            _node(
                node,
                node.host if shared[node.host] == 1 and not node.host.startswith("/") else node.name,
                systemd=isinstance(node.control, Systemd),
                reached=node.shell is not None,
            )
            for node in spec.nodes
        ),
        references=(GATEWAY,) if spec.references else (),
        fencing=Fencing(spec.fencing.unreachable),
        hooks=Hooks(),
        endpoints=(),
    )


def _node(node: NodeSpec, host: str, *, systemd: bool, reached: bool) -> NodeSpec:
    return replace(
        node,
        host=host,
        data_dir=DATA_DIR,
        bin_dir=BIN_DIR,
        shell=SshShell(host) if reached else None,
        control=Systemd("postgresql") if systemd else PgCtl(),
        config_file="",
        promote_command="",
        follow_command="",
    )
