"""`clone --dry-run`: everything a copy needs is looked at on both nodes, and nothing is changed.

Each line says what was looked at and what was found; one that stands in the way makes the rehearsal fail.
"""

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from pgvigil.act.base_backup import CloneFailed, copy_line
from pgvigil.act.bench import Bench
from pgvigil.act.clone import plan_copy, sizes_of_source
from pgvigil.act.rebuild import confirm_rebuild
from pgvigil.act.site import OwnSlot, Site, read_source
from pgvigil.controller.operations import Json, Outcome, Result
from pgvigil.controller.survey.ask_host import try_passage
from pgvigil.errors import PgvigilError
from pgvigil.model.sighting import Postmaster
from pgvigil.model.spec import slot_name
from pgvigil.model.step import Rebuild, sentence
from pgvigil.model.units import bytes_text
from pgvigil.ports.contract import QueryFailed
from pgvigil.ports.host import MARKER, program, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

WITHIN_S: Final = 180.0
"""For all of it: asking how big a large database is takes the longest."""
STAMP_SHOWN: Final = "0" * 20
"""In place of the time of the real copy."""
SENDERS_NEEDED: Final = 2
"""pg_basebackup opens one for the data and one for the WAL."""
_SOURCE: Final = (
    "select current_setting('server_version_num')::int / 10000 as major, "
    "pg_is_in_recovery() as recovering, current_setting('max_wal_senders')::int as senders, "
    "(select count(*) from pg_stat_get_wal_senders()) as sending, "
    "current_setting('max_replication_slots')::int as slots, "
    "(select count(*) from pg_replication_slots) as used, "
    "(select count(*) from pg_replication_slots where slot_name = $1) as own, "
    "current_setting('wal_level') as wal_level, current_setting('full_page_writes') as full_pages"
)
_TARGET: Final = """
D=$(readlink -f {data}) || D={data}
if [ ! -e "$D" ]; then echo "is=missing"
elif [ -z "$(ls -A "$D" 2>/dev/null)" ]; then echo "is=empty"
elif [ -f "$D/PG_VERSION" ]; then echo "is=data"; echo "version=$(cat "$D/PG_VERSION")"
else echo "is=other"; fi
P=$D; while [ ! -d "$P" ]; do P=${{P%/*}}; P=${{P:-/}}; done; [ "$P" = "$D" ] && P=${{P%/*}}
[ -w "${{P:-/}}" ] && echo "writable=${{P:-/}}"
[ -d "$D" ] && [ "$(stat -c %d "$D")" != "$(stat -c %d "${{D%/*}}/")" ] && echo mount=1
[ -L "$D/pg_wal" ] && echo "wal=$(readlink -f "$D/pg_wal")"
sed -n 's/^old=/old=/p' "$D/{marker}" 2>/dev/null
echo "real=$D"
echo "program=$({backup} --version 2>/dev/null)"
:
"""


@dataclass(slots=True)
class _Report:
    """Lines in the order of looking; `wrong` are those that stand in the way."""

    lines: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    checks: list[Json] = field(default_factory=list)

    def note(self, what: str, found: str, *, well: bool = True) -> None:
        self.lines.append(f"{what}: {found}{'' if well else '  ← not possible so'}")
        self.checks.append({"check": what, "found": found, "ok": well})
        if not well:
            self.wrong.append(f"{what}: {found}")


async def rehearse_clone(step: Rebuild, bench: Bench) -> Outcome:
    """What a clone would do, and whether it could. Never raises but for cancellation and bugs."""
    report = _Report()
    looks: tuple[tuple[str, Callable[[], Coroutine[Any, Any, None]]], ...] = (
        ("nodes", lambda: confirm_rebuild(step, bench)),
        ("source", lambda: _source(step, bench, report)),
        ("login", lambda: _login(step, bench, report)),
        ("target", lambda: _target(step, bench, report)),
    )
    try:
        async with asyncio.timeout(WITHIN_S):
            for name, look in looks:
                try:
                    await look()
                except (PgvigilError, QueryFailed) as failed:
                    report.note(name, f"{failed}{f' ({failed.detail})' if failed.detail else ''}", well=False)
    except TimeoutError:
        report.note("time", f"not everything could be looked at within {WITHIN_S:g} s", well=False)
    data: Json = {"checks": report.checks}
    if report.wrong:
        detail = "\n".join(report.lines)
        hint = "mend that first; nothing was changed. pgvigil check says more"
        return Outcome(Result.REFUSED, f"{step.node} cannot be cloned as things are", detail, hint, (), data)
    return Outcome(Result.PLANNED, sentence(step), plan=tuple(report.lines), data=data)


def _copied_from(step: Rebuild) -> str:
    return step.copying.source or step.upstream


async def _source(step: Rebuild, bench: Bench, report: _Report) -> None:
    """Reachable, of which version, with room for two more WAL senders and a slot."""
    source = bench.spec.node(step.copying.source or step.upstream)
    async with bench.extra_session(source.name) as extra:
        (row,) = await extra.sql(source.name, _SOURCE, (slot_name(step.node),))
    role = "standby" if row["recovering"] == "t" else "primary"
    text = f"{source.name} ({source.host}:{source.port}) answers: {role}, PostgreSQL {row['major']}"
    report.note("source", text)
    free = int(row["senders"] or 0) - int(row["sending"] or 0)
    text = f"{free} free of {row['senders']} on {source.name}; {SENDERS_NEEDED} are needed for the copy"
    report.note("WAL senders", text, well=free >= SENDERS_NEEDED)
    if row["wal_level"] not in ("replica", "logical"):
        report.note("wal_level", f"{row['wal_level']} on {source.name}: set it to replica", well=False)
    if role == "standby" and row["full_pages"] != "on":
        report.note("full_page_writes", f"off on {source.name}: a standby cannot be copied so", well=False)
    if bench.spec.replication.slots:
        await _slot(step, bench, report)


async def _slot(step: Rebuild, bench: Bench, report: _Report) -> None:
    async with bench.extra_session(step.upstream) as extra:
        (row,) = await extra.sql(step.upstream, _SOURCE, (slot_name(step.node),))
    free, name = int(row["slots"] or 0) - int(row["used"] or 0), slot_name(step.node)
    if row["own"] != "0":
        report.note("slot", f"{name} is there on {step.upstream} already, and is used")
    else:
        text = f"{name} is created on {step.upstream}; {free} free of {row['slots']}"
        report.note("slot", text, well=free > 0)


async def _login(step: Rebuild, bench: Bench, report: _Report) -> None:
    """The replication login, tried on the node's own host as pg_basebackup and the standby will use it."""
    place, keywords = bench.place(step.node), dict(bench.spec.replication.conninfo)
    for name in dict.fromkeys((_copied_from(step), step.upstream)):
        target = next(node for node in bench.spec.nodes if node.name == name)
        tried = await try_passage(bench.nodes[step.node], target, keywords, place.bin_dir, slow_s=15.0)
        what, role = f"replication login at {name}", keywords.get("user", "")
        if tried.reached is None:
            report.note(what, f"the shell on {step.node} did not answer", well=False)
        elif tried.reached is False:
            text = f"{target.host}:{target.port} cannot be reached from {step.node}"
            report.note(what, text, well=False)
        elif tried.replication is None:
            report.note(what, f"could not be tried: psql is not there on {step.node}")
        else:
            well = not tried.replication
            report.note(what, f"{role} is let in from {step.node}" if well else tried.replication, well=well)


async def _target(step: Rebuild, bench: Bench, report: _Report) -> None:
    """What lies in the data directory, whether it may be replaced, and whether there is room beside it."""
    place = bench.place(step.node)
    backup = program(place.bin_dir, "pg_basebackup")
    script = _TARGET.format(data=quoted(place.data_dir), marker=MARKER, backup=backup)
    output = await place.must(script, "looking at the data directory", within_s=10.0)
    said = dict(line.split("=", 1) for line in output.text.splitlines() if "=" in line)
    source, host = await read_source(bench, step), await place.look()
    real, kind = said.get("real", place.data_dir), said.get("is", "other")
    empty = kind in ("missing", "empty")
    words = {"missing": "is made", "empty": "is empty", "other": "holds something that is no data directory"}
    ours = bool(host.control and host.control.system_id == source.system_id)
    text = words.get(kind, "holds a copy of this cluster, which is replaced")
    if kind == "data" and not ours:
        text = "holds data that is not proved to be of this cluster: move it away by hand"
    if host.postmaster in (Postmaster.RUNNING, Postmaster.FROZEN):
        text += "; its server is stopped first" if not host.control else ""
        ours = ours or host.standby_signal
        text = "holds a standby that runs: it is stopped, and replaced" if ours else text
    report.note("target directory", f"{real} {text}", well=empty or (kind == "data" and ours))
    if "writable" not in said:
        report.note("directory above", f"not writable on {step.node}", well=False)
    if "mount" in said:
        report.note("mount point", f"{real} is one: a copy cannot be renamed into its place", well=False)
    if not bench.spec.cloning.command:
        version = said.get("program", "")
        report.note("pg_basebackup", version or f"not found on {step.node}", well=bool(version))
    site = Site(
        step,
        bench,
        replace(place, data_dir=real),
        source,
        half_rewound=False,
        replaced=(),
        empty=empty,
        wal_dir=said.get("wal", ""),
    )
    await _room_and_line(site, report)


async def _room_and_line(site: Site, report: _Report) -> None:
    rows = await sizes_of_source(site)
    size = sum(int(row["bytes"] or 0) for row in rows)
    spaces = sum(1 for row in rows if (row["location"] or "").startswith("/"))
    more = f", of it {spaces} tablespaces elsewhere" if spaces else ""
    report.note("data size", f"{bytes_text(size)} on {site.copied_from}{more}")
    try:
        plan = await plan_copy(site, STAMP_SHOWN)
    except CloneFailed as full:
        report.note("free space", f"{full}: {full.detail}", well=False)
        return
    report.note("free space", f"enough on {site.node}")
    slot = OwnSlot(slot_name(site.step.node) if site.bench.spec.replication.slots else "")
    report.note(f"would run on {site.node}", copy_line(site, plan, slot))
    kept = "for good" if site.bench.spec.keep_old_data else "until the new standby streams"
    data = site.place.data_dir
    text = "" if site.empty else f"{data} is renamed to {data}.pgvigil-old-<time> and kept {kept}; "
    report.note(
        "then", f"{text}the copy takes its place, with the node's own configuration, and streams from "
        f"{site.step.upstream}"
    )  # fmt: skip
