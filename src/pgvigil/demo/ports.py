"""Ports for servers that are made here: no two processes that make servers take the same one."""

import atexit
import contextlib
import functools
import itertools
import socket
from collections.abc import Iterator

from pgvigil.errors import ConfigError

HOST = "127.0.0.1"
PORTS = range(20000, 32000)  # outgoing connections take those from 32768 on
SHARE = 500


def free_port() -> int:
    """A port of this process's share that nobody listens on; the same again only after all others."""
    share = _share()
    for port in itertools.islice(_turns(), len(share)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return port
    raise ConfigError("no free port", detail=f"{share.start} to {share.stop - 1} on {HOST} are taken")


@functools.cache
def _share() -> range:
    """A part of PORTS that is this process's until it ends, claimed by the name of a socket.

    A port is asked for a while before its server listens: meanwhile another process would find it free.
    """
    for first in range(PORTS.start, PORTS.stop, SHARE):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0pgvigil-ports-{first}")
        except OSError:
            claim.close()
        else:
            atexit.register(claim.close)
            return range(first, first + SHARE)
    raise ConfigError("no free port", detail=f"all of {PORTS.start} to {PORTS.stop - 1} are spoken for")


@functools.cache
def _turns() -> Iterator[int]:
    return itertools.cycle(_share())
