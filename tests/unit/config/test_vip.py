"""Virtual addresses in the configuration, and the lines of sudoers for them."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pgvigil.config.load import parse
from pgvigil.config.sudoers import sudoers
from pgvigil.errors import ConfigError
from pgvigil.model.endpoint import Vip, VipRole
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.units import NodeName


def cluster(endpoint: str, *, shell: str = "{via: ssh}", nodes: str = "{pg1: a, pg2: b}") -> ClusterSpec:
    text = f"clusters: {{orders: {{nodes: {nodes}, shell: {shell}, endpoints: [{endpoint}]}}}}"
    if not shell:
        text = text.replace(" shell: ,", "")
    return parse(text.encode(), Path("/etc/pgvigil.yaml"), {}).clusters[0]


def test_an_address_with_one_interface_for_all_nodes_or_one_each() -> None:
    (vip,) = cluster("{vip: {address: 10.0.0.100/24, interface: eth0}}").endpoints
    both = ((NodeName("pg1"), "eth0"), (NodeName("pg2"), "eth0"))
    assert vip == Vip("vip", "10.0.0.100/24", both, VipRole.PRIMARY, sudo=False)
    differing = "{pg2: ens3, pg1: eth0}"
    (vip,) = cluster(
        f"{{name: reads, vip: {{address: 10.0.0.101/24, interface: {differing}, role: standby, sudo: true}}}}"
    ).endpoints
    assert isinstance(vip, Vip)
    assert (vip.interface_of(NodeName("pg2")), vip.role, vip.sudo) == ("ens3", VipRole.STANDBY, True)
    assert vip.bare == "10.0.0.101"


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ("address: 10.0.0.100, interface: eth0", "must be an IPv4 address with its prefix length"),
        ("address: 10.0.0.1000/24, interface: eth0", "must be an IPv4 address with its prefix length"),
        ("address: 'fd00::1/64', interface: eth0", "must be an IPv4 address with its prefix length"),
        ("address: 10.0.0.100/24", "interface"),
        ("address: 10.0.0.100/24, interface: 'eth0; reboot'", "is no name of a network interface"),
        ("address: 10.0.0.100/24, interface: {pg1: eth0}", "names other nodes than there are: pg1, pg2"),
        ("address: 10.0.0.100/24, interface: eth0, role: replica", "role"),
    ],
)
def test_refused(keys: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        cluster(f"{{vip: {{{keys}}}}}")
    assert complaint in refused.value.detail


def test_an_address_needs_shells_and_hosts_of_their_own() -> None:
    vip = "{vip: {address: 10.0.0.100/24, interface: eth0}}"
    with pytest.raises(ConfigError, match="needs a shell on every node; there is none on pg1, pg2"):
        cluster(vip, shell="")
    with pytest.raises(ConfigError, match="several nodes are on a"):
        cluster(vip, nodes="{pg1: a, pg2: {host: a, port: 5433}}")


def test_sudoers_has_the_lines_of_addresses(tmp_path: Path) -> None:
    text = sudoers(cluster("{vip: {address: 10.0.0.100/24, interface: eth0, sudo: true}}"))
    of_a_node = text.split("# pg1")[1].split("# pg2")[0]
    assert re.findall("NOPASSWD: (.*)", of_a_node) == [
        "/usr/bin/ip addr add 10.0.0.100/24 dev eth0",
        "/usr/bin/ip addr del 10.0.0.100/24 dev eth0",
        "/usr/bin/arping -q -U -c 3 -I eth0 10.0.0.100",
    ]
    if visudo := shutil.which("visudo", path=f"{os.environ['PATH']}:/usr/sbin"):
        (tmp_path / "file").write_text(text)
        subprocess.run([visudo, "-cf", tmp_path / "file"], capture_output=True, timeout=30, check=True)
