"""Cloning: a base backup beside the data directory, swapped in by two renames (SAFETY §5).

The old directory is moved aside, never deleted here: `rebuild` does that once the new standby streams.
Tablespaces and a WAL directory that lie elsewhere get new directories beside their old ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from pgvigil.act.base_backup import CloneFailed, CopyPlan, copy, new_dir, prove
from pgvigil.act.settings import upstream_settings, write
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
from pgvigil.ports.host import MARKER, quoted

REMOVE_S: Final = 900.0
"""Removing what an earlier attempt left: many files on slow storage."""
SPARE: Final = 1.05
"""The upstream grows while it is copied."""
SPARE_SEGMENTS: Final = 4
_SIZES: Final = (
    "select pg_tablespace_location(oid) as location, pg_tablespace_size(oid) as bytes from pg_tablespace"
)
_PLACES: Final = "select pg_tablespace_location(oid) as location, null as bytes from pg_tablespace"


@dataclass(frozen=True, slots=True)
class Cloned:
    """A data directory that was swapped in. `old`: where the former one lies; empty: there was none."""

    old: str
    copied: int
    slot: OwnSlot


async def clone(site: Site, *, stamp: str) -> Cloned:
    """Put a fresh copy of the upstream in the place of the stopped node's data directory.

    `stamp`: 20 digits that no earlier attempt had. Raises CloneFailed or WorldChanged, with the node as it
    was and everything made here removed. Cancelled, the next attempt removes it.
    """
    await swappable(site)
    await remove_leftovers(site)
    plan = await plan_copy(site, stamp)
    word = (await site.place.look()).marker
    if not site.empty:
        await mark(site.place, "clone", old=site.replaced)
    slot = OwnSlot("")
    try:
        slot = await own_slot(site)
        copied = await copy(site, plan, slot)
        await prove(site)
        await _furnish(site, slot, stamp)
        await _still_wanted(site)
    except StepFailed:
        await remove_leftovers(site)
        await drop_own_slot(site, slot)
        if not site.empty:
            await (mark(site.place, word, old=site.replaced) if word else unmark(site.place))
        raise
    return Cloned(await _swap(site, stamp), copied, slot)


async def swappable(site: Site) -> None:
    """Whether a copy can take the place of the data directory by renaming. Raises CloneFailed."""
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


async def plan_copy(site: Site, stamp: str) -> CopyPlan:
    """Where everything will lie, and that there is room for it. Changes nothing. Raises CloneFailed."""
    rows = await sizes_of_source(site)
    locations = [row["location"] or "" for row in rows if (row["location"] or "").startswith("/")]
    mapped = {location: await _free(site, location, stamp) for location in locations}
    wal = STAMP.sub("", site.wal_dir) + f".pgvigil-{stamp}" if site.wal_dir else ""
    if site.empty and site.place.spec.wal_dir:
        wal = await _free(site, site.place.spec.wal_dir, stamp)
    sizes = {site.place.data_dir: SPARE_SEGMENTS * site.source.segment_bytes}
    for row in rows:
        path = mapped.get(row["location"] or "", site.place.data_dir)
        sizes[path] = sizes.get(path, 0) + int(int(row["bytes"] or 0) * SPARE)
    await _room(site, sizes)
    return CopyPlan(stamp, mapped, wal)


async def _free(site: Site, path: str, stamp: str) -> str:
    """The path itself if nothing lies there, else one beside it."""
    there = await site.place.ask(f'[ -z "$(ls -A {quoted(path)} 2>/dev/null)" ]', within_s=3.0)
    return STAMP.sub("", path) + f".pgvigil-{stamp}" if there.status else path


async def sizes_of_source(site: Site) -> tuple[Row, ...]:
    """Location and bytes of every tablespace; an empty location lies in the data directory."""
    upstream = site.copied_from
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


async def _furnish(site: Site, slot: OwnSlot, stamp: str) -> None:
    """The node's own configuration, connection settings and notes: what is swapped in is complete."""
    spec, data = site.bench.spec, quoted(site.place.data_dir)
    new = replace(site.place, data_dir=new_dir(site))
    own = f"""D={data}; N=$D.pgvigil-new
rm -f "$N/{MARKER}" "$N/recovery.signal" "$N/pgvigil-start.log"; : > "$N/standby.signal"
if [ -f "$D/PG_VERSION" ]; then cd "$D" && for f in {OWN_FILES}; do
  [ ! -e "$f" ] || {{ rm -rf "$N/$f" && cp -a "$f" "$N/$f"; }} || exit 1
done; fi
[ ! -f "$N/pgvigil.carried" ] || {{ cat "$N/pgvigil.carried" >> "$N/postgresql.auto.conf" &&
  rm -f "$N/pgvigil.carried"; }} || exit 1"""
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
