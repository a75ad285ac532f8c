"""An address that moves between hosts: taken off every other one first, then added and announced. Verified.

`ip` of iproute2 does it over the nodes' shells; the address is in no file, so a host that boots has none. A
host that does not answer keeps what it has until it does: then it is taken off there. What tells the network
is a gratuitous ARP request, by `arping`, or by Python on the node where it runs as root (RFC 5227, 3).
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pgvigil.errors import ConfigError, StepFailed, Unreachable
from pgvigil.model.endpoint import Aim, Vip, VipRole
from pgvigil.model.units import NodeName
from pgvigil.ports.contract import Shell
from pgvigil.ports.host import quoted

LOOK_S: Final = 3.0
"""What asking a host takes at most; connecting to it may be a part of that."""
GRACE_S: Final = 0.5
"""A host that has not told by then whether it has the address is left for later."""
CHANGE_S: Final = 1.5
_GUIDE: Final = "docs/operate/vip.md"
_PYTHON: Final = """\
import socket,sys,struct,fcntl,time
d,a=sys.argv[1:3]
s=socket.socket(socket.AF_PACKET,socket.SOCK_RAW)
s.bind((d,0x806))
m=s.getsockname()[4]
i=socket.inet_aton(a)
for n in range(3):
 s.send(b"\\xff"*6+m+b"\\x08\\x06"+struct.pack("!HHBBH",1,0x800,6,4,1)+m+i+b"\\0"*6+i)
 time.sleep(0.5)
"""


@dataclass(frozen=True, slots=True)
class _Holder:
    """A host that has the address."""

    node: NodeName
    places: tuple[tuple[str, str], ...]
    """With which prefix length on which interfaces."""


class VipEndpoint:
    """An `Endpoint`."""

    def __init__(self, wanted: Vip, shells: Mapping[NodeName, Shell]) -> None:
        self.name = wanted.name
        self._wanted, self._shells = wanted, shells
        self._asked: dict[NodeName, asyncio.Task[tuple[tuple[str, str], ...] | None]] = {}
        self._sudo = "sudo -n " if wanted.sudo else ""

    async def look(self) -> str:
        """See `Endpoint`."""
        told = await asyncio.gather(*(self._rights(node) for node in self._shells))
        if wrong := [text for text in told if text]:
            raise ConfigError(
                f"{self._wanted.address} cannot be moved: {'; '.join(wrong)}", hint=f"see {_GUIDE}"
            )
        holders, silent = await self._holders()
        names = ", ".join(holder.node for holder in holders) or "nobody"
        unknown = f"; {', '.join(silent)} not asked" if silent else ""
        return f"{self._wanted.address} is on {names}{unknown}"

    async def hold(self) -> None:
        """An address has nobody wait."""

    async def move(self, aim: Aim) -> str:
        """See `Endpoint`. Off everybody else first; a host that does not answer does not stop it."""
        holders, _ = await self._holders()
        target = self._target(aim, holders)
        others = [holder for holder in holders if holder.node != target]
        done: list[str] = []
        failed: list[str] = []
        for holder, trouble in zip(
            others, await asyncio.gather(*(self._take(holder) for holder in others)), strict=True
        ):
            (failed if trouble else done).append(
                f"{holder.node} keeps it: {trouble}" if trouble else f"taken from {holder.node}"
            )
        if target is not None and (others or target not in {holder.node for holder in holders}):
            added = await self._give(target)  # where it was all the time it is announced anew
            if added:
                done.append(f"{self._wanted.address} is on {target}")
        if failed:
            raise StepFailed(
                f"{self._wanted.address} could not be taken off everybody else",
                detail="; ".join([*failed, *done]),
                hint=f"pgvigil check; rights: pgvigil render sudoers; see {_GUIDE}",
            )
        return ", ".join(done)

    def _target(self, aim: Aim, holders: list[_Holder]) -> NodeName | None:
        """Who is to have it. A standby that has it and is fit keeps it; without standbys the primary."""
        if self._wanted.role is VipRole.PRIMARY:
            return aim.primary
        having = [holder.node for holder in holders if holder.node in aim.standbys]
        return next(iter((*having, *aim.standbys)), aim.primary)

    async def _holders(self) -> tuple[list[_Holder], list[NodeName]]:
        """Who has it, and who did not answer in time: that one is still being asked when it is asked next."""
        for node in self._shells.keys() - self._asked.keys():
            self._asked[node] = asyncio.create_task(self._places(node))
        await asyncio.wait(self._asked.values(), timeout=GRACE_S)
        told = {node: self._asked.pop(node).result() for node in self._shells if self._asked[node].done()}
        holders = [_Holder(node, places) for node, places in told.items() if places]
        return holders, [node for node in self._shells if told.get(node) is None]

    async def _places(self, node: NodeName) -> tuple[tuple[str, str], ...] | None:
        """Where the host has the address; None: no answer."""
        bare = self._wanted.bare
        try:
            output = await self._shells[node].ask(f"ip -o -4 addr show to {bare}/32", within_s=LOOK_S)
        except Unreachable:
            return None
        lines = re.findall(
            rf"^\d+:\s+(\S+)\s+inet {re.escape(bare)}/(\d+)\b",
            output.out.decode(errors="replace"),
            re.MULTILINE,
        )
        return tuple((prefix, interface.partition("@")[0]) for interface, prefix in lines)

    async def _take(self, holder: _Holder) -> str:
        """Take it off a host; what went wrong, empty if it is off."""
        lines = [
            f"{self._sudo}ip addr del {self._wanted.bare}/{prefix} dev {quoted(interface)}"
            for prefix, interface in holder.places
        ]
        try:
            output = await self._shells[holder.node].ask("\n".join(lines), within_s=CHANGE_S)
        except Unreachable as lost:
            return str(lost)
        if await self._places(holder.node):
            return _complaint(output.complaint) or "it is still there"
        return ""

    async def _give(self, node: NodeName) -> bool:
        """Add it where it is not, see that it is there, and announce it. Raises PgvigilError."""
        interface = quoted(self._wanted.interface_of(node))
        before = await self._places(node)
        if not before:
            output = await self._shells[node].ask(
                f"{self._sudo}ip addr add {self._wanted.address} dev {interface}", within_s=CHANGE_S
            )
            if not await self._places(node):
                raise StepFailed(
                    f"{self._wanted.address} cannot be added on {node}",
                    detail=_complaint(output.complaint),
                    hint=f"pgvigil check; rights: pgvigil render sudoers; see {_GUIDE}",
                )
        await self._shells[node].ask(self._announcement(interface), within_s=CHANGE_S)
        return not before

    def _announcement(self, interface: str) -> str:
        """Three gratuitous ARP requests, in the background; the first at once."""
        bare = self._wanted.bare
        away = "</dev/null >/dev/null 2>&1 &"
        by_arping = f"{self._sudo}arping -q -U -c 3 -I {interface} {bare} {away}"
        by_python = f"{self._sudo}python3 -c {quoted(_PYTHON)} {interface} {bare} {away}"
        return f"if command -v arping >/dev/null; then {by_arping}\nelse {by_python}\nfi"

    def close(self) -> None:
        """See `Endpoint`."""
        for asking in self._asked.values():
            asking.cancel()
        self._asked.clear()
        for shell in self._shells.values():
            shell.close()

    def _may(self, interface: str) -> str:
        """A shell line that succeeds if the account may do all that is done; nothing is done."""
        if not self._wanted.sudo:
            return '[ "$(id -u)" = 0 ]'
        changes = [f"ip addr {verb} {self._wanted.address} dev {interface}" for verb in ("add", "del")]
        tell = f"arping -q -U -c 3 -I {interface} {self._wanted.bare}"
        asked = " && ".join(f"sudo -n -l {line}" for line in changes)
        return f"{asked} && {{ ! command -v arping || sudo -n -l {tell}; }}"

    async def _rights(self, node: NodeName) -> str:
        """What is missing on a host; empty: nothing, or it does not answer, which others tell."""
        interface = quoted(self._wanted.interface_of(node))
        script = (
            "command -v ip >/dev/null || echo ip\n"
            f"ip link show dev {interface} >/dev/null 2>&1 || echo interface\n"
            f"{{ {self._may(interface)}; }} >/dev/null 2>&1 || echo rights\n"
            "command -v arping >/dev/null || "
            + ("echo arping" if self._wanted.sudo else "command -v python3 >/dev/null || echo arping")
        )
        try:
            output = await self._shells[node].ask(script, within_s=LOOK_S)
        except Unreachable:
            return ""
        missing = output.out.decode(errors="replace").split()
        return f"{node}: {', '.join(_MISSING[word] for word in missing)}" if missing else ""


_MISSING: Final = {
    "ip": "there is no ip (Debian: iproute2)",
    "interface": "there is no such interface",
    "rights": "the shell's account may not change addresses (sudo: true, pgvigil render sudoers)",
    "arping": "there is no arping (Debian: iputils-arping), so neighbours keep the old place for a while",
}


def _complaint(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else ""
