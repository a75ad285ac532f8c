"""The service's signals: SIGTERM and SIGINT stop it in good order, SIGHUP reads the configuration again."""

import asyncio
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import structlog

from pgvigil.api.socket_client import SocketOperations
from pgvigil.errors import PgvigilError

log = structlog.get_logger()


async def until_stopped(work: Coroutine[Any, Any, None], path: Path) -> None:
    """Do the controller's work until it ends or a signal cancels it. `path`: its own socket, asked to reload.

    What the work raises comes as an exception group.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work, name="controller")

        def stop(number: signal.Signals) -> None:
            log.info("stopping", signal=number.name)
            task.cancel()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop, number)
        loop.add_signal_handler(signal.SIGHUP, lambda: group.create_task(_reload(path), name="reload"))
        try:
            await asyncio.wait({task})
        finally:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(number)


async def _reload(path: Path) -> None:
    """Ask as an operator would: a wrong file is told, and the old configuration stays."""
    try:
        log.info("reloaded", changes=await SocketOperations(path).reload())
    except PgvigilError as error:
        log.error("not_reloaded", what=error.what, detail=error.detail, hint=error.hint)
