"""Sends one message by a program of its own, ended in time: neither its memory nor its trouble is ours."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from typing import Final

from pgvigil.model.notify import TargetSpec
from pgvigil.ports.notify.wording import Message

DELIVERY_S: Final = 40.0
"""All that one try gets: `url_command`, name service, connecting, sending."""
_KINDNESS: Final = "10"
"""Niceness: a message never competes with a recovery for a CPU."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of a message."""

    ok: bool
    service: str
    """As Apprise calls it; empty if the URL is none."""
    detail: str
    """Why it was not sent, without secrets."""
    took_s: float


async def send(target: TargetSpec, message: Message | None, within_s: float = DELIVERY_S) -> Sent:
    """Send it; without a message only look whether the URL is understood. Raises nothing."""
    order = {"source": target.source.value, "place": target.place}
    if message is not None:
        order |= {"title": message.title, "body": message.body, "mood": message.mood}
    begin = time.monotonic()
    try:
        output = await _run(json.dumps(order).encode(), within_s)
        answer = json.loads(output)
        ok, service, detail = bool(answer["ok"]), str(answer["service"]), str(answer["detail"])
    except TimeoutError:
        ok, service, detail = False, "", f"no answer within {within_s:g} s"
    except OSError as error:
        ok, service, detail = False, "", f"the sender cannot be started: {error.strerror}"
    except (ValueError, KeyError, TypeError):
        ok, service, detail = False, "", "the sender ended without an answer"
    return Sent(ok, service, detail, time.monotonic() - begin)


async def _run(order: bytes, within_s: float) -> bytes:
    """What the program answers. It ends with us, and all that it started. Raises OSError, TimeoutError."""
    program = await asyncio.create_subprocess_exec(
        "nice", "-n", _KINDNESS, sys.executable, "-P", "-m", "pgvigil.ports.notify.deliver",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        async with asyncio.timeout(within_s):
            output, _ = await program.communicate(order)
        return output
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        await program.wait()
