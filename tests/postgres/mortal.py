"""A controller that dies: `python -m tests.postgres.mortal CONFIG POINT [VERB [WORD]]`: what it is asked.

The production controller, but SIGKILL hits the process at POINT: `saved:PHASE` (right after the record
with that phase is durable), `before:STEP`, `after:STEP` (a step's class name), or `never`. Of quorum mode:
`saved:sync_next` (a change of who commits wait for is on record), `saved:sync` (and that it is in force).
Saves and `SetSync` count from the second generation on: taking a cluster over is none of it. `amid:STEP` is
0.05 s after the step began. Of errands: `after:FUNCTION` (a name in `PARTS`), the first time that it ends.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pgvigil.act import engine
from pgvigil.api.socket_client import SocketOperations
from pgvigil.config.load import load
from pgvigil.controller import repairs
from pgvigil.controller.errands import change, drill, restart, writing
from pgvigil.controller.journal import Journal
from pgvigil.model.command import (
    Command,
    Drill,
    Maintenance,
    RestartServers,
    RollBackParameters,
    SetParameters,
    Switchover,
)
from pgvigil.model.record import ClusterRecord
from pgvigil.model.step import Act, SetSync
from pgvigil.model.units import Generation, NodeName
from pgvigil.wiring import run_controller

PARTS: Final[Mapping[str, Any]] = {
    "_tried_on_one": change,
    "_kept": change,
    "reload_server": writing,
    "_take": restart,
    "_leg": drill,
}
"""Functions of errands after which one may die, and the module in which it is looked up."""


def asked(verb: str, word: str) -> Command:
    """The command that the controller asks of itself."""
    match verb:
        case "switchover":
            return Switchover(NodeName(word))
        case "drill":
            return Drill(NodeName(word))
        case "restart":
            return RestartServers(in_place=word == "in_place")
        case "set":
            name, _, value = word.partition("=")
            return SetParameters({name: value}, "alice@host", restart=True)
        case "rollback":
            return RollBackParameters("alice@host", restart=True)
        case "maintenance":
            return Maintenance(NodeName(word), on=True)
        case _:
            raise ValueError(verb)


def arm(point: str) -> None:
    """Make the process die at the point."""
    kind, _, part = point.partition(":")
    if kind == "after" and part in PARTS:
        work = vars(PARTS[part])[part]

        async def mortal_part(*words: Any, **named: Any) -> Any:
            await work(*words, **named)
            die()

        vars(PARTS[part])[part] = mortal_part
    decided, synchronous, carry_out = Journal.decided, Journal.synchronous, engine.carry_out

    async def mortal_decided(self: Journal, act: Act, generation: Generation) -> ClusterRecord | None:
        saved = await decided(self, act, generation)
        if saved is not None and (
            point == f"{act.rule}_saved" or (saved.generation > 1 and point in saves(saved, act.rule))
        ):
            die()
        return saved

    def mortal_synchronous(self: Journal, record: ClusterRecord) -> None:
        synchronous(self, record)
        if record.generation > 1 and point == "saved:sync":
            die()

    async def mortal_carry_out(step: Any, bench: Any) -> Any:
        name = type(step).__name__
        if isinstance(step, SetSync) and step.generation == 1:
            return await carry_out(step, bench)
        if point == f"before:{name}":
            die()
        if point == f"amid:{name}":
            asyncio.get_running_loop().call_later(0.05, die)
        outcome = await carry_out(step, bench)
        if point == f"after:{name}":
            die()
        return outcome

    Journal.decided = mortal_decided  # type: ignore[method-assign]  # the point of this module
    Journal.synchronous = mortal_synchronous  # type: ignore[method-assign]  # likewise
    engine.carry_out = mortal_carry_out
    vars(repairs)["carry_out"] = mortal_carry_out


def saves(record: ClusterRecord, rule: str) -> set[str]:
    """The points that a save of this record is."""
    return {f"saved:{record.phase}"} | ({"saved:sync_next"} if rule == "sync_set" else set())


def die() -> None:
    """As `kill -9` from outside."""
    os.kill(os.getpid(), signal.SIGKILL)


async def main(config_file: str, point: str, verb: str = "", word: str = "") -> None:
    arm(point)
    config = load(Path(config_file))
    async with asyncio.TaskGroup() as group:
        group.create_task(run_controller(config, reread=lambda: config))
        if verb:
            client, name = SocketOperations(config.socket), config.clusters[0].name
            while not await healthy(client):  # noqa: ASYNC110  # another process, in effect
                await asyncio.sleep(0.05)
            command = asked(verb, word)
            outcome = await client.order(name, command, dry_run=False, within_s=30, progress=lambda _: None)
            sys.exit(f"still alive: {outcome}")


async def healthy(client: SocketOperations) -> bool:
    try:
        (status,) = await client.status(None)
    except Exception:  # noqa: BLE001  # not listening yet
        return False
    return bool(status["health"] == "ok" and status["generation"])


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
