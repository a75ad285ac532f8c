"""Rewinding: pg_rewind, with the WAL it needs kept and the node's own configuration saved (SAFETY §5).

Order: keep `pg_wal` by hard links and save the configuration; end crash recovery ourselves, because
single-user mode refuses `standby.signal` and nothing must recycle the kept files; from there on the
directory has `standby.signal` again, cannot be started (`site`), and pg_rewind is let at it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pgvigil.act import service
from pgvigil.act.bench import DENIED
from pgvigil.act.fence import signal_line
from pgvigil.act.settings import conninfo_text, write
from pgvigil.act.site import OWN_FILES, TEMPORARY, Site, mark, unmark, upstream_serves
from pgvigil.errors import StepFailed, WorldChanged
from pgvigil.model.units import Lsn, Timeline
from pgvigil.ports.contract import QueryFailed
from pgvigil.ports.host import MARKER, program, quoted

CHECKPOINT_S: Final = 300.0
RECOVERY_S: Final = 4 * 3600.0
"""Crash recovery replays at most `max_wal_size`, but storage may be very slow; its end is not in doubt."""
REWIND_S: Final = 12 * 3600.0
"""pg_rewind copies what changed, and reads every file name of both sides."""
FILES_S: Final = 300.0
"""Linking or, onto another file system, copying pg_wal."""
PERCENT: Final = re.compile(r"\((\d+)%\)")
_NEED: Final = re.compile(r"need to copy (\d+) MB")
_FORK: Final = re.compile(r"servers diverged at WAL location (\S+) on timeline (\d+)")
_SEGMENT: Final = re.compile(r"[0-9A-F]{24}")


class RewindFailed(StepFailed):
    """pg_rewind could not do it; `detail` has its words, the hint says whether a copy is due."""


@dataclass(slots=True)
class Progress:
    """What pg_rewind said so far."""

    tell: Callable[[str], None]
    copy_bytes: int = 0
    touched: bool = False
    """It has begun to change files: from here on it must end well."""
    fork: Lsn | None = None
    timeline: Timeline = Timeline(0)
    told: int = -1

    def hear(self, line: str) -> None:
        """One line of its output."""
        if match := _FORK.search(line):
            self.fork, self.timeline = Lsn.parse(match[1]), Timeline(int(match[2]))
            self.tell(f"its history ends at {self.fork} on timeline {self.timeline}; rewinding to there")
        elif match := _NEED.search(line):
            self.touched, self.copy_bytes = True, int(match[1]) * 1024**2
        elif (match := PERCENT.search(line)) and int(match[1]) // 10 > self.told:
            self.told = int(match[1]) // 10
            self.tell(f"pg_rewind: {match[1]} % copied")


async def rewind(site: Site) -> int | None:
    """Rewind the stopped node, so that it can be started as a standby.

    Returns the bytes copied; None: pg_rewind found that nothing diverged, and changed nothing.

    Raises RewindFailed, WorldChanged. Cancelled, the notes beside the directory let a repeat go on: by a
    clone, if pg_rewind had begun. A failure before pg_rewind changed anything leaves the node as it was.
    """
    await _checkpoint_upstream(site)
    await _keep(site)
    await _recover(site)
    if not await upstream_serves(site.bench, site.step):
        raise WorldChanged(f"{site.step.upstream} is no primary any more")
    site.bench.still(site.step.generation)
    progress = await _run(site)
    await _finish(site, progress)
    return progress.copy_bytes if progress.touched else None


async def _checkpoint_upstream(site: Site) -> None:
    """pg_rewind before 16 reads the upstream's timeline from its last checkpoint."""
    upstream = site.step.upstream
    try:
        async with site.bench.extra_session(upstream) as extra:
            await extra.sql(upstream, "checkpoint", within_s=CHECKPOINT_S)
    except QueryFailed as refused:
        if refused.sqlstate != DENIED:
            raise RewindFailed(f"no checkpoint on {upstream}", detail=str(refused)) from refused
        site.report(f"our login may not CHECKPOINT on {upstream}; pg_rewind may not see its timeline yet")


async def _keep(site: Site) -> None:
    """Save the configuration and hard-link pg_wal aside. A file kept earlier stays if it is gone by now."""
    data = quoted(site.place.data_dir)
    script = f"""set -e; umask 077; D={data}; K=$D.pgvigil-rewind
mkdir -p "$K/wal" 2>/dev/null || {{ echo "the directory above $D is not writable" >&2; exit 1; }}
rm -rf "$K/conf" "$K/saved"; mkdir "$K/conf"; cd "$D"
for f in {OWN_FILES}; do [ ! -e "$f" ] || cp -a "$f" "$K/conf/"; done
sync -f "$K" 2>/dev/null || sync; : > "$K/saved"; cd "$D/pg_wal"
ln_or_cp() {{ cp -lf "$@" "$K/wal/" 2>/dev/null || cp -af "$@" "$K/wal/"; }}
set -- [0-9A-F]*; [ ! -e "$1" ] || ln_or_cp "$@"
"""
    output = await site.place.run(script, within_s=FILES_S)
    if output.status:
        raise RewindFailed(
            f"the WAL of {site.node} could not be kept aside",
            detail=output.complaint,
            hint=f"let the server's account write there, or {site.clone_hint}",
        )


async def _recover(site: Site) -> None:
    """End crash recovery, if it is due, without recycling a segment (a kept link would change with it)."""
    place = site.place
    host = await place.look()
    if host.control is None:
        raise RewindFailed(f"{site.node} has no readable control file", hint=site.clone_hint)
    if not host.control.shut_down:
        site.report("finishing crash recovery before the rewind")
        await service.free_pid(place, host)
        data = quoted(place.data_dir)
        config = f" -c config_file={quoted(place.config_file)}" if place.config_outside else ""
        single = f"{program(place.bin_dir, 'postgres')} --single -D {data} -c wal_recycle=off{config}"
        line = f"rm -f {data}/standby.signal {data}/recovery.signal && {single} template1 </dev/null"
        output = await place.run(line, within_s=RECOVERY_S)
        await place.must(signal_line(place), "writing standby.signal", within_s=5.0)
        host = await place.look()
        if output.status or host.control is None or not host.control.shut_down:
            raise RewindFailed(
                f"crash recovery of {site.node} failed", detail=output.complaint, hint=site.clone_hint
            )
    await place.must(signal_line(place), "writing standby.signal", within_s=5.0)


async def _run(site: Site) -> Progress:
    """Let pg_rewind at the directory. Its failure before the first change takes all notes back."""
    place = site.place
    data, own = quoted(place.data_dir), await _own_restore_command(site)
    aside = quoted(f"{place.data_dir}.pgvigil-rewind/wal").replace("%", "%%")
    restore = f'cp {aside}/%f "%p" 2>/dev/null' + (f" || ({own})" if own else "")
    word = (await place.look()).marker
    await mark(place, "rewind")
    begin = (
        f": > {data}.pgvigil-rewind/begun && {{ sync -f {data} 2>/dev/null || sync; }} && chmod o+x {data}"
    )
    if place.config_outside:
        # pg_rewind finds no configuration of its own in a Debian layout; --config-file is not in 13 and 14
        line = quoted(f"include {quoted(place.config_file)}")
        begin += f" && printf '%s\\n' {quoted(TEMPORARY)} {line} > {data}/postgresql.conf"
    await place.must(begin, "beginning the rewind", within_s=30.0)
    await write(place, {"restore_command": restore})
    login = quoted(conninfo_text(site.conninfo(dbname="postgres")))
    rewind_line = (
        f"{program(place.bin_dir, 'pg_rewind')} -D {data} --source-server={login} "
        "-c -P --no-ensure-shutdown </dev/null"
    )
    progress = Progress(site.report)
    output = await place.run(rewind_line, within_s=REWIND_S, on_line=progress.hear)
    await _put_back(site)
    if output.status == 0:
        return progress
    if progress.touched:
        raise RewindFailed(
            f"pg_rewind of {site.node} broke off half-way; its data directory cannot be used",
            detail=output.complaint,
            hint=site.clone_hint,
        )
    undo = f"chmod o-x {data}; cd {data}.pgvigil-rewind && rm -rf conf saved begun"
    await place.must(undo, "taking back the rewind", within_s=30.0)
    await (mark(place, word) if word else unmark(place))
    raise RewindFailed(
        f"{site.node} cannot be rewound; it is as it was", detail=output.complaint, hint=site.clone_hint
    )


async def _own_restore_command(site: Site) -> str:
    """The user's, as the node's configuration says now."""
    place = site.place
    config = f" -c config_file={quoted(place.config_file)}" if place.config_outside else ""
    line = f"{program(place.bin_dir, 'postgres')} -C restore_command -D {quoted(place.data_dir)}{config}"
    output = await place.run(line, within_s=30.0)
    return output.text.strip() if output.status == 0 else ""


async def _put_back(site: Site) -> None:
    """The node's own configuration, whatever pg_rewind brought; our temporary one goes."""
    data = quoted(site.place.data_dir)
    script = f"""D={data}; K=$D.pgvigil-rewind
! grep -qsxF {quoted(TEMPORARY)} "$D/postgresql.conf" || rm -f "$D/postgresql.conf"
cd "$K/conf" && for f in *; do [ ! -e "$f" ] || {{ rm -rf "$D/$f" && cp -a "$f" "$D/$f"; }} || exit 1; done"""
    output = await site.place.run(script, within_s=60.0)
    if output.status:
        raise RewindFailed(
            f"the configuration of {site.node} could not be put back",
            detail=output.complaint,
            hint=f"it lies in {site.place.data_dir}.pgvigil-rewind/conf",
        )


async def _finish(site: Site, progress: Progress) -> None:
    """Give back the WAL before the fork that pg_rewind removed, and make the directory startable."""
    data = quoted(site.place.data_dir)
    lines = [f'set -e; D={data}; K=$D.pgvigil-rewind; W=$D/pg_wal; cd "$K/wal"']
    if progress.fork is not None:
        first = f"sed -n 's/.*(file \\(.*\\))/first=\\1/p' {data}/backup_label 2>/dev/null"
        listed = await site.place.must(
            f"ls {data}.pgvigil-rewind/wal; {first}; :", "reading what was kept", within_s=30.0
        )
        names = common_segments(listed.text, progress.fork, progress.timeline, site.source.segment_bytes)
        lines += [f'[ -e "$W/{n}" ] || cp -l {n} "$W/" || cp -a {n} "$W/"' for n in names]
    lines.append('cd "$D"; [ -f standby.signal ] || : > standby.signal')
    lines.append(
        f'(umask 077; echo start > {MARKER}); sync -f "$D" 2>/dev/null || sync; chmod o-x "$D"; '
        'rm -f "$K/begun"; rm -rf "$K"'
    )
    output = await site.place.run("\n".join(lines), within_s=FILES_S)
    if output.status:
        raise RewindFailed(f"the rewind of {site.node} could not be finished", detail=output.complaint)


def common_segments(listed: str, fork: Lsn, timeline: Timeline, segment_bytes: int) -> tuple[str, ...]:
    """The kept segments that recovery needs and that are the upstream's too: from `first=` to the fork.

    Only of the timeline that forked: one of its segments behind the fork would lead recovery astray.
    """
    names = listed.split()
    first = next((name.removeprefix("first=") for name in names if name.startswith("first=")), "")
    end = Lsn(fork).segment(timeline, segment_bytes)
    prefix = f"{timeline:08X}"
    if not first.startswith(prefix):
        return ()
    return tuple(name for name in names if _SEGMENT.fullmatch(name) and first <= name < end)
