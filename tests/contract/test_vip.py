"""The address as real `ip` sees it: hosts are shells, each in a network namespace of its own."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Awaitable, Callable

import pytest

from pgvigil.errors import ConfigError, StepFailed
from pgvigil.model.endpoint import Aim, Vip, VipRole
from pgvigil.model.shell import CommandShell
from pgvigil.model.units import Generation, NodeName
from pgvigil.ports.endpoints.vip import VipEndpoint
from pgvigil.ports.shell import make_shell

PG1, PG2, PG3 = map(NodeName, ("pg1", "pg2", "pg3"))
ADDRESS = "10.9.8.7/24"
WITHIN_S = 30.0


def namespaces() -> bool:
    """Whether we may make a network namespace, and have `ip`."""
    if os.getuid() or not all(map(shutil.which, ("unshare", "ip"))):
        return False
    return (
        subprocess.run(["unshare", "-n", "true"], capture_output=True, timeout=10, check=False).returncode
        == 0
    )


pytestmark = pytest.mark.skipif(not namespaces(), reason="needs root, network namespaces and iproute2")


class Hosts:
    """Three hosts with one interface each, as long as their shells are kept."""

    def __init__(self) -> None:
        self.shells = {
            node: make_shell(CommandShell(("unshare", "-n", "sh")), host="localhost")
            for node in (PG1, PG2, PG3)
        }

    async def plug(self) -> None:
        for shell in self.shells.values():
            line = "ip link add eth0 type veth peer name eth1 && ip link set eth0 up"
            assert not (await shell.ask(line, within_s=WITHIN_S)).status

    async def do(self, node: NodeName, line: str) -> str:
        return (await self.shells[node].ask(line, within_s=WITHIN_S)).text

    async def holders(self) -> list[NodeName]:
        return [node for node in self.shells if "10.9.8.7" in await self.do(node, "ip -o -4 addr")]

    def vip(
        self, role: VipRole = VipRole.PRIMARY, *, sudo: bool = False, interface: str = "eth0"
    ) -> VipEndpoint:
        interfaces = tuple((node, interface) for node in self.shells)
        return VipEndpoint(Vip("vip", ADDRESS, interfaces, role, sudo), self.shells)

    def close(self) -> None:
        for shell in self.shells.values():
            shell.close()


def aim(primary: NodeName | None, *standbys: NodeName) -> Aim:
    return Aim(Generation(1), primary, standbys)


async def until_all_answer(vip: VipEndpoint) -> None:
    """The first look of a machine under load may come too late for all to be asked."""
    async with asyncio.timeout(WITHIN_S):
        while "not asked" in await vip.look():
            continue


async def scene_of_the_primarys(hosts: Hosts) -> None:
    vip = hosts.vip()
    await until_all_answer(vip)
    assert await vip.move(aim(PG1, PG2, PG3)) == f"{ADDRESS} is on pg1"
    assert await vip.move(aim(PG1, PG3)) == ""
    assert await vip.move(aim(None)) == "taken from pg1"
    assert await hosts.holders() == []
    assert await vip.move(aim(PG2)) == f"{ADDRESS} is on pg2"
    await hosts.do(PG1, "ip addr add 10.9.8.7/32 dev eth0")  # by hand, or back from an isolation
    assert await vip.move(aim(PG2)) == "taken from pg1"
    assert await hosts.holders() == [PG2]
    await hosts.do(PG2, "ip addr flush dev eth0")
    assert await vip.move(aim(PG2)) == f"{ADDRESS} is on pg2"
    assert await vip.look() == f"{ADDRESS} is on pg2"
    assert await vip.move(aim(PG3)) == f"taken from pg2, {ADDRESS} is on pg3"


async def scene_of_a_standbys(hosts: Hosts) -> None:
    vip = hosts.vip(VipRole.STANDBY)
    await until_all_answer(vip)
    for wanted, place in (
        (aim(PG1, PG2, PG3), PG2),
        (aim(PG1, PG3, PG2), PG2),  # who has it and is fit keeps it
        (aim(PG1, PG3), PG3),
        (aim(PG3), PG3),  # no standby: the primary
        (aim(PG3, PG1), PG1),
    ):
        await vip.move(wanted)
        assert await hosts.holders() == [place], wanted
    await vip.move(aim(None))
    assert await hosts.holders() == []


async def scene_of_what_is_missing(hosts: Hosts) -> None:
    vip = hosts.vip(interface="eth7")
    await until_all_answer(hosts.vip())
    with pytest.raises(ConfigError, match="pg1: there is no such interface"):
        await vip.look()
    with pytest.raises(StepFailed, match="cannot be added on pg1") as refused:
        await vip.move(aim(PG1))
    assert refused.value.hint


# S2-16
@pytest.mark.parametrize(
    "scene",
    [scene_of_the_primarys, scene_of_a_standbys, scene_of_what_is_missing],
    ids=lambda scene: scene.__name__.removeprefix("scene_of_"),
)
def test_an_address(scene: Callable[[Hosts], Awaitable[None]]) -> None:
    async def play() -> None:
        hosts = Hosts()
        try:
            await hosts.plug()
            await scene(hosts)
        finally:
            hosts.close()

    asyncio.run(play())
