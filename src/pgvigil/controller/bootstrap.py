"""A new cluster on empty hosts: the first node is made by initdb; the others are copied by clones.

Everything is made beside the data directory, with its roles already in it, and takes its place by one rename:

    DATA.pgvigil-new          what is being made; nobody can reach its server but its own account
    DATA.pgvigil-bootstrap    the note that it is ours, with the WAL directory that it made elsewhere
    DATA/pgvigil.bootstrap    in the finished first node, until every other node streams

So it can be interrupted anywhere and given again. A directory that holds anything else is never touched.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from pgvigil.act import service
from pgvigil.act.bench import Bench, Place
from pgvigil.config.grants import grants
from pgvigil.config.hba import pg_hba
from pgvigil.errors import ConfigError, StepFailed, Unsafe, UsageError
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.units import NodeName
from pgvigil.ports.host import in_passfile, program, quoted

NOTE: Final = "pgvigil.bootstrap"
LOOK_S: Final = 15.0
INIT_S: Final = 600.0
"""initdb with a sync on slow storage."""
PROGRAMS: Final = ("initdb", "pg_ctl", "psql", "pg_basebackup", "pg_controldata")
SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": "*",
    "password_encryption": "scram-sha-256",
    "wal_level": "replica",
    "wal_log_hints": "on",
    "hot_standby": "on",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    "wal_keep_size": "1GB",
}
"""What the first node is given, unless other values are named; who gets in is pg_hba.conf's affair."""
_NAME: Final = re.compile(r"[a-z_][a-z0-9_.]*")

_LOOK: Final = """
D=$(readlink -f {data}) || D={data}
echo "real=$D"; echo "user=$(id -un)"; [ "$(id -u)" = 0 ] && echo root=1
if [ ! -e "$D" ]; then echo is=missing
elif [ -z "$(ls -A "$D" 2>&1)" ]; then echo is=empty
elif [ -f "$D/PG_VERSION" ]; then echo is=data
else echo is=other; fi
[ -f "$D/{note}" ] && echo noted=1
r=0; {ready} -q -t 2 -h {host} -p {port} 2>/dev/null || r=$?; [ $r -lt 2 ] && echo taken=1
[ -e "$D.pgvigil-new" ] && [ ! -f "$D.pgvigil-bootstrap" ] && echo strange=1
P=$D; while [ ! -d "$P" ]; do P=${{P%/*}}; P=${{P:-/}}; done
[ "$P" != "$D" ] || {{ P=${{D%/*}}; P=${{P:-/}}; }}
[ -w "$P" ] && echo writable=1
echo "above=$P"
for p in {programs}; do
  if [ -n "{bin}" ]; then [ -x {bindir}/$p ]; else command -v $p >/dev/null; fi || echo "lacks_$p=1"
done
echo "version=$({initdb} --version 2>/dev/null)"
echo "system=$(LC_ALL=C {controldata} -D "$D" 2>/dev/null | sed -n 's/^Database system identifier: *//p')"
F={passfile}; F=${{F:-${{PGPASSFILE:-$HOME/.pgpass}}}}
[ -r "$F" ] && sed 's/^/passfile:/' "$F"
H={hba}; [ -z "$H" ] || [ -w "$H" ] || echo "hba_closed=1"
:
"""

_INIT: Final = """
set -e; umask 077
D=$(readlink -f {data}) || D={data}
N=$D.pgvigil-new; T=$D.pgvigil-bootstrap
mkdir -p "${{D%/*}}"
for q in /proc/[0-9]*; do
  tr '\\0' '\\n' < "$q/cmdline" 2>/dev/null | grep -qxF -e "$N" || continue
  echo "process ${{q#/proc/}} is at work in $N: another bootstrap?" >&2; exit 1
done
if [ -f "$T" ]; then
  rm -rf "$N"; while IFS= read -r w; do [ -z "$w" ] || rm -rf "$w"; done < "$T"
fi
[ ! -e "$N" ] || {{ echo "$N is there, and not ours" >&2; exit 1; }}
[ ! -e "$D" ] || [ -z "$(ls -A "$D")" ] || {{ echo "$D is not empty" >&2; exit 1; }}
[ -z {wal} ] || [ -z "$(ls -A {wal} 2>/dev/null)" ] || {{ echo {wal}" is not empty" >&2; exit 1; }}
printf '%s\\n' {wal} > "$T"; sync "$T" 2>/dev/null || sync
{initdb} -D "$N" {options} >&2
printf '%s\\n' {settings} >> "$N/{config}"
cat > "$N/pg_hba.conf"
"""

_FILL: Final = """
set -e; umask 077
D=$(readlink -f {data}) || D={data}
N=$D.pgvigil-new; S=$(mktemp -d /tmp/pgvigil-XXXXXX)
{pg_ctl} start -w -s -D "$N" -l "$N/pgvigil-start.log" </dev/null \\
  -o "-c listen_addresses= -c unix_socket_directories=$S -c port={port}" >&2 || {{
  cat "$N/pgvigil-start.log" >&2; exit 1; }}
r=0; {psql} -X -q -v ON_ERROR_STOP=1 -h "$S" -p {port} -d postgres >&2 || r=$?
{pg_ctl} stop -w -s -m fast -D "$N" </dev/null >&2 || r=1
rm -rf "$S"; [ $r = 0 ] || exit $r
rm -f "$N/postmaster.opts" "$N/pgvigil-start.log"
printf '%s\\n' {cluster} > "$N/{note}"
sync -f "$N" 2>/dev/null || sync
[ ! -e "$D" ] || rmdir "$D"
mv "$N" "$D"; rm -f "$D.pgvigil-bootstrap"; sync -f "${{D%/*}}/" 2>/dev/null || sync
"""

_HBA: Final = """
set -e; F={hba}
grep -qxF {mark} "$F" && exit 0
{{ printf '%s\\n' {mark}; cat; cat "$F"; }} > "$F.pgvigil"
cat "$F.pgvigil" > "$F"; rm -f "$F.pgvigil"
"""
_HBA_MARK: Final = "# Lines of pgvigil bootstrap"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the configuration does not say of a new cluster."""

    first: NodeName
    encoding: str = "UTF8"
    locale: str = "C.UTF-8"
    checksums: bool = True
    settings: tuple[tuple[str, str], ...] = ()
    controllers: tuple[str, ...] = ()
    """Addresses from which pgvigil logs in."""
    allowed: tuple[str, ...] = ()
    """Networks from which everybody else may log in, by password."""

    def __post_init__(self) -> None:
        """Raises UsageError for a name that is no parameter."""
        for name, value in self.settings:
            if not _NAME.fullmatch(name) or "\n" in value:
                raise UsageError(f"{name} is no parameter of PostgreSQL", hint="--set NAME=VALUE")


@dataclass(frozen=True, slots=True)
class Ground:
    """What a node's host said before anything is done there."""

    name: NodeName
    is_there: str
    """`missing`, `empty`, `data` (PostgreSQL's) or `other`."""
    noted: bool
    system_id: str
    version: str
    wrong: tuple[str, ...]
    passfile: str = field(repr=False)

    @property
    def major(self) -> int:
        """0: unknown."""
        found = re.search(r"\(PostgreSQL\) (\d+)", self.version)
        return int(found[1]) if found else 0

    @property
    def bare(self) -> bool:
        """Nothing lies there."""
        return self.is_there in ("missing", "empty")


async def look(bench: Bench) -> dict[NodeName, Ground]:
    """What every node's host says. Raises StepFailed where a shell or a directory is missing."""
    names = [node.name for node in bench.spec.nodes]
    return dict(zip(names, await asyncio.gather(*(_look_at(bench, name) for name in names)), strict=True))


def objections(spec: ClusterSpec, grounds: Mapping[NodeName, Ground], wishes: Wishes) -> list[str]:
    """What stands in the way, node by node; empty: nothing. Pure."""
    first = grounds[wishes.first]
    found = [f"{ground.name}: {wrong}" for ground in grounds.values() for wrong in ground.wrong]
    for ground in grounds.values():
        copied = bool(first.noted and first.system_id and ground.system_id == first.system_id)
        if not ground.bare and not (first.noted if ground is first else copied):
            found.append(f"{ground.name}: its data directory is not empty")
    majors = {ground.major for ground in grounds.values()} - {0}
    if len(majors) > 1:
        found.append(f"PostgreSQL is of different versions: {', '.join(map(str, sorted(majors)))}")
    if not dict(spec.replication.conninfo).get("user"):
        found.append("replication.user is not configured: it names the role that is made")
    return found


def passwords(
    spec: ClusterSpec, grounds: Mapping[NodeName, Ground], wishes: Wishes, own: str
) -> dict[str, str]:
    """Role → its password, from where pgvigil and the standbys will take it. Raises ConfigError."""
    user, streamer = _user(spec, wishes), dict(spec.replication.conninfo)["user"]
    found = {user: own}
    by_certificate = "sslcert" in dict(spec.node(wishes.first).conninfo)
    if not own and not by_certificate:
        hint = f"put a line for {user} into postgres.passfile, or set postgres.password_command"
        raise ConfigError(f"there is no password for {user}", hint=hint)
    if streamer == user or "sslcert" in dict(spec.replication.conninfo):
        return found
    target = spec.node(wishes.first)
    for ground in grounds.values():
        secret = in_passfile(
            ground.passfile, host=target.host, port=target.port, database="replication", user=streamer
        )
        if not secret:
            file = dict(spec.replication.conninfo).get("passfile", "~/.pgpass")
            raise ConfigError(
                f"there is no password for {streamer} on {ground.name}",
                hint=f"put it there first, into {file} (mode 0600): *:*:*:{streamer}:PASSWORD",
            )
        if found.setdefault(streamer, secret) != secret:
            raise ConfigError(f"the passwords for {streamer} differ between the nodes", hint="make them one")
    return found


def plan(spec: ClusterSpec, grounds: Mapping[NodeName, Ground], wishes: Wishes) -> list[str]:
    """What will be done, as sentences. Pure."""
    first, node = grounds[wishes.first], spec.node(wishes.first)
    steps, checks = [], "with" if wishes.checksums else "without"
    if first.bare:
        steps.append(
            f"initdb on {first.name} in {node.data_dir} (PostgreSQL {first.major}, {wishes.encoding}, "
            f"{wishes.locale}, {checks} checksums)"
        )
        roles = dict.fromkeys((_user(spec, wishes), dict(spec.replication.conninfo).get("user", "")))
        steps.append(f"make the roles {' and '.join(roles)}, with the passwords that are in place")
        steps.append("write pg_hba.conf: these roles from the nodes and the controller, others by --allow")
    else:
        steps.append(f"go on: {first.name} was made by an earlier bootstrap")
    steps.append(f"start {first.name} as the primary")
    steps += [f"clone {other.name} from {first.name}, and start it" for other in spec.others(first.name)]
    return steps


async def make_first(
    bench: Bench,
    ground: Ground,
    wishes: Wishes,
    secrets: Mapping[str, str],
    verifier: Callable[[str, str], str],
) -> None:
    """The first node's data directory, complete, in its place; then its server runs and lets us in.

    Raises StepFailed, Unsafe. Interrupted, the next attempt goes on or begins anew.
    """
    place = bench.place(wishes.first)
    if ground.bare:
        bench.report(wishes.first, "initdb")
        await _must(place, _init_script(bench, ground, wishes), "initdb", _hba_text(bench.spec, wishes))
        bench.report(wishes.first, "making the roles")
        sql = _roles(bench.spec, ground, wishes, secrets, verifier)
        await _must(place, _fill_script(bench.spec, place), "making the roles", sql)
    elif not ground.noted:
        raise Unsafe(f"the data directory of {wishes.first} is not empty", hint="nothing was changed")
    for node in bench.spec.nodes:
        await _open_outside(bench, node.name, wishes)
    bench.report(wishes.first, "starting")
    await service.start(bench, wishes.first)


async def finish(bench: Bench) -> None:
    """Take the notes away; a copy of the first node has one too."""
    for node in bench.spec.nodes:
        place = bench.place(node.name)
        await place.must(f"rm -f {quoted(place.data_dir)}/{NOTE}", "removing the note", within_s=5.0)


async def _look_at(bench: Bench, name: NodeName) -> Ground:
    place = bench.place(name)
    passfile = dict(bench.spec.replication.conninfo).get("passfile", "")
    script = _LOOK.format(
        data=quoted(place.data_dir),
        note=NOTE,
        programs=" ".join(PROGRAMS),
        bin="yes" if place.bin_dir else "",
        bindir=quoted(place.bin_dir),
        initdb=program(place.bin_dir, "initdb"),
        controldata=program(place.bin_dir, "pg_controldata"),
        passfile=quoted(passfile),
        hba=quoted(_hba_file(place)),
        ready=program(place.bin_dir, "pg_isready"),
        host=quoted(place.spec.host),
        port=place.spec.port,
    )
    output = await place.run(script, within_s=LOOK_S)
    lines = output.text.splitlines()
    said = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("passfile:"))
    if "is" not in said:
        raise StepFailed(f"the shell on {name} is confused", detail=output.complaint)
    wrong = [f"{p} is not found; set postgres.bin_dir" for p in PROGRAMS if f"lacks_{p}" in said]
    if "root" in said:
        wrong.append("its shell is root's: PostgreSQL needs an account of its own (shell: {user: postgres})")
    if "writable" not in said:
        wrong.append(f"{said.get('above')} is not writable for {said.get('user')}")
    if "strange" in said:
        wrong.append(f"{said['real']}.pgvigil-new is there: a clone that was not finished; remove it")
    if said["is"] == "other":
        wrong.append("its data directory holds something that is not PostgreSQL's")
    if "taken" in said and said["is"] != "data":
        wrong.append(f"another server answers on {place.spec.host}:{place.spec.port}")
    if "hba_closed" in said:
        wrong.append(f"{_hba_file(place)} is not there, or not writable: pg_createcluster makes it")
    passlines = "\n".join(line.removeprefix("passfile:") for line in lines if line.startswith("passfile:"))
    return Ground(
        name, said["is"], "noted" in said, said.get("system", ""), said.get("version", ""), tuple(wrong),
        passlines,
    )  # fmt: skip


async def _must(place: Place, script: str, what: str, text: str) -> None:
    output = await place.run(script, stdin=text.encode(), within_s=INIT_S)
    if output.status:
        raise StepFailed(
            f"{what} failed on {place.spec.name}",
            detail=output.complaint,
            hint="mend that and give the command again: it begins anew",
        )


def _init_script(bench: Bench, ground: Ground, wishes: Wishes) -> str:
    place = bench.place(wishes.first)
    words = [f"-E {quoted(wishes.encoding)}", f"--locale={quoted(wishes.locale)}"]
    words += ["--auth-local=peer", "--auth-host=scram-sha-256"]
    if wishes.checksums:
        words.append("--data-checksums")
    elif ground.major >= 18:
        words.append("--no-data-checksums")
    if place.spec.wal_dir:
        words.append(f"--waldir={quoted(place.spec.wal_dir)}")
    settings = {**SETTINGS, **dict(wishes.settings)}
    if not place.config_outside:
        settings["port"] = str(place.spec.port)
    lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in settings.items()]
    return _INIT.format(
        data=quoted(place.data_dir),
        wal=quoted(place.spec.wal_dir),
        initdb=program(place.bin_dir, "initdb"),
        options=" ".join(words),
        settings=" ".join(map(quoted, ["# by pgvigil bootstrap", *lines])),
        config="postgresql.auto.conf" if place.config_outside else "postgresql.conf",
    )


def _fill_script(spec: ClusterSpec, place: Place) -> str:
    return _FILL.format(
        data=quoted(place.data_dir),
        pg_ctl=program(place.bin_dir, "pg_ctl"),
        psql=program(place.bin_dir, "psql"),
        port=place.spec.port,
        cluster=quoted(spec.name),
        note=NOTE,
    )


def _roles(
    spec: ClusterSpec,
    ground: Ground,
    wishes: Wishes,
    secrets: Mapping[str, str],
    verifier: Callable[[str, str], str],
) -> str:
    user, streamer = _user(spec, wishes), dict(spec.replication.conninfo)["user"]
    database = dict(spec.node(wishes.first).conninfo).get("dbname", "postgres")
    lines = ["SET synchronous_commit = local;"]
    if database != "postgres":
        name = database.replace("'", "''")
        lines.append(
            f"SELECT format('CREATE DATABASE %I', '{name}')"  # noqa: S608  # quoted
            f" WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{name}') \\gexec"
        )
    lines.append(grants(ground.major * 10_000, user, streamer, (database,)))
    for role, secret in secrets.items():
        if secret:
            quoted_role = '"' + role.replace('"', '""') + '"'
            lines.append(f"ALTER ROLE {quoted_role} PASSWORD '{verifier(secret, role)}';")
    return "\n".join(lines) + "\n"


def _user(spec: ClusterSpec, wishes: Wishes) -> str:
    user = dict(spec.node(wishes.first).conninfo).get("user", "")
    if not user:
        raise ConfigError("postgres.user is not configured", hint="it names the role that is made")
    return user


def _hba_text(spec: ClusterSpec, wishes: Wishes) -> str:
    lines = ["# by pgvigil bootstrap", "local  all  all  peer", pg_hba(spec, wishes.controllers)]
    lines += [f"host  all  all  {network}  scram-sha-256" for network in wishes.allowed]
    return "\n".join(lines) + "\n"


def _hba_file(place: Place) -> str:
    """Where pg_hba.conf lies if the configuration lies outside of the data directory, as on Debian."""
    return f"{place.config_file.rpartition('/')[0]}/pg_hba.conf" if place.config_outside else ""


async def _open_outside(bench: Bench, name: NodeName, wishes: Wishes) -> None:
    """pg_hba.conf outside of the data directory is nobody's copy: each node gets the lines."""
    place = bench.place(name)
    if file := _hba_file(place):
        script = _HBA.format(hba=quoted(file), mark=quoted(_HBA_MARK))
        await _must(place, script, "writing pg_hba.conf", _hba_text(bench.spec, wishes))
