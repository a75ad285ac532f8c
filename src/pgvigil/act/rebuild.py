"""Making a node a streaming standby again: just start it, else rewind it, else clone it (SAFETY §5).

Never over the only copy: the upstream must serve as primary of this generation, the node must be down or
in recovery, and both must be of one system. A repeat after a kill at any point comes to the same end.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from pgvigil.act import divergence, service
from pgvigil.act.base_backup import CloneFailed
from pgvigil.act.bench import Bench, Confirmed, host_was_lost
from pgvigil.act.clone import clone, remove_leftovers
from pgvigil.act.fence import signal_line
from pgvigil.act.rewind import RewindFailed, rewind
from pgvigil.act.settings import application_name, upstream_settings, write
from pgvigil.act.site import (
    STAMP,
    Site,
    mark,
    open_site,
    own_slot,
    read_source,
    unmark,
    upstream_serves,
)
from pgvigil.errors import StepFailed, Unreachable, WorldChanged
from pgvigil.model.sighting import HostAnswer, Postmaster
from pgvigil.model.spec import slot_name
from pgvigil.model.step import Rebuild, RebuildMethod, StopMode
from pgvigil.model.units import NodeName
from pgvigil.ports.contract import QueryFailed
from pgvigil.ports.host import MARKER, program, quoted

Facts = dict[str, str | int | float | None]

STALL_S: Final = 10.0
"""Two of a WAL receiver's tries (`wal_retrieve_retry_interval`): a standby that was let in and for so long
neither streams nor replays does not get on."""
POLL_S: Final = 0.02
SUPERVISOR_S: Final = 60.0
DUMP_S: Final = 60.0
UNUSABLE: Final = frozenset({"rewind", "clone"})
_STREAM: Final = (
    "select pg_is_in_recovery() as recovering, pg_last_wal_replay_lsn() as replayed, "
    "w.status, w.received_tli as timeline, w.flushed_lsn > w.receive_start_lsn as receiving "
    "from pg_stat_get_wal_receiver() w"
)
_SENDS: Final = "select 1 as one from pg_stat_replication where application_name = $1 and state = 'streaming'"


class StartFailed(StepFailed):
    """The node runs or not, but it does not stream as it is."""


async def confirm_rebuild(step: Rebuild, bench: Bench) -> None:
    """The upstream is the serving primary of this generation; the node is down, or in recovery.

    Raises WorldChanged, or StepFailed if the upstream or the node's host does not answer.
    """
    bench.still(step.generation)
    if step.node == step.upstream:
        raise WorldChanged(f"{step.node} cannot be its own upstream")
    if not await upstream_serves(bench, step):
        raise WorldChanged(f"{step.upstream} is no {'standby' if step.cascade else 'primary'}")
    host, recovering = await bench.place(step.node).look(), await _recovering(bench, step.node)
    runs = host.postmaster in (Postmaster.RUNNING, Postmaster.FROZEN)
    if recovering is False:
        raise WorldChanged(f"{step.node} takes writes: it must be fenced first")
    if recovering is None and runs and not host.standby_signal:
        raise WorldChanged(f"{step.node} runs and could come up as a primary: it must be fenced first")
    if recovering and not runs:
        raise StepFailed(
            f"the server that answers as {step.node} does not use {bench.paths(step.node).data_dir}",
            hint="correct host, postgres.port or postgres.data_dir in the configuration",
        )


async def rebuild(confirmed: Confirmed[Rebuild], bench: Bench) -> Facts:
    """On return the node streams from its upstream, and nothing of the rebuild is left.

    An explicit method does that or fails; AUTO goes on to the next harder one. Raises StepFailed (of which
    RewindFailed, CloneFailed, StartFailed) or WorldChanged. Cancelled, its notes let a repeat go on.
    """
    step = confirmed.step
    begun = bench.clock.now()
    place = bench.place(step.node)
    host, source = await place.look(), await read_source(bench, step)
    ran = host.postmaster is Postmaster.RUNNING
    if ran and not host.marker:
        await mark(place, "start")  # should we die, whoever comes next knows that it was us who stopped it
    await _stop(bench, step.node)
    site = await open_site(step, bench, source)
    try:
        method, copied, old, tried = await _bring_back(site)
    except StepFailed:
        await _run_again(site, ran)
        raise
    facts: Facts = {"method": method.value, "bytes": copied, "seconds": round(bench.clock.now() - begun, 3)}
    facts["tried"] = "; ".join(tried)
    facts["kept"] = await _tidy(site, old)
    await _drop_foreign_slots(site)
    return facts


Attempt = Callable[[Site, bool], Awaitable[tuple[int, tuple[str, ...]]]]
"""Does its method and returns when the node streams: bytes copied, and directories moved aside. The flag:
merely starting the node was tried a moment ago and did not help."""


async def _bring_back(site: Site) -> tuple[RebuildMethod, int, tuple[str, ...], list[str]]:
    """The method that worked, what it returned, and why the milder ones did not work."""
    host, asked = await site.place.look(), site.step.method
    _same_system(site, host)
    methods = await _methods(site, host) if asked is RebuildMethod.AUTO else (asked,)
    if methods[0] is not RebuildMethod.CLONE and (why := _unusable(site, host)):
        raise StartFailed(f"{site.node} cannot be brought back as it is: {why}", hint=site.clone_hint)
    started, tried = False, list[str]()
    for method in methods[:-1]:
        try:
            return method, *await _ATTEMPTS[method](site, started), tried
        except WorldChanged:
            raise
        except StepFailed as failed:
            if host_was_lost(failed):
                raise
            tried.append(f"{method} did not help: {failed}")
            site.report(tried[-1])
        started = started or method is RebuildMethod.START
        await confirm_rebuild(site.step, site.bench)
        await _stop(site.bench, site.step.node)
    return methods[-1], *await _ATTEMPTS[methods[-1]](site, started), tried


async def _methods(site: Site, host: HostAnswer) -> tuple[RebuildMethod, ...]:
    """From the mildest that can work to the hardest."""
    order = (RebuildMethod.START, RebuildMethod.REWIND, RebuildMethod.CLONE)
    if why := _unusable(site, host):
        site.report(f"a copy is needed: {why}")
        return (RebuildMethod.CLONE,)
    if site.replaced:
        return (RebuildMethod.START, RebuildMethod.CLONE)
    assert host.control is not None
    at = divergence.fork(host.control, site.source.history)
    beyond = None
    if at is not None and host.control.checkpoint < at:
        dump = (
            f"cd {quoted(site.place.data_dir)} && {program(site.place.bin_dir, 'pg_waldump')} -p pg_wal "
            f"-t {host.control.timeline} -s {at} -n 1 2>&1"
        )
        beyond = divergence.has_record((await site.place.run(dump, within_s=DUMP_S)).text)
    need = divergence.needed(host.control, site.source.history, beyond)
    site.report(f"{need.method} is needed: {need.reason}")
    return order[order.index(need.method) :]


def _unusable(site: Site, host: HostAnswer) -> str:
    """Why the data directory can only be replaced; empty: it can be used."""
    if site.empty:
        return "its data directory is empty"
    if site.half_rewound or (host.marker in UNUSABLE and not site.replaced):
        return f"a {host.marker or 'rewind'} was begun in its data directory and not finished"
    return "" if host.control else "its control file cannot be read"


def _same_system(site: Site, host: HostAnswer) -> None:
    """A directory that is not proved to be of this cluster is never touched."""
    if site.empty or (host.control and host.control.system_id == site.source.system_id):
        return
    if host.control is None:
        raise StepFailed(
            f"it cannot be told whether the data directory of {site.node} belongs to this cluster",
            detail=f"pg_controldata says nothing of {site.place.data_dir}",
            hint=f"move it away if it is worthless, then {site.clone_hint}",
        )
    raise StepFailed(
        f"{site.node} belongs to another cluster",
        detail=f"its system identifier is {host.control.system_id}, not {site.source.system_id}",
        hint=f"if its data may be lost, move {site.place.data_dir} away, then {site.clone_hint}",
    )


async def _start(site: Site, _started: bool = False) -> tuple[int, tuple[str, ...]]:
    host = await site.place.look()
    if not host.marker:
        await mark(site.place, "start")
    slot = await own_slot(site)
    settings = upstream_settings(site.bench.spec, site.step.node, site.step.upstream)
    await write(site.place, {**settings, "primary_slot_name": slot.name})
    await site.place.must(signal_line(site.place), "writing standby.signal", within_s=5.0)
    site.bench.still(site.step.generation)
    await service.start(site.bench, site.step.node)
    await _streams(site)
    return 0, site.replaced


async def _rewind(site: Site, started: bool) -> tuple[int, tuple[str, ...]]:
    copied = await rewind(site)
    if copied is None and started:
        raise RewindFailed(f"there is nothing to rewind on {site.node}", hint=site.clone_hint)
    try:
        await _start(site)
    except WorldChanged:
        raise
    except StepFailed as failed:
        raise RewindFailed(
            f"{site.node} was rewound but does not stream", detail=str(failed), hint=site.clone_hint
        ) from failed
    return copied or 0, ()


async def _clone(site: Site, _started: bool) -> tuple[int, tuple[str, ...]]:
    done = await clone(site, stamp=site.bench.clock.wall().strftime("%Y%m%d%H%M%S%f"))
    try:
        await _start(site)
    except WorldChanged:
        raise
    except StepFailed as failed:
        where = f"; the old data directory lies in {done.old}" if done.old else ""
        raise CloneFailed(
            f"the copy on {site.node} is in place but does not stream{where}",
            detail=str(failed),
            hint=failed.hint,
        ) from failed
    return done.copied, (*site.replaced, done.old)


_ATTEMPTS: Final[dict[RebuildMethod, Attempt]] = {
    RebuildMethod.START: _start,
    RebuildMethod.REWIND: _rewind,
    RebuildMethod.CLONE: _clone,
}


async def _streams(site: Site) -> None:
    """Until the node streams on its upstream's timeline; as long as it replays something, it gets on.

    Its receiver says `streaming` before the sender has found the WAL it is asked for, so something must
    have come, or the sender must say that it has caught up.
    """
    clock, node, upstream = site.bench.clock, site.step.node, site.step.upstream
    replayed, moved = None, clock.now()
    there = site.bench.spec.standby_of
    called = application_name(site.bench.spec, node) if there and there.is_upstream(upstream) else node
    async with site.bench.extra_session(node) as extra, site.bench.extra_session(upstream) as above:
        while clock.now() - moved < STALL_S:
            (row,) = await extra.sql(node, _STREAM)
            if row["recovering"] != "t":
                raise WorldChanged(f"{node} came up as a primary")
            on_course = row["status"] == "streaming" and row["timeline"] == str(site.source.timeline)
            if on_course and (row["receiving"] == "t" or await above.sql(upstream, _SENDS, (called,))):
                return
            if row["replayed"] != replayed:
                replayed, moved = row["replayed"], clock.now()
            await asyncio.sleep(POLL_S)
    raise StartFailed(
        f"{node} was started but does not stream from {site.step.upstream}",
        detail=f"replayed up to {replayed}, then nothing for {STALL_S:g} s",
        hint=f"its server log says why; if its WAL is gone, {site.clone_hint}",
    )


async def _recovering(bench: Bench, node: NodeName) -> bool | None:
    """What the node says of itself; None: it does not answer."""
    try:
        async with bench.extra_session(node, within_s=2.0) as extra:
            return await extra.in_recovery(node)
    except StepFailed:
        return None


async def _stop(bench: Bench, node: NodeName) -> None:
    """End the server, and wait until its service manager is done with it: it must not end what we start."""
    place = bench.place(node)
    await service.stop(place, StopMode.FAST)
    if line := service.supervisor_stop(place):
        await place.run(f"{line} </dev/null", within_s=SUPERVISOR_S)
    host = await place.look()
    if host.postmaster not in (Postmaster.CRASHED, Postmaster.STOPPED) or host.strays:
        raise StepFailed(f"{node} does not stay down", detail=f"left: {host.pid} {host.strays}")


async def _run_again(site: Site, ran: bool) -> None:
    """A standby that served reads before we came serves them again, if its directory was not changed."""
    host = await site.place.look()
    if not ran or not host.standby_signal or host.postmaster is Postmaster.RUNNING or _unusable(site, host):
        return
    try:
        await service.start(site.bench, site.step.node)
        if not site.replaced:
            await unmark(site.place)
    except (StepFailed, Unreachable) as failed:
        site.report(f"it could not be started again: {failed}")


async def _tidy(site: Site, aside: tuple[str, ...]) -> str:
    """Remove the notes, and what a clone replaced; returns what is kept."""
    data = site.place.data_dir
    mine = [path for path in aside if STAMP.search(path) and STAMP.sub("", path) == data]
    lines = [f"rm -f {quoted(data)}/{MARKER}", f"rm -rf {quoted(f'{data}.pgvigil-rewind')}"]
    if mine and not site.bench.spec.keep_old_data:
        elsewhere = [path for old in mine for path in await _replaced_elsewhere(site, old)]
        paths = " ".join(map(quoted, (*elsewhere, *mine)))
        lines.append(f"{{ setsid rm -rf {paths} || rm -rf {paths}; }} </dev/null >/dev/null 2>&1 &")
    await remove_leftovers(site)  # of a clone that was cut short right behind its swap
    await site.place.must("\n".join(lines) + "\n:", "tidying up", within_s=30.0)
    return ", ".join(mine) if site.bench.spec.keep_old_data else ""


async def _replaced_elsewhere(site: Site, old: str) -> tuple[str, ...]:
    """Directories of ours (by their stamp) that only the replaced data directory points at."""
    script = (
        f"for l in {quoted(old)}/pg_tblspc/* {quoted(old)}/pg_wal; do "
        'if [ -L "$l" ]; then echo "old $(readlink "$l")"; fi; done; '
        f"for l in {quoted(site.place.data_dir)}/pg_tblspc/* {quoted(site.place.data_dir)}/pg_wal; do "
        'if [ -L "$l" ]; then echo "new $(readlink "$l")"; fi; done'
    )
    lines = (await site.place.must(script, "looking for tablespaces", within_s=5.0)).text.splitlines()
    used = {line.removeprefix("new ") for line in lines if line.startswith("new ")}
    before = [line.removeprefix("old ") for line in lines if line.startswith("old ")]
    if left := [path for path in before if path not in used and not STAMP.search(path)]:
        site.report(f"what lay in {', '.join(left)} is not used any more; pgvigil does not delete it")
    return tuple(path for path in before if path not in used and STAMP.search(path))


async def _drop_foreign_slots(site: Site) -> None:
    """Slots left from when this node was primary would hold back its WAL; those it feeds now stay."""
    node = site.step.node
    text = (
        "select pg_drop_replication_slot(slot_name) from pg_replication_slots "
        "where slot_name = $1 and slot_type = 'physical' and not active"
    )
    async with site.bench.extra_session(node) as extra:
        for other in site.bench.spec.others(node):
            if await _fed_by(site, other.name):
                continue
            try:
                await extra.sql(node, text, (slot_name(other.name),))
            except QueryFailed as refused:
                site.report(f"slot {slot_name(other.name)} stays on {node}: {refused}")


async def _fed_by(site: Site, name: NodeName) -> bool:
    """Whether another node is, or may be, fed by this one."""
    if name == site.step.upstream:
        return False
    here = site.place.spec
    text = "select current_setting('primary_conninfo') as conninfo"
    try:
        (row,) = await site.bench.sql(name, text)
    except (QueryFailed, StepFailed):
        return True
    words = (row["conninfo"] or "").replace("'", "").split()
    return f"host={here.host}" in words and f"port={here.port}" in words
