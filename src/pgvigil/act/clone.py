"""Cloning: a base backup beside the data directory, swapped in by two renames (SAFETY §5).

The old directory is moved aside, never deleted here: `rebuild` does that once the new standby streams.
Tablespaces and a WAL directory that lie elsewhere get new directories beside their old ones.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from pgvigil.act.rewind import PERCENT
from pgvigil.act.settings import conninfo_text, upstream_settings, write
from pgvigil.act.site import (
    OWN_FILES,
    STAMP,
    OwnSlot,
    Site,
    drop_own_slot,
    mark,
    own_slot,
    unmark,
    upstream_serves,
)
from pgvigil.errors import StepFailed, WorldChanged
from pgvigil.model.sighting import Postmaster
from pgvigil.ports.contract import QueryFailed, Row
from pgvigil.ports.host import MARKER, program, quoted

BACKUP_S: Final = 23 * 3600.0
"""A base backup is bounded by its size; the step's own deadline is a day."""
REMOVE_S: Final = 900.0
"""Removing what an earlier attempt left: many files on slow storage."""
SPARE: Final = 1.05
"""The upstream grows while it is copied."""
SPARE_SEGMENTS: Final = 4
_SIZES: Final = (
    "select pg_tablespace_location(oid) as location, pg_tablespace_size(oid) as bytes from pg_tablespace"
)
_PLACES: Final = "select pg_tablespace_location(oid) as location, null as bytes from pg_tablespace"


class CloneFailed(StepFailed):
    """The copy did not come about; `detail` says what is left and where."""


@dataclass(frozen=True, slots=True)
class Cloned:
    """A data directory that was swapped in. `old`: where the former one lies; empty: there was none."""

    old: str
    copied: int
    slot: OwnSlot


@dataclass(frozen=True, slots=True)
class _Plan:
    stamp: str
    tablespaces: Mapping[str, str] = field(default_factory=dict)
    """Where the upstream has them → where this node will; the same path if it is free here."""
    wal_dir: str = ""

    @property
    def made(self) -> tuple[str, ...]:
        """Directories elsewhere that bear our stamp."""
        return tuple(path for path in (*self.tablespaces.values(), self.wal_dir) if STAMP.search(path))


async def clone(site: Site, *, stamp: str) -> Cloned:
    """Put a fresh copy of the upstream in the place of the stopped node's data directory.

    `stamp`: 20 digits that no earlier attempt had. Raises CloneFailed or WorldChanged, with the node as it
    was and everything made here removed. Cancelled, the next attempt removes it.
    """
    await _swappable(site)
    await remove_leftovers(site)
    plan = await _plan(site, stamp)
    word = (await site.place.look()).marker
    if not site.empty:
        await mark(site.place, "clone", old=site.replaced)
    slot = OwnSlot("")
    try:
        slot = await own_slot(site)
        copied = await _copy(site, plan, slot)
        await _furnish(site, slot, stamp)
        await _still_wanted(site)
    except StepFailed:
        await remove_leftovers(site)
        await drop_own_slot(site, slot)
        if not site.empty:
            await (mark(site.place, word, old=site.replaced) if word else unmark(site.place))
        raise
    return Cloned(await _swap(site, stamp), copied, slot)


async def _swappable(site: Site) -> None:
    script = f"""D={quoted(site.place.data_dir)}; P=${{D%/*}}; P=${{P:-/}}
[ -d "$P" ] || mkdir -p "$P" 2>/dev/null
[ -w "$P" ] || {{ echo "$P is not writable for $(id -un)"; return 1; }}
[ ! -d "$D" ] || [ "$(stat -c %d "$D")" = "$(stat -c %d "$P")" ] || {{
  echo "$D is a mount point"; return 1; }}
[ ! -e "$D" ] || [ -z "$(ls -A "$D")" ] || [ -f "$D/PG_VERSION" ] || {{
  echo "$D is neither empty nor a data directory"; return 1; }}
"""
    output = await site.place.ask(script, within_s=5.0)
    if output.status:
        raise CloneFailed(
            f"{site.node} cannot be cloned: a copy is made beside its data directory and renamed",
            detail=output.complaint,
            hint="let the server's account write in the directory above an own directory for the data",
        )


async def remove_leftovers(site: Site) -> None:
    """What an attempt that did not come to its swap has made, here and elsewhere."""
    data = quoted(site.place.data_dir)
    listed = await site.place.must(
        f"cat {data}.pgvigil-made 2>/dev/null; for l in {data}/pg_tblspc/* {data}/pg_wal; do "
        'if [ -L "$l" ]; then echo "used $(readlink "$l")"; fi; done',
        "looking for leftovers",
        within_s=5.0,
    )
    lines = listed.text.splitlines()
    used = {line.removeprefix("used ") for line in lines if line.startswith("used ")}
    stale = [line for line in lines if STAMP.search(line) and line.startswith("/") and line not in used]
    paths = " ".join(map(quoted, stale))
    output = await site.place.run(
        f"rm -rf {data}.pgvigil-new {paths} && rm -f {data}.pgvigil-made", within_s=REMOVE_S
    )
    if output.status:
        raise CloneFailed(f"leftovers on {site.node} cannot be removed", detail=output.complaint)


async def _plan(site: Site, stamp: str) -> _Plan:
    """Where everything will lie, and that there is room for it."""
    rows = await _sizes(site)
    locations = [row["location"] or "" for row in rows if (row["location"] or "").startswith("/")]
    mapped: dict[str, str] = {}
    for location in locations:
        free = await site.place.ask(f'[ -z "$(ls -A {quoted(location)} 2>/dev/null)" ]', within_s=3.0)
        own = STAMP.sub("", location) + f".pgvigil-{stamp}"
        mapped[location] = own if free.status else location
    wal = STAMP.sub("", site.wal_dir) + f".pgvigil-{stamp}" if site.wal_dir else ""
    sizes = {site.place.data_dir: SPARE_SEGMENTS * site.source.segment_bytes}
    for row in rows:
        path = mapped.get(row["location"] or "", site.place.data_dir)
        sizes[path] = sizes.get(path, 0) + int(int(row["bytes"] or 0) * SPARE)
    await _room(site, sizes)
    return _Plan(stamp, mapped, wal)


async def _sizes(site: Site) -> tuple[Row, ...]:
    upstream = site.step.upstream
    async with site.bench.extra_session(upstream) as extra:
        try:
            return await extra.sql(upstream, _SIZES, within_s=120.0)
        except QueryFailed as refused:
            site.report(f"room is not checked, our login may not ask how big {upstream} is: {refused}")
            return await extra.sql(upstream, _PLACES)


async def _room(site: Site, sizes: Mapping[str, int]) -> None:
    script = "".join(
        f"p={quoted(path)}; p=${{p%/*}}; "
        'while [ ! -d "$p/" ]; do p=${p%/*}; done; df -Pk "$p/" | tail -n 1\n'
        for path in sizes
    )
    output = await site.place.must(script, "looking for room", within_s=15.0)
    need: dict[str, int] = {}
    room: dict[str, int] = {}
    for line, size in zip(output.text.splitlines(), sizes.values(), strict=False):
        device, _, _, available, *_ = line.split()
        need[device], room[device] = need.get(device, 0) + size, int(available) * 1024
    for device, size in need.items():
        if size > room[device]:
            raise CloneFailed(
                f"there is no room for a copy on {site.node}",
                detail=f"{device}: {size >> 20} MB needed, {room[device] >> 20} MB free",
                hint="make room; the old data directory is kept until the copy streams",
            )


async def _copy(site: Site, plan: _Plan, slot: OwnSlot) -> int:
    """pg_basebackup into the directory beside; returns its bytes."""
    new = f"{site.place.data_dir}.pgvigil-new"
    words = ["-D", new, "-X", "stream", "-c", "fast", "-P", "-v", "-d", conninfo_text(site.conninfo())]
    words += ["-S", slot.name] if slot.name else []
    words += [f"--waldir={plan.wal_dir}"] if plan.wal_dir else []
    for there, here in plan.tablespaces.items():
        if there != here:
            words += ["-T", "=".join(path.replace("=", "\\=") for path in (there, here))]
    noted = "".join(f"printf '%s\\n' {quoted(path)}; " for path in plan.made)
    line = (
        f"umask 077; {{ {noted}:; }} > {quoted(site.place.data_dir)}.pgvigil-made; "
        f"exec {program(site.place.bin_dir, 'pg_basebackup')} {shlex.join(words)} </dev/null"
    )
    told, copied = -1, 0

    def hear(said: str) -> None:
        nonlocal told, copied
        if match := PERCENT.search(said):
            copied = int(said.split("/")[0]) * 1024
            if int(match[1]) // 5 > told:
                told = int(match[1]) // 5
                site.report(f"base backup of {site.step.upstream}: {match[1]} %")

    output = await site.place.run(line, within_s=BACKUP_S, on_line=hear)
    if output.status:
        raise CloneFailed(
            f"the base backup for {site.node} failed", detail=output.complaint, hint=site.clone_hint
        )
    return copied


async def _furnish(site: Site, slot: OwnSlot, stamp: str) -> None:
    """The node's own configuration, connection settings and notes: what is swapped in is complete."""
    spec, data = site.bench.spec, quoted(site.place.data_dir)
    new = replace(site.place, data_dir=f"{site.place.data_dir}.pgvigil-new")
    own = f"""D={data}; N=$D.pgvigil-new
rm -f "$N/{MARKER}" "$N/recovery.signal" "$N/pgvigil-start.log"; : > "$N/standby.signal"
[ -f "$D/PG_VERSION" ] || exit 0
cd "$D" && for f in {OWN_FILES}; do
  [ ! -e "$f" ] || {{ rm -rf "$N/$f" && cp -a "$f" "$N/$f"; }} || exit 1
done"""
    output = await site.place.run(own, within_s=60.0)
    if output.status:
        raise CloneFailed(
            f"the configuration of {site.node} could not be carried over", detail=output.complaint
        )
    settings = upstream_settings(spec, site.step.node, site.step.upstream)
    settings["primary_slot_name"] = slot.name
    if site.empty and not site.place.config_outside:
        settings["port"] = str(site.place.spec.port)
    await write(new, settings)
    old = "none" if site.empty else f"{site.place.data_dir}.pgvigil-old-{stamp}"
    await mark(new, "clone", old=(*site.replaced, old))


async def _still_wanted(site: Site) -> None:
    """Right before the swap: the upstream still serves this generation, and nothing runs here."""
    if not await upstream_serves(site.bench, site.step):
        raise WorldChanged(f"{site.step.upstream} is no primary any more")
    host = await site.place.look()
    if host.postmaster in (Postmaster.RUNNING, Postmaster.FROZEN) or host.strays:
        raise WorldChanged(f"somebody started {site.node} meanwhile")
    site.bench.still(site.step.generation)


async def _swap(site: Site, stamp: str) -> str:
    """Two renames; killed between them, `site.open_site` does the second."""
    old = f"{site.place.data_dir}.pgvigil-old-{stamp}"
    script = f"""set -e; D={quoted(site.place.data_dir)}; O={quoted(old)}
s() {{ sync -f "${{D%/*}}/" 2>/dev/null || sync; }}; s
if [ -e "$D" ]; then if [ -z "$(ls -A "$D")" ]; then rmdir "$D"; else mv "$D" "$O"; fi; fi
[ ! -e "$D" ]; mv "$D.pgvigil-new" "$D"; rm -f "$D.pgvigil-made"; s"""
    output = await site.place.run(script, within_s=120.0)
    if output.status:
        raise CloneFailed(
            f"the copy on {site.node} is complete but could not be put in place",
            detail=output.complaint,
            hint=f"look for {site.place.data_dir}, {old} and {site.place.data_dir}.pgvigil-new",
        )
    return "" if site.empty else old
