"""WAL rescue: carries what a dead primary could not send any more to the node that replaces it.

The candidate replays everything it finds in `pg_wal` before it takes writes, so the tail of the old
primary's WAL, put where the candidate would have written it, saves every committed transaction
(SAFETY §4.4). Only the same timeline, only from the candidate's position on, within bounds.
"""

import asyncio
import gzip
import re
from dataclasses import dataclass
from typing import Final

from pgvigil.act import service
from pgvigil.act.bench import Bench, Confirmed, Place, host_was_lost
from pgvigil.errors import StepFailed, WorldChanged
from pgvigil.model.sighting import ControlFile, HostAnswer, Postmaster
from pgvigil.model.step import Rescue, StopMode
from pgvigil.model.units import SEGMENT_BYTES, Lsn, Timeline, setting_amount
from pgvigil.ports.host import program, quoted

PAGE: Final = 8192
LIST_S: Final = 2.0
ONE_SHARE: Final = 0.6
"""Of `rescue.timeout` for one command: what is left is for another try, if the host was lost meanwhile."""
AGAIN_S: Final = 0.2
_POSITIONS: Final = """
select pg_last_wal_receive_lsn() as received, pg_last_wal_replay_lsn() as replayed,
  current_setting('wal_segment_size') as segment,
  (select system_identifier from pg_control_system()) as system_id
"""
_COMMIT: Final = re.compile(r"lsn: ([0-9A-F]+/[0-9A-F]+),.*desc: COMMIT")
_WHERE: Final = re.compile(r"(?: at |LSN )([0-9A-F]+/[0-9A-F]+)")
"""Where reading failed; other positions in the message are what was found there or expected."""
_ERROR: Final = re.compile(r"error in WAL record at ([0-9A-F]+/[0-9A-F]+): (.*)")


@dataclass(frozen=True, slots=True)
class Tail:
    """Valid WAL on the old primary beyond what the candidate has."""

    start: Lsn
    end: Lsn
    commits: int


async def confirm_rescue(step: Rescue, bench: Bench) -> None:
    """The old primary is down, or somebody started it as a standby; the candidate is in recovery.

    Raises WorldChanged or StepFailed.
    """
    bench.still(step.generation)
    host = await bench.place(step.source).look()
    if not _is_down(host) and not host.standby_signal:
        raise WorldChanged(f"{step.source} runs")
    if not await bench.in_recovery(step.target):
        raise WorldChanged(f"{step.target} is no standby any more")


async def rescue(confirmed: Confirmed[Rescue], bench: Bench) -> dict[str, str | int]:
    """Carry the tail over; returns bytes and commits. Nothing to carry is a success with 0.

    Every segment is written under another name and renamed, so an interrupted rescue leaves the
    candidate as it was. A host that was lost for a moment is asked once more (seed 4001334). Raises
    StepFailed beyond `rescue.max`, after `rescue.timeout`, or when anything does not fit.
    """
    limit = bench.spec.failover.rescue_timeout.total_seconds()
    try:
        async with asyncio.timeout(limit):
            try:
                return await _rescue(confirmed.step, bench)
            except StepFailed as failed:
                if not host_was_lost(failed):
                    raise
            await asyncio.sleep(AGAIN_S)
            await confirm_rescue(confirmed.step, bench)
            return await _rescue(confirmed.step, bench)
    except TimeoutError as late:
        said = f"failover.rescue.timeout: {limit:g} s"
        raise StepFailed(f"no WAL was carried over from {confirmed.step.source}", detail=said) from late


async def _rescue(step: Rescue, bench: Bench) -> dict[str, str | int]:
    source, target = bench.place(step.source), bench.place(step.target)
    host = await source.look()
    if not _is_down(host):
        host = await service.stop(source, StopMode.FAST)  # its WAL is read when nobody writes it
    (row,) = await bench.sql(step.target, _POSITIONS)
    segment = int(setting_amount(row["segment"] or "") or SEGMENT_BYTES)
    have = max((Lsn.parse(t) for t in (row["received"], row["replayed"]) if t), default=Lsn(0))
    replayed = Lsn.parse(row["replayed"] or "0/0")
    _same_history(step, host.control, row["system_id"])
    limit = ONE_SHARE * bench.spec.failover.rescue_timeout.total_seconds()
    tail = await _find_tail(source, step, replayed, have, segment, limit)
    size = tail.end - tail.start
    if size <= 0:
        return {"bytes": 0, "commits": 0, "from": str(have), "to": str(tail.end)}
    if size > bench.spec.failover.rescue_max_bytes:
        raise StepFailed(f"{size} bytes of WAL on {step.source} are more than failover.rescue.max")
    for first in range(tail.start // segment * segment, tail.end, segment):
        begin, end = max(first, tail.start), min(first + segment, tail.end)
        await _carry(
            source,
            target,
            Lsn(begin).segment(step.timeline, segment),
            begin - first,
            end - first,
            segment,
            limit,
        )
    await target.must(f"sync {quoted(target.data_dir)}/pg_wal", "syncing pg_wal", within_s=limit)
    return {"bytes": tail.end - have, "commits": tail.commits, "from": str(have), "to": str(tail.end)}


def _is_down(host: HostAnswer) -> bool:
    return host.postmaster in (Postmaster.CRASHED, Postmaster.STOPPED) and not host.strays


async def _find_tail(
    source: Place, step: Rescue, replayed: Lsn, have: Lsn, segment: int, limit: float
) -> Tail:
    """Where the old primary's valid WAL ends, and how many commits lie beyond `have`.

    Read from the candidate's replay position: that is the end of a record, the receive position need not
    be. pg_waldump waits 5 s for a segment that is not there: it is told where the last one ends.
    """
    listing = await source.must(
        f"ls {quoted(source.data_dir)}/pg_wal", "listing pg_wal", within_s=min(limit, LIST_S)
    )
    stop = _end_of_segments(frozenset(listing.text.split()), step.timeline, replayed, segment)
    if stop <= have:
        return Tail(have, have, 0)
    dump = (
        f"cd {quoted(source.data_dir)} && LC_ALL=C {program(source.bin_dir, 'pg_waldump')} -p pg_wal "
        f"-t {step.timeline} -s {replayed} -e {stop} 2>&1 | grep -E 'desc: COMMIT|error'"
    )
    output = await source.ask(dump, within_s=limit)
    if "could not find a valid record after" in output.text:
        return Tail(have, have, 0)
    error = _ERROR.search(output.text)
    if error is None and "error" in output.text:
        raise StepFailed(f"the end of WAL on {step.source} was not found", detail=output.text[-300:])
    found = _WHERE.findall(error[2]) if error else []
    end = Lsn.parse(found[-1]) if found else stop
    if end <= have:
        return Tail(end, end, 0)
    commits = [Lsn.parse(at) for at in _COMMIT.findall(output.text)]
    return Tail(Lsn(have // PAGE * PAGE), end, sum(at >= have for at in commits))


def _end_of_segments(names: frozenset[str], timeline: Timeline, begin: Lsn, segment: int) -> Lsn:
    """Where the unbroken row of segments that holds `begin` ends; `begin` itself if there is none."""
    end = begin
    while end.segment(timeline, segment) in names:
        end = Lsn((end // segment + 1) * segment)
    return end


async def _carry(
    source: Place, target: Place, name: str, begin: int, end: int, segment: int, limit: float
) -> None:
    """One segment: the candidate's own beginning, the old primary's bytes from `begin` to `end`."""
    first, pages = begin // PAGE, -(-(end - begin) // PAGE)
    file = f"{quoted(source.data_dir)}/pg_wal/{name}"
    read = f"dd if={file} bs={PAGE} skip={first} count={pages} 2>/dev/null | gzip -1"
    packed = await source.run(read, within_s=limit)
    data = gzip.decompress(packed.out)[: end - begin] if packed.out else b""
    if len(data) != end - begin:
        raise StepFailed(f"segment {name} on {source.spec.name} is too short")
    wal = f"{target.data_dir}/pg_wal"
    write = (
        f"cd {quoted(wal)} && t={name}.pgvigil && rm -f $t && "
        f"{{ [ ! -f {name} ] || head -c {begin} {name} > $t; }} && "
        f"gzip -dc >> $t && truncate -s {segment} $t && chmod 600 $t && sync $t && mv -f $t {name}"
    )
    output = await target.run(write, stdin=gzip.compress(data, 1), within_s=limit)
    if output.status:
        raise StepFailed(
            f"segment {name} could not be written on {target.spec.name}", detail=output.complaint
        )


def _same_history(step: Rescue, control: ControlFile | None, system_id: str | None) -> None:
    if control is None:
        raise StepFailed(f"{step.source} has no readable control file")
    if control.system_id != system_id:
        raise StepFailed(f"{step.source} belongs to another cluster (system identifier {control.system_id})")
    if control.timeline != step.timeline:
        raise StepFailed(f"{step.source} is on timeline {control.timeline}, not {step.timeline}")
