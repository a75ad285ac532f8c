"""Making sure that an old primary acknowledges nothing more, through its host."""

from typing import Final

from pgvigil.act import service
from pgvigil.act.bench import Bench, Confirmed, Place
from pgvigil.errors import StepFailed, Unreachable, WorldChanged
from pgvigil.model.sighting import Postmaster
from pgvigil.model.step import ClearSignal, Fence, FenceByCommand, Stop, StopMode
from pgvigil.ports.host import quoted

NOT_BY_US_S: Final = 24 * 3600.0
"""A clean stop must stay clean: the step's own deadline ends the waiting, not a kill."""


async def confirm_fence(step: Fence | FenceByCommand, bench: Bench) -> None:
    """The record is still of that generation, and names another primary or is about to.

    Raises WorldChanged.
    """
    bench.still(step.generation)


async def fence(confirmed: Confirmed[Fence], bench: Bench) -> dict[str, str]:
    """Stop the server, prove that no process of it lives, and let it return only as a standby.

    `standby.signal` is written first: whoever starts the server from now on gets a standby. A hung
    server's processes are killed, all of them: one that is merely stopped could acknowledge when it is
    continued. Idempotent. Raises StepFailed if the host does not answer or a process survives.
    """
    step = confirmed.step
    place = bench.place(step.node)
    await place.must(signal_line(place), "writing standby.signal", within_s=3.0)
    host = await service.stop(place, step.mode)
    return {"postmaster": host.postmaster.value}


async def fence_by_command(confirmed: Confirmed[FenceByCommand], bench: Bench) -> dict[str, str]:
    """Run the user's fence command here; only exit code 0 proves that the host is off.

    NODE and HOST are set. Cancelled or too late: ended with all it started. Raises StepFailed.
    """
    step, fencing = confirmed.step, bench.spec.fencing
    spec = bench.spec.node(step.node)
    exports = f"NODE={quoted(spec.name)}; HOST={quoted(spec.host)}; export NODE HOST; "
    try:
        output = await bench.own_shell.run(
            exports + fencing.command, within_s=fencing.command_timeout.total_seconds()
        )
    except Unreachable as lost:
        raise StepFailed("the fence command did not end in time", detail=str(lost)) from lost
    if output.status:
        detail = output.complaint or f"exit status {output.status}"
        raise StepFailed(f"the fence command did not fence {step.node}", detail=detail)
    return {}


async def confirm_clear(step: ClearSignal, bench: Bench) -> None:
    """It serves as primary. Raises WorldChanged."""
    bench.still(step.generation)
    if await bench.in_recovery(step.node):
        raise WorldChanged(f"{step.node} is in recovery")


async def clear_signal(confirmed: Confirmed[ClearSignal], bench: Bench) -> dict[str, str]:
    """Remove the file, so that the primary's next restart finds a primary. Idempotent."""
    place = bench.place(confirmed.step.node)
    line = f"rm -f {quoted(place.data_dir)}/standby.signal"
    await place.must(line, "removing standby.signal", within_s=3.0)
    return {}


def signal_line(place: Place) -> str:
    """The line that durably makes this a standby's data directory."""
    data = quoted(place.data_dir)
    return (
        f"[ -f {data}/PG_VERSION ] && : > {data}/standby.signal && "
        f"sync {data}/standby.signal {data} 2>/dev/null; [ -f {data}/standby.signal ]"
    )


async def confirm_stop(step: Stop, bench: Bench) -> None:
    """It still runs, and as primary as far as it still answers. Raises WorldChanged or StepFailed."""
    bench.still(step.generation)
    if step.mode is StopMode.FAST and await bench.in_recovery(step.node):
        raise WorldChanged(f"{step.node} is in recovery")
    host = await bench.place(step.node).look()
    if host.postmaster not in (Postmaster.RUNNING, Postmaster.FROZEN):
        raise WorldChanged(f"{step.node}'s host says its postmaster is {host.postmaster}")


async def stop_primary(confirmed: Confirmed[Stop], bench: Bench) -> dict[str, str]:
    """Stop the primary for a switchover: its sessions end, its last WAL is sent. No `standby.signal` yet.

    A fast stop is not escalated here: one that takes too long is decided about anew. Raises StepFailed then.
    """
    step = confirmed.step
    kill_after_s = NOT_BY_US_S if step.mode is StopMode.FAST else None
    host = await service.stop(bench.place(step.node), step.mode, kill_after_s=kill_after_s)
    return {"postmaster": host.postmaster.value}
