"""Whether a server can be reached from this host: by TCP, or by an answer of PostgreSQL without a login."""

import asyncio
from typing import Final

from pgvigil.model.vantage import Reach

SSL_REQUEST: Final = bytes([0, 0, 0, 8, 4, 210, 22, 47])
"""Every running PostgreSQL answers it with one byte (manual 55.2.11)."""


async def reach_from_here(host: str, port: int, *, wait_s: float, speak: bool) -> Reach:
    """What comes of one attempt; without `speak` a TCP connect is enough, which no server logs."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(wait_s):
            reader, writer = await asyncio.open_connection(host, port)
            if speak:
                writer.write(SSL_REQUEST)
                await reader.readexactly(1)
            return Reach.ANSWERS
    except ConnectionRefusedError:
        return Reach.REFUSED
    except (OSError, asyncio.IncompleteReadError):  # TimeoutError is an OSError
        return Reach.NO_REPLY
    finally:
        if writer is not None:
            writer.close()
