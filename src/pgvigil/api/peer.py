"""Who is at the other end of a Unix socket: the kernel's word for it (`SO_PEERCRED`, socket(7))."""

import asyncio
import pwd
import socket
import struct
from typing import Final

from pgvigil.controller.operations import Giver

CREDENTIALS: Final = struct.Struct("iII")
"""`struct ucred`: process, user, group."""
NAME_WITHIN_S: Final = 1.0
"""A directory service that is slower than this is not waited for: the number has to do."""


def user_name(uid: int) -> str:
    """The user in words. May ask a directory service: not for the controller's loop."""
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user #{uid}"


async def peer_of(writer: asyncio.StreamWriter) -> Giver:
    """Who has opened the connection, whatever it says of itself."""
    connection = writer.get_extra_info("socket")
    said = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    process, user, _ = CREDENTIALS.unpack(said)
    try:
        async with asyncio.timeout(NAME_WITHIN_S):
            name = await asyncio.to_thread(user_name, user)
    except TimeoutError:
        name = f"user #{user}"
    return Giver(name, f"socket, process {process}")
