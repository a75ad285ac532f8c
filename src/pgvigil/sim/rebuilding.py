"""Rebuilding a standby in the simulation: the effect of `act.rebuild`, one simulated line in place of many.

It has the same confirm, stop, settings, start and waiting for the stream as the product. What start, rewind
and clone need and do to a data directory, how long that takes and what is left when it is broken off, is
`bring_back`: it knows the truth about histories, so `act.divergence` is not tried here.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, cast

from pgvigil.act import engine, service
from pgvigil.act.bench import Bench, Confirmed
from pgvigil.act.fence import signal_line
from pgvigil.act.rebuild import confirm_rebuild
from pgvigil.act.replication import ensure_slot
from pgvigil.act.settings import upstream_settings, write
from pgvigil.act.site import mark, unmark
from pgvigil.errors import StepFailed, WorldChanged
from pgvigil.model.sighting import Postmaster, Standby
from pgvigil.model.step import Rebuild, StopMode
from pgvigil.ports.contract import Output
from pgvigil.sight import probe

if TYPE_CHECKING:
    import re
    from collections.abc import Callable

    from pgvigil.sim.scripts import Job
    from pgvigil.sim.server import Server

LINE: Final = "simulated: make this a standby of {}:{} by {}"
JOB_S: Final = 3600.0
STALL_S: Final = 10.0


@contextlib.contextmanager
def simulated() -> Iterator[None]:
    """As long as the context lasts, the product's rebuild is the one below."""
    table = cast("dict[type[Any], engine.Effect]", engine.EFFECTS)
    real = table[Rebuild]
    table[Rebuild] = engine.Effect(confirm_rebuild, rebuild, real.within_s)
    try:
        yield
    finally:
        table[Rebuild] = real


async def rebuild(confirmed: Confirmed[Rebuild], bench: Bench) -> dict[str, str | int | float | None]:
    """As `act.rebuild.rebuild`: on return the node streams. Raises StepFailed or WorldChanged."""
    step = confirmed.step
    place, upstream = bench.place(step.node), bench.spec.node(step.upstream)
    host = await place.look()
    if host.postmaster is Postmaster.RUNNING and not host.marker:
        await mark(place, "start")
    await service.stop(place, StopMode.FAST)
    await confirm_rebuild(step, bench)
    line = LINE.format(upstream.host, upstream.port, step.method.value)
    output = await place.run(line, within_s=JOB_S)
    if output.status:
        raise StepFailed(f"{step.node} cannot be brought back", detail=output.complaint)
    await ensure_slot(bench, step.node, step.upstream)
    await write(place, dict(upstream_settings(bench.spec, step.node, step.upstream)))
    await place.must(signal_line(place), "writing standby.signal", within_s=5.0)
    bench.still(step.generation)
    await service.start(bench, step.node)
    await _streams(step, bench)
    await unmark(place)
    return {"method": output.text}


async def _streams(step: Rebuild, bench: Bench) -> None:
    until = bench.clock.now() + STALL_S
    async with bench.extra_session(step.node) as extra:
        while bench.clock.now() < until:
            (row,) = await extra.sql(step.node, probe.PROBE)
            role = probe.read_role(row)
            if not isinstance(role, Standby):
                raise WorldChanged(f"{step.node} came up as a primary")
            if role.receiver is not None:
                return
            await asyncio.sleep(0.05)
    raise StepFailed(f"{step.node} was started but does not stream from {step.upstream}")


def bring_back(job: "Job", match: "re.Match[str]", reply: "Callable[[Output], None]") -> None:
    """The mildest way that works: nothing, a rewind, or a clone; it takes its time, and may be broken off."""
    server, world = job.server, job.host.world
    above = world.by_address[match[1], int(match[2])]
    if server.up:
        reply(Output(1, err=b"it runs"))
        return
    if not _reaches(server, above):
        reply(Output(1, err=b"could not connect to the upstream"))
        return
    data = server.data
    usable = data.marker in ("", "start")
    if usable and data.within(above.data) and data.end >= above.data.oldest:
        reply(Output(0, b"start"))
        return
    world.rules.overwrites(server, above)
    method = "rewind" if usable and _can_rewind(server, above) else "clone"
    world.say(server.name, f"{method} from {above.name} begins")
    data.marker = method if usable else data.marker
    takes_s = world.rng.uniform(1.0, 8.0) if method == "rewind" else world.rng.uniform(4.0, 30.0)
    world.loop.call_later(takes_s, _ends, job, above, method, reply)


def _ends(job: "Job", above: "Server", method: str, reply: "Callable[[Output], None]") -> None:
    server, world = job.server, job.host.world
    if job.ended or not job.host.alive:
        world.say(server.name, f"{method} was broken off")
        return
    if server.up or not _reaches(server, above):
        reply(Output(1, err=b"the upstream was lost half-way"))
        return
    data = server.data
    data.wal, data.carried = list(above.data.wal), []
    data.checkpoint, data.checkpoint_timeline = above.data.checkpoint, above.data.checkpoint_timeline
    data.marker, data.state, data.min_timeline = "start", "in archive recovery", above.data.timeline
    data.standby_signal, data.slots, data.oldest = True, {}, above.data.oldest
    world.say(server.name, f"{method} from {above.name} ends")
    reply(Output(0, method.encode()))


def _can_rewind(server: "Server", above: "Server") -> bool:
    """pg_rewind reads both WALs from the last common checkpoint on: neither may have been recycled so far."""
    data = server.data
    fork = data.wal[data.common(above.data) - 1].end
    return not data.within(above.data) and max(data.oldest, above.data.oldest) <= fork


def _reaches(server: "Server", above: "Server") -> bool:
    linked = server.world.network.both(server.host.name, above.host.name)
    return linked and above.takes_writes
