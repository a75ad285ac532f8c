"""A client outside writes through a virtual address, over a crash, a switchover and a cut."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.faults.product import CLUSTER, Product, Sections, running
from tests.faults.trial import QUICK
from tests.lab import Cluster, LabHost, Writer, faults

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(not shutil.which("arping"), reason="needs arping (Debian: iputils-arping)"),
    pytest.mark.skipif(not shutil.which("sudo"), reason="needs sudo"),
]
WRITE, READ = 100, 101


def sections(cluster: Cluster, **more: object) -> Sections:
    subnet = cluster.lab.network.subnet
    write = {"address": f"{subnet}.{WRITE}/24", "interface": "eth0", "sudo": True}
    interfaces = {node.name: "eth0" for node in cluster.nodes}
    read = {"address": f"{subnet}.{READ}/24", "interface": interfaces, "sudo": True, "role": "standby"}
    return {"endpoints": [{"vip": write}, {"name": "reads", "vip": read}], **more}


def holders(cluster: Cluster, number: int) -> list[str]:
    """On which hosts the address is, as they say themselves."""
    address = f"{cluster.lab.network.subnet}.{number}"
    return [
        n.name for n in cluster.nodes if address in n.run("ip", "-o", "-4", "addr", "show", "to", address)
    ]


@contextmanager
def let_by_sudo(cluster: Cluster, product: Product) -> Iterator[None]:
    """The printed lines in the hosts' own /etc/sudoers.d, and nothing else."""
    folder = cluster.lab.dir / f"sudoers-{time.monotonic_ns()}"
    folder.mkdir(mode=0o755)
    lines = folder / "pgvigil"
    lines.write_text(product.command("render", "sudoers", CLUSTER).stdout)
    lines.chmod(0o440)
    for node in cluster.nodes:
        node.run("mount", "--bind", str(folder), "/etc/sudoers.d", user="root")
    try:
        yield
    finally:
        for node in cluster.nodes:
            node.run("umount", "/etc/sudoers.d", user="root")
            for number in (WRITE, READ):
                if node.name in holders(cluster, number):
                    address = f"{cluster.lab.network.subnet}.{number}/24"
                    node.run("ip", "addr", "del", address, "dev", "eth0", user="root")


@contextmanager
def client(cluster: Cluster, number: int = WRITE) -> Iterator[Writer]:
    """Writes to the address, and knows no node."""
    words = cluster.lab.conninfo(cluster.nodes[0], "app").split()
    words[0] = f"host={cluster.lab.network.subnet}.{number}"
    with Writer({"vip": " ".join(words)}, netns=cluster.lab.network.controller) as writer:
        yield writer


def there(product: Product, number: int, node: LabHost) -> None:
    product.wait_for(
        lambda: holders(product.cluster, number) == [node.name], f".{number} is on {node.name} alone"
    )


# S2-16
def test_a_client_outside_follows_the_address_whatever_happens(trio: Cluster) -> None:
    product = Product(trio, sections(trio, **QUICK))
    product.prepare()
    first = trio.primary()
    denied = product.command("check", CLUSTER, check=False).stdout
    assert "may not change addresses" in denied
    with let_by_sudo(trio, product), running(product):
        there(product, WRITE, first)
        assert holders(trio, READ)[0] != first.name
        found = product.command("check", CLUSTER, check=False).stdout
        assert f"{trio.lab.network.subnet}.{WRITE}/24 is on {first.name}" in found
        assert "may not change addresses" not in found
        with client(trio) as writer:
            crashed = faults.kill_postgres(first)
            second = product.await_primary(other_than=first)
            after = writer.first_after(crashed.done, within_s=60)
            assert after.timeline > 1
            there(product, WRITE, second)
            product.await_healthy()

            product.switchover(first)
            writer.first_after(time.monotonic(), within_s=60)
            there(product, WRITE, first)
            product.await_healthy()

            product.kill()
            time.sleep(1)
            there(product, WRITE, first)
            writer.first_after(time.monotonic(), within_s=30)
            product.start()

            faults.link_down(first)
            third = product.await_primary(other_than=first)
            writer.first_after(time.monotonic(), within_s=60)
            assert sorted(holders(trio, WRITE)) == sorted([first.name, third.name])  # it cannot be told
            faults.link_up(first)
            there(product, WRITE, third)
            product.await_healthy()
            writer.first_after(time.monotonic(), within_s=60)
        moved = [event for event in product.events() if event["kind"] == "endpoint_moved"]
        assert any(f"taken from {first.name}" in event["text"] for event in moved)
        assert holders(trio, READ)[0] != third.name
