"""What `contract.Pinger` promises, on loopback."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from pgvigil.ports import ping
from pgvigil.ports.ping import NetworkPinger, echo_request, split_target

if TYPE_CHECKING:
    from pgvigil.ports.contract import Pinger


def reaches(target: str, within_s: float = 5.0) -> bool:
    pinger: Pinger = NetworkPinger()
    return asyncio.run(pinger.reaches(target, within_s=within_s))


@pytest.mark.parametrize(
    ("target", "host", "port"),
    [
        ("10.0.0.1", "10.0.0.1", None),
        ("10.0.0.1:53", "10.0.0.1", 53),
        ("gateway", "gateway", None),
        ("gateway:443", "gateway", 443),
        ("fe80::1", "fe80::1", None),
        ("[fe80::1]", "fe80::1", None),
        ("[fe80::1]:53", "fe80::1", 53),
    ],
)
def test_targets_are_read(target: str, host: str, port: int | None) -> None:
    assert split_target(target) == (host, port)


def test_a_connect_or_a_refusal_reaches() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert reaches(f"127.0.0.1:{listener.getsockname()[1]}")
        assert reaches(f"localhost:{listener.getsockname()[1]}")
        assert reaches(f"127.0.0.1:{unused.getsockname()[1]}")


def test_no_connect_in_time_does_not_reach() -> None:
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for one in (first, second):
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        assert not reaches(f"127.0.0.1:{listener.getsockname()[1]}", 0.3)


@pytest.mark.parametrize(
    "target", ["no-such-host.invalid", "no-such-host.invalid:1", "127.0.0.1:99999", "", ":1"]
)
def test_what_is_no_target_is_not_reached(target: str) -> None:
    assert not reaches(target) or target in ("", ":1")  # an empty name is this host


def test_loopback_answers_an_echo() -> None:
    peer = ping._icmp_socket(socket.AF_INET)
    if peer is None:
        pytest.skip("no ICMP socket for this user")
    peer.close()
    assert reaches("127.0.0.1")
    assert reaches("localhost")


def test_without_icmp_sockets_the_program_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ping, "_icmp_socket", lambda _: None)
    asked: list[str] = []

    async def program(host: str) -> bool:
        asked.append(host)
        return True

    monkeypatch.setattr(ping, "_ping_program", program)
    assert reaches("127.0.0.1")
    assert asked == ["127.0.0.1"]


def test_the_checksum_of_an_echo_is_right() -> None:
    packet = echo_request(8, bytes(range(16)))
    total = sum(int.from_bytes(packet[i : i + 2]) for i in range(0, len(packet), 2))
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF
