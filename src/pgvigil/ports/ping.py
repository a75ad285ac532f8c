"""The real `Pinger`: ICMP echo as far as the system lets us, or a TCP connect.

Tries an unprivileged ICMP socket (Linux: `net.ipv4.ping_group_range`), then a raw one (root), then the
`ping` program. Only asks; what the answers prove is for others to judge.
"""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable, Coroutine

ECHOES = 3
"""Echoes sent within the deadline: one lost packet is no answer about a network."""

_KINDS = {
    socket.AF_INET: (socket.IPPROTO_ICMP, 8, 0),
    socket.AF_INET6: (socket.IPPROTO_ICMPV6, 128, 129),
}
"""Family → protocol, type of an echo request, type of its reply (RFC 792, RFC 4443)."""

_Address = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]


class NetworkPinger:
    """A `contract.Pinger`. Keeps nothing between calls; cancelling leaves nothing behind."""

    async def reaches(self, target: str, *, within_s: float) -> bool:
        """Whether any address of `host` answers an echo, or of `host:port` a TCP connect.

        A refused connect is an answer too. IPv6 before a port stands in brackets. Never raises: a name
        that does not resolve, or a target that is none, is not reached.
        """
        host, port = split_target(target)
        if port is not None and port > 65535:
            return False
        try:
            async with asyncio.timeout(within_s):
                addresses = await _resolve(host, port)
                if port is not None:
                    return await _any(addresses, _connects)
                return await _any(addresses, lambda address: _echoes(address, host, within_s / ECHOES))
        except (OSError, ValueError):
            return False


def split_target(target: str) -> tuple[str, int | None]:
    """`host` or `host:port` apart; brackets around IPv6 taken off. A bare IPv6 address has no port."""
    if target.startswith("["):
        host, _, rest = target[1:].partition("]")
        return host, int(rest[1:]) if rest[:1] == ":" and rest[1:].isdecimal() else None
    host, _, port = target.partition(":")
    return (host, int(port)) if port.isdecimal() else (target, None)


async def _resolve(host: str, port: int | None) -> list[_Address]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(entry[0], entry[4]) for entry in found if entry[0] in _KINDS]


async def _any(addresses: list[_Address], asks: Callable[[_Address], Coroutine[None, None, bool]]) -> bool:
    """Whether one of all, asked at the same time, answers; the others are given up then."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(asks(address)) for address in addresses]
        for answer in asyncio.as_completed(tasks):
            if await answer:
                for task in tasks:
                    task.cancel()
                return True
    return False


async def _connects(address: _Address) -> bool:
    family, where = address
    with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as peer:
        peer.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(peer, where)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        return True


async def _echoes(address: _Address, host: str, pause_s: float) -> bool:
    """Ask until an echo comes; the caller has the deadline."""
    family, where = address
    peer = _icmp_socket(family)
    if peer is None:
        return await _ping_program(host)
    with contextlib.closing(peer):
        try:
            peer.connect((where[0], 0, *where[2:]))
            while True:
                if await _echo(peer, family, pause_s):
                    return True
        except OSError:
            return False


def _icmp_socket(family: socket.AddressFamily) -> socket.socket | None:
    protocol = _KINDS[family][0]
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        with contextlib.suppress(OSError):
            peer = socket.socket(family, kind, protocol)
            peer.setblocking(False)
            return peer
    return None


async def _echo(peer: socket.socket, family: socket.AddressFamily, within_s: float) -> bool:
    """One echo; False if it is not back in time. Raises OSError if the network says it cannot be."""
    loop = asyncio.get_running_loop()
    _, request, reply = _KINDS[family]
    token = os.urandom(16)
    await loop.sock_sendall(peer, echo_request(request, token))
    try:
        async with asyncio.timeout(within_s):
            while True:
                packet = await loop.sock_recv(peer, 2048)
                if packet[:1] and packet[0] >> 4 == 4 and family == socket.AF_INET:
                    packet = packet[(packet[0] & 15) * 4 :]  # a raw socket gives the IP header too
                if packet[:1] == bytes([reply]) and packet.endswith(token):
                    return True
    except TimeoutError:
        return False


def echo_request(kind: int, token: bytes) -> bytes:
    """An ICMP echo request. The checksum counts for IPv4 only: for IPv6 the kernel makes its own."""
    assert len(token) % 2 == 0
    identifier = os.getpid() & 0xFFFF
    packet = struct.pack("!BBHHH", kind, 0, 0, identifier, 1) + token
    total = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!BBHHH", kind, 0, ~total & 0xFFFF, identifier, 1) + token


async def _ping_program(host: str) -> bool:
    """Ask the `ping` program; killed with us."""
    if host.startswith("-"):
        return False
    quiet = asyncio.subprocess.DEVNULL
    try:
        program = await asyncio.create_subprocess_exec(
            "ping", "-n", "-c", "1", host, stdin=quiet, stdout=quiet, stderr=quiet
        )
    except OSError:
        return False
    try:
        return await program.wait() == 0
    finally:
        if program.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                program.kill()
            await program.wait()


def own_address(host: str) -> str:
    """The address of ours from which that host would be reached; empty: none. Sends nothing."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)  # of UDP: only chooses the way
            return str(probe.getsockname()[0])
    except OSError:
        return ""
