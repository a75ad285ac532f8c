"""Taking a node out of its cluster for good: what `node drop` does on the nodes themselves.

A primary is never touched: right before each effect the node is asked again. Every part can be repeated.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from pgvigil.act import service
from pgvigil.act.bench import Bench, Place
from pgvigil.act.settings import set_running
from pgvigil.errors import PgvigilError, StepFailed, Unsafe
from pgvigil.model.sighting import Postmaster
from pgvigil.model.spec import slot_name
from pgvigil.model.step import StopMode
from pgvigil.model.units import NodeName
from pgvigil.ports.contract import QueryFailed
from pgvigil.ports.host import quoted

RELEASE_TRIES: Final = 100
"""Times 0.05 s: a standby that was told to go without its slot reconnects within seconds."""
MOVE_S: Final = 60.0
_ASIDE: Final = """
D=$(readlink -f {data}) || D={data}
A=$D.pgvigil-dropped-{stamp}
if [ -n "$(ls -A "$D" 2>/dev/null)" ]; then
  [ -f "$D/PG_VERSION" ] || {{ echo "$D is no data directory" >&2; exit 1; }}
  mv "$D" "$A" && rm -f "$D.pgvigil-made" || exit 1
else
  A=; for a in "$D".pgvigil-dropped-*; do [ ! -e "$a" ] || A=$a; done
fi
if [ -n "$A" ]; then echo "lies in $A"; elif [ -e "$D" ]; then echo "was empty"; else echo "was not there"; fi
for l in "$A"/pg_tblspc/*; do [ ! -L "$l" ] || echo "outside tablespace $(readlink -f "$l")"; done
[ ! -L "$A/pg_wal" ] || echo "outside WAL $(readlink -f "$A/pg_wal")"
for f in "$D.pgvigil-new" "$D".pgvigil-old-*; do [ ! -e "$f" ] || echo "outside copy $f"; done
"""
"""What an earlier, interrupted drop moved is found again. Links of tablespaces and WAL stay as they are."""


@dataclass(frozen=True, slots=True)
class Aside:
    """What became of a data directory."""

    data: str
    """`lies in …`, `was empty` or `was not there`."""
    outside: tuple[str, ...]
    """What belongs to it and stays elsewhere: `tablespace …`, `WAL …`, `copy …`, `configuration …`."""

    def __str__(self) -> str:
        stays = f"; outside of it, untouched: {', '.join(self.outside)}" if self.outside else ""
        return f"its data {self.data}{stays}"


async def retire(bench: Bench, name: NodeName, *, destroy: bool) -> None:
    """Let the standby go without its slot; with `destroy` stop it.

    Raises Unsafe if it is, or may be, a running primary; StepFailed.
    """
    recovering = await never_a_primary(bench, name)
    if destroy:
        await _stop(bench, name)
    elif recovering and bench.spec.replication.slots:
        async with bench.extra_session(name) as extra:
            await set_running(extra, name, {"primary_slot_name": ""})
        bench.report(name, "streams on without a slot, and nobody watches it")


async def drop_slots(bench: Bench, name: NodeName) -> None:
    """Drop the node's physical slot on every other node that answers; what stays is reported."""
    for other in bench.spec.others(name):
        try:
            dropped = await _drop_slot(bench, name, other.name)
        except (PgvigilError, QueryFailed) as failed:
            bench.report(name, f"its slot on {other.name} could not be looked after: {failed}")
        else:
            if dropped:
                bench.report(name, f"its slot on {other.name} is dropped")


async def move_aside(bench: Bench, name: NodeName, *, stamp: str) -> Aside:
    """Rename the stopped server's data directory; returns where it lies. Raises StepFailed, Unsafe.

    What lies elsewhere is named and left: a tablespace may be a disk of its own, and with its links whole the
    directory can be started again.
    """
    await never_a_primary(bench, name)
    place = bench.place(name)
    await _must_be_down(place)
    script = _ASIDE.format(data=quoted(place.data_dir), stamp=stamp)
    output = await place.run(script, within_s=MOVE_S)
    if output.status:
        raise StepFailed(
            f"the data directory of {name} could not be moved aside",
            detail=output.complaint,
            hint=f"it is stopped; {place.data_dir} is as it was",
        )
    lies, *more = output.text.splitlines()
    outside = [line.removeprefix("outside ") for line in more]
    if place.config_outside:
        outside.append(f"configuration {place.config_file}")
    return Aside(lies, tuple(outside))


async def never_a_primary(bench: Bench, name: NodeName) -> bool:
    """Whether the node answers, in recovery. Raises Unsafe if it is, or may be, a running primary."""
    hint = f"a running primary is never dropped: pgvigil switchover {bench.spec.name}, or stop it by hand"
    try:
        async with bench.extra_session(name, within_s=3.0) as extra:
            if await extra.in_recovery(name):
                return True
            raise Unsafe(f"{name} takes writes", hint=hint)
    except StepFailed as silent:
        if bench.nodes[name].shell is None:
            return False
        try:
            host = await bench.place(name).look()
        except StepFailed:
            return False  # neither answers: the record says that it is not the primary
        if host.postmaster in (Postmaster.RUNNING, Postmaster.FROZEN) and not host.standby_signal:
            raise Unsafe(f"{name} runs and may be a primary", detail=str(silent), hint=hint) from silent
        return False


async def _stop(bench: Bench, name: NodeName) -> None:
    place = bench.place(name)
    bench.report(name, "is being stopped")
    await service.stop(place, StopMode.FAST)
    if line := service.supervisor_stop(place):
        await place.run(f"{line} </dev/null", within_s=60.0)
    await _must_be_down(place)
    bench.report(name, "is stopped")


async def _must_be_down(place: Place) -> None:
    host = await place.look()
    if host.postmaster not in (Postmaster.CRASHED, Postmaster.STOPPED) or host.strays:
        raise StepFailed(f"{place.spec.name} does not stay down", detail=f"left: {host.pid} {host.strays}")


async def _drop_slot(bench: Bench, name: NodeName, other: NodeName) -> bool:
    """False: there was none. One that is in use is freed by ending the sender that holds it."""
    find = "select active_pid from pg_replication_slots where slot_name = $1 and slot_type = 'physical'"
    slot = (slot_name(name),)
    async with bench.extra_session(other, within_s=3.0) as extra:
        for turn in range(RELEASE_TRIES):
            rows = await extra.sql(other, find, slot)
            if not rows:
                return False
            if rows[0]["active_pid"] is None:
                await extra.sql(other, "select pg_drop_replication_slot($1)", slot)
                return True
            if turn == RELEASE_TRIES // 2:
                pid = rows[0]["active_pid"]
                await extra.sql(other, "select pg_terminate_backend($1::int)", (pid,))
            await asyncio.sleep(0.05)
    raise StepFailed(f"slot {slot_name(name)} stays in use on {other}", hint="drop it by hand there")
