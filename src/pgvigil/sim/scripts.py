"""The shell scripts that the product sends, as a simulated host carries them out.

Recognised by their text: looking, fencing, stopping, starting, settings, witnessing and WAL rescue, with the
very lines of `ports.host` and `act`. A script that is not known is drift, and a violation. Rebuilding (start,
rewind, clone) is one line of our own (`rebuilding`); its many scripts are tried on real servers only.
"""

import gzip
import itertools
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pgvigil.model.units import Lsn, Timeline
from pgvigil.ports.contract import Output
from pgvigil.ports.host import MARKER, look_script
from pgvigil.sim import rebuilding
from pgvigil.sim.statements import SYSTEM_ID
from pgvigil.sim.wal import Kind, Record

if TYPE_CHECKING:
    from pgvigil.sim.host import Host
    from pgvigil.sim.life import Life
    from pgvigil.sim.server import Server

Reply = Callable[[Output], None]
DONE: Final = Output(0)
SEGMENT: Final = 16 * 1024 * 1024
PAGE: Final = 8192


@dataclass(slots=True)
class Job:
    """A script on a host."""

    host: "Host"
    script: str
    stdin: bytes
    life: "Life"
    ended: bool = False
    on_end: list[Callable[[], None]] = field(default_factory=list)

    @property
    def server(self) -> "Server":
        """The node's."""
        return self.host.server

    def end(self) -> None:
        """It is ended with all it started."""
        self.ended = True
        for undo in self.on_end:
            undo()


def carry_out(job: Job, reply: Reply) -> None:
    """Do what the script does, and reply when it ends."""
    server, world = job.server, job.host.world
    spec = server.spec
    for slow in (False, True):
        if job.script == look_script(spec.data_dir, spec.bin_dir, slow=slow):
            reply(Output(0, _look(server, slow=slow).encode()))
            return
    boots = job.host.boots

    def done(output: Output) -> None:
        if job.host.alive and job.host.boots == boots and not job.ended:
            reply(output)

    for pattern, handler in _TABLE:
        if match := pattern.search(job.script):
            world.loop.call_later(world.rng.uniform(0.0005, 0.01), handler, job, match, done)
            return
    world.rules.drifted(f"unknown script: {job.script}")
    reply(Output(127, err=b"unknown to the simulation"))


def _look(server: "Server", *, slow: bool) -> str:
    data = server.data
    lines = ["ok=1"]
    lines += ["signal=1"] if data.standby_signal else []
    lines += [f"marker={data.marker}"] if data.marker else []
    lines += [f"pid={data.pid}"] if data.pid else []
    state = "" if server.state == "down" else "T" if server.frozen else "S"
    if not state:
        lines += [f"stray={pid}" for pid in server.strays]
        lines += [
            f"Database system identifier:           {SYSTEM_ID}",
            f"Database cluster state:               {data.state}",
            f"Latest checkpoint location:           {Lsn(data.checkpoint)}",
            f"Latest checkpoint's TimeLineID:       {data.checkpoint_timeline}",
            f"Min recovery ending loc's timeline:   {data.min_timeline}",
        ]
    lines.append(f"state={state}")
    if slow:
        lines += ["free=52428800", f"clock={1e9 + server.world.loop.time():.6f}"]
        lines += [f"exe={server.spec.bin_dir}/postgres"] if state else []
    return "\n".join(lines) + "\n"


def _signal(job: Job, _: "re.Match[str]", reply: Reply) -> None:
    job.server.data.standby_signal = True
    reply(DONE)


def _clear_signal(job: Job, _: "re.Match[str]", reply: Reply) -> None:
    job.server.data.standby_signal = False
    reply(DONE)


def _mark(job: Job, match: "re.Match[str]", reply: Reply) -> None:
    job.server.data.marker = match[1]
    reply(DONE)


def _unmark(job: Job, _: "re.Match[str]", reply: Reply) -> None:
    job.server.data.marker = ""
    reply(DONE)


def _kill_signal(job: Job, match: "re.Match[str]", reply: Reply) -> None:
    server = job.server
    if server.data.pid != int(match[2]) or server.state == "down":
        reply(Output(1))
        return
    server.reached(server.stop if match[1] == "INT" else server.stop_at_once)
    reply(DONE)


def _kill_all(job: Job, _: "re.Match[str]", reply: Reply) -> None:
    job.server.kill()
    reply(DONE)


def _unit_stop(job: Job, _: "re.Match[str]", reply: Reply) -> None:
    server = job.server
    server.supervised = False
    server.reached(server.stop)
    reply(DONE)


def _unit_start(job: Job, _: "re.Match[str]", reply: Reply) -> None:
    server = job.server
    complaint = "" if server.state != "down" else server.start()
    server.supervised = not complaint
    reply(Output(1, err=complaint.encode()) if complaint else DONE)


def _start(job: Job, _: "re.Match[str]", reply: Reply) -> None:
    complaint = "" if job.server.state != "down" else job.server.start()
    reply(Output(1, err=complaint.encode()) if complaint else DONE)


def _settings(job: Job, _: "re.Match[str]", reply: Reply) -> None:
    words = shlex.split(job.script.replace("&&", " && "))
    for before, word in itertools.pairwise(words):
        if before == "%s\\n" and (line := re.fullmatch(r"(\w+) = '((?:[^']|'')*)'", word)):
            job.server.data.settings[line[1]] = line[2].replace("''", "'")
    reply(DONE)


def _witness(job: Job, match: "re.Match[str]", reply: Reply) -> None:
    """pg_isready from here to another node, which takes both ways of the link."""
    world, here = job.host.world, job.host.name
    there = world.by_address.get((match[2], int(match[3])))
    done: list[bool] = []

    def finish(status: int) -> None:
        if not done:
            done.append(True)
            reply(Output(status))

    def arrived() -> None:
        if there is None or not there.host.alive:
            return
        back = there.host.name, here
        if not there.up:
            world.network.send(*back, lambda: finish(2))
        else:
            there.reached(lambda: world.network.send(*back, lambda: finish(0 if _accepts(there) else 1)))

    if there is not None:
        world.network.send(here, there.host.name, arrived)
    world.loop.call_later(float(match[1]), finish, 124)


def _accepts(server: "Server") -> bool:
    """For pg_isready a wrong password is an acceptance, too many connections are not."""
    return server.state == "running" and not server.rejects.startswith("53")


def _list_wal(job: Job, _: "re.Match[str]", reply: Reply) -> None:
    data = job.server.data
    names = {Lsn(record.start).segment(Timeline(record.timeline)) for record in data.wal}
    names |= {Lsn(record.end - 1).segment(Timeline(record.timeline)) for record in data.wal}
    reply(Output(0, "\n".join(sorted(names)).encode()))


def _dump(job: Job, match: "re.Match[str]", reply: Reply) -> None:
    timeline, start = int(match[1]), Lsn.parse(match[2])
    records = [r for r in job.server.data.wal if r.start >= start and r.timeline == timeline]
    if not records:
        reply(Output(0, f"pg_waldump: error: could not find a valid record after {start}".encode()))
        return
    lines = [f"lsn: {Lsn(r.start)}, prev 0/0, desc: COMMIT" for r in records if r.kind is Kind.ROW]
    end = Lsn(records[-1].end)
    lines.append(f"pg_waldump: error: error in WAL record at {end}: invalid record length at {end}")
    reply(Output(0, "\n".join(lines).encode()))


def _read_wal(job: Job, match: "re.Match[str]", reply: Reply) -> None:
    """The bytes of WAL are a ticket for the records, padded to their length."""
    world = job.host.world
    size = int(match[3]) * PAGE
    ticket = world.ticket(job.server.data.wal)
    reply(Output(0, gzip.compress(ticket.to_bytes(8, "big") + bytes(size - 8), 1)))


def _write_wal(job: Job, _: "re.Match[str]", reply: Reply) -> None:
    data, world = job.server.data, job.host.world
    payload = gzip.decompress(job.stdin)
    records = world.tickets[int.from_bytes(payload[:8], "big")]
    known: set[Record] = set(data.carried)
    data.carried += [r for r in records if r.start >= data.end and r not in known]
    reply(DONE)


_TABLE: Final[tuple[tuple["re.Pattern[str]", Callable[[Job, "re.Match[str]", Reply], None]], ...]] = (
    (re.compile(r"^\[ -f '[^']+'/PG_VERSION \] && : > '[^']+'/standby\.signal && sync"), _signal),
    (re.compile(r"^rm -f '[^']+'/standby\.signal$"), _clear_signal),
    (re.compile(r"^cd '[^']+' && umask 077 && printf '%s\\n' (\w+) > " + MARKER), _mark),
    (re.compile(r"^rm -f '[^']+'/" + MARKER + "$"), _unmark),
    (re.compile(r"^kill -(INT|QUIT) (\d+)$"), _kill_signal),
    (re.compile(r"^D='[^']+'; \{ read -r p < \"\$D/postmaster\.pid\"; \} .*kill -KILL"), _kill_all),
    (re.compile(r"^D='[^']+'; p=\d+; s=; kill -0 \$p "), lambda _, __, reply: reply(DONE)),
    (re.compile(r"^\{ systemctl stop '[^']+'; \} >/dev/null 2>&1 &$"), _unit_stop),
    (re.compile(r"^systemctl start '[^']+'$"), _unit_start),
    (
        re.compile(r"^(?:\[ ! -f [^;]+; )?if \[ -f '[^']+'/postmaster\.opts \]; then .*pg_ctl' restart"),
        _start,
    ),
    (re.compile(r"^umask 077; f='[^']+/postgresql\.auto\.conf'"), _settings),
    (re.compile(r"^timeout ([\d.]+) '[^']+/pg_isready' -q -t 3 -h '([^']+)' -p (\d+) "), _witness),
    (re.compile(r"^ls '[^']+'/pg_wal$"), _list_wal),
    (re.compile(r"^cd '[^']+' && LC_ALL=C '[^']+/pg_waldump' -p pg_wal -t (\d+) -s (\S+) -e \S+"), _dump),
    (re.compile(r"^dd if='[^']+'/pg_wal/(\w+) bs=8192 skip=(\d+) count=(\d+) .*gzip"), _read_wal),
    (re.compile(r"^cd '[^']+/pg_wal' && t=\w+\.pgvigil && rm -f \$t"), _write_wal),
    (re.compile(r"^sync '[^']+'/pg_wal$"), lambda _, __, reply: reply(DONE)),
    (re.compile(r"^" + rebuilding.LINE.format(r"(\S+)", r"(\d+)", r"(\w+)")), rebuilding.bring_back),
)
_HARMLESS: Final = re.compile(
    r"^timeout [\d.]+ '[^']+/pg_isready' |^ls '|^cd '[^']+' && LC_ALL=C '[^']+/pg_waldump' |^dd if=|"
    r"^D='[^']+'; p=\d+; s=; kill -0"
)


def changes(server: "Server", script: str) -> bool:
    """Whether a script changes something on its host."""
    spec = server.spec
    looks = (look_script(spec.data_dir, spec.bin_dir, slow=slow) for slow in (False, True))
    return script not in looks and not _HARMLESS.search(script)
