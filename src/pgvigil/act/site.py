"""The data directory under work: what a rebuild keeps in it and beside it, and whom it copies from.

Everything made lies beside the data directory, named after it:

    DATA.pgvigil-new             a clone that is not complete yet
    DATA.pgvigil-made            the directories elsewhere (tablespaces, WAL) that it made so far
    DATA.pgvigil-old-<stamp>     what a clone replaced, until the new standby streams
    DATA.pgvigil-rewind/         the node's own configuration and WAL while pg_rewind is at work;
                                 `begun` in it: pg_rewind was let at the directory and has not ended well

pg_rewind removes every file that its source does not have, our marker too, so the note that counts is
`begun`; and as long as it stands, others may enter the directory (mode o+x), for which PostgreSQL refuses
to start: nobody can start a half rewound directory by accident.
"""

import asyncio
import re
from dataclasses import dataclass, replace
from typing import Final

from pgvigil.act.bench import DENIED, Bench, Place
from pgvigil.errors import StepFailed
from pgvigil.model.spec import slot_name
from pgvigil.model.step import Rebuild
from pgvigil.model.units import History, NodeName, SystemId, Timeline
from pgvigil.ports.contract import QueryFailed
from pgvigil.ports.host import MARKER, quoted

LEFTOVERS_S: Final = 15.0
"""To end programs that a killed controller left running; they get SIGKILL, and a disk may be slow."""
APPLICATION: Final = "pgvigil rebuild"
RELEASE_TRIES: Final = 40
"""Times 0.05 s: an ended sender releases its slot in milliseconds, unless it is stuck in the kernel."""
DUPLICATE: Final = "42710"
BUSY: Final = "55006"
OWN_FILES: Final = "*.conf *.conf.d conf.d postmaster.opts *.crt *.key *.pem *.crl"
"""The node's own configuration at the top of a data directory."""
TEMPORARY: Final = "# pgvigil: only here while pg_rewind runs"
STAMP: Final = re.compile(r"\.pgvigil-(?:old-)?\d{20}$")
"""How the name of a directory ends that we made; nothing else is ever deleted."""

_BEGIN = r"""
D=$(readlink -f {data}) || D={data}
N=$D.pgvigil-new; K=$D.pgvigil-rewind
for q in /proc/[0-9]*; do
  {{ read -r c < "$q/comm"; }} 2>/dev/null || continue
  case $c in pg_rewind|pg_basebackup)
    tr '\0' '\n' < "$q/cmdline" 2>/dev/null | grep -qxF -e "$D" -e "$N" -e {data} || continue
    n=0; while kill -KILL "${{q#/proc/}}" 2>/dev/null && [ $n -lt 100 ]; do n=$((n+1)); sleep 0.05; done ;;
  esac
done
if [ ! -e "$D" ] && grep -qs '^old=' "$N/{marker}"; then mv "$N" "$D"; fi
echo "real=$D"
if [ -f "$K/begun" ]; then
  echo begun=1
  grep -qsxF {temporary} "$D/postgresql.conf" && rm -f "$D/postgresql.conf"
  [ -f "$K/saved" ] && cd "$K/conf" && for f in *; do
    [ -e "$f" ] && rm -rf "$D/$f" && cp -a "$f" "$D/$f"
  done
fi
[ -n "$(ls -A "$D" 2>/dev/null)" ] || echo empty=1
sed -n 's/^old=/old=/p' "$D/{marker}" 2>/dev/null
[ -L "$D/pg_wal" ] && echo "wal=$(readlink -f "$D/pg_wal")"
cd /
"""


@dataclass(frozen=True, slots=True)
class Source:
    """Whom the node is made a standby of, as it is now."""

    system_id: SystemId
    timeline: Timeline
    history: History | None
    """None: it could not be read."""
    segment_bytes: int


@dataclass(frozen=True, slots=True)
class Site:
    """One rebuild: the step, the ways to both nodes, and what was found in the data directory."""

    step: Rebuild
    bench: Bench
    place: Place
    """With the data directory's real name: a symbolic link to it stays what it is."""
    source: Source
    half_rewound: bool
    replaced: tuple[str, ...]
    """The directories that earlier clones moved aside, when this is the result of one; empty: it is not."""
    empty: bool
    """The data directory is missing or empty: a new node."""
    wal_dir: str
    """Where pg_wal really lies, if it is a symbolic link."""

    @property
    def node(self) -> str:
        """For sentences."""
        return self.step.node

    def report(self, sentence: str) -> None:
        """Progress for people."""
        self.bench.report(self.step.node, sentence)

    @property
    def copied_from(self) -> NodeName:
        """The node that a clone copies: the upstream itself, or a standby of it that spares it the work."""
        return self.step.copying.source or self.step.upstream

    @property
    def clone_hint(self) -> str:
        """What an operator can do when nothing milder helps."""
        return f"make a new copy: pgvigil clone {self.bench.spec.name} {self.step.node}"

    def conninfo(self, *, node: NodeName | None = None, **more: str) -> dict[str, str]:
        """Keywords of libpq for the node's own programs to log in at the upstream or `node`; no password.

        Not under the node's name: pg_basebackup with a slot acknowledges WAL, and would be counted as the
        node in `synchronous_standby_names`.
        """
        spec, name = self.bench.spec, node or self.step.upstream
        target, there = spec.node(name), spec.standby_of
        conninfo = there.conninfo if there and there.is_upstream(name) else spec.replication.conninfo
        login = {**dict(conninfo), "host": target.host, "port": str(target.port)}
        return {**login, "application_name": APPLICATION, **more}


async def open_site(step: Rebuild, bench: Bench, source: Source) -> Site:
    """Resolve names, end what a killed controller left running, and finish a swap that it began.

    After a half-way rewind the node's own configuration is put back. Raises StepFailed.
    """
    place = bench.place(step.node)
    script = _BEGIN.format(data=quoted(place.data_dir), marker=MARKER, temporary=quoted(TEMPORARY))
    output = await place.must(script + ":\n", "looking at the data directory", within_s=LEFTOVERS_S)
    said = dict(line.split("=", 1) for line in output.text.splitlines() if "=" in line)
    real = said["real"]
    config = place.config_file
    if config and not place.config_outside:
        config = real + config.removeprefix(place.data_dir.rstrip("/"))
    return Site(
        step,
        bench,
        replace(place, data_dir=real, config_file=config),
        source,
        half_rewound="begun" in said,
        replaced=tuple(line[4:] for line in output.text.splitlines() if line.startswith("old=")),
        empty="empty" in said,
        wal_dir=said.get("wal", ""),
    )


async def read_source(bench: Bench, step: Rebuild) -> Source:
    """Raises StepFailed if the upstream does not answer or refuses."""
    text = (
        "select (select system_identifier from pg_control_system()) as system_id, "
        "case when pg_is_in_recovery() then to_hex(coalesce("
        "(select received_tli from pg_stat_get_wal_receiver() where pid is not null), "
        "(select timeline_id from pg_control_checkpoint()))) "
        "else left(pg_walfile_name(pg_current_wal_lsn()), 8) end as timeline, "
        "(select setting from pg_settings where name = 'wal_segment_size') as segment"
    )
    try:
        async with bench.extra_session(step.upstream) as extra:
            (row,) = await extra.sql(step.upstream, text)
            timeline = Timeline(int(row["timeline"] or "0", 16))
            history = await _history(extra, step, timeline)
    except QueryFailed as refused:
        raise StepFailed(f"{step.upstream} cannot be asked", detail=str(refused)) from refused
    return Source(SystemId(row["system_id"] or ""), timeline, history, int(row["segment"] or 0))


async def _history(bench: Bench, step: Rebuild, timeline: Timeline) -> History | None:
    if timeline == 1:
        return History(timeline)
    file = f"pg_wal/{timeline:08X}.history"
    ours = None if step.upstream in bench.far else bench.nodes[step.upstream]
    try:
        if ours is not None and ours.shell is not None and bench.paths(step.upstream).data_dir:
            output = await bench.place(step.upstream).ask(
                f"cat {quoted(bench.paths(step.upstream).data_dir)}/{file}", within_s=3.0
            )
            if output.status == 0 and output.text:
                return History.parse(timeline, output.text)
        (row,) = await bench.sql(step.upstream, "select pg_read_file($1) as text", (file,))
        return History.parse(timeline, row["text"] or "")
    except (QueryFailed, StepFailed, ValueError) as failed:
        bench.report(step.node, f"the timeline history of {step.upstream} could not be read: {failed}")
        return None


async def upstream_serves(bench: Bench, step: Rebuild) -> bool:
    """Whether the upstream answers a new session as what it is to be: out of recovery, but for a cascade.

    Raises StepFailed if it does not answer.
    """
    async with bench.extra_session(step.upstream) as extra:
        return await extra.in_recovery(step.upstream) is step.cascade


async def mark(place: Place, word: str, *, old: tuple[str, ...] = ()) -> None:
    """Note durably in the data directory what was begun there; `old`: what a clone has replaced."""
    words = " ".join([word, *(quoted(f"old={path}") for path in old)])
    data = quoted(place.data_dir)
    script = (
        f"cd {data} && umask 077 && printf '%s\\n' {words} > {MARKER}.new && "
        f"{{ sync {MARKER}.new 2>/dev/null || sync; }} && "
        f"mv -f {MARKER}.new {MARKER} && {{ sync . 2>/dev/null || sync; }}"
    )
    await place.must(script, f"noting {word}", within_s=10.0)


async def unmark(place: Place) -> None:
    """Remove the note."""
    await place.must(f"rm -f {quoted(place.data_dir)}/{MARKER}", "removing the note", within_s=5.0)


@dataclass(frozen=True, slots=True)
class OwnSlot:
    """The node's slot on its upstream. An empty name: it goes without."""

    name: str
    created: bool = False


async def own_slot(site: Site) -> OwnSlot:
    """The node's physical slot on its upstream, created if it is missing, replaced if it was invalidated.

    The node's server must be down: a sender that still holds the slot serves nobody, and is ended.
    Raises StepFailed; a login that may not create slots goes without, and says so.
    """
    there = site.bench.spec.standby_of
    if there and there.is_upstream(site.step.upstream):
        return OwnSlot(there.slot)
    if not site.bench.spec.replication.slots:
        return OwnSlot("")
    name, upstream, tries = slot_name(site.step.node), site.step.upstream, RELEASE_TRIES
    find = "select active_pid, wal_status from pg_replication_slots where slot_name = $1"
    try:
        async with site.bench.extra_session(upstream) as extra:
            rows = await extra.sql(upstream, find, (name,))
            while rows and rows[0]["active_pid"] and tries:
                await extra.sql(upstream, "select pg_terminate_backend($1::int)", (rows[0]["active_pid"],))
                await asyncio.sleep(0.05)
                rows, tries = await extra.sql(upstream, find, (name,)), tries - 1
            if rows and rows[0]["wal_status"] == "lost":
                await extra.sql(upstream, "select pg_drop_replication_slot($1)", (name,))
            elif rows:
                return OwnSlot(name)
            await extra.sql(upstream, "select pg_create_physical_replication_slot($1, true)", (name,))
    except QueryFailed as refused:
        if refused.sqlstate in (DUPLICATE, BUSY):
            return OwnSlot(name)
        if refused.sqlstate != DENIED:
            raise StepFailed(f"no slot for {site.node} on {upstream}", detail=str(refused)) from refused
        site.report(f"goes without a slot: our login may not create one on {upstream}")
        return OwnSlot("")
    return OwnSlot(name, created=True)


async def drop_own_slot(site: Site, slot: OwnSlot) -> None:
    """Undo `own_slot`. Raises StepFailed."""
    if not slot.created:
        return
    try:
        async with site.bench.extra_session(site.step.upstream) as extra:
            text = (
                "select pg_drop_replication_slot(slot_name) from pg_replication_slots "
                "where slot_name = $1 and not active"
            )
            await extra.sql(site.step.upstream, text, (slot.name,))
    except QueryFailed as refused:
        site.report(f"slot {slot.name} stays on {site.step.upstream}: {refused}")
