"""Clusters for the fault runs: one of three nodes and one of two, kept from test to test while whole."""

import os
import shutil
from collections.abc import Iterator

import psycopg
import pytest

from tests.lab import Cluster, Lab, LabError, Writer, faults


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs what a lab needs; without it, it is left out loudly."""
    wants = {
        "root, for network namespaces": os.geteuid() == 0,
        "openssh-server": shutil.which("sshd"),
        "nftables": shutil.which("nft"),
    }
    missing = [what for what, there in wants.items() if not there]
    for item in items:
        if item.path.parent.name == "faults":
            item.add_marker(pytest.mark.faults)
            if missing:
                item.add_marker(pytest.mark.skip(reason=f"needs {', '.join(missing)}"))


class Clusters:
    """Makes a cluster when it is first asked for, and another when a test left it broken."""

    def __init__(self) -> None:
        self._kept: dict[int, Cluster] = {}

    def whole(self, nodes: int) -> Cluster:
        """A healthy cluster of so many nodes, whatever the test before did."""
        cluster = self._kept.get(nodes)
        if cluster is None or not _made_whole(cluster):
            if cluster:
                cluster.lab.close()
            lab = Lab().__enter__()
            cluster = lab.cluster(nodes)
            with lab.connect(cluster.primary()) as connection:
                Writer.create_table(connection, "app")
            self._kept[nodes] = cluster
        return cluster

    def close(self) -> None:
        """End and remove everything."""
        for cluster in self._kept.values():
            cluster.lab.close()


def _made_whole(cluster: Cluster) -> bool:
    try:
        for node in cluster.nodes:
            if not node.is_on:
                return False
            faults.heal(node)
            faults.thaw(node)
            cluster.sql(node, "alter system reset synchronous_standby_names")  # of quorum mode
            cluster.sql(node, "select pg_reload_conf()")
        cluster.await_streaming(10)
    except (LabError, psycopg.Error):
        return False
    return True


@pytest.fixture(scope="session")
def clusters() -> Iterator[Clusters]:
    made = Clusters()
    yield made
    made.close()


@pytest.fixture
def trio(clusters: Clusters) -> Cluster:
    """A primary and two standbys, streaming."""
    return clusters.whole(3)


@pytest.fixture
def pair(clusters: Clusters) -> Cluster:
    """A primary and one standby, streaming."""
    return clusters.whole(2)
