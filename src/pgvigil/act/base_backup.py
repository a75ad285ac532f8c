"""Filling a new data directory: by pg_basebackup, or by the user's own clone command."""

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from pgvigil.act.settings import conninfo_text
from pgvigil.act.site import STAMP, OwnSlot, Site
from pgvigil.errors import StepFailed
from pgvigil.model.progress import Copied
from pgvigil.model.spec import CheckpointPace
from pgvigil.ports.host import program, quoted

BACKUP_S: Final = 23 * 3600.0
"""A base backup is bounded by its size; the step's own deadline is a day."""
_PROGRESS: Final = re.compile(r"^\s*(\d+)/(\d+) kB \(\d+%\)")
_CARRIED: Final = "restore_command"
"""The setting that a restore program writes and the standby needs until it streams."""


class CloneFailed(StepFailed):
    """The copy did not come about; `detail` says what is left and where."""


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """Where a copy will lie."""

    stamp: str
    tablespaces: Mapping[str, str] = field(default_factory=dict)
    """Where the source has them → where this node will; the same path if it is free here."""
    wal_dir: str = ""
    """Outside of the data directory; empty: inside."""

    @property
    def made(self) -> tuple[str, ...]:
        """Directories elsewhere that bear our stamp."""
        return tuple(path for path in (*self.tablespaces.values(), self.wal_dir) if STAMP.search(path))


def new_dir(site: Site) -> str:
    """Where a copy is made, beside the data directory."""
    return f"{site.place.data_dir}.pgvigil-new"


def copy_line(site: Site, plan: CopyPlan, slot: OwnSlot) -> str:
    """The shell line that makes the copy, as `--dry-run` prints it."""
    if site.bench.spec.cloning.command:
        return _own_line(site)
    ways, wish = site.bench.spec.cloning, site.step.copying
    rate = ways.max_rate_bytes if wish.max_rate_bytes is None else wish.max_rate_bytes
    pace = wish.checkpoint or ways.checkpoint
    words = ["-D", new_dir(site), "-X", "stream", "-P", "-v"]
    words += ["-c", "fast" if pace is CheckpointPace.FAST else "spread"]
    words += ["-d", conninfo_text(site.conninfo(node=site.copied_from))]
    words += ["-S", slot.name] if slot.name and site.copied_from == site.step.upstream else []
    words += [f"--max-rate={rate // 1024}k"] if rate else []
    words += [f"--waldir={plan.wal_dir}"] if plan.wal_dir else []
    for there, here in plan.tablespaces.items():
        if there != here:
            words += ["-T", "=".join(path.replace("=", "\\=") for path in (there, here))]
    return f"{program(site.place.bin_dir, 'pg_basebackup')} {shlex.join(words)}"


async def copy(site: Site, plan: CopyPlan, slot: OwnSlot) -> int:
    """Make the copy; returns its bytes. Raises CloneFailed.

    Cancelled, the program is ended with the shell; what it made is listed beside the data directory.
    """
    noted = "".join(f"printf '%s\\n' {quoted(path)}; " for path in plan.made)
    begin = f"umask 077; {{ {noted}:; }} > {quoted(site.place.data_dir)}.pgvigil-made; "
    if site.bench.spec.cloning.command:
        return await _by_command(site, plan, begin)
    begun, copied = site.bench.clock.now(), 0

    def hear(said: str) -> None:
        nonlocal copied
        if match := _PROGRESS.match(said):
            copied = int(match[1]) * 1024
            told = Copied(site.copied_from, int(match[1]), int(match[2]))
            if (seconds := site.bench.clock.now() - begun) >= 1.0:
                told = replace(told, rate_kb_s=int(told.done_kb / seconds))
            site.report(told.sentence())

    line = f"{begin}exec {copy_line(site, plan, slot)} </dev/null"
    output = await site.place.run(line, within_s=BACKUP_S, on_line=hear)
    if output.status:
        raise CloneFailed(
            f"the base backup for {site.node} failed", detail=output.complaint, hint=site.clone_hint
        )
    return copied


def _own_line(site: Site) -> str:
    source = site.bench.spec.node(site.copied_from)
    values = {
        "new_dir": new_dir(site),
        "data_dir": site.place.data_dir,
        "bin_dir": site.place.bin_dir,
        "cluster": site.bench.spec.name,
        "node": site.step.node,
        "host": site.place.spec.host,
        "port": str(site.place.spec.port),
        "source": source.name,
        "source_host": source.host,
        "source_port": str(source.port),
    }
    return re.sub(r"(?<!\$)\{(\w+)\}", lambda word: quoted(values[word[1]]), site.bench.spec.cloning.command)


async def _by_command(site: Site, plan: CopyPlan, begin: str) -> int:
    """The user's program fills the directory; what it has to be a copy of is proved before it is used."""
    new, limit = quoted(new_dir(site)), site.bench.spec.cloning.command_timeout.total_seconds()
    site.report("the clone command of the configuration runs")
    tell: Callable[[str], None] = site.report
    line = f"{begin}mkdir -m 700 {new} && {{ {_own_line(site)}\n}} </dev/null"
    output = await site.place.run(line, within_s=limit, on_line=lambda said: tell(said.strip()[:200]))
    if output.status:
        raise CloneFailed(
            f"the clone command for {site.node} failed",
            detail=output.complaint or f"exit code {output.status}",
            hint="clone: {command: …} in the configuration is yours; try it by hand on the node",
        )
    moved = ""
    if plan.wal_dir:
        there = quoted(plan.wal_dir)
        moved = (
            f'[ -L "$N/pg_wal" ] || {{ mv "$N/pg_wal" {there} && ln -s {there} "$N/pg_wal"; }} || exit 1\n'
        )
    tidy = f"""N={new}; chmod 700 "$N"
[ -f "$N/PG_VERSION" ] || {{ echo "no PG_VERSION in $N" >&2; exit 1; }}
{moved}s=$(grep -E '^[[:space:]]*{_CARRIED}[[:space:]]*=' "$N/postgresql.auto.conf" 2>/dev/null | tail -n 1)
[ -z "$s" ] || printf '%s\\n' "$s" | sed {_moved_in(site)} > "$N/pgvigil.carried"
rm -f "$N/postmaster.pid" "$N/recovery.signal"
du -sk "$N" | cut -f 1"""
    output = await site.place.run(tidy, within_s=600.0)
    if output.status:
        raise CloneFailed(
            f"the clone command for {site.node} made no data directory",
            detail=output.complaint,
            hint="it has to fill {new_dir}, the data directory itself, not one in it",
        )
    return int(output.text.split()[-1]) * 1024


def _moved_in(site: Site) -> str:
    """For `sed`: what a restore program says of the place where it works holds for the data directory."""
    there = re.sub(r"([\\/.*^$\[\]])", r"\\\1", new_dir(site))
    here = re.sub(r"([\\/&])", r"\\\1", site.place.data_dir)
    return quoted(f"s/{there}/{here}/g")


async def prove(site: Site) -> None:
    """A copy that did not come from the upstream itself is of this cluster, and not on a strange timeline.

    Raises CloneFailed.
    """
    if site.copied_from == site.step.upstream and not site.bench.spec.cloning.command:
        return
    host = await replace(site.place, data_dir=new_dir(site)).look(within_s=10.0)
    if host.control is None or host.control.system_id != site.source.system_id:
        found = host.control.system_id if host.control else "unreadable"
        raise CloneFailed(
            f"the copy for {site.node} is not one of {site.step.upstream}",
            detail=f"its system identifier is {found}, not {site.source.system_id}",
            hint="the clone command restores another cluster's backup, or an incomplete one",
        )
    known = {site.source.timeline}
    known |= {fork.timeline for fork in site.source.history.forks} if site.source.history else set()
    if host.control.timeline not in known:
        raise CloneFailed(
            f"the copy for {site.node} is on timeline {host.control.timeline}",
            detail=f"that is no ancestor of {site.step.upstream}'s timeline {site.source.timeline}",
            hint="take a backup of the present primary, and restore that",
        )
